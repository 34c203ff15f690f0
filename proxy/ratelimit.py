"""The fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10) of one window.

Dollars are given in whole micro-dollars: integers of structured fields have at most 15 digits.
"""

from budgets.gate.windows import ActiveWindow
from budgets.rules.limits import LimitUnit
from budgets.rules.windows import END_OF_TIME_MS

QUOTA_UNITS = {
    LimitUnit.USD: "micro-usd",
    LimitUnit.TOKENS: "tokens",
    LimitUnit.REQUESTS: "requests",
    LimitUnit.PARALLEL: "calls",
}
NANO_PER_MICRO = 1000
INTEGER_MAX = 10**15 - 1


def rate_limit_fields(active: ActiveWindow, *, room: int, now_ms: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Both fields for a window with a maximum that has `room` left, in the limit's unit."""
    limit, window = active.limit, active.window
    scale = NANO_PER_MICRO if limit.unit is LimitUnit.USD else 1
    name = "parallel" if limit.unit is LimitUnit.PARALLEL else str(limit)
    policy = f'"{name}";q={min((limit.maximum or 0) // scale, INTEGER_MAX)};qu="{QUOTA_UNITS[limit.unit]}"'
    left = f'"{name}";r={min(room // scale, INTEGER_MAX)}'
    if window.end_ms != END_OF_TIME_MS:
        policy += f";w={(window.end_ms - window.start_ms) // 1000}"
        left += f";t={max(0, -((now_ms - window.end_ms) // 1000))}"
    return ("ratelimit-policy", policy), ("ratelimit", left)
