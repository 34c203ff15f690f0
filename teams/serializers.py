"""The shape of requests about teams."""

from typing import Any, ClassVar

from budgets.serializers import DURATION_NEEDS_MAXIMUM, LimitedScopeSerializer, TextField
from teams.parsing import TEAM_ID_PATTERN

NOT_YET: dict[str, Any] = {
    "admins": [],
    "allowed_passthrough_routes": None,
    "allowed_vector_store_indexes": None,
    "access_group_ids": [],
    "default_estimated_output_tokens": None,
    "default_estimated_output_tokens_per_model": None,
    "default_team_member_models": [],
    "denied_passthrough_routes": None,
    "disable_global_guardrails": None,
    "enforced_batch_output_expires_after": None,
    "enforced_file_expires_after": None,
    "guardrails": None,
    "mcp_rpm_limit": None,
    "members": [],
    "members_with_roles": [],
    "model_aliases": None,
    "object_permission": None,
    "organization_id": None,
    "policies": [],
    "prompts": None,
    "require_trace_id": None,
    "router_settings": {},
    "rpm_limit_type": None,
    "secret_manager_settings": None,
    "tags": None,
    "team_member_budget": None,
    "team_member_budget_duration": None,
    "team_member_key_duration": None,
    "team_member_model_max_budget": None,
    "team_member_permissions": [],
    "team_member_rpm_limit": None,
    "team_member_tpm_limit": None,
    "tpm_limit_type": None,
}
"""What clients may send of a team that is not acted on yet, with the value that means nothing."""


_ALIAS = "The name that people give it."


class NewTeamSerializer(LimitedScopeSerializer):
    """POST /team/new."""

    not_yet: ClassVar = NOT_YET
    rules: ClassVar = DURATION_NEEDS_MAXIMUM
    team_id = TextField(
        max_length=128,
        pattern=TEAM_ID_PATTERN,
        help_text="Its id: up to 128 of the characters A-Z a-z 0-9 . _ : @ -; without one a random one.",
    )
    team_alias = TextField(help_text=_ALIAS)


class UpdateTeamSerializer(LimitedScopeSerializer):
    """POST /team/update."""

    not_yet: ClassVar = NOT_YET
    team_id = TextField(required=True, help_text="Which team.")
    team_alias = TextField(help_text=_ALIAS)
