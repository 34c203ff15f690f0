"""The shape of requests about tiers, grants and the audit."""

from typing import Any

from rest_framework import serializers

from budgets.fields import InstantField
from budgets.queries import InstantParameter, IntParameter, QuerySerializer, TextParameter
from budgets.rules.limits import LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.serializers import (
    USD,
    USD_TEXT,
    DurationField,
    LimitsSerializer,
    NamesField,
    RequestSerializer,
    Schema,
    TextField,
)

ID_LENGTH_MAX = 128
SCOPE_ID_LENGTH_MAX = 300
WINDOWS_MAX = 1000
IDS_MAX = 1000
GRANT_ID_MAX = 2**63 - 1
KINDS = ("key", "team", "member", "user", "customer", "tag")


# --- tiers ------------------------------------------------------------------------------------------


class _TierSerializer(LimitsSerializer):
    budget_reset_at = InstantField(help_text="Taken and not read: the gateway computes it.")

    def to_internal_value(self, data: Any) -> Any:
        fields = super().to_internal_value(data)
        fields.pop("budget_reset_at", None)
        return fields


class NewTierSerializer(_TierSerializer):
    """POST /budget/new."""

    budget_id = TextField(max_length=ID_LENGTH_MAX, help_text="Its id; without one a random one.")


class UpdateTierSerializer(_TierSerializer):
    """POST /budget/update."""

    budget_id = TextField(required=True, max_length=ID_LENGTH_MAX, help_text="Which tier.")


class TiersSerializer(RequestSerializer):
    """POST /budget/info."""

    budgets = NamesField(max_length=IDS_MAX, help_text="Which tiers.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("budgets"):
            raise serializers.ValidationError({"budgets": "needed: at least one id"})
        return attrs


class TierQuery(QuerySerializer):
    """GET /budget/settings."""

    budget_id = TextParameter(required=True, max_length=ID_LENGTH_MAX, help_text="Which tier.")


class DeleteTierSerializer(RequestSerializer):
    """POST /budget/delete."""

    id = TextField(required=True, max_length=ID_LENGTH_MAX, help_text="Which tier.")


# --- grants -----------------------------------------------------------------------------------------


class ChoiceField(TextField):
    """One of some texts."""

    def __init__(self, choices: tuple[str, ...], *, required: bool = False, help_text: str) -> None:
        super().__init__(required=required, help_text=help_text)
        self.choices = choices

    @property
    def schema(self) -> Schema:
        return {"enum": [*self.choices, *([] if self.required else ["", None])]}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        if value is not None and value not in self.choices:
            raise serializers.ValidationError(f"{value!r} is not allowed; allowed are {', '.join(self.choices)}")
        return value


class WholeField(serializers.Field[Any, Any, Any, Any]):
    """A whole number from 1 to `most`."""

    def __init__(self, *, most: int, required: bool = False, help_text: str) -> None:
        super().__init__(required=required, allow_null=not required, help_text=help_text)
        self.most = most

    @property
    def schema(self) -> Schema:
        return {"type": ["integer", "null"] if self.allow_null else "integer", "minimum": 1, "maximum": self.most}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int) or not 1 <= data <= self.most:
            raise serializers.ValidationError(
                f"{data!r} is not allowed; allowed is a whole number from 1 to {self.most}"
            )
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class AmountField(serializers.Field[Any, Any, Any, Any]):
    """An amount in the unit of the limit, which the service knows."""

    @property
    def schema(self) -> Schema:
        return {"anyOf": [USD, USD_TEXT, {"type": "integer", "minimum": 1, "maximum": AMOUNT_MAX}]}

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class GrantSerializer(RequestSerializer):
    """POST /budget/grant."""

    scope = ChoiceField(KINDS, required=True, help_text="What has the limit.")
    scope_id = TextField(
        required=True,
        max_length=SCOPE_ID_LENGTH_MAX,
        help_text="Which one: of a key its text, hash or alias, of a member `user/team`, else the id.",
    )
    amount = AmountField(help_text="What is added to the maximum, in the unit of the limit.")
    budget_duration = DurationField(help_text="The period of the limit that is raised; without it all USD limits are.")
    unit = ChoiceField(
        tuple(LimitUnit), help_text="What the limit counts; without `budget_duration` the limit for all time is meant."
    )
    model = TextField(max_length=256, help_text="The model, where its limit is raised.")
    until = InstantField(help_text="Until when; or `windows`.")
    windows = WholeField(most=WINDOWS_MAX, help_text="For how many windows of the limit, the current one included.")
    reason = TextField(max_length=1000, help_text="Why, for the audit.")


class GrantsQuery(QuerySerializer):
    """GET /budget/grants."""

    scope = TextParameter(required=True, choices=KINDS, help_text="What has the limits.")
    scope_id = TextParameter(
        required=True,
        max_length=SCOPE_ID_LENGTH_MAX,
        secret=True,
        help_text="Which one: of a key its text, hash or alias, of a member `user/team`, else the id.",
    )


class RevokeSerializer(RequestSerializer):
    """POST /budget/grant/revoke."""

    id = WholeField(required=True, most=GRANT_ID_MAX, help_text="Which grant.")


# --- the audit --------------------------------------------------------------------------------------


class ChangesQuery(QuerySerializer):
    """GET /audit/changes."""

    subject_kind = TextParameter(max_length=16, help_text="Changes of this kind: `key`, `team`, `budget` and so on.")
    subject_id = TextParameter(
        max_length=SCOPE_ID_LENGTH_MAX, help_text="Changes of what has this id; of a key its `id`."
    )
    actor = TextParameter(help_text="Changes by this one.")
    action = TextParameter(max_length=32, help_text="Changes of this sort: `create`, `update`, `delete` and so on.")
    start_date = InstantParameter(help_text="Changes from then on.")
    end_date = InstantParameter(end_of_day=True, help_text="Changes until then.")
    page = IntParameter(minimum=1, maximum=1_000_000, default=1, help_text="Which page.")
    page_size = IntParameter(minimum=1, maximum=100, default=50, help_text="How many changes a page has.")
