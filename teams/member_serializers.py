"""The shape of requests about members of teams."""

from typing import Any

from rest_framework import serializers

from budgets.serializers import (
    FlagField,
    LimitsSerializer,
    ModelRatesField,
    MoneyField,
    NamesField,
    RequestSerializer,
    TextField,
)
from teams.fields import ChoiceField, InstantField, MembersField, NamedUserSerializer
from teams.models import Member

ROLES = tuple(Member.Role.values)


class _MembershipSerializer(LimitsSerializer):
    """The limits of memberships. `max_budget_in_team` is `max_budget` by the name that clients know."""

    team_id = TextField(required=True, help_text="Which team.")
    max_budget_in_team = MoneyField(
        help_text="The most that the member may spend in the team in each `budget_duration`, in all time without one."
    )
    budget_id = TextField(max_length=128, help_text="A tier of the member's own, instead of the team's.")
    model_rpm_limit = ModelRatesField(help_text="The most requests in a minute, by model.")
    model_tpm_limit = ModelRatesField(help_text="The most tokens in a minute, by model.")
    allowed_models = NamesField(help_text="The models that the member may call; null or an empty list for the team's.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "max_budget_in_team" in attrs:
            in_team = attrs.pop("max_budget_in_team")
            if attrs.get("max_budget_nanousd", in_team) != in_team:
                raise serializers.ValidationError({"max_budget": "max_budget_in_team is the same; give one of them"})
            attrs["max_budget_nanousd"] = in_team
        return attrs


class AddMembersSerializer(_MembershipSerializer):
    """POST /team/member_add."""

    member = MembersField(required=True, takes_one=True, help_text="Whom to add: one member or a list.")


class BulkAddMembersSerializer(_MembershipSerializer):
    """POST /team/bulk_member_add."""

    members = MembersField(help_text="Whom to add; each on its own.")
    all_users = FlagField(help_text="true adds every user who is no member yet, instead of `members`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("members")) == bool(attrs.get("all_users")):
            raise serializers.ValidationError({"members": "exactly one of members and all_users is needed"})
        return super().validate(attrs)


class UpdateMemberSerializer(_MembershipSerializer, NamedUserSerializer):
    """POST /team/member_update."""

    role = ChoiceField(ROLES, help_text="What the member is in the team.")
    temp_budget_increase = MoneyField(
        help_text="What every USD limit of the member has more until `temp_budget_expiry`; null for both ends it."
    )
    temp_budget_expiry = InstantField(help_text="When the increase ends.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _MembershipSerializer.validate(self, NamedUserSerializer.validate(self, attrs))


class MemberSerializer(NamedUserSerializer):
    """POST /team/member_delete."""

    team_id = TextField(required=True, help_text="Which team.")


class NoBodySerializer(RequestSerializer):
    """A request whose address says everything."""
