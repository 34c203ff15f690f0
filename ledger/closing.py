"""Closing windows: history rows for what was spent, and the stored `reset_at` moved on.

Enforcement does not wait for it: a new window is a new counter. An idle window leaves no row. A window that still has
open calls gets a row that is not final, and is summed again until they are settled: the ledger is written before a hold
is released, so a counter without holds means that the ledger has everything.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, active_windows
from budgets.models import LimitedScope, WindowHistory
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope, ScopeLimits, root_of
from budgets.rules.windows import Window
from budgets.services import instant_of, ms_of, refresh_resets, scope_limits
from budgets.usage import SpendQuery, query_of, read_spends
from keys.models import Key
from ledger.models import Rollup
from teams.models import Team

logger = logging.getLogger(__name__)

BATCH = 500
RECENT_MS = 3600_000
HOUR_MS = 3600_000
FINAL_AFTER = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Owner:
    """A scope's limits and the root under which its counters live."""

    limits: ScopeLimits
    root: str


def close_expired_windows(*, gate: SyncGate, now: datetime) -> int:
    """Closes what has ended, in batches; returns how many keys and teams were moved on."""
    closed = 0
    for model in (Key, Team):
        while batch := _close_batch(model, gate=gate, now=now):
            closed += batch
            if batch < BATCH:
                break
    finish_history(gate=gate, now=now)
    return closed


def _close_batch(model: type[Key] | type[Team], *, gate: SyncGate, now: datetime) -> int:
    with transaction.atomic():
        due = model.objects.select_for_update(skip_locked=True).filter(next_reset_at__lte=now)
        rows: list[Key | Team] = list(due.order_by("next_reset_at")[:BATCH])
        ended: list[ActiveWindow] = []
        for row in rows:
            ended += _moved_on(row, now=now)
        _write_history(ended, gate=gate, now=now)
        model.objects.bulk_update(rows, ["budget_limits", "budget_reset_at", "next_reset_at"])  # type: ignore[arg-type]
    return len(rows)


def _moved_on(row: "Key | Team", *, now: datetime) -> list[ActiveWindow]:
    """The windows of a row that have ended since it was last moved on. One bad row never stops the others."""
    assert row.next_reset_at is not None, "only rows with a reset are due"
    since_ms = ms_of(row.next_reset_at) - 1
    try:
        owner = owner_of(row)
        ended = list(_ended_windows(owner, since_ms=since_ms, now_ms=ms_of(now)))
        refresh_resets(row, now=now)
    except (ValueError, KeyError, TypeError):
        logger.exception("the limits of %s cannot be read; trying again in an hour", row)
        row.next_reset_at = now + timedelta(hours=1)
        return []
    return ended


def owner_of(row: LimitedScope) -> Owner:
    """The limits and root of a key or a team."""
    if isinstance(row, Key):
        return Owner(scope_limits(row, kind="key", scope_id=str(row.id)), root_of(str(row.id), team_id=row.team_id))
    assert isinstance(row, Team), "only keys and teams have limits"
    return Owner(scope_limits(row, kind="team", scope_id=row.team_id), f"team:{row.team_id}")


def _ended_windows(owner: Owner, *, since_ms: int, now_ms: int) -> Iterator[ActiveWindow]:
    """Ended windows worth a look: those that ended lately, and older ones in hours in which something was spent."""
    instants = [since_ms, *_active_hours(owner, since_ms=since_ms, now_ms=now_ms)]
    recent_ms = max(since_ms, now_ms - RECENT_MS)
    seen: set[str] = set()
    for start_ms, end_ms in [(instant, min(instant + HOUR_MS, now_ms)) for instant in instants] + [(recent_ms, now_ms)]:
        for active in _windows_between(owner, start_ms=start_ms, end_ms=end_ms):
            ended = since_ms < active.window.end_ms <= now_ms
            if ended and active.counter not in seen and active.limit.maximum is not None:
                seen.add(active.counter)
                yield active


def _windows_between(owner: Owner, *, start_ms: int, end_ms: int) -> Iterator[ActiveWindow]:
    for counted in owner.limits.limits:
        single = ScopeLimits(owner.limits.scope, owner.limits.calendar, (counted,))
        at_ms = start_ms
        while at_ms < end_ms:
            (active,) = active_windows([single], names=names(), root=owner.root, now_ms=at_ms)
            yield active
            at_ms = active.window.end_ms


def _active_hours(owner: Owner, *, since_ms: int, now_ms: int) -> list[int]:
    scope = owner.limits.scope
    hours = Rollup.objects.filter(
        scope_kind=scope.kind,
        scope_id=scope.id,
        hour_at__gte=instant_of(since_ms - HOUR_MS),
        hour_at__lte=instant_of(now_ms),
    )
    return sorted(ms_of(hour) for hour in hours.values_list("hour_at", flat=True).distinct())


def _write_history(ended: Sequence[ActiveWindow], *, gate: SyncGate, now: datetime) -> None:
    if not ended:
        return
    held = [reading.held for reading in gate.read([active.counter for active in ended])]
    sums = read_spends([query_of(active) for active in ended]).sums
    rows = [
        _history_row(active, spent=spent, is_final=holding == 0, now=now)
        for active, spent, holding in zip(ended, sums, held, strict=True)
        if spent > 0 or holding > 0
    ]
    WindowHistory.objects.bulk_create(rows, ignore_conflicts=True)


def _history_row(active: ActiveWindow, *, spent: int, is_final: bool, now: datetime) -> WindowHistory:
    assert active.limit.maximum is not None, "a limit that only counts has no history"
    return WindowHistory(
        scope_kind=active.scope.kind,
        scope_id=active.scope.id,
        identity=active.limit.identity,
        budget_duration=str(active.limit),
        unit=active.limit.unit.value,
        start_at=instant_of(active.window.start_ms),
        end_at=instant_of(active.window.end_ms),
        maximum=active.limit.maximum,
        spent=spent,
        closed_at=now,
        counter=active.counter,
        is_final=is_final,
    )


def finish_history(*, gate: SyncGate, now: datetime) -> int:
    """Sums windows again that had open calls when they closed; returns how many are final now."""
    finished = 0
    rows = list(WindowHistory.objects.filter(is_final=False).order_by("closed_at")[:BATCH])
    if not rows:
        return 0
    held = [reading.held for reading in gate.read([row.counter for row in rows])]
    sums = read_spends([_query_of_row(row) for row in rows]).sums
    for row, holding, spent in zip(rows, held, sums, strict=True):
        row.spent = spent
        row.is_final = holding == 0 or now > row.closed_at + FINAL_AFTER
        finished += row.is_final
    WindowHistory.objects.bulk_update(rows, ["spent", "is_final"])
    WindowHistory.objects.filter(id__in=[row.id for row in rows if row.is_final], spent=0).delete()
    return finished


def _query_of_row(row: WindowHistory) -> SpendQuery:
    return SpendQuery(
        Scope(row.scope_kind, row.scope_id),
        LimitUnit(row.unit),
        Window(ms_of(row.start_at), ms_of(row.end_at)),
    )
