"""Adjustments: corrections of what scopes have spent, so that every window shows what it shall. Amounts are integers.

Every open window contains `now`, so of two the one that began later lies in the other. What the smallest window lacks
is written at its start, what the next larger one lacks besides at that one's start, and so on: each window sums up to
what it shall show. Periods that a scope has no limit of are treated like its own, so that a window that is added later
sums up right too. Counters take an adjustment as they take a call: as a posting of its transaction, which a counter
that was seeded from a later reading does not take again (docs/decisions/0001).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import orjson
from django.db import connection, transaction
from redis.exceptions import RedisError

from budgets.actors import Actor
from budgets.audit import change_of
from budgets.errors import InputError
from budgets.gate.store import names, sync_gate
from budgets.gate.windows import ActiveWindow, active_windows
from budgets.models import Change
from budgets.rules.admission import Posting
from budgets.rules.limits import LimitUnit
from budgets.rules.money import AMOUNT_MAX, exact_usd
from budgets.rules.scopes import KEY, CountedLimit, Scope, ScopeLimits, lifetime_tracker
from budgets.rules.windows import END_OF_TIME_MS, LIFETIME, Period, Window, parse_period, window_at
from budgets.services import ms_of
from ledger.owners import Owner
from ledger.spends import Totals, models_called, read_totals

logger = logging.getLogger(__name__)

PERIODS = (*map(parse_period, ("1m", "10m", "1h", "6h", "12h", "1d", "1w", "1mo", "3mo", "12mo")), LIFETIME)
"""Every scope's windows of these are right after an adjustment, whether it has a limit of them or not."""

UNITS = (LimitUnit.USD, LimitUnit.TOKENS, LimitUnit.REQUESTS)
NOTHING = Totals(0, 0, 0)
NOT_A_BIRTH_MARK = -1

LOCK = """
SELECT pg_advisory_xact_lock(number)
FROM (SELECT hashtextextended(name, 0) AS number FROM unnest(%s::text[]) AS name ORDER BY 1) AS numbers
"""

INSERT = """
INSERT INTO ledger_adjustment
    (id, batch_id, scope_kind, scope_id, model, at, made_at, cost_nanousd, tokens, requests, actor, reason)
SELECT gen_random_uuid(), batch_id, scope_kind, scope_id, model,
    timestamptz 'epoch' + at_ms * interval '1 millisecond', timestamptz 'epoch' + made_ms * interval '1 millisecond',
    cost_nanousd, tokens, requests, actor, reason
FROM jsonb_to_recordset(%s::jsonb) AS given (
    batch_id uuid, scope_kind text, scope_id text, model text, at_ms bigint, made_ms bigint, cost_nanousd bigint,
    tokens bigint, requests bigint, actor text, reason text
)
RETURNING posting
"""


class Shown(NamedTuple):
    """What a window shows now. `periods` are all those whose current window begins there."""

    unit: LimitUnit
    periods: frozenset[Period]
    model: str | None
    spent: int

    @property
    def is_lifetime(self) -> bool:
        return LIFETIME in self.periods


Wanted = Callable[[Shown], int]
"""Says what a window shall show."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What a scope's windows shall show."""

    owner: Owner
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Account:
    """One scope, or its part of one model, with the distinct starts of its windows, latest first."""

    scope: Scope
    limits: ScopeLimits
    starts: tuple[tuple[Window, frozenset[Period]], ...]


@dataclass(slots=True)
class Effect:
    """What the counters of one root have to take. `unknown` are counters whose bounds the sums have left."""

    root: str
    batch_id: str
    postings: list[Posting] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


# --- what others call -------------------------------------------------------------------------------


def set_spend(
    limits: ScopeLimits,
    *,
    root: str,
    to_nanousd: int,
    by: Actor,
    reason: str,
    now: datetime,
    action: str = "adjust_spend",
) -> int:
    """Lets a scope have spent `to_nanousd` in its life, and no window of it more; returns what it had spent before.

    With 0 the windows of tokens and requests are empty too. A higher spend raises no window but the lifetime's.
    """
    corrections = [Correction(Owner(limits, root), partial(at_most, to_nanousd=to_nanousd))]
    return correct(corrections, by=by, reason=reason, now=now, action=action)[0]


def move_spend(
    limits: ScopeLimits, *, root: str, amount_nanousd: int, by: Actor, reason: str, now: datetime
) -> tuple[int, int]:
    """Adds an amount, which may be negative, to every current USD window; none goes below zero.

    Returns what the scope had spent in its life before, and what it has now.
    """

    def moved(shown: Shown) -> int:
        is_moved = shown.unit is LimitUnit.USD and shown.model is None
        return max(shown.spent + amount_nanousd, 0) if is_moved else shown.spent

    [before] = correct([Correction(Owner(limits, root), moved)], by=by, reason=reason, now=now)
    return before, max(before + amount_nanousd, 0)


def adjust(limits: ScopeLimits, *, root: str, targets: Mapping[str, int], by: Actor, reason: str, now: datetime) -> int:
    """Lets current windows show what `targets` says by their identity (`usd/1h`, `tokens/1d`, `usd/lifetime`).

    The others go on showing what they do. Returns the lifetime spend before. Raises InputError for an identity that is
    none, or where windows that begin together shall differ.
    """
    _check_targets(targets, limits=limits)

    def wanted(shown: Shown) -> int:
        named = {targets[name] for period in shown.periods if (name := f"{shown.unit}/{period}") in targets}
        if shown.model is not None or not named:
            return shown.spent
        if len(named) > 1:
            message = f"windows that begin together shall show {sorted(named)}; allowed is one amount"
            raise InputError(f"targets: {message}", field="targets")
        return named.pop()

    return correct([Correction(Owner(limits, root), wanted)], by=by, reason=reason, now=now)[0]


def _check_targets(targets: Mapping[str, int], *, limits: ScopeLimits) -> None:
    periods = {*PERIODS, *(counted.limit.period for counted in limits.limits)}
    known = {f"{unit}/{period}" for unit in UNITS for period in periods}
    for name, amount in targets.items():
        if name not in known:
            raise InputError(f"targets: {name!r} is no window; allowed are {', '.join(sorted(known))}", field="targets")
        if amount < 0:
            raise InputError(f"targets: {name} is {amount}; allowed is 0 or more", field="targets")


def at_most(shown: Shown, *, to_nanousd: int) -> int:
    """What a window shall show once its scope's spend is set."""
    if shown.unit is not LimitUnit.USD:
        return shown.spent if to_nanousd else 0
    if shown.is_lifetime and shown.model is None:
        return to_nanousd
    return max(min(shown.spent, to_nanousd), 0)


# --- the correction ---------------------------------------------------------------------------------


def correct(
    corrections: Sequence[Correction], *, by: Actor, reason: str, now: datetime, action: str = "adjust_spend"
) -> list[int]:
    """Writes adjustments for many scopes in one transaction, and audits each; returns their lifetime spends before.

    A constant number of statements. Calls that are posted meanwhile count on top.
    """
    previous: list[int] = []
    with transaction.atomic():
        _lock(corrections)
        models = models_called(correction.owner.limits for correction in corrections)
        accounts = [list(_accounts(each.owner, models=models, now_ms=ms_of(now))) for each in corrections]
        totals = iter(read_totals([(a.scope, window) for some in accounts for a in some for window, _ in a.starts])[0])
        effects: list[Effect] = []
        rows: list[dict[str, object]] = []
        changes: list[Change] = []
        for correction, some in zip(corrections, accounts, strict=True):
            effect = Effect(correction.owner.root, str(uuid4()))
            before, after = _correct(some, correction, totals=totals, effect=effect, rows=rows, now=now)
            previous.append(before)
            effects.append(effect)
            change = _change(correction, before=before, after=after, by=by, reason=reason, now=now, action=action)
            changes += [] if change is None else [change]
        Change.objects.bulk_create(changes)
        _post(rows, effects, by=by, reason=reason, now=now)
    return previous


def _lock(corrections: Sequence[Correction]) -> None:
    """Two corrections of one scope would both take off what they both saw."""
    scopes = [correction.owner.limits.scope for correction in corrections]
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [[f"ledger_adjustment/{scope.kind}/{scope.id}" for scope in scopes]])


def _accounts(owner: Owner, *, models: Mapping[Scope, list[str]], now_ms: int) -> Iterator[Account]:
    limits, scope = owner.limits, owner.limits.scope
    own = limits.limits
    if scope.kind == KEY:  # what counts a key's whole spend is none of its limits
        own = (*own, lifetime_tracker(0))
    yield _account(ScopeLimits(scope, limits.calendar, _distinct(own)), now_ms=now_ms)
    of_models = _distinct(counted for some in limits.by_model.values() for counted in some)
    for model in models.get(scope, ()):
        yield _account(ScopeLimits(Scope(scope.kind, scope.id, model), limits.calendar, of_models), now_ms=now_ms)


def _distinct(limits: "Iterator[CountedLimit] | tuple[CountedLimit, ...]") -> tuple[CountedLimit, ...]:
    """One of each identity that counts what was settled: their windows and counters are the same."""
    counting = {each.limit.identity: each for each in limits if each.limit.unit is not LimitUnit.PARALLEL}
    return tuple(counting.values())


def _account(limits: ScopeLimits, *, now_ms: int) -> Account:
    starts: dict[int, tuple[Window, frozenset[Period]]] = {now_ms: (Window(now_ms, now_ms + 1), frozenset())}
    for period in dict.fromkeys([*PERIODS, *(counted.limit.period for counted in limits.limits)]):
        window = window_at(period, now_ms, calendar=limits.calendar)
        _, others = starts.get(window.start_ms, (window, frozenset()))
        starts[window.start_ms] = (window, others | {period})
    ordered = tuple(starts[start_ms] for start_ms in sorted(starts, reverse=True))
    return Account(limits.scope, limits, ordered)


def _correct(
    accounts: Sequence[Account],
    correction: Correction,
    *,
    totals: Iterator[Totals],
    effect: Effect,
    rows: list[dict[str, object]],
    now: datetime,
) -> tuple[int, int]:
    """Adds the rows and the effect of one scope's correction; returns its lifetime spend before and after."""
    lifetimes: list[tuple[int, int]] = []
    for account in accounts:
        differences: dict[int, Totals] = {}
        written = NOTHING
        for window, periods in account.starts:
            shown = next(totals)
            wanted = _wanted(correction.wanted, shown, periods=periods, model=account.scope.model)
            difference = _minus(wanted, shown)
            if (lacking := _minus(difference, written)) != NOTHING:
                rows.append(_row(account.scope, lacking, at_ms=window.start_ms, batch_id=effect.batch_id))
            written = differences[window.start_ms] = difference
            if LIFETIME in periods:
                lifetimes.append((max(shown.cost_nanousd, 0), wanted.cost_nanousd))
            _take(effect, account, window=window, shown=shown, difference=difference, now=now)
    return lifetimes[0]


def _wanted(wanted: Wanted, shown: Totals, *, periods: frozenset[Period], model: str | None) -> Totals:
    return Totals(*(wanted(Shown(unit, periods, model, spent)) for unit, spent in zip(UNITS, shown, strict=True)))


def _minus(one: Totals, other: Totals) -> Totals:
    return Totals(*(a - b for a, b in zip(one, other, strict=True)))


def _row(scope: Scope, amounts: Totals, *, at_ms: int, batch_id: str) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "scope_kind": scope.kind,
        "scope_id": scope.id,
        "model": scope.model,
        "at_ms": at_ms,
        **amounts._asdict(),
    }


def _take(
    effect: Effect, account: Account, *, window: Window, shown: Totals, difference: Totals, now: datetime
) -> None:
    """What the counters of the limits whose window begins there have to take."""
    for active in _windows(account.limits, root=effect.root, now_ms=ms_of(now)):
        index = UNITS.index(active.limit.unit)
        if active.window.start_ms != window.start_ms or difference[index] == 0:
            continue
        if 0 <= shown[index] <= AMOUNT_MAX and abs(difference[index]) <= AMOUNT_MAX:
            effect.postings.append(Posting(active.counter, 0, difference[index], active.expires_ms))
        else:  # the counter stands at a bound, and not where the ledger does
            effect.unknown.append(active.counter)


def _windows(limits: ScopeLimits, *, root: str, now_ms: int) -> tuple[ActiveWindow, ...]:
    return active_windows([limits], names=names(), root=root, now_ms=now_ms)


def _change(
    correction: Correction, *, before: int, after: int, by: Actor, reason: str, now: datetime, action: str
) -> Change | None:
    scope = correction.owner.limits.scope
    return change_of(
        by,
        action=action,
        kind=scope.kind,
        subject_id=scope.id,
        before={"spend": exact_usd(before)},
        after={"spend": exact_usd(after)},
        now=now,
        reason=reason,
    )


def _post(
    rows: Sequence[dict[str, object]], effects: Sequence[Effect], *, by: Actor, reason: str, now: datetime
) -> None:
    if not rows:
        return
    common = {"made_ms": ms_of(now), "actor": by.name, "reason": reason}
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [orjson.dumps([{**row, **common} for row in rows]).decode()])
        (posting,) = cursor.fetchone() or (0,)
    transaction.on_commit(partial(_tell_counters, effects, posting=posting, now_ms=ms_of(now)))


def _tell_counters(effects: Sequence[Effect], *, posting: int, now_ms: int) -> None:
    """A store that is down is logged: the ledger is right already, and reconciliation looks at adjusted scopes."""
    gate = sync_gate()
    try:
        for effect in effects:
            if effect.postings:
                gate.settle(
                    effect.root,
                    call_id=effect.batch_id,
                    postings=effect.postings,
                    birth_ms=NOT_A_BIRTH_MARK,
                    transaction=posting,
                    now_ms=now_ms,
                )
            for counter in effect.unknown:
                gate.forget(counter, since_ms=END_OF_TIME_MS)
    except RedisError as error:
        logger.warning("counters learn of an adjustment late, the counter store is down: %s", error)
