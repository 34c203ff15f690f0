"""Headers of answers: what the call cost, what is left, and the rate-limit fields that let agents slow down in time."""

from collections.abc import Iterator

from budgets.gate.windows import ActiveWindow
from budgets.rules.limits import LimitUnit
from budgets.rules.money import exact_usd
from proxy.calls import Call
from proxy.ratelimit import rate_limit_fields


def answer_headers(call: Call) -> list[tuple[str, str]]:
    """The headers that BudgetGate adds to an answer. A stream has no cost yet when its headers leave."""
    headers = [("x-request-id", call.id)]
    if call.cost_nanousd is not None:
        cost = exact_usd(call.cost_nanousd)
        headers += [("x-budgetgate-response-cost", cost), ("x-litellm-response-cost", cost)]
    rooms = list(_rooms(call))
    dollars = [room for active, room in rooms if active.limit.unit is LimitUnit.USD]
    if dollars:
        headers.append(("x-budgetgate-remaining", exact_usd(min(dollars))))
    if rooms:
        active, room = min(rooms, key=_share_left)
        headers += rate_limit_fields(active, room=room, now_ms=call.admitted_ms)
    key_spend = _key_spend(call)
    if key_spend is not None:
        headers.append(("x-litellm-key-spend", exact_usd(key_spend)))
    return headers


def _rooms(call: Call) -> Iterator[tuple[ActiveWindow, int]]:
    """What each window has left after this call: at its cost where that is known, else at its hold."""
    for active, reading, held in zip(call.windows, call.readings, call.held, strict=False):
        if active.limit.maximum is not None:
            known = call.cost_nanousd is not None and active.limit.unit is LimitUnit.USD
            taken = call.cost_nanousd if known else held.hold
            yield active, max(active.limit.maximum - reading.spent - reading.held - (taken or 0), 0)


def _share_left(room: tuple[ActiveWindow, int]) -> float:
    return room[1] / (room[0].limit.maximum or 1)


def _key_spend(call: Call) -> int | None:
    """The key's whole spend with this call: every key has a lifetime window, if only to count."""
    for active, reading in zip(call.windows, call.readings, strict=False):
        if active.scope.kind == "key" and active.limit.period.unit == "lifetime" and active.limit.unit is LimitUnit.USD:
            return reading.spent + (call.cost_nanousd or 0)
    return None
