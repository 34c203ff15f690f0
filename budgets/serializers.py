"""The parts of a management request that every scope has: its limits, and what becomes of names we do not act on.

They check the shape of what was sent. A value that is wrong raises here, with the path to it; what is wrong only
together with what is stored, the services find.
"""

import difflib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import orjson
from django.conf import settings
from rest_framework import serializers

from budgets.rules.limits import (
    LIMITS_MAX,
    Enforcement,
    Limit,
    LimitUnit,
    parse_duration,
    parse_maximum,
    parse_model_limits,
    parse_model_rates,
)
from budgets.rules.limits import (
    MODELS_MAX as MODELS_OF_LIMITS_MAX,
)
from budgets.rules.money import AMOUNT_MAX, USD_MAX
from budgets.rules.windows import DURATION_HELP, WORDS
from budgets.services import parsed_limits

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MODELS_MAX = 1000
NAME_LENGTH_MAX = 255
METADATA_BYTES_MAX = 64 * 1024
WHOLE_MAX = 2**63

Schema = dict[str, Any]

# --- what the document says of values --------------------------------------------------------------

TEXT_PATTERN = "^[^\\x00]*$"
DURATION_PATTERN = (
    "^([1-9][0-9]{0,8}s|[1-9][0-9]{0,6}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w|[1-9][0-9]{0,2}mo"
    f"|{'|'.join(WORDS)})$"
)
USD: Schema = {"type": "number", "minimum": 0, "maximum": float(USD_MAX)}
USD_TEXT: Schema = {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?$"}
NO_VALUE: Schema = {"enum": [None, ""]}
LIMIT_ENTRY_REFERENCE: Schema = {"$ref": "#/components/schemas/BudgetLimitEntry"}


def _limit_entry(field: str, maximum: Schema) -> Schema:
    """The form of a limit whose maximum stands in `field`; the other two are missing or null."""
    others = {name: {"type": "null"} for name in ("max_budget", "max_tokens", "max_requests") if name != field}
    return {
        "type": "object",
        "required": ["budget_duration", field],
        "properties": {
            "budget_duration": {"type": "string", "pattern": DURATION_PATTERN, "description": DURATION_HELP},
            field: maximum,
            **others,
            "enforcement": {
                "enum": [*(member.value for member in Enforcement), None],
                "description": "`standard` admits while something is left, `strict` only what certainly fits.",
            },
            "reset_at": {"description": "Taken and not read: the gateway computes it."},
        },
        "additionalProperties": False,
    }


DURATION_NEEDS_MAXIMUM: Schema = {
    "anyOf": [
        {"properties": {"budget_duration": NO_VALUE}},
        {"required": ["max_budget"], "properties": {"max_budget": {"anyOf": [USD, USD_TEXT]}}},
    ]
}
"""For requests that make something: `budget_duration` limits nothing without `max_budget`."""

_WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX}
LIMIT_ENTRY: Schema = {
    "description": "One limit: a duration and one maximum, in USD, tokens or requests.",
    "anyOf": [
        _limit_entry("max_budget", {"description": "USD, up to nine decimals.", "anyOf": [USD, USD_TEXT]}),
        _limit_entry("max_tokens", {"description": "Input and output tokens.", **_WHOLE}),
        _limit_entry("max_requests", {"description": "Finished calls.", **_WHOLE}),
    ],
}


# --- requests ---------------------------------------------------------------------------------------


class RequestSerializer(serializers.Serializer[Any]):
    """A request whose every field is acted on, or refused: nothing that a client sends is lost.

    Unless the settings say that unknown names are dropped, as some gateways do.

    `not_yet` names fields that clients know and that do nothing here yet, with the value that means nothing. `rules`
    tells readers of the document what must hold between fields, as JSON schema; `validate` or a service checks it.
    """

    not_yet: ClassVar[Mapping[str, object]] = {}
    rules: ClassVar[Mapping[str, object]] = {}

    def to_internal_value(self, data: Any) -> Any:
        if drops_unknown_fields():
            data = {name: value for name, value in data.items() if name in self.fields or name in self.not_yet}
        refused = refusals(data, known=self.fields, not_yet=self.not_yet)
        if refused:
            raise serializers.ValidationError(refused)
        return super().to_internal_value(data)


def drops_unknown_fields() -> bool:
    """Whether names that nobody knows are dropped; what we know and do not act on is refused all the same."""
    return bool(settings.UNKNOWN_FIELDS == "ignore")


def refusals(data: Mapping[str, object], *, known: Collection[str], not_yet: Mapping[str, object]) -> dict[str, str]:
    """Why each field of `data` that is neither known nor empty is refused."""
    refused = {}
    for name in data.keys() - set(known):
        if name not in not_yet:
            nearest = difflib.get_close_matches(name, [*known, *not_yet], n=1, cutoff=0.4)
            refused[name] = "unknown field" + (f"; did you mean {nearest[0]}?" if nearest else "")
        elif not _means_nothing(data[name], not_yet[name]):
            refused[name] = "not supported yet; leave it out or send null"
    return dict(sorted(refused.items()))


def _means_nothing(value: object, default: object) -> bool:
    if value is None or value is False or value in ("", [], {}):
        return True
    return isinstance(value, bool) is isinstance(default, bool) and value == default  # 0 is no flag


def _kind(value: object) -> str:
    """What a JSON value is. It stands in messages where the value itself may be a key."""
    kinds = {str: "a text", bool: "a flag", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


class TextField(serializers.CharField):
    """A JSON text and nothing else. An empty one is none, as in web forms.

    `pattern` is for the document only: a service checks what the text means, and says more than "no match".
    """

    def __init__(
        self,
        *,
        max_length: int = NAME_LENGTH_MAX,
        required: bool = False,
        help_text: str = "",
        pattern: str = TEXT_PATTERN,
    ) -> None:
        self.pattern = pattern
        super().__init__(
            help_text=help_text,
            max_length=max_length,
            required=required,
            allow_null=not required,
            allow_blank=not required,
            trim_whitespace=False,
        )

    @property
    def schema(self) -> Schema:
        text: Schema = {"type": "string", "maxLength": self.max_length, "pattern": self.pattern}
        if not self.allow_null:
            return {**text, "minLength": 1}
        if self.pattern == TEXT_PATTERN:
            return {**text, "type": ["string", "null"]}
        return {"anyOf": [text, NO_VALUE]}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not None and data is not serializers.empty and not isinstance(data, str):
            raise serializers.ValidationError(f"{_kind(data)} is not a text")
        return super().run_validation(data) or None


class FlagField(serializers.BooleanField):
    """true, false or null and nothing else."""

    def __init__(self, *, help_text: str = "") -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    @property
    def schema(self) -> Schema:
        return {"type": ["boolean", "null"]}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError(f"{data!r} is not allowed; allowed are true and false")
        return data


class NamesField(serializers.ListField):
    """A list of texts."""

    def __init__(
        self, *, max_length: int = MODELS_MAX, help_text: str = "", text_length_max: int = NAME_LENGTH_MAX
    ) -> None:
        super().__init__(
            child=TextField(required=True, max_length=text_length_max),
            required=False,
            allow_null=True,
            max_length=max_length,
            help_text=help_text,
        )

    @property
    def schema(self) -> Schema:
        assert isinstance(self.child, TextField), "names are texts"
        return {"type": ["array", "null"], "items": self.child.schema, "maxItems": self.max_length}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise serializers.ValidationError(f"{_kind(data)} is not a list of texts")
        return super().to_internal_value(data)


class _OptionalField(serializers.Field[Any, Any, Any, Any]):
    """A field that may be missing or null."""

    def __init__(self, *, source: str | None = None, help_text: str = "") -> None:
        super().__init__(required=False, allow_null=True, source=source, help_text=help_text)

    def to_representation(self, value: Any) -> Any:
        return value


class MetadataField(_OptionalField):
    """A JSON object that is kept as it is; its fractions become JSON's usual doubles."""

    @property
    def schema(self) -> Schema:
        return {"type": ["object", "null"]}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError(f"{data!r} is not an object")
        try:
            encoded = orjson.dumps(data, default=_double)
        except orjson.JSONEncodeError as error:
            raise serializers.ValidationError(f"it cannot be kept: {error.__cause__ or error}") from None
        if len(encoded) > METADATA_BYTES_MAX:
            raise serializers.ValidationError(f"{len(encoded)} bytes; allowed are at most {METADATA_BYTES_MAX}")
        kept: dict[str, Any] = orjson.loads(encoded)
        return kept


def _double(value: object) -> float:
    # PostgreSQL writes a large double out as a whole number, which JSON libraries of 64 bits cannot read.
    if not isinstance(value, Decimal) or abs(value) >= WHOLE_MAX:
        raise TypeError(f"{value} is too large; allowed are numbers below {WHOLE_MAX}")
    return float(value)


class MoneyField(_OptionalField):
    """Dollars, as nano-dollars."""

    @property
    def schema(self) -> Schema:
        return {"anyOf": [USD, USD_TEXT, NO_VALUE]}

    def to_internal_value(self, data: Any) -> int | None:
        return None if data == "" else parse_maximum(data, unit=LimitUnit.USD, field=self.field_name or "")


class DurationField(_OptionalField):
    """The duration of a window, as it was spelled."""

    @property
    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, NO_VALUE]}

    def to_internal_value(self, data: Any) -> str | None:
        if data == "":
            return None
        parse_duration(data, field=self.field_name or "")
        return str(data)


class BudgetLimitsField(_OptionalField):
    """The list of limits, as values."""

    @property
    def schema(self) -> Schema:
        return {"type": ["array", "null"], "items": LIMIT_ENTRY_REFERENCE, "maxItems": LIMITS_MAX}

    def to_internal_value(self, data: Any) -> tuple[Limit, ...]:
        return parsed_limits(data)


_RATE: Schema = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX}
MODEL_LIMITS: Schema = {"description": "An amount in USD for all time, or an object of limits."}


class RateField(_OptionalField):
    """A whole number of tokens, requests or calls."""

    @property
    def schema(self) -> Schema:
        return {"anyOf": [_RATE, {"enum": ["", None]}]}

    def to_internal_value(self, data: Any) -> int | None:
        return None if data == "" else parse_maximum(data, unit=LimitUnit.TOKENS, field=self.field_name or "")


class ModelLimitsField(_OptionalField):
    """`model_max_budget`, in its stored form."""

    @property
    def schema(self) -> Schema:
        return {"type": ["object", "null"], "maxProperties": MODELS_OF_LIMITS_MAX, "additionalProperties": MODEL_LIMITS}

    def to_internal_value(self, data: Any) -> dict[str, dict[str, Any]]:
        return parse_model_limits(data, field=self.field_name or "")


class ModelRatesField(_OptionalField):
    """`model_rpm_limit` and `model_tpm_limit`."""

    @property
    def schema(self) -> Schema:
        rate = {"anyOf": [_RATE, {"type": "null"}]}
        return {"type": ["object", "null"], "maxProperties": MODELS_OF_LIMITS_MAX, "additionalProperties": rate}

    def to_internal_value(self, data: Any) -> dict[str, int]:
        return parse_model_rates(data, field=self.field_name or "")


class WeekStartField(_OptionalField):
    """The day on which weeks begin: 0 for Monday to 6, or its English name."""

    @property
    def schema(self) -> Schema:
        return {"enum": [*range(len(WEEKDAYS)), *WEEKDAYS, None]}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, str) and data.lower() in WEEKDAYS:
            return WEEKDAYS.index(data.lower())
        if isinstance(data, bool) or not isinstance(data, int) or not 0 <= data <= 6:
            raise serializers.ValidationError(f"{data!r} is not allowed; allowed are monday to sunday, or 0 to 6")
        return data


class LimitsSerializer(RequestSerializer):
    """The limits that tiers and all scopes have. What it validated is budgets.services.LimitFields."""

    max_budget = MoneyField(
        source="max_budget_nanousd",
        help_text="The most that may be spent in each `budget_duration`, in all time without one; null for no limit.",
    )
    budget_duration = DurationField(help_text="The period of `max_budget`; needs one.")
    budget_limits = BudgetLimitsField(
        help_text="Limits that hold all at once. The list replaces the one before; null or an empty list clears it."
    )
    soft_budget = MoneyField(
        source="soft_budget_nanousd", help_text="An amount below `max_budget` that refuses nothing; alerts name it."
    )
    tpm_limit = RateField(help_text="The most tokens in a minute.")
    rpm_limit = RateField(help_text="The most requests in a minute.")
    tpd_limit = RateField(help_text="The most tokens in a day.")
    max_parallel_requests = RateField(help_text="The most calls that run at the same time.")
    model_max_budget = ModelLimitsField(
        help_text="Limits for the calls of one model, by its name: an amount for all time, or an object with "
        "`max_budget`, `budget_duration`, `budget_limits`, `tpm_limit`, `rpm_limit`."
    )


class LimitedScopeSerializer(LimitsSerializer):
    """The fields that keys and teams have in common. What it validated is budgets.services.LimitFields and more."""

    budget_id = TextField(
        max_length=128, help_text="A tier (`/budget/new`): its limits hold besides; the same limit here replaces its."
    )
    model_rpm_limit = ModelRatesField(help_text="The most requests in a minute, by model.")
    model_tpm_limit = ModelRatesField(help_text="The most tokens in a minute, by model.")
    timezone = TextField(
        max_length=64, help_text="The zone in which hours, days, weeks and months begin, like `Europe/Berlin`."
    )
    week_start = WeekStartField(help_text="The day on which weeks begin: 0 for Monday to 6, or its English name.")
    models = NamesField(help_text="The models that may be called, by public name; null or an empty list for all.")
    metadata = MetadataField(help_text="Kept as it is and answered again; at most 64 KiB of JSON.")
    blocked = FlagField(help_text="true refuses every call until it is false again.")
