"""How the management API shows a team: one flat row, with the fields that clients of this API read."""

from datetime import datetime

from budgets.answers import Answer, limits_answer, spends_answer
from budgets.usage import Spends
from teams.models import Team

NOTHING: Answer = {
    "organization_id": None,
    "admins": [],
    "members": [],
    "members_with_roles": [],
    "team_member_permissions": [],
    "router_settings": {},
    "access_group_ids": [],
    "default_team_member_models": [],
    "model_id": None,
    "model_spend": {},
    "policies": [],
    "allow_team_guardrail_config": False,
    "litellm_model_table": None,
    "object_permission": None,
    "object_permission_id": None,
}
"""What clients read that means nothing here yet."""


def team_row(team: Team, *, spends: Spends, now: datetime) -> Answer:
    """A team as it is at `now`."""
    return {
        "team_alias": team.team_alias,
        "team_id": team.team_id,
        "metadata": team.metadata,
        "models": team.allowed_models,
        "blocked": team.blocked,
        **limits_answer(team, now=now),
        **spends_answer(spends),
        "updated_at": team.updated_at,
        "created_at": team.created_at,
        **NOTHING,
    }
