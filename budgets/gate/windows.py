"""The windows of a scope at an instant, with the counters that count them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from budgets.gate.protocol import RUN_LIFE_MS, Names, counter_expires_ms
from budgets.rules.admission import Claim
from budgets.rules.labels import Run, limits_of_run
from budgets.rules.limits import Enforcement, Limit, LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits, limits_of_model
from budgets.rules.settlement import HeldWindow
from budgets.rules.windows import Window


class Amounts(NamedTuple):
    """What a call counts in each unit, its estimate while it runs; in the order of UNITS."""

    usd: int
    tokens: int
    requests: int = 1
    parallel: int = 1


UNITS = (LimitUnit.USD, LimitUnit.TOKENS, LimitUnit.REQUESTS, LimitUnit.PARALLEL)


@dataclass(frozen=True, slots=True)
class ActiveWindow:
    """The window of one limit that is open now. What all its claims have in common is laid out once.

    The maximum of `limit` is what holds now, with grants; until `until_ms` nothing of this changes.
    """

    scope: Scope
    limit: Limit
    since_ms: int
    window: Window
    counter: str
    expires_ms: int
    until_ms: int
    granted: int = 0
    unit: int = field(init=False)
    claim_tail: tuple[bool, int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        strict = self.limit.enforcement is Enforcement.STRICT
        object.__setattr__(self, "unit", UNITS.index(self.limit.unit))
        object.__setattr__(self, "claim_tail", (strict, self.window.start_ms, self.since_ms, self.expires_ms))

    def claim(self, amounts: Amounts) -> Claim:
        """What a call of these amounts asks of this window."""
        return Claim(self.counter, self.limit.maximum, amounts[self.unit], *self.claim_tail)

    def held(self, amounts: Amounts) -> HeldWindow:
        """What a call of these amounts holds in this window once admitted."""
        return HeldWindow(self.counter, self.limit.unit, amounts[self.unit], self.expires_ms)


def active_windows(scopes: Iterable[ScopeLimits], *, names: Names, root: str, now_ms: int) -> tuple[ActiveWindow, ...]:
    """The open window of every limit, in the order of the scopes and their limits."""
    return tuple(
        _active(scope, counted=counted, names=names, root=root, now_ms=now_ms)
        for scope in scopes
        for counted in scope.limits
    )


def model_windows(
    scopes: Iterable[ScopeLimits], *, spellings: tuple[str, ...], model: str, names: Names, root: str, now_ms: int
) -> tuple[ActiveWindow, ...]:
    """The open windows that the scopes have for one model, by any of its spellings."""
    found = (limits_of_model(scope, spellings=spellings, model=model) for scope in scopes if scope.by_model)
    return active_windows(filter(None, found), names=names, root=root, now_ms=now_ms)


def run_window(run: Run, *, key_id: str, names: Names, root: str, now_ms: int) -> ActiveWindow:
    """The window of a run, whose counter vanishes a day after its last use."""
    [active] = active_windows([limits_of_run(run, key_id=key_id)], names=names, root=root, now_ms=now_ms)
    return replace(active, expires_ms=now_ms + RUN_LIFE_MS)


def _active(limits: ScopeLimits, *, counted: CountedLimit, names: Names, root: str, now_ms: int) -> ActiveWindow:
    limit, scope = counted.limit, limits.scope
    window = limit.window_at(now_ms, calendar=limits.calendar)
    counter = names.counter(
        root, kind=scope.kind, scope_id=scope.path, identity=limit.identity, start_ms=window.start_ms
    )
    granted = sum(each.amount for each in counted.raises if each.start_ms <= now_ms < each.end_ms)
    if granted and limit.maximum is not None:
        limit = replace(limit, maximum=min(limit.maximum + granted, AMOUNT_MAX))
    changes = [each.start_ms for each in counted.raises] + [each.end_ms for each in counted.raises]
    until_ms = min([window.end_ms, *(change for change in changes if change > now_ms)])
    expires_ms = counter_expires_ms(window, now_ms=now_ms)
    return ActiveWindow(scope, limit, counted.since_ms, window, counter, expires_ms, until_ms, granted)
