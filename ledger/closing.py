"""Closing windows: history rows for what was spent, and the stored `reset_at` moved on.

Enforcement does not wait for it: a new window is a new counter. An idle window leaves no row. A window that still has
open calls gets a row that is not final, and is summed again until they are settled: the ledger is written before a hold
is released, so a counter without holds means that the ledger has everything.

Each key or team is moved on from its `next_reset_at`, so however late the beat is, no window is left out or closed
twice. What one transaction looks at is bounded: a row with more to close is moved on part of the way, and stays due.
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
from budgets.rules.admission import MARGIN_MS
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope, ScopeLimits, root_of
from budgets.rules.windows import Window
from budgets.services import instant_of, ms_of, refresh_resets, scope_limits
from budgets.usage import SpendQuery, query_of, read_spends
from keys.models import Key
from ledger.spends import active_hours
from teams.models import Team

logger = logging.getLogger(__name__)

BATCH = 500
WINDOWS_MAX = 5000
HOUR_MS = 3600_000
FINAL_AFTER = timedelta(hours=12)

CLOSE_AFTER = timedelta(milliseconds=MARGIN_MS)
"""How long after its end a window is closed: calls are admitted some time after they chose it, and clocks differ."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A scope's limits and the root under which its counters live."""

    limits: ScopeLimits
    root: str


def close_expired_windows(*, gate: SyncGate, now: datetime) -> int:
    """Closes what has ended, in batches; returns how many keys and teams were moved on."""
    ended_by = now - CLOSE_AFTER
    closed = 0
    for model in (Key, Team):
        while batch := _close_batch(model, gate=gate, ended_by=ended_by, now=now):
            closed += batch
    finish_history(gate=gate, now=now)
    return closed


def _close_batch(model: type[Key] | type[Team], *, gate: SyncGate, ended_by: datetime, now: datetime) -> int:
    with transaction.atomic():
        due = model.objects.select_for_update(skip_locked=True).filter(next_reset_at__lte=ended_by)
        rows: list[Key | Team] = list(due.order_by("next_reset_at")[:BATCH])
        if not rows:
            return 0
        hours = active_hours(_kind(model), since_ms={str(row.pk): _since_ms(row) for row in rows}, now_ms=ms_of(now))
        ended: list[ActiveWindow] = []
        moved: list[Key | Team] = []
        for row in rows:
            ended += _move_on(row, hours=hours.get(str(row.pk), ()), ended_by=ended_by, most=WINDOWS_MAX - len(ended))
            moved.append(row)
            if len(ended) >= WINDOWS_MAX:
                break
        _write_history(ended, gate=gate, now=now)
        model.objects.bulk_update(moved, ["budget_limits", "budget_reset_at", "next_reset_at"])  # type: ignore[arg-type]
    return len(moved)


def _kind(model: type[Key] | type[Team]) -> str:
    return "key" if model is Key else "team"


def _since_ms(row: LimitedScope) -> int:
    """The last millisecond of the windows of a row that are to be closed first."""
    assert row.next_reset_at is not None, "only rows with a reset are due"
    return ms_of(row.next_reset_at) - 1


def _move_on(row: "Key | Team", *, hours: Sequence[int], ended_by: datetime, most: int) -> Sequence[ActiveWindow]:
    """The windows of a row that have ended since it was last moved on. One bad row never stops the others."""
    try:
        owner = owner_of(row)
        ended, until_ms = _ended_windows(
            owner, since_ms=_since_ms(row), ended_by_ms=ms_of(ended_by), hours=hours, most=most
        )
        refresh_resets(row, now=instant_of(until_ms))
    except Exception:
        logger.exception("the limits of %s %s cannot be read; trying again in an hour", _kind(type(row)), row.pk)
        row.next_reset_at = ended_by + timedelta(hours=1)
        return []
    return ended


def owner_of(row: LimitedScope) -> Owner:
    """The limits and root of a key or a team."""
    if isinstance(row, Key):
        return Owner(scope_limits(row, kind="key", scope_id=str(row.id)), root_of(str(row.id), team_id=row.team_id))
    assert isinstance(row, Team), "only keys and teams have limits"
    return Owner(scope_limits(row, kind="team", scope_id=row.team_id), f"team:{row.team_id}")


def _ended_windows(
    owner: Owner, *, since_ms: int, ended_by_ms: int, hours: Sequence[int], most: int
) -> tuple[list[ActiveWindow], int]:
    """Ended windows worth a look, and the instant until which these are all: with more than `most` the rest waits.

    A window was open at `since_ms`, or what was spent in it was spent in an active hour since then; or it is of the
    last hour and may have open calls that the ledger knows nothing of.
    """
    found: dict[str, ActiveWindow] = {}
    until_ms = ended_by_ms
    for start_ms, end_ms in _stretches(since_ms, ended_by_ms, hours=hours):
        if start_ms > since_ms and len(found) >= most:
            until_ms = start_ms
            break
        for active in _windows_between(owner, start_ms=start_ms, end_ms=end_ms):
            if since_ms < active.window.end_ms <= ended_by_ms and active.window.end_ms > active.since_ms:
                found[active.counter] = active
    ended = [active for active in found.values() if active.window.end_ms <= until_ms]
    return [active for active in ended if active.limit.maximum is not None], until_ms


def _stretches(since_ms: int, ended_by_ms: int, *, hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """What has to be looked at between two instants, in order and without overlap."""
    looked_until_ms = since_ms
    for start_ms, length_ms in sorted(
        [(since_ms, 1), (ended_by_ms - HOUR_MS, HOUR_MS), *((hour, HOUR_MS) for hour in hours)]
    ):
        end_ms = min(start_ms + length_ms, ended_by_ms)
        if end_ms > looked_until_ms:
            yield max(start_ms, looked_until_ms), end_ms
            looked_until_ms = end_ms


def _windows_between(owner: Owner, *, start_ms: int, end_ms: int) -> Iterator[ActiveWindow]:
    for counted in owner.limits.limits:
        single = ScopeLimits(owner.limits.scope, owner.limits.calendar, (counted,))
        at_ms = start_ms
        while at_ms < end_ms:
            (active,) = active_windows([single], names=names(), root=owner.root, now_ms=at_ms)
            yield active
            at_ms = active.window.end_ms


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
    finished = last_id = 0
    while True:
        with transaction.atomic():
            unfinished = WindowHistory.objects.select_for_update(skip_locked=True).filter(
                is_final=False, id__gt=last_id
            )
            rows = list(unfinished.order_by("id")[:BATCH])
            if not rows:
                return finished
            finished += _sum_again(rows, gate=gate, now=now)
            last_id = rows[-1].id


def _sum_again(rows: Sequence[WindowHistory], *, gate: SyncGate, now: datetime) -> int:
    held = [reading.held for reading in gate.read([row.counter for row in rows])]
    sums = read_spends([_query_of_row(row) for row in rows]).sums
    for row, holding, spent in zip(rows, held, sums, strict=True):
        row.spent = spent
        row.is_final = holding == 0 or now > row.closed_at + FINAL_AFTER
    WindowHistory.objects.bulk_update(rows, ["spent", "is_final"])
    if unspent := [row.id for row in rows if row.is_final and row.spent == 0]:
        WindowHistory.objects.filter(id__in=unspent).delete()
    return sum(row.is_final for row in rows)


def _query_of_row(row: WindowHistory) -> SpendQuery:
    return SpendQuery(
        Scope(row.scope_kind, row.scope_id),
        LimitUnit(row.unit),
        Window(ms_of(row.start_at), ms_of(row.end_at)),
    )
