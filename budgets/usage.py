"""What each window of a scope has spent, for answers and pages: the same counters that admission reads.

Where the counter store does not know a window, or cannot be reached, the ledger does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from budgets.actors import Actor
from budgets.gate.store import names, sync_gate
from budgets.gate.sync import CounterReading
from budgets.gate.windows import ActiveWindow, active_windows
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, Window
from budgets.services import LimitSet, ms_of


@dataclass(frozen=True, slots=True)
class SpendQuery:
    """Asks the ledger what a scope spent in a window, in the unit of a limit."""

    scope: Scope
    unit: LimitUnit
    window: Window


@dataclass(frozen=True, slots=True)
class SpendReading:
    """The ledger's sums, in the order of the queries, and the snapshot that they were read in."""

    sums: tuple[int, ...]
    snapshot: str


SpendReader = Callable[[Sequence[SpendQuery]], SpendReading]


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """One window with what it has spent and holds, in its unit."""

    active: ActiveWindow
    spent: int
    held: int

    @property
    def remaining(self) -> int | None:
        """What is left, never below zero; None where the limit only counts."""
        maximum = self.active.limit.maximum
        return None if maximum is None else max(maximum - self.spent - self.held, 0)


@dataclass(frozen=True, slots=True)
class Spends:
    """What a scope spent in the window of its single limit (its lifetime, where that has no duration), and in all."""

    current_nanousd: int
    lifetime_nanousd: int


def query_of(active: ActiveWindow) -> SpendQuery:
    """The question to the ledger that a window's counter answers."""
    return SpendQuery(active.scope, active.limit.unit, active.window)


def read_spends(queries: Sequence[SpendQuery]) -> SpendReading:
    """Asks the ledger, which the settings name, because it stands above this app."""
    reader = cast(SpendReader, import_string(settings.SPEND_READER))
    return reader(queries)


class SpendWriter(Protocol):
    """Corrects what a scope has spent, by an adjustment that never loses what was spent before."""

    def __call__(
        self, limits: ScopeLimits, *, root: str, to_nanousd: int, by: Actor, reason: str, now: datetime
    ) -> int: ...


def set_spend(limits: ScopeLimits, *, root: str, to_nanousd: int, by: Actor, reason: str, now: datetime) -> int:
    """Lets a scope have spent `to_nanousd` in its life, and no window of it more; returns what it had spent before.

    The ledger does it, which the settings name, in the transaction of the caller where there is one.
    """
    writer = cast(SpendWriter, import_string(settings.SPEND_WRITER))
    return writer(limits, root=root, to_nanousd=to_nanousd, by=by, reason=reason, now=now)


def usage_of(scope: ScopeLimits, *, root: str, now: datetime) -> list[WindowUsage]:
    """Every open window of a scope."""
    return usages_of([(scope, root)], now=now)[0]


def usages_of(scopes: Sequence[tuple[ScopeLimits, str]], *, now: datetime) -> list[list[WindowUsage]]:
    """Every open window of each scope, given with its root; the store and the ledger are asked once for all of them."""
    by_scope = [active_windows([scope], names=names(), root=root, now_ms=ms_of(now)) for scope, root in scopes]
    usages = iter(usage_of_windows([active for some in by_scope for active in some]))
    return [[next(usages) for _ in some] for some in by_scope]


def usage_of_windows(windows: Sequence[ActiveWindow]) -> list[WindowUsage]:
    """Of each window what it spent and holds: from the counters, or from the ledger where they do not know."""
    readings = _counters(windows)
    unknown = [index for index, reading in enumerate(readings) if not _known(reading, windows[index])]
    sums = read_spends([query_of(windows[index]) for index in unknown]).sums if unknown else ()
    from_ledger = dict(zip(unknown, sums, strict=True))
    return [
        WindowUsage(active, from_ledger.get(index, readings[index].spent or 0), readings[index].held)
        for index, active in enumerate(windows)
    ]


def _known(reading: CounterReading, active: ActiveWindow) -> bool:
    return reading.spent is not None and reading.since_ms >= active.since_ms


def _counters(windows: Sequence[ActiveWindow]) -> list[CounterReading]:
    if not windows:
        return []
    try:
        return sync_gate().read([active.counter for active in windows])
    except RedisError:
        return [CounterReading(None, 0, -1)] * len(windows)


def spends_of(scopes: Sequence[tuple[Scope, LimitSet]], *, now: datetime) -> list[Spends]:
    """The settled spend of each scope, from the ledger, with one question for all of them."""
    lifetime = Window(0, END_OF_TIME_MS)
    queries: list[SpendQuery] = []
    for scope, limits in scopes:
        single = limits.single
        current = single.window_at(ms_of(now), calendar=limits.calendar) if single is not None else lifetime
        queries += [SpendQuery(scope, LimitUnit.USD, current), SpendQuery(scope, LimitUnit.USD, lifetime)]
    sums = read_spends(queries).sums if queries else ()
    return [Spends(current, whole) for current, whole in zip(sums[::2], sums[1::2], strict=True)]
