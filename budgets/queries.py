"""The parameters of GET endpoints, each said once: how it is read, what is allowed, and what the document says of it.

A name that is not known is refused with the nearest one that is; an empty text means that nothing was given.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from budgets.serializers import NAME_LENGTH_MAX, TEXT_PATTERN, RequestSerializer, Schema

NAMES_MAX = 1000
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_DAY = r"(19[7-9]\d|[2-9]\d{3})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_ZONE = r"(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)"
INSTANT_PATTERN = f"^{_DAY}([T ]{_TIME}{_ZONE}?)?$"
INSTANTS_ALLOWED = "YYYY-MM-DD, YYYY-MM-DD HH:MM:SS (UTC) and ISO 8601 with a zone, from 1970 on"
_BARE_DAY = re.compile(_DAY)
_INSTANT = re.compile(INSTANT_PATTERN)
# A plus that nobody encoded has become a space.
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d{2}:?\d{2}$)")


class Parameter(serializers.Field[Any, Any, Any, Any]):
    """One name of the query. Subclasses say how its text is read, and the schema of what is allowed."""

    takes_many = False
    secret = False

    def __init__(self, *, help_text: str, required: bool = False, default: object = None) -> None:
        missing: dict[str, Any] = {} if required else {"default": default}
        super().__init__(required=required, help_text=help_text, **missing)
        self.error_messages["required"] = "needed in the query"

    @property
    def schema(self) -> Schema:
        """What the document says of the values."""
        raise NotImplementedError

    def run_validation(self, data: Any = serializers.empty) -> Any:
        for text in [data] if isinstance(data, str) else data if isinstance(data, list) else []:
            if "\0" in text:
                shown = "it" if self.secret else repr(text[:64])
                raise serializers.ValidationError(f"{shown} has a NUL; allowed is any text without")
        return super().run_validation(data)

    def to_representation(self, value: Any) -> Any:
        return value


class TextParameter(Parameter):
    """A text; with `choices` one of these. One that is `secret` is not repeated in messages."""

    def __init__(
        self,
        *,
        help_text: str,
        max_length: int = NAME_LENGTH_MAX,
        required: bool = False,
        choices: Sequence[str] | None = None,
        default: str | None = None,
        secret: bool = False,
    ) -> None:
        super().__init__(help_text=help_text, required=required, default=default)
        self.secret = secret
        self.text_length_max = max_length
        self.choices = choices

    @property
    def schema(self) -> Schema:
        if self.choices is not None:
            return {"type": "string", "enum": list(self.choices)}
        least: Schema = {"minLength": 1} if self.required else {}
        return {"type": "string", **least, "maxLength": self.text_length_max, "pattern": TEXT_PATTERN}

    def to_internal_value(self, data: str) -> str:
        shown = "it" if self.secret else f"{data[:32]!r}..."
        _check_text(data, max_length=self.text_length_max, choices=self.choices, shown=shown)
        return data


def _check_text(text: str, *, max_length: int, choices: Sequence[str] | None, shown: str) -> None:
    if choices is not None and text not in choices:
        raise serializers.ValidationError(
            f"{text[:NAME_LENGTH_MAX]!r} is not allowed; allowed are {', '.join(choices)}"
        )
    if len(text) > max_length:
        raise serializers.ValidationError(f"{shown} has {len(text)} characters; allowed are at most {max_length}")


class IntParameter(Parameter):
    """A whole number from `minimum` to `maximum`."""

    def __init__(
        self, *, help_text: str, minimum: int, maximum: int, default: int | None = None, required: bool = False
    ) -> None:
        super().__init__(help_text=help_text, required=required, default=default)
        self.minimum, self.maximum = minimum, maximum

    @property
    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}

    def to_internal_value(self, data: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,18}", data) is None or not self.minimum <= int(data) <= self.maximum:
            message = f"{data[:32]!r} is not allowed; allowed is a whole number from {self.minimum} to {self.maximum}"
            raise serializers.ValidationError(message)
        return int(data)


class FlagParameter(Parameter):
    """true, 1, yes, false, 0 or no, in any case."""

    def __init__(self, *, help_text: str, default: bool | None = False) -> None:
        super().__init__(help_text=help_text, default=default)

    @property
    def schema(self) -> Schema:
        return {"type": "boolean"}

    def to_internal_value(self, data: str) -> bool:
        if data.lower() not in FLAGS:
            raise serializers.ValidationError(f"{data[:32]!r} is not allowed; allowed are {', '.join(FLAGS)}")
        return FLAGS[data.lower()]


class InstantParameter(Parameter):
    """An instant, as aware UTC. With `end_of_day` a bare date means its last microsecond, else its first."""

    def __init__(self, *, help_text: str, end_of_day: bool = False, required: bool = False) -> None:
        super().__init__(help_text=help_text, required=required)
        self.end_of_day = end_of_day

    @property
    def schema(self) -> Schema:
        return {"type": "string", "pattern": INSTANT_PATTERN}

    def to_internal_value(self, data: str) -> datetime:
        try:
            return _instant_of(_LOST_PLUS.sub("+", data.strip()), end_of_day=self.end_of_day)
        except (ValueError, OverflowError):
            message = f"{data[:64]!r} is not an instant; allowed are {INSTANTS_ALLOWED}"
            raise serializers.ValidationError(message) from None


def _instant_of(text: str, *, end_of_day: bool) -> datetime:
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(text)
    instant = datetime.fromisoformat(text)
    if end_of_day and _BARE_DAY.fullmatch(text):
        instant = datetime.combine(instant, time.max)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


class NamesParameter(Parameter):
    """Texts, separated by commas or given one by one; a list without empty ones, or None."""

    takes_many = True

    def __init__(
        self,
        *,
        help_text: str,
        max_length: int = NAME_LENGTH_MAX,
        required: bool = False,
        choices: Sequence[str] | None = None,
        names_max: int = NAMES_MAX,
    ) -> None:
        super().__init__(help_text=help_text, required=required)
        self.text_length_max = max_length
        self.choices = choices
        self.names_max = names_max

    @property
    def schema(self) -> Schema:
        one = TextParameter(help_text="", max_length=self.text_length_max, choices=self.choices).schema
        return {"type": "array", "items": one, "maxItems": self.names_max}

    def to_internal_value(self, data: list[str]) -> list[str]:
        names = [name.strip() for text in data for name in text.split(",") if name.strip()]
        if len(names) > self.names_max:
            raise serializers.ValidationError(f"{len(names)} names; allowed are at most {self.names_max}")
        for name in names:
            _check_text(name, max_length=self.text_length_max, choices=self.choices, shown=f"{name[:32]!r}...")
        return names


class QuerySerializer(RequestSerializer):
    """The query of a GET: its fields are Parameters, and every one that was not given has its default."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(self._given(data) if isinstance(data, QueryDict) else data)

    def _given(self, query: QueryDict) -> dict[str, str | list[str]]:
        given: dict[str, str | list[str]] = {}
        for name, values in query.lists():
            texts = [text for text in values if text]
            field = self.fields.get(name)
            takes_many = getattr(field, "takes_many", False)
            if len(texts) > 1 and field is not None and not takes_many:
                shown = "" if getattr(field, "secret", False) else f": {', '.join(texts)[:NAME_LENGTH_MAX]!r}"
                raise serializers.ValidationError({name: f"given {len(texts)} times{shown}; allowed is one value"})
            if texts or field is None:
                given[name] = texts if takes_many else "".join(texts[:1])
        return given


def parameters_of(query: type[QuerySerializer], request: Request) -> dict[str, Any]:
    """What the query of a request says, with defaults. Raises DRF's ValidationError."""
    parameters = query(data=request.query_params)
    parameters.is_valid(raise_exception=True)
    validated: dict[str, Any] = parameters.validated_data
    return validated
