"""How the management API shows a key: one flat row, with the fields that clients of this API read."""

from datetime import datetime

from budgets.answers import Answer, limits_answer, spends_answer
from budgets.usage import Spends
from keys.models import Key
from keys.serializers import NOT_YET
from keys.services import CreatedKey

NOTHING: Answer = {
    **{name: value for name, value in NOT_YET.items() if name != "spend"},
    "policies": [],
    "router_settings": {},
    "key_type": "default",
    "soft_budget_cooldown": False,
    "model_spend": {},
    "created_by": None,
    "updated_by": None,
    "settings_updated_at": None,
    "last_active": None,
    "rotation_count": 0,
    "last_rotation_at": None,
    "key_rotation_at": None,
    "litellm_budget_table": None,
    "litellm_organization_table": None,
    "litellm_project_table": None,
    "object_permission_id": None,
    "jwt_key_mappings": None,
}
"""What clients read that means nothing here yet."""


def key_row(key: Key, *, spends: Spends, now: datetime) -> Answer:
    """A key as it is at `now`."""
    limits = limits_answer(key, now=now)
    return {
        "key_name": key.key_name,
        "key_alias": key.key_alias,
        "team_id": key.team_id,
        "models": key.allowed_models,
        "metadata": key.metadata,
        "blocked": key.blocked,
        "expires": key.expires_at,
        **limits,
        "budget_limits": limits["budget_limits"] or None,
        **spends_answer(spends),
        "status": status_of(key, now=now),
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        **NOTHING,
    }


def status_of(key: Key, *, now: datetime) -> str:
    """`active`, `revoked` (blocked) or `expired`."""
    if key.blocked:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def generated_answer(created: CreatedKey, *, now: datetime) -> Answer:
    """The only answer that has the key's text; a key that has just been made has spent nothing."""
    key = created.key
    token = {"key": created.text, "token": key.token_hash, "token_id": key.token_hash, "duration": None}
    return {**token, **key_row(key, spends=Spends(0, 0), now=now)}
