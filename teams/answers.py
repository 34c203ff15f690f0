"""How the management API shows a team: one flat row, with the fields that clients of this API read."""

from datetime import datetime

from budgets.answers import LIMITS_FIELDS, SPENDS_FIELDS, USAGE_SCHEMA, Answer, limits_answer, spends_answer
from budgets.documents import anything, extend, flag, instant, mapping, names, nothing, nullable, record, text
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


TEAM_ROW = record(
    "TeamRow",
    {
        "team_alias": nullable(text("The name that people gave it.")),
        "team_id": text("Its id."),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        "models": names("The models that its keys may call; empty for all."),
        "blocked": flag("Whether every call of its keys is refused."),
        **LIMITS_FIELDS,
        **SPENDS_FIELDS,
        "updated_at": instant("When it was last changed."),
        "created_at": instant("When it was made."),
        **nothing(NOTHING),
    },
    d="A team.",
)
UPDATED_ANSWER = record("UpdatedTeam", {"team_id": text("Its id."), "data": TEAM_ROW}, d="A team, changed.")
TEAM_WITH_USAGE = extend(TEAM_ROW, "TeamWithUsage", {"budget_limits_usage": USAGE_SCHEMA}, d="A team and its windows.")


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
