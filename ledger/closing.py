"""Closing windows: history rows for what was spent, and the stored `reset_at` moved on.

Enforcement does not wait for it: a new window is a new counter. An idle window leaves no row. A window that still has
open calls gets a row that is not final, and is summed again until they are settled: the ledger is written before a hold
is released, so a counter without holds means that the ledger has everything.

Each scope is moved on from its `next_reset_at`, so however late the beat is, no window is left out or closed
twice. What one transaction looks at is bounded: a row with more to close is moved on part of the way, and stays due.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, active_windows
from budgets.models import WindowHistory
from budgets.rules.admission import MARGIN_MS
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import CUSTOMER, Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, Window
from budgets.services import grants_for, instant_of, ms_of, refresh_resets
from budgets.usage import SpendQuery, query_of, read_spends
from ledger.owners import MODELS, Owner, Row, default_customer_tier, owner_of, rows_of, scope_id_of
from ledger.spends import active_hours, models_called
from teams.models import Customer, Member

logger = logging.getLogger(__name__)

BATCH = 500
WINDOWS_MAX = 5000
HOUR_MS = 3600_000
FINAL_AFTER = timedelta(hours=12)
TRY_AGAIN_AFTER = timedelta(hours=1)

CLOSE_AFTER = timedelta(milliseconds=MARGIN_MS)
"""How long after its end a window is closed: calls are admitted some time after they chose it, and clocks differ."""


def close_expired_windows(*, gate: SyncGate, now: datetime) -> int:
    """Closes what has ended, in batches; returns how many scopes were moved on."""
    ended_by = now - CLOSE_AFTER
    closed = 0
    for kind in MODELS:
        while batch := _close_batch(kind, gate=gate, ended_by=ended_by, now=now):
            closed += batch
    finish_history(gate=gate, now=now)
    return closed


def _close_batch(kind: str, *, gate: SyncGate, ended_by: datetime, now: datetime) -> int:
    with transaction.atomic():
        rows = {scope_id_of(row): row for row in _locked_due(kind, ended_by=ended_by)}
        if not rows:
            return 0
        owners = _owners(kind, rows)
        models = models_called(owner.limits for owner in owners.values())
        hours = active_hours(kind, since_ms={name: _since_ms(row) for name, row in rows.items()}, now_ms=ms_of(now))
        ended: list[ActiveWindow] = []
        moved: list[Row] = []
        for name, row in rows.items():
            owner, called = owners.get(name), models.get(Scope(kind, name), [])
            most = WINDOWS_MAX - len(ended)
            ended += _move_on(row, owner, called=called, hours=hours.get(name, ()), ended_by=ended_by, most=most)
            moved.append(row)
            if len(ended) >= WINDOWS_MAX:
                break
        _write_history(ended, gate=gate, now=now)
        rows_of(kind).bulk_update(moved, ["budget_limits", "budget_reset_at", "next_reset_at"])
    return len(moved)


def _locked_due(kind: str, *, ended_by: datetime) -> list[Row]:
    """Rows that are due and nobody else's. What is joined to them is read once they are locked: it may have changed."""
    due = MODELS[kind]._default_manager.filter(next_reset_at__lte=ended_by).order_by("next_reset_at")
    ids = list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
    return list(rows_of(kind).filter(pk__in=ids).order_by("next_reset_at")) if ids else []


def _owners(kind: str, rows: Mapping[str, Row]) -> dict[str, Owner]:
    """The limits of due rows, with all grants that windows which are to be closed may have."""
    tier = default_customer_tier() if kind == CUSTOMER else None
    since = instant_of(min(_since_ms(row) for row in rows.values()))
    grants = grants_for({(kind, scope_id) for scope_id in rows}, now=since)
    owners: dict[str, Owner] = {}
    for scope_id, row in rows.items():
        try:
            owners[scope_id] = owner_of(row, grants=grants, customer_tier=tier)
        except Exception:
            logger.exception("the limits of %s %s cannot be read; trying again in an hour", kind, scope_id)
    return owners


def _since_ms(row: Row) -> int:
    """The last millisecond of the windows of a row that are to be closed first."""
    assert row.next_reset_at is not None, "only rows with a reset are due"
    return ms_of(row.next_reset_at) - 1


def _move_on(
    row: Row, owner: Owner | None, *, called: Sequence[str], hours: Sequence[int], ended_by: datetime, most: int
) -> Sequence[ActiveWindow]:
    """The windows of a row that have ended since it was last moved on. One bad row never stops the others."""
    if owner is None:
        row.next_reset_at = ended_by + TRY_AGAIN_AFTER
        return []
    try:
        ended, until_ms = _ended_windows(
            owner, called=called, since_ms=_since_ms(row), ended_by_ms=ms_of(ended_by), hours=hours, most=most
        )
        refresh_resets(row, now=instant_of(until_ms))
        row.next_reset_at = _next_reset(owner.limits, at_ms=until_ms)
    except Exception:
        logger.exception("the limits of %s cannot be read; trying again in an hour", owner.limits.scope)
        row.next_reset_at = ended_by + TRY_AGAIN_AFTER
        return []
    return ended


def _next_reset(limits: ScopeLimits, *, at_ms: int) -> datetime | None:
    """When the first window ends that may leave a row: also of limits that are the scope's by a default only."""
    counted = [*limits.limits, *(each for some in limits.by_model.values() for each in some)]
    ends = [each.limit.window_at(at_ms, calendar=limits.calendar).end_ms for each in counted if not each.limit.is_rate]
    return min((instant_of(end_ms) for end_ms in ends if end_ms != END_OF_TIME_MS), default=None)


def make_members_and_customers_due(*, now: datetime) -> int:
    """Members and customers whose limits are those of a default tier, and whom nobody has made due, become so."""
    idle = Q(next_reset_at__isnull=True, budget__isnull=True, max_budget_nanousd__isnull=True)
    due = Member.objects.filter(idle, team__member_budget__next_reset_at__isnull=False).update(next_reset_at=now)
    tier = default_customer_tier()
    if tier is not None and tier.next_reset_at is not None:
        due += Customer.objects.filter(idle).update(next_reset_at=now)
    return due


def _ended_windows(
    owner: Owner, *, called: Sequence[str], since_ms: int, ended_by_ms: int, hours: Sequence[int], most: int
) -> tuple[list[ActiveWindow], int]:
    """Ended windows worth a look, and the instant until which these are all: with more than `most` the rest waits.

    A window was open at `since_ms`, or what was spent in it was spent in an active hour since then; or it is of the
    last hour and may have open calls that the ledger knows nothing of. `called` are the models that were.
    """
    found: dict[str, ActiveWindow] = {}
    until_ms = ended_by_ms
    parts = tuple(owner.parts(called))
    for start_ms, end_ms in _stretches(since_ms, ended_by_ms, hours=hours):
        if start_ms > since_ms and len(found) >= most:
            until_ms = start_ms
            break
        for active in _windows_between(parts, root=owner.root, start_ms=start_ms, end_ms=end_ms):
            if since_ms < active.window.end_ms <= ended_by_ms and active.window.end_ms > active.since_ms:
                found[active.counter] = active
    return [active for active in found.values() if active.window.end_ms <= until_ms], until_ms


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


def _windows_between(parts: Iterable[ScopeLimits], *, root: str, start_ms: int, end_ms: int) -> Iterator[ActiveWindow]:
    """The windows that leave a row, each with the maximum that held at its end."""
    for part in parts:
        for counted in part.limits:
            if counted.limit.is_rate or counted.limit.maximum is None:
                continue
            at_ms = start_ms
            while at_ms < end_ms:
                window = counted.limit.window_at(at_ms, calendar=part.calendar)
                single = ScopeLimits(part.scope, part.calendar, (counted,))
                yield from active_windows([single], names=names(), root=root, now_ms=window.end_ms - 1)
                at_ms = window.end_ms


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
        model=active.scope.model or "",
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
        Scope(row.scope_kind, row.scope_id, row.model or None),
        LimitUnit(row.unit),
        Window(ms_of(row.start_at), ms_of(row.end_at)),
    )
