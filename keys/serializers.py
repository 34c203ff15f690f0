"""The shape of requests about keys."""

from typing import Any, ClassVar

from rest_framework import serializers

from budgets.queries import QuerySerializer, TextParameter
from budgets.serializers import (
    DURATION_NEEDS_MAXIMUM,
    DURATION_PATTERN,
    LimitedScopeSerializer,
    NamesField,
    RequestSerializer,
    TextField,
)

KEYS_MAX = 1000
KEY_LENGTH_MAX = 256

NOT_YET: dict[str, Any] = {
    "access_group_ids": [],
    "agent_id": None,
    "aliases": {},
    "allowed_cache_controls": [],
    "allowed_passthrough_routes": None,
    "allowed_routes": [],
    "allowed_vector_store_indexes": None,
    "auto_rotate": False,
    "budget_fallbacks": {},
    "config": {},
    "default_estimated_output_tokens": None,
    "default_estimated_output_tokens_per_model": None,
    "denied_passthrough_routes": None,
    "disable_global_guardrails": None,
    "enable_prompt_caching": None,
    "end_user_budget_id": None,
    "enforced_params": None,
    "guardrails": None,
    "mcp_rpm_limit": None,
    "object_permission": None,
    "organization_id": None,
    "permissions": {},
    "policies": None,
    "project_id": None,
    "prompts": None,
    "rotation_interval": None,
    "router_settings": None,
    "rpm_limit_type": None,
    "spend": 0,
    "tag_rpm_limit": None,
    "tags": None,
    "throttle_on_budget_exceeded": None,
    "tpm_limit_type": None,
    "user_id": None,
}
"""What clients may send of a key that is not acted on yet, with the value that means nothing."""


LIFE_PATTERN = DURATION_PATTERN.replace("^(", "^(-1|")


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}


class KeyInfoQuery(QuerySerializer):
    """GET /key/info."""

    key = TextParameter(
        max_length=KEY_LENGTH_MAX, required=True, secret=True, help_text="Which key: its text or its hash."
    )


class _KeySerializer(LimitedScopeSerializer):
    key_alias = TextField(help_text="The name that people give it, once in each team.")
    team_id = TextField(help_text="The team that it belongs to; null for none.")
    duration = TextField(
        max_length=32,
        pattern=LIFE_PATTERN,
        help_text='How long it lives from now, like `30d` or `1mo`; `"-1"` or null for ever.',
    )


class GenerateKeySerializer(_KeySerializer):
    """POST /key/generate."""

    not_yet: ClassVar = NOT_YET | {"key_type": "default", "send_invite_email": None}
    rules: ClassVar = DURATION_NEEDS_MAXIMUM
    key = TextField(
        max_length=KEY_LENGTH_MAX,
        pattern="^sk-[!-~]{13,253}$",
        help_text="A key of one's own: sk- and 13 to 253 printable characters; else random.",
    )


class UpdateKeySerializer(_KeySerializer):
    """POST /key/update. `key` names the key by its text or hash; without it, `key_alias` does."""

    # In an update a spend of 0 is no default: it asks for a reset.
    not_yet: ClassVar = NOT_YET | {"spend": None, "temp_budget_expiry": None, "temp_budget_increase": None}
    rules: ClassVar = {"anyOf": [_given("key"), _given("key_alias")]}
    key = TextField(max_length=KEY_LENGTH_MAX, help_text="Which key: its text or its hash.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("key") and not attrs.get("key_alias"):
            raise serializers.ValidationError({"key": "needed, or key_alias"})
        return attrs


class DeleteKeysSerializer(RequestSerializer):
    """POST /key/delete."""

    rules: ClassVar = {
        "oneOf": [
            {"required": [one], "properties": {one: {"type": "array", "minItems": 1}, other: {"enum": [None, []]}}}
            for one, other in (("keys", "key_aliases"), ("key_aliases", "keys"))
        ]
    }
    keys = NamesField(
        max_length=KEYS_MAX, text_length_max=KEY_LENGTH_MAX, help_text="Which keys: their texts or hashes."
    )
    key_aliases = NamesField(max_length=KEYS_MAX, help_text="Which keys: their aliases, instead of `keys`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("keys")) == bool(attrs.get("key_aliases")):
            raise serializers.ValidationError({"keys": "exactly one of keys and key_aliases is needed"})
        return attrs
