"""The shape of requests about spend: resets, adjustments, costs and reports."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from budgets.queries import IntParameter, QuerySerializer, TextParameter
from budgets.rules.money import USD_MAX, MoneyError, nanousd_from_usd
from budgets.serializers import MoneyField, RequestSerializer, Schema, TextField
from ledger.owners import MODELS

SCOPE_ID_LENGTH_MAX = 300
REASON_LENGTH_MAX = 1000
PAGE_MAX = 10_000
KINDS = tuple(MODELS)


class NeededMoneyField(MoneyField):
    """Dollars that have to be given, as nano-dollars."""

    def __init__(self, *, help_text: str) -> None:
        super().__init__(help_text=help_text)
        self.required, self.allow_null = True, False

    @property
    def schema(self) -> Schema:
        return {"anyOf": super().schema["anyOf"][:2]}

    def to_internal_value(self, data: Any) -> int | None:
        if data == "":
            raise serializers.ValidationError("needed, in USD")
        return super().to_internal_value(data)


class SignedMoneyField(NeededMoneyField):
    """Dollars that may be negative, as nano-dollars; not none."""

    @property
    def schema(self) -> Schema:
        most = float(USD_MAX)
        text = {"type": "string", "pattern": r"^-?[0-9]{1,7}(\.[0-9]{1,9})?$"}
        return {"anyOf": [{"type": "number", "minimum": -most, "maximum": most, "not": {"const": 0}}, text]}

    def to_internal_value(self, data: Any) -> int:
        is_negative = isinstance(data, str) and data.startswith("-")
        is_negative = is_negative or (isinstance(data, int | Decimal) and not isinstance(data, bool) and data < 0)
        try:
            magnitude = nanousd_from_usd((data[1:] if isinstance(data, str) else -data) if is_negative else data)
        except MoneyError:
            message = f"{data!r} is not allowed; allowed are -{USD_MAX} to {USD_MAX} USD with at most 9 decimals"
            raise serializers.ValidationError(message) from None
        if magnitude == 0:
            raise serializers.ValidationError("0 moves nothing; allowed is any other amount")
        return -magnitude if is_negative else magnitude


class ResetSpendSerializer(RequestSerializer):
    """POST .../reset_spend."""

    reset_to = NeededMoneyField(help_text="What shall have been spent, in USD: from 0 to what was.")


class AdjustSpendSerializer(RequestSerializer):
    """POST /spend/adjust."""

    scope = serializers.ChoiceField(choices=KINDS, help_text="The kind of the scope.")
    scope_id = TextField(
        required=True,
        max_length=SCOPE_ID_LENGTH_MAX,
        help_text="Its id; of a key the text, hash or id, of a member `user_id/team_id`.",
    )
    amount = SignedMoneyField(help_text="USD that every current window moves by; negative to lower. Not 0.")
    reason = TextField(required=True, max_length=REASON_LENGTH_MAX, help_text="Why. It stands in the audit.")


class AdjustmentsQuery(QuerySerializer):
    """GET /spend/adjustments."""

    scope = TextParameter(choices=KINDS, help_text="Only of this kind of scope.")
    scope_id = TextParameter(
        max_length=SCOPE_ID_LENGTH_MAX, secret=True, help_text="Only of this scope; named as in /spend/adjust."
    )
    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    page_size = IntParameter(minimum=1, maximum=1000, default=50, help_text="How many on a page.")


class MessagesField(serializers.Field[Any, Any, Any, Any]):
    """The messages of a call, whatever is in them."""

    schema: Schema = {"type": ["array", "null"], "items": {"type": "object"}}

    def __init__(self, *, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            raise serializers.ValidationError("it is not a list of messages")
        return data


class ResponseField(serializers.Field[Any, Any, Any, Any]):
    """The answer of a provider, whatever is in it."""

    schema: Schema = {"type": ["object", "null"]}

    def __init__(self, *, help_text: str) -> None:
        super().__init__(required=False, allow_null=True, help_text=help_text)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("it is not an object")
        return data


class CalculateSerializer(RequestSerializer):
    """POST /spend/calculate: messages, or else an answer."""

    model = TextField(help_text="The model that would be called; of an answer that names none, the one that was.")
    messages = MessagesField(help_text="The messages of a call that is not made.")
    completion_response = ResponseField(help_text="The answer to a call that was made, with its `model` and `usage`.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        has_answer, has_messages = data.get("completion_response") is not None, data.get("messages") is not None
        if has_answer == has_messages:
            raise serializers.ValidationError({"messages": "give either messages or completion_response"})
        if has_messages and not data.get("model"):
            raise serializers.ValidationError({"model": "needed with messages"})
        return data
