"""Limits: what the entries of `budget_limits` mean, checked once and then carried as values.

Pure: JSON-like data in, frozen values out. Maxima are integers: nano-dollars, tokens or requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from budgets.rules.money import AMOUNT_MAX, MoneyError, exact_usd, nanousd_from_usd
from budgets.rules.windows import LIFETIME, Calendar, DurationError, Period, Window, parse_period, window_at

LIMITS_MAX = 20
NOTHING: Mapping[str, int] = MappingProxyType({})


class LimitUnit(StrEnum):
    """What a limit counts. PARALLEL counts open calls: holds, and never anything that was settled."""

    USD = "usd"
    TOKENS = "tokens"
    REQUESTS = "requests"
    PARALLEL = "parallel"


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
OTHER_NAMES = {"budget_limit": "max_budget", "time_period": "budget_duration"}
"""Names that clients of LiteLLM use too, because its documents do."""

MINUTE, DAY = Period(1, "m"), Period(1, "d")
RATE_FIELDS = {
    "tpm_limit": (LimitUnit.TOKENS, MINUTE),
    "rpm_limit": (LimitUnit.REQUESTS, MINUTE),
    "tpd_limit": (LimitUnit.TOKENS, DAY),
    "max_parallel_requests": (LimitUnit.PARALLEL, LIFETIME),
}
RATES = frozenset(RATE_FIELDS.values()) - {RATE_FIELDS["tpd_limit"]}
MODEL_FIELDS = {"max_budget", "budget_duration", "budget_limits", "tpm_limit", "rpm_limit"}
MODELS_MAX = 100


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

    @property
    def is_rate(self) -> bool:
        """Whether it bounds the pace of calls: such limits leave no history, and are refused as rate limits."""
        return (self.unit, self.period) in RATES

    def window_at(self, now_ms: int, *, calendar: Calendar) -> Window:
        return window_at(self.period, now_ms, calendar=calendar)

    def __str__(self) -> str:
        return self.spelled or str(self.period)


def parse_limits(entries: object, *, field: str = "budget_limits") -> tuple[Limit, ...]:
    """The limits of a `budget_limits` list, in its order. Raises LimitError naming the entry and the field."""
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise LimitError(f"{entries!r} is not a list of limits", field=field)
    if len(entries) > LIMITS_MAX:
        raise LimitError(f"{len(entries)} entries; allowed are at most {LIMITS_MAX}", field=field)
    return tuple(_parse_entry(entry, field=f"{field}[{index}]") for index, entry in enumerate(entries))


def _parse_entry(entry: object, *, field: str) -> Limit:
    if not isinstance(entry, Mapping):
        raise LimitError(f"{entry!r} is not an object with budget_duration and max_budget", field=field)
    entry = _with_usual_names(entry, field=field)
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
        spelled=str(entry["budget_duration"]),
    )


def _with_usual_names(entry: Mapping[str, object], *, field: str) -> dict[str, object]:
    usual: dict[str, object] = {}
    for name, value in entry.items():
        usual_name = OTHER_NAMES.get(name, name)
        if usual_name in usual:
            raise LimitError(f"{name} and {usual_name} are the same; give one of them", field=f"{field}.{name}")
        usual[usual_name] = value
    return usual


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


def rate_limits(rates: Mapping[str, int | None]) -> tuple[Limit, ...]:
    """The limits that the fields of RATE_FIELDS make, in their order."""
    return tuple(
        Limit(unit=unit, period=period, maximum=maximum, spelled="" if period == LIFETIME else str(period))
        for name, (unit, period) in RATE_FIELDS.items()
        if (maximum := rates.get(name)) is not None
    )


def parse_model_limits(value: object, *, field: str) -> dict[str, dict[str, object]]:
    """`model_max_budget` in its stored form: by model, the fields of MODEL_FIELDS that are given. Raises LimitError."""
    if not isinstance(value, Mapping):
        raise LimitError(f"{value!r} is not an object of limits by model", field=field)
    if len(value) > MODELS_MAX:
        raise LimitError(f"{len(value)} models; allowed are at most {MODELS_MAX}", field=field)
    stored = {model: _parse_model(model, entry, field=f"{field}.{model}") for model, entry in value.items()}
    return {model: entry for model, entry in stored.items() if entry}


def _parse_model(model: str, entry: object, *, field: str) -> dict[str, object]:
    if not model or "*" in model:
        raise LimitError(f"{model!r} is not allowed; allowed are names of models, without *", field=field)
    if isinstance(entry, Mapping):
        entry = _with_usual_names(entry, field=field)
    elif entry is None:
        entry = {}
    else:
        entry = {"max_budget": entry}  # a bare amount lasts for ever
    for name in sorted(entry.keys() - MODEL_FIELDS):
        raise LimitError(f"unknown field; allowed are {', '.join(sorted(MODEL_FIELDS))}", field=f"{field}.{name}")
    stored: dict[str, object] = {}
    given = {name: value for name, value in entry.items() if value is not None and value != ""}
    if "max_budget" in given:
        maximum = parse_maximum(given["max_budget"], unit=LimitUnit.USD, field=f"{field}.max_budget")
        stored["max_budget"] = exact_usd(maximum)
    if "budget_duration" in given:
        if "max_budget" not in given:
            raise LimitError("limits nothing without max_budget; give both", field=f"{field}.budget_duration")
        parse_duration(given["budget_duration"], field=f"{field}.budget_duration")
        stored["budget_duration"] = given["budget_duration"]
    if limits := parse_limits(given.get("budget_limits", ()), field=f"{field}.budget_limits"):
        stored["budget_limits"] = [entry_json(limit) for limit in limits]
    for name in ("tpm_limit", "rpm_limit"):
        if name in given:
            stored[name] = parse_maximum(given[name], unit=LimitUnit.TOKENS, field=f"{field}.{name}")
    limits_of_models({model: stored}, field=field.removesuffix(f".{model}"))
    return stored


def limits_of_models(
    stored: Mapping[str, Mapping[str, Any]],
    *,
    rpm: Mapping[str, int] = NOTHING,
    tpm: Mapping[str, int] = NOTHING,
    field: str = "model_max_budget",
) -> dict[str, tuple[Limit, ...]]:
    """The limits by model that the stored fields make. Raises LimitError where two of a model are the same."""
    limits: dict[str, tuple[Limit, ...]] = {}
    for model in dict.fromkeys([*stored, *rpm, *tpm]):
        entry = stored.get(model, {})
        maximum = entry.get("max_budget")
        single = single_limit(
            None if maximum is None else nanousd_from_usd(maximum), duration=entry.get("budget_duration")
        )
        given = parse_limits(entry.get("budget_limits", ()))
        rates = rate_limits(
            {
                "tpm_limit": tpm.get(model, entry.get("tpm_limit")),
                "rpm_limit": rpm.get(model, entry.get("rpm_limit")),
            }
        )
        check_distinct(given, single=single, rates=rates, field=f"{field}.{model}.budget_limits")
        limits[model] = (*(() if single is None else (single,)), *given, *rates)
    return limits


def parse_model_rates(value: object, *, field: str) -> dict[str, int]:
    """`model_rpm_limit` or `model_tpm_limit`: whole numbers by model. Raises LimitError."""
    if not isinstance(value, Mapping):
        raise LimitError(f"{value!r} is not an object of whole numbers by model", field=field)
    if len(value) > MODELS_MAX:
        raise LimitError(f"{len(value)} models; allowed are at most {MODELS_MAX}", field=field)
    for model in value:
        if not model or "*" in model:
            message = f"{model!r} is not allowed; allowed are names of models, without *"
            raise LimitError(message, field=f"{field}.{model}")
    return {
        model: parse_maximum(rate, unit=LimitUnit.TOKENS, field=f"{field}.{model}")
        for model, rate in value.items()
        if rate is not None
    }


def check_distinct(
    limits: Sequence[Limit],
    *,
    single: Limit | None = None,
    rates: Sequence[Limit] = (),
    field: str = "budget_limits",
) -> None:
    """Raises LimitError where two limits of one scope have the same unit and period, naming both entries."""
    seen = {} if single is None else {single.identity: f"max_budget with budget_duration {str(single)!r}"}
    for rate in rates:
        seen[rate.identity] = next(name for name, kind in RATE_FIELDS.items() if kind == (rate.unit, rate.period))
    for index, limit in enumerate(limits):
        name = f"{field}[{index}] ({limit.spelled})"
        if limit.identity in seen:
            message = f"{name} has the same period as {seen[limit.identity]}; each period can be used once"
            raise LimitError(message, field=f"{field}[{index}].budget_duration")
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
