"""The shape of requests about keys."""

from typing import Any, ClassVar

from rest_framework import serializers

from budgets.serializers import LimitedScopeSerializer, NamesField, RequestSerializer, TextField

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


class _KeySerializer(LimitedScopeSerializer):
    key = TextField(max_length=KEY_LENGTH_MAX)
    key_alias = TextField()
    team_id = TextField()
    duration = TextField(max_length=32)


class GenerateKeySerializer(_KeySerializer):
    """POST /key/generate."""

    not_yet: ClassVar = NOT_YET | {"key_type": "default", "send_invite_email": None}


class UpdateKeySerializer(_KeySerializer):
    """POST /key/update. `key` names the key by its text or hash; without it, `key_alias` does."""

    # In an update a spend of 0 is no default: it asks for a reset.
    not_yet: ClassVar = NOT_YET | {"spend": None, "temp_budget_expiry": None, "temp_budget_increase": None}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("key") and not attrs.get("key_alias"):
            raise serializers.ValidationError({"key": "needed, or key_alias"})
        return attrs


class DeleteKeysSerializer(RequestSerializer):
    """POST /key/delete."""

    keys = NamesField(max_length=KEYS_MAX)
    key_aliases = NamesField(max_length=KEYS_MAX)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("keys")) == bool(attrs.get("key_aliases")):
            raise serializers.ValidationError({"keys": "exactly one of keys and key_aliases is needed"})
        return attrs
