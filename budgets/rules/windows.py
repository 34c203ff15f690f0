"""Durations and windows: which period of a limit an instant lies in.

A window is `[start, end)` in milliseconds since 1970 UTC, a pure function of (period, instant, calendar): nothing is
stored to know the current one. Days, weeks and months are calendar periods of the calendar's zone; seconds, minutes and
hours are real time, so on a day of daylight-saving change the steps go on counting real hours from midnight.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Unit = Literal["s", "m", "h", "d", "w", "mo", "lifetime"]

DAY_S = 86400
SECONDS: dict[str, int] = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
WORDS = {"hourly": "1h", "daily": "24h", "weekly": "7d", "monthly": "30d"}
LENGTH_MAX_S = 3660 * DAY_S
MONTHS_MAX = 120
END_OF_TIME_MS = 253402300799999
"""The last millisecond of the year 9999: the end of a lifetime window."""

DURATION_HELP = (
    "allowed is a whole number and a unit (s, m, h, d, w, mo), such as 30m, 1h, 7d, 30d or 1mo, "
    "up to 3660d or 120mo, or one of hourly, daily, weekly, monthly"
)
_EPOCH = date(1970, 1, 1)
_EPOCH_MONDAY = date(1970, 1, 5)
_GRAMMAR = re.compile(r"([1-9][0-9]{0,8})(mo|[smhdw])")


class DurationError(ValueError):
    """The text is not a duration; the message names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Period:
    """How long the windows of a limit are, in canonical form: equal periods compare equal however they were spelled."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return "lifetime" if self.unit == "lifetime" else f"{self.count}{self.unit}"


LIFETIME = Period(1, "lifetime")


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where days begin: an IANA zone and the weekday (0 = Monday) on which weeks begin."""

    zone: str = "UTC"
    week_start: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """One period of a limit, `[start_ms, end_ms)`."""

    start_ms: int
    end_ms: int


def parse_period(text: object) -> Period:
    """The canonical period of a duration: `24h` and `1d` give the same. Raises DurationError."""
    if not isinstance(text, str):
        raise DurationError(f"{text!r} is not a duration; {DURATION_HELP}")
    match = _GRAMMAR.fullmatch(WORDS.get(text.lower(), text))
    if match is None:
        raise DurationError(f"{text!r} is not a duration; {DURATION_HELP}")
    count, unit = int(match[1]), match[2]
    if unit == "mo":
        if count > MONTHS_MAX:
            raise DurationError(f"{text!r} is too long; {DURATION_HELP}")
        return Period(count, "mo")
    return _canonical(count * SECONDS[unit], text=text)


def _canonical(length_s: int, *, text: str) -> Period:
    if length_s > LENGTH_MAX_S:
        raise DurationError(f"{text!r} is too long; {DURATION_HELP}")
    if length_s == 30 * DAY_S:
        return Period(1, "mo")
    for unit in ("w", "d", "h", "m"):
        if length_s % SECONDS[unit] == 0:
            return Period(length_s // SECONDS[unit], unit)
    return Period(length_s, "s")


def check_zone(name: str) -> None:
    """Raises DurationError where `name` is no IANA time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DurationError(f"{name!r} is not a time zone; allowed is an IANA name such as Europe/Berlin") from None


def window_at(period: Period, now_ms: int, *, calendar: Calendar) -> Window:
    """The one window of `period` that contains the instant `now_ms` (1970 to 9900)."""
    if period.unit == "lifetime":
        return Window(0, END_OF_TIME_MS)
    now_s = now_ms // 1000
    if period.unit in ("d", "w", "mo"):
        start_s, end_s = _calendar_window(period, now_s, calendar=calendar)
    else:
        start_s, end_s = _step_window(period.count * SECONDS[period.unit], now_s, zone=calendar.zone)
    return Window(start_s * 1000, end_s * 1000)


def _step_window(step_s: int, now_s: int, *, zone: str) -> tuple[int, int]:
    """Steps of real time: from midnight if they divide a day (the last one ends with the day), else from 1970."""
    if DAY_S % step_s:
        origin_s = _first_instant(_EPOCH, zone)
        start_s = origin_s + (now_s - origin_s) // step_s * step_s
        return start_s, start_s + step_s
    midnight_s, next_midnight_s = _calendar_window(Period(1, "d"), now_s, calendar=Calendar(zone))
    start_s = midnight_s + (now_s - midnight_s) // step_s * step_s
    return start_s, min(start_s + step_s, next_midnight_s)


def _calendar_window(period: Period, now_s: int, *, calendar: Calendar) -> tuple[int, int]:
    """Between two boundaries. A clock set back over midnight makes one date come twice; taking the last boundary not
    after now and the first one after it keeps every instant in exactly one window all the same."""
    today = datetime.fromtimestamp(now_s, UTC).astimezone(ZoneInfo(calendar.zone)).date()
    index = _index(period, today, calendar=calendar)
    boundaries = [
        _first_instant(_first_date(period, index + step, calendar=calendar), calendar.zone) for step in range(-1, 4)
    ]
    start_s = max(boundary for boundary in boundaries if boundary <= now_s)
    end_s = min(boundary for boundary in boundaries if boundary > now_s)
    return start_s, end_s


def _index(period: Period, day: date, *, calendar: Calendar) -> int:
    if period.unit == "mo":
        return ((day.year - 1) * 12 + day.month - 1) // period.count
    return (day - _origin(period, calendar)).days // _days(period)


def _first_date(period: Period, index: int, *, calendar: Calendar) -> date:
    if period.unit == "mo":
        year, month = divmod(index * period.count, 12)
        return date(year + 1, month + 1, 1)
    return _origin(period, calendar) + timedelta(days=index * _days(period))


def _days(period: Period) -> int:
    return period.count * 7 if period.unit == "w" else period.count


def _origin(period: Period, calendar: Calendar) -> date:
    return _EPOCH_MONDAY + timedelta(days=calendar.week_start) if period.unit == "w" else _EPOCH


@lru_cache(maxsize=4096)
def _first_instant(day: date, zone_name: str) -> int:
    """The first second of a date in a zone. Where a clock set forward skips midnight, that is when it was set."""
    zone = ZoneInfo(zone_name)
    wall = datetime(day.year, day.month, day.day, tzinfo=zone)
    instant = wall.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return int(instant.timestamp())
    late = int(instant.timestamp())
    early = int(wall.replace(fold=1).astimezone(UTC).timestamp())
    while early + 1 < late:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, UTC).astimezone(zone).replace(tzinfo=None) >= wall.replace(tzinfo=None):
            late = middle
        else:
            early = middle
    return late
