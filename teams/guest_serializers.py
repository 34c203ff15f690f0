"""The shape of requests about customers and tags."""

from typing import Any, ClassVar

from rest_framework import serializers

from budgets.queries import IntParameter, QuerySerializer, TextParameter
from budgets.serializers import MoneyField, NamesField, RequestSerializer, TextField
from teams.fields import PersonSerializer
from teams.serializers import PAGE_MAX, PAGE_SIZE_MAX

NAMES_MAX = 1000


class _CustomerSerializer(PersonSerializer):
    not_yet: ClassVar = {"allowed_model_region": None, "budget_reset_at": None, "object_permission": None}
    user_id = TextField(required=True, help_text="The customer's id, which calls name as `user`.")
    alias = TextField(help_text="The name that people give the customer.")
    default_model = TextField(help_text="The model of the customer's calls.")
    spend = MoneyField(help_text="What the customer has spent already.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("budget_id") and attrs.get("max_budget_nanousd") is not None:
            raise serializers.ValidationError({"max_budget": "give max_budget or budget_id, not both"})
        return super().validate(attrs)


class NewCustomerSerializer(_CustomerSerializer):
    """POST /customer/new."""


class UpdateCustomerSerializer(_CustomerSerializer):
    """POST /customer/update."""


class CustomersSerializer(RequestSerializer):
    """POST /customer/delete, /customer/block and /customer/unblock."""

    user_ids = NamesField(max_length=NAMES_MAX, help_text="Which customers.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("user_ids"):
            raise serializers.ValidationError({"user_ids": "needed"})
        return attrs


class CustomerQuery(QuerySerializer):
    """GET /customer/info."""

    end_user_id = TextParameter(required=True, help_text="Which customer.")


class CustomerListQuery(QuerySerializer):
    """GET /customer/list."""

    page = IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")
    page_size = IntParameter(minimum=1, maximum=PAGE_SIZE_MAX, default=50, help_text="How many customers a page has.")
    search = TextParameter(help_text="Only customers whose id or alias has this in it, in any case.")


class TagSerializer(PersonSerializer):
    """POST /tag/new and /tag/update."""

    not_yet: ClassVar = {"metadata": None, "blocked": None, "budget_reset_at": None, "model_info": None}
    metadata = blocked = None  # type: ignore[assignment]
    name = TextField(required=True, max_length=128, help_text="The tag, as calls write it.")
    description = TextField(max_length=1000, help_text="What it is for.")


class TagNamesSerializer(RequestSerializer):
    """POST /tag/info."""

    names = NamesField(max_length=NAMES_MAX, help_text="Which tags.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("names"):
            raise serializers.ValidationError({"names": "needed"})
        return attrs


class TagNameSerializer(RequestSerializer):
    """POST /tag/delete."""

    name = TextField(required=True, max_length=128, help_text="Which tag.")


class AvailableTeamsQuery(QuerySerializer):
    """GET /team/available."""

    not_yet: ClassVar = {"response_model": ""}


class NoQuery(QuerySerializer):
    """A GET without parameters."""
