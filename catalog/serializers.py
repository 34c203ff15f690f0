"""The shape of requests about models and credentials; litellm_params.py reads what is inside of `litellm_params`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from budgets.serializers import FlagField, MetadataField, RequestSerializer, Schema, TextField, refusals
from catalog.answers import ModelEntry
from catalog.credential_services import CredentialFields
from catalog.litellm_params import ENVIRONMENT, RouteFields, api_key_problem, route_fields
from catalog.secrets import Secret

MODEL_NAME_LENGTH_MAX = 200
PARAMS = (
    "Where calls go: `model` (provider/name), `api_key`, `api_base`, `litellm_credential_name`, `timeout`, "
    "`max_tokens`, and own prices in USD per token (`input_cost_per_token`, `output_cost_per_token`, "
    "`cache_read_input_token_cost`, `cache_creation_input_token_cost`)."
)
INFO = "`id`, `max_output_tokens`, the same prices; anything else is kept and answered again."
CHAT_MODES = ("chat", "completion")


class ObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object, with its numbers exactly as they were written. null is none."""

    def __init__(self, *, help_text: str, required: bool = False) -> None:
        super().__init__(required=required, allow_null=not required, help_text=help_text)

    @property
    def schema(self) -> Schema:
        return {"type": "object"} if self.required else {"type": ["object", "null"]}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("it is not an object")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class NewModelSerializer(RequestSerializer):
    """POST /model/new."""

    model_name = TextField(max_length=MODEL_NAME_LENGTH_MAX, required=True, help_text="The name that callers use.")
    litellm_params = ObjectField(required=True, help_text=PARAMS)
    model_info = ObjectField(help_text=INFO)
    blocked = FlagField(help_text="true switches the route off.")

    def route_fields(self) -> RouteFields:
        """Raises ValidationError."""
        body = self.validated_data
        fields = checked_fields(body["litellm_params"], body.get("model_info") or {})
        if "provider" not in fields:
            raise serializers.ValidationError({"litellm_params.model": "it is missing; allowed is provider/model"})
        fields["model_name"], fields["enabled"] = body["model_name"], not body.get("blocked")
        return fields


class UpdateModelSerializer(RequestSerializer):
    """POST /model/update and PATCH /model/{id}/update. null leaves everything as it is."""

    id = TextField(help_text="The id of the model, as in `model_info`: one of the two is enough, both must be equal.")
    model_name = TextField(max_length=MODEL_NAME_LENGTH_MAX, help_text="The name that callers use.")
    litellm_params = ObjectField(help_text=PARAMS)
    model_info = ObjectField(help_text=INFO)
    blocked = FlagField(help_text="true switches the route off.")

    def route_fields(self, *, shown: ModelEntry) -> RouteFields:
        """What differs from what the API shows: clients send all of it back. Raises ValidationError."""
        body = self.validated_data
        before = shown.answer["model_info"]
        info = {name: value for name, value in (body.get("model_info") or {}).items() if not _same(name, value, before)}
        fields = checked_fields(body.get("litellm_params") or {}, info)
        if body.get("model_name"):
            fields["model_name"] = body["model_name"]
        if body.get("blocked") is not None:
            fields["enabled"] = not body["blocked"]
        return fields


def _same(name: str, value: object, shown: Mapping[str, object]) -> bool:
    """Otherwise a list's price would become the route's own, and its service tiers would be lost."""
    return name in shown and shown[name] == value


def checked_fields(params: Mapping[str, Any], info: Mapping[str, Any]) -> RouteFields:
    """The fields of a route. Raises ValidationError with a message for each path."""
    fields, problems = route_fields(params, info)
    if problems:
        raise serializers.ValidationError(problems)
    return fields


class ModelIdSerializer(RequestSerializer):
    """POST /model/delete, /model/block and /model/unblock."""

    id = TextField(required=True, help_text="The id of the model, from `model_info`.")


class ConnectionSerializer(RequestSerializer):
    """POST /health/test_connection."""

    mode = TextField(help_text="chat or completion.")
    litellm_params = ObjectField(required=True, help_text=PARAMS)
    model_info = ObjectField(help_text=INFO)

    def validate_mode(self, mode: str | None) -> str | None:
        if mode not in (None, *CHAT_MODES):
            raise serializers.ValidationError(f"{mode!r} is not supported yet; allowed are {', '.join(CHAT_MODES)}")
        return mode

    def route_fields(self) -> RouteFields:
        """Raises ValidationError."""
        body = self.validated_data
        fields = checked_fields(body["litellm_params"], body.get("model_info") or {})
        if "provider" not in fields:
            raise serializers.ValidationError({"litellm_params.model": "it is missing; allowed is provider/model"})
        return fields


CREDENTIAL_VALUES = ("api_key", "api_base")


class CredentialSerializer(RequestSerializer):
    """PATCH /credentials/{name}."""

    not_yet: ClassVar = {"model_id": None}
    credential_name = TextField(help_text="Its name.")
    credential_values = ObjectField(help_text="`api_key` and `api_base`.")
    credential_info = MetadataField(help_text="Kept as it is and answered again.")

    def credential_fields(self) -> CredentialFields:
        """Raises ValidationError."""
        body = self.validated_data
        fields = _credential_values(body.get("credential_values") or {})
        if body.get("credential_name"):
            fields["name"] = body["credential_name"]
        if body.get("credential_info") is not None:
            fields["info"] = body["credential_info"]
        return fields


class NewCredentialSerializer(CredentialSerializer):
    """POST /credentials."""

    credential_name = TextField(required=True, help_text="Its name.")
    credential_values = ObjectField(required=True, help_text="`api_key` and `api_base`.")


def _credential_values(values: Mapping[str, Any]) -> CredentialFields:
    problems = refusals(values, known=CREDENTIAL_VALUES, not_yet={})
    fields = CredentialFields()
    if "api_key" in values:
        if problem := api_key_problem(values["api_key"]):
            problems["api_key"] = problem
        elif str(values["api_key"]).startswith(ENVIRONMENT):
            problems["api_key"] = f"{ENVIRONMENT}NAME is not supported here yet; give it to the model itself"
        else:
            fields["api_key"] = Secret(values["api_key"]) if values["api_key"] else None
    if "api_base" in values:
        if isinstance(values["api_base"], str | None):
            fields["base_url"] = values["api_base"]
        else:
            problems["api_base"] = f"{values['api_base']!r} is not a text"
    if problems:
        raise serializers.ValidationError({f"credential_values.{name}": text for name, text in problems.items()})
    return fields
