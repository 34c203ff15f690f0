"""Limits: what the entries of `budget_limits` mean, checked once and then carried as values.

Pure: JSON-like data in, frozen values out. Maxima are integers: nano-dollars, tokens or requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from budgets.rules.money import AMOUNT_MAX, MoneyError, exact_usd, nanousd_from_usd
from budgets.rules.windows import LIFETIME, Calendar, DurationError, Period, Window, parse_period, window_at

LIMITS_MAX = 20


class LimitUnit(StrEnum):
    """What a limit counts."""

    USD = "usd"
    TOKENS = "tokens"
    REQUESTS = "requests"


class Enforcement(StrEnum):
    """`standard` admits while something is left; `strict` only what certainly fits."""

    STANDARD = "standard"
    STRICT = "strict"


MAXIMUM_FIELDS = {
    "max_budget": LimitUnit.USD,
    "max_tokens": LimitUnit.TOKENS,
    "max_requests": LimitUnit.REQUESTS,
}
ENTRY_FIELDS = {"budget_duration", "enforcement", "reset_at", *MAXIMUM_FIELDS}


class LimitError(ValueError):
    """A limit is not valid. `field` is the path to the wrong value, such as `budget_limits[1].max_budget`."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Limit:
    """One maximum per period. `spelled` is the duration as the user gave it, kept for display and nothing else.

    A `maximum` of None counts and never refuses.
    """

    unit: LimitUnit
    period: Period
    maximum: int | None
    enforcement: Enforcement = Enforcement.STANDARD
    spelled: str = ""

    @property
    def identity(self) -> str:
        """What makes two limits of one scope the same limit: unit and canonical period."""
        return f"{self.unit.value}/{self.period}"

    def window_at(self, now_ms: int, *, calendar: Calendar) -> Window:
        return window_at(self.period, now_ms, calendar=calendar)

    def __str__(self) -> str:
        return self.spelled or str(self.period)


def parse_limits(entries: object) -> tuple[Limit, ...]:
    """The limits of a `budget_limits` list, in its order. Raises LimitError naming the entry and the field."""
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise LimitError(f"{entries!r} is not a list of limits", field="budget_limits")
    if len(entries) > LIMITS_MAX:
        message = f"{len(entries)} entries; allowed are at most {LIMITS_MAX}"
        raise LimitError(message, field="budget_limits")
    return tuple(_parse_entry(entry, field=f"budget_limits[{index}]") for index, entry in enumerate(entries))


def _parse_entry(entry: object, *, field: str) -> Limit:
    if not isinstance(entry, Mapping):
        raise LimitError(f"{entry!r} is not an object with budget_duration and max_budget", field=field)
    unknown = sorted(str(name) for name in entry if name not in ENTRY_FIELDS)
    if unknown:
        allowed = ", ".join(sorted(ENTRY_FIELDS))
        raise LimitError(f"unknown field; allowed are {allowed}", field=f"{field}.{unknown[0]}")
    given = [name for name in MAXIMUM_FIELDS if entry.get(name) is not None]
    if len(given) != 1:
        named = " and ".join(given) or "none"
        message = f"exactly one of max_budget, max_tokens, max_requests is needed; given is {named}"
        raise LimitError(message, field=f"{field}.{given[1] if given else 'max_budget'}")
    if "budget_duration" not in entry:
        raise LimitError("budget_duration is needed", field=f"{field}.budget_duration")
    unit = MAXIMUM_FIELDS[given[0]]
    return Limit(
        unit=unit,
        period=parse_duration(entry["budget_duration"], field=f"{field}.budget_duration"),
        maximum=parse_maximum(entry[given[0]], unit=unit, field=f"{field}.{given[0]}"),
        enforcement=_parse_enforcement(entry.get("enforcement"), field=f"{field}.enforcement"),
        spelled=entry["budget_duration"],
    )


def parse_duration(value: object, *, field: str) -> Period:
    """A period, or LimitError naming the field."""
    try:
        return parse_period(value)
    except DurationError as error:
        raise LimitError(str(error), field=field) from None


def parse_maximum(value: object, *, unit: LimitUnit, field: str) -> int:
    """A maximum in the unit's integers (nano-dollars for USD), or LimitError naming the field."""
    if unit is LimitUnit.USD:
        try:
            return nanousd_from_usd(value)
        except MoneyError as error:
            raise LimitError(str(error), field=field) from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= AMOUNT_MAX:
        raise LimitError(f"{value!r} is not allowed; allowed is a whole number from 0 to {AMOUNT_MAX}", field=field)
    return value


def _parse_enforcement(value: object, *, field: str) -> Enforcement:
    if value is None:
        return Enforcement.STANDARD
    if value not in [member.value for member in Enforcement]:
        allowed = ", ".join(member.value for member in Enforcement)
        raise LimitError(f"{value!r} is not allowed; allowed are {allowed}", field=field)
    return Enforcement(value)


def single_limit(maximum_nanousd: int | None, *, duration: str | None) -> Limit | None:
    """The limit that the fields `max_budget` and `budget_duration` make; without a duration it lasts for ever."""
    if maximum_nanousd is None:
        return None
    period = LIFETIME if duration is None else parse_duration(duration, field="budget_duration")
    return Limit(unit=LimitUnit.USD, period=period, maximum=maximum_nanousd, spelled=duration or "")


def check_distinct(limits: Sequence[Limit], *, single: Limit | None = None) -> None:
    """Raises LimitError where two limits of one scope have the same unit and period, naming both entries."""
    seen = {} if single is None else {single.identity: f"max_budget with budget_duration {str(single)!r}"}
    for index, limit in enumerate(limits):
        name = f"budget_limits[{index}] ({limit.spelled})"
        if limit.identity in seen:
            message = f"{name} has the same period as {seen[limit.identity]}; each period can be used once"
            raise LimitError(message, field=f"budget_limits[{index}].budget_duration")
        seen[limit.identity] = name


def entry_json(limit: Limit) -> dict[str, str | int]:
    """The stored form of a limit: money as exact decimal text, enforcement only where it is not the default."""
    field = next(name for name, unit in MAXIMUM_FIELDS.items() if unit is limit.unit)
    assert limit.maximum is not None, "only limits with a maximum are stored"
    usd = limit.unit is LimitUnit.USD
    entry: dict[str, str | int] = {"budget_duration": limit.spelled}
    entry[field] = exact_usd(limit.maximum) if usd else limit.maximum
    if limit.enforcement is not Enforcement.STANDARD:
        entry["enforcement"] = limit.enforcement.value
    return entry
