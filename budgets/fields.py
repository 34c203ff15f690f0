"""Fields of request bodies that more than one noun has, beside those of budgets/serializers.py."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from budgets.queries import INSTANT_PATTERN, InstantParameter
from budgets.serializers import Schema

_READER = InstantParameter(help_text="")


class InstantField(serializers.Field[Any, Any, Any, Any]):
    """An instant, as aware UTC; an empty text is none."""

    def __init__(self, *, required: bool = False, help_text: str) -> None:
        super().__init__(required=required, allow_null=not required, help_text=help_text)

    @property
    def schema(self) -> Schema:
        one: Schema = {"type": "string", "pattern": INSTANT_PATTERN}
        return {"anyOf": [one, {"enum": ["", None]}]} if self.allow_null else one

    def to_internal_value(self, data: Any) -> datetime | None:
        if data == "" and self.allow_null:
            return None
        if not isinstance(data, str):
            raise serializers.ValidationError(
                f"{data!r} is not an instant; allowed is a text like 2026-11-23T14:00:00Z"
            )
        return _READER.to_internal_value(data)

    def to_representation(self, value: Any) -> Any:
        return value
