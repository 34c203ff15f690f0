"""Headers of answers: what the call cost, what is left, and the rate-limit fields that let agents slow down in time.

`RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers-10; dollars are given there in whole
micro-dollars, because structured fields hold at most 15 digits.
"""

from collections.abc import Iterator

from budgets.gate.windows import ActiveWindow
from budgets.rules.limits import LimitUnit
from budgets.rules.money import exact_usd
from budgets.rules.windows import END_OF_TIME_MS
from proxy.plane import Call

QUOTA_UNITS = {LimitUnit.USD: "micro-usd", LimitUnit.TOKENS: "tokens", LimitUnit.REQUESTS: "requests"}


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
        headers += _rate_limit(*min(rooms, key=_share_left), now_ms=call.admitted_ms)
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


def _rate_limit(active: ActiveWindow, room: int, *, now_ms: int) -> list[tuple[str, str]]:
    limit, window = active.limit, active.window
    scale = 1000 if limit.unit is LimitUnit.USD else 1
    policy = f'"{limit}";q={(limit.maximum or 0) // scale};qu="{QUOTA_UNITS[limit.unit]}"'
    left = f'"{limit}";r={room // scale}'
    if window.end_ms != END_OF_TIME_MS:
        policy += f";w={(window.end_ms - window.start_ms) // 1000}"
        left += f";t={max(0, -((now_ms - window.end_ms) // 1000))}"
    return [("ratelimit-policy", policy), ("ratelimit", left)]


def _key_spend(call: Call) -> int | None:
    """The key's whole spend with this call: every key has a lifetime window, if only to count."""
    for active, reading in zip(call.windows, call.readings, strict=False):
        if active.scope.kind == "key" and active.limit.period.unit == "lifetime" and active.limit.unit is LimitUnit.USD:
            return reading.spent + (call.cost_nanousd or 0)
    return None
