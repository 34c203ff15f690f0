"""What LiteLLM makes of a duration, in our spelling. Pure.

It reads the beginning of a text and takes no offence at the rest, so that its tables hold durations that mean something
else than they say, and such that mean nothing.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from budgets.rules.windows import DAY_S, SECONDS, WORDS, DurationError, Period, parse_period

_READ = re.compile(r"(\d+)([a-z]+)")
_MONTH_MAX = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class ReadDuration:
    """The duration as we spell it, None where LiteLLM never ends such a window; and what is different, if anything."""

    spelled: str | None
    why: str = ""


def read_duration(value: object) -> ReadDuration:
    """What a stored duration means to LiteLLM."""
    if not isinstance(value, str):
        return ReadDuration(None, "no duration, which LiteLLM never enforces")
    match = _READ.match(WORDS.get(value.lower(), value))
    if match is None or int(match[1]) == 0:
        return ReadDuration(None, "no duration, which LiteLLM never enforces")
    if match[2] not in (*SECONDS, "mo"):
        if match[2][0] not in SECONDS:
            return ReadDuration(None, "no duration, which LiteLLM never enforces")
        return ReadDuration("1d", "1d instead: LiteLLM resets this at every midnight")
    spelled = match[0]
    try:
        period = parse_period(spelled)
    except DurationError:
        return ReadDuration(None, "longer than ten years, which is too long")
    if match.end() != len(WORDS.get(value.lower(), value)):
        return ReadDuration(spelled, f"{spelled} instead: LiteLLM ignores the rest")
    return ReadDuration(value, _other_alignment(period))


def _other_alignment(period: Period) -> str:
    """Where LiteLLM's windows end at other instants than ours, though they are meant to be the same."""
    if period.unit in ("s", "m", "h"):
        length_s = period.count * SECONDS[period.unit]
        return "" if DAY_S % length_s == 0 else "steps are counted from 1970-01-01, LiteLLM's restart or drift"
    if period.unit in ("d", "w") and (period.unit, period.count) not in (("d", 1), ("w", 1)):
        return "steps are counted from a fixed day, LiteLLM's from the day of the last reset"
    return ""


def is_open(started_at: datetime, *, period: Period, now: datetime) -> bool:
    """Whether a window that LiteLLM started then still goes on. A month is taken for 31 days.

    One that starts later than now comes from a clock that cannot be trusted.
    """
    length = (
        _MONTH_MAX * period.count if period.unit == "mo" else timedelta(seconds=period.count * SECONDS[period.unit])
    )
    return started_at <= now < started_at + length
