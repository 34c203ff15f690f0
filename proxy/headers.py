"""Headers of answers: what the call cost, what is left, and the rate-limit fields that let agents slow down in time."""

from collections.abc import Iterator

from budgets.gate.windows import ActiveWindow
from budgets.rules.limits import LimitUnit
from budgets.rules.money import exact_usd
from budgets.rules.scopes import KEY, RUN
from proxy.calls import Call
from proxy.ratelimit import rate_limit_fields


def answer_headers(call: Call) -> list[tuple[str, str]]:
    """The headers that BudgetGate adds to an answer. A stream has no cost yet when its headers leave."""
    headers = [("x-request-id", call.id)]
    if call.cost_nanousd is not None:
        cost = exact_usd(call.cost_nanousd)
        headers += [("x-budgetgate-response-cost", cost), ("x-litellm-response-cost", cost)]
    left = list(_left(call))
    dollars = [room for _, active, room in left if active.limit.unit is LimitUnit.USD]
    if dollars:
        headers.append(("x-budgetgate-remaining", exact_usd(min(dollars))))
    if left:
        _, active, room = min(left, key=_share)
        headers += rate_limit_fields(active, room=room, now_ms=call.admitted_ms)
    headers += [("x-budgetgate-run-remaining", exact_usd(room)) for _, active, room in left if active.scope.kind == RUN]
    if (max_budget := call.key.max_budget(call.admitted_ms)) is not None:
        headers.append(("x-litellm-key-max-budget", max_budget))
    key_spend = _key_spend(call)
    if key_spend is not None:
        headers.append(("x-litellm-key-spend", exact_usd(key_spend)))
    return headers


def _left(call: Call) -> Iterator[tuple[float, ActiveWindow, int]]:
    """Each window with the share and the amount that are left after this call: at its cost where that is known.

    Not of calls that may run at the same time: this one ends.
    """
    for group in call.groups:
        for active, reading, held in zip(group.windows, group.readings, group.held, strict=False):
            maximum = active.limit.maximum
            if maximum is not None and active.limit.unit is not LimitUnit.PARALLEL:
                taken = held.hold
                if call.cost_nanousd is not None and active.limit.unit is LimitUnit.USD:
                    taken = call.cost_nanousd
                room = max(maximum - reading.spent - reading.held - taken, 0)
                yield room / (maximum or 1), active, room


def _share(left: tuple[float, ActiveWindow, int]) -> float:
    return left[0]


def _key_spend(call: Call) -> int | None:
    """The key's whole spend with this call: every key has a lifetime window, if only to count."""
    for active, reading in zip(call.groups[0].windows, call.groups[0].readings, strict=False):
        is_lifetime = active.window.start_ms == 0 and active.limit.unit is LimitUnit.USD
        if is_lifetime and active.scope.kind == KEY and active.scope.model is None:
            return reading.spent + (call.cost_nanousd or 0)
    return None
