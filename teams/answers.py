"""How the management API shows teams and memberships, with the fields that clients of this API read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from budgets.answers import (
    LIMITS_FIELDS,
    SPENDS_FIELDS,
    USAGE_SCHEMA,
    Answer,
    amount_of,
    limits_answer,
    spends_answer,
)
from budgets.documents import (
    anything,
    extend,
    flag,
    instant,
    integer,
    listing,
    mapping,
    names,
    nothing,
    nullable,
    number,
    record,
    text,
)
from budgets.models import Budget, Limits
from budgets.rules.limits import LimitUnit
from budgets.usage import Spends
from catalog.model_usage import model_usage
from teams.models import Member, Team
from teams.scopes import limits_of_team
from teams.serializers import NOTED
from teams.services import MEMBER_PERMISSIONS
from teams.usage import Shown, increase_of

NOTHING: Answer = {
    "access_group_ids": [],
    "model_id": None,
    "model_spend": {},
    "policies": [],
    "allow_team_guardrail_config": False,
    "object_permission": None,
    "object_permission_id": None,
}
"""What clients read that means nothing here."""
ROLES = ("admin", "user")

NOTED_FIELDS = {name: anything("Kept as it was given; changes nothing here.") for name in NOTED}
MEMBER_ROLE = record(
    "MemberRole",
    {
        "user_id": text("The user's id."),
        "user_email": nullable(text("The user's address.")),
        "user_alias": nullable(text("The user's name.")),
        "role": text("What the user is in the team.", choices=ROLES),
    },
    d="Who is in a team, and as what.",
)
MODEL_TABLE = nullable(
    record(
        "ModelTable",
        {
            "id": nullable(integer("Always null.")),
            "model_aliases": anything("Other names of models."),
            "created_by": text("Who made the team."),
            "updated_by": text("Who made the team."),
            "team": anything("Always null."),
        },
        d="The same as `model_aliases`, where clients look for it.",
    )
)
TEAM_ROW = record(
    "TeamRow",
    {
        "team_alias": nullable(text("The name that people gave it.")),
        "team_id": text("Its id."),
        "admins": names("The ids of its admins."),
        "members": names("The ids of all its members."),
        "members_with_roles": listing(MEMBER_ROLE, "Its members, first come first."),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        "models": names("The models that its keys may call; empty for all."),
        "model_aliases": mapping(text("The route."), "Other names of models."),
        "litellm_model_table": MODEL_TABLE,
        "tags": names("Tags that every call of its keys has."),
        "blocked": flag("Whether every call of its keys is refused."),
        "is_available": flag("Whether every user may join it."),
        "default_team_member_models": names("What members may call who have no models of their own; empty for all."),
        "team_member_permissions": names("The addresses that its members may use for its keys."),
        "team_member_key_duration": nullable(text("How long keys that members make live at most.")),
        "team_member_budget": nullable(number("`max_budget` of members that have no limits of their own.", minimum=0)),
        "team_member_budget_duration": nullable(text("The period of `team_member_budget`.")),
        "team_member_budget_limits": LIMITS_FIELDS["budget_limits"],
        "team_member_rpm_limit": nullable(integer("`rpm_limit` of such members.", minimum=0)),
        "team_member_tpm_limit": nullable(integer("`tpm_limit` of such members.", minimum=0)),
        "team_member_model_max_budget": LIMITS_FIELDS["model_max_budget"],
        **LIMITS_FIELDS,
        **SPENDS_FIELDS,
        "updated_at": instant("When it was last changed."),
        "created_at": instant("When it was made."),
        **NOTED_FIELDS,
        **nothing(NOTHING),
    },
    d="A team.",
)
UPDATED_ANSWER = record("UpdatedTeam", {"team_id": text("Its id."), "data": TEAM_ROW}, d="A team, changed.")
BUDGET_TABLE = nullable(
    record(
        "BudgetTable",
        {
            "budget_id": nullable(text("The tier; null for limits of one's own.")),
            **{name: LIMITS_FIELDS[name] for name in LIMITS_FIELDS if name not in ("budget_id", "week_start")},
            "allowed_models": names("The models that may be called."),
        },
        d="Limits as clients know them: those of one's own, else those of the tier.",
    )
)
_USAGE = {"budget_limits_usage": USAGE_SCHEMA}
TEAM_WITH_USAGE = extend(
    TEAM_ROW,
    "TeamWithUsage",
    {
        **_USAGE,
        "team_member_budget_table": BUDGET_TABLE,
        "caller_edit_access": anything("What the caller may change: `unrestricted`, `team_admin` or `none` as `kind`."),
        "model_max_budget_usage": mapping(USAGE_SCHEMA, "The windows of each model that has limits."),
    },
    d="A team and its windows.",
)
MEMBERSHIP = record(
    "Membership",
    {
        "user_id": text("The user's id."),
        "team_id": text("The team's id."),
        "user_email": nullable(text("The user's address.")),
        "role": text("What the user is in the team.", choices=ROLES),
        **LIMITS_FIELDS,
        "budget_id": nullable(text("The tier: the member's own, else the team's for members.")),
        "max_budget_in_team": LIMITS_FIELDS["max_budget"],
        "allowed_models": names("The models that the member may call; empty for the team's."),
        "budget_source": text("Where its limits come from.", choices=("team_default", "custom", "none")),
        "litellm_budget_table": BUDGET_TABLE,
        "temp_budget_increase": nullable(number("What its USD limits have more now.", minimum=0)),
        "temp_budget_expiry": nullable(instant("When that ends.")),
        **SPENDS_FIELDS,
        **_USAGE,
        "created_at": instant("When the user joined."),
    },
    d="A user in a team, with the limits that hold there.",
)
UPDATED_USER = record(
    "AddedUser",
    {
        "user_id": text("The user's id."),
        "user_email": nullable(text("The user's address.")),
        "user_alias": nullable(text("The user's name.")),
        "user_role": text("What the user may do here."),
        "teams": names("The team that was joined."),
    },
    d="A user who joined.",
)
ADDED_ANSWER = extend(
    TEAM_ROW,
    "TeamWithAddedMembers",
    {
        "updated_users": listing(UPDATED_USER, "Who joined."),
        "updated_team_memberships": listing(MEMBERSHIP, "Their memberships."),
    },
    d="A team and who joined it.",
)
BULK_ADDED_ANSWER = record(
    "BulkAddedMembers",
    {
        "team_id": text("The team."),
        "results": listing(
            record(
                "BulkAddedMember",
                {
                    "user_id": nullable(text("The user's id.")),
                    "user_email": nullable(text("The user's address.")),
                    "success": flag("Whether the user joined."),
                    "error": nullable(text("Why not.")),
                    "updated_user": nullable(UPDATED_USER),
                    "updated_team_membership": nullable(MEMBERSHIP),
                },
                d="What became of one of them.",
            ),
            "One result for each.",
        ),
        "total_requested": integer("How many were to be added."),
        "successful_additions": integer("How many joined."),
        "failed_additions": integer("How many did not."),
        "updated_team": nullable(TEAM_ROW),
    },
    d="Who joined a team, and who did not.",
)
UPDATED_MEMBER_ANSWER = record(
    "UpdatedMember",
    {
        "user_id": text("The user's id."),
        "user_email": nullable(text("The user's address.")),
        "team_id": text("The team's id."),
        "role": text("What the user is in the team.", choices=ROLES),
        "max_budget_in_team": LIMITS_FIELDS["max_budget"],
        **{
            name: LIMITS_FIELDS[name]
            for name in ("tpm_limit", "rpm_limit", "budget_duration", "budget_limits", "model_max_budget", "budget_id")
        },
        "allowed_models": names("The models that the member may call; empty for the team's."),
        "temp_budget_increase": nullable(number("What its USD limits have more now.", minimum=0)),
        "temp_budget_expiry": nullable(instant("When that ends.")),
    },
    d="A membership, changed.",
)
RESET_ANSWER = record(
    "ResetMember",
    {
        "team_id": text("The team's id."),
        "user_id": text("The user's id."),
        "budget_id": nullable(text("The team's tier for members, which holds now.")),
        "previous_budget_id": nullable(text("The tier that the member had of its own.")),
        "budget_source": text("Where its limits come from now.", choices=("team_default", "custom", "none")),
    },
    d="A membership that has its team's limits.",
)
AVAILABLE_ANSWER = listing(
    record(
        "AvailableTeam",
        {
            "team_id": text("Its id."),
            "team_alias": nullable(text("The name that people gave it.")),
            "models": names("The models that its keys may call; empty for all."),
            "members_count": integer("How many members it has.", minimum=0),
        },
        d="A team that the caller may join.",
    ),
    "Teams that the caller may join.",
)
PERMISSIONS_ANSWER = record(
    "PermissionsOfTeam",
    {
        "team_id": text("Its id."),
        "team_member_permissions": names("The addresses that its members may use for its keys."),
        "all_available_permissions": names("What may be given."),
    },
    d="What members may do with the keys of their team.",
)


def team_row(team: Team, *, spends: Spends, members: Sequence[Member], now: datetime) -> Answer:
    """A team as it is at `now`, with its members and their users."""
    aliases = team.model_aliases
    table = {"id": None, "model_aliases": aliases, "created_by": team.created_by, "updated_by": team.created_by}
    return {
        "team_alias": team.team_alias,
        "team_id": team.team_id,
        "admins": [member.user_id for member in members if member.role == Member.Role.ADMIN],
        "members": [member.user_id for member in members],
        "members_with_roles": [_role(member) for member in members],
        "metadata": team.metadata,
        "models": team.allowed_models,
        "model_aliases": aliases,
        "litellm_model_table": {**table, "team": None} if aliases else None,
        "tags": team.tags,
        "blocked": team.blocked,
        "is_available": team.is_available,
        "default_team_member_models": team.default_member_models,
        "team_member_permissions": team.member_permissions,
        "team_member_key_duration": team.member_key_duration,
        **_tier_fields(team.member_budget, now=now),
        **limits_answer(team, now=now),
        **spends_answer(spends),
        "updated_at": team.updated_at,
        "created_at": team.created_at,
        **NOTED,
        **team.noted,
        **NOTHING,
    }


def _role(member: Member) -> Answer:
    user = member.user
    return {
        "user_id": user.username,
        "user_email": user.email or None,
        "user_alias": user.user_alias,
        "role": str(member.role),
    }


def _tier_fields(tier: Budget | None, *, now: datetime) -> Answer:
    limits: dict[str, Any] = {} if tier is None else limits_answer(tier, now=now)
    return {
        "team_member_budget": limits.get("max_budget"),
        "team_member_budget_duration": limits.get("budget_duration"),
        "team_member_budget_limits": limits.get("budget_limits", []),
        "team_member_rpm_limit": limits.get("rpm_limit"),
        "team_member_tpm_limit": limits.get("tpm_limit"),
        "team_member_model_max_budget": limits.get("model_max_budget", {}),
    }


def team_with_usage(team: Team, *, shown: Shown, members: Sequence[Member], access: str, now: datetime) -> Answer:
    """A team with its windows; `access` says what the caller may change of it."""
    return {
        **team_row(team, spends=shown.spends, members=members, now=now),
        "budget_limits_usage": shown.windows,
        "model_max_budget_usage": model_usage(
            limits_of_team(team), root=f"team:{team.team_id}", now=now, aliases=team.model_aliases
        ),
        "team_member_budget_table": _table(team.member_budget, models=[], now=now),
        "caller_edit_access": {"kind": access},
    }


def _table(limits: Limits | None, *, models: list[str], now: datetime) -> Answer | None:
    if limits is None:
        return None
    answer = limits_answer(limits, now=now)
    del answer["week_start"]
    return {**answer, "budget_id": limits.pk if isinstance(limits, Budget) else None, "allowed_models": models}


def has_own_limits(member: Member) -> bool:
    """Whether a membership has limits or a tier of its own."""
    return bool(member.counted_since)


def budget_source(member: Member) -> str:
    """`custom` where the membership has limits of its own, `team_default` where the team's tier holds."""
    if has_own_limits(member):
        return "custom"
    return "team_default" if member.team.member_budget_id is not None else "none"


def membership_row(member: Member, *, shown: Shown, now: datetime) -> Answer:
    """A membership with its windows."""
    own = has_own_limits(member)
    tier = member.budget if member.budget is not None else member.team.member_budget
    limits = limits_answer(member, now=now)
    table = member if own and member.budget is None else tier
    return {
        "user_id": member.user_id,
        "team_id": member.team_id,
        "user_email": member.user.email or None,
        "role": str(member.role),
        **limits,
        "budget_id": None if tier is None else tier.budget_id,
        "max_budget_in_team": limits["max_budget"],
        "allowed_models": member.allowed_models,
        "budget_source": budget_source(member),
        "litellm_budget_table": _table(table, models=member.allowed_models, now=now),
        **_increase(shown, now=now),
        **spends_answer(shown.spends),
        "budget_limits_usage": shown.windows,
        "created_at": member.created_at,
    }


def _increase(shown: Shown, *, now: datetime) -> Answer:
    amount, ends_at = increase_of(shown, now=now)
    return {"temp_budget_increase": amount_of(amount, unit=LimitUnit.USD), "temp_budget_expiry": ends_at}


def updated_member_answer(member: Member, *, shown: Shown, now: datetime) -> Answer:
    """What /team/member_update answers."""
    row = membership_row(member, shown=shown, now=now)
    properties = ("tpm_limit", "rpm_limit", "budget_duration", "budget_limits", "model_max_budget", "budget_id")
    return {
        **{name: row[name] for name in ("user_id", "user_email", "team_id", "role", "max_budget_in_team")},
        **{name: row[name] for name in properties},
        **{name: row[name] for name in ("allowed_models", "temp_budget_increase", "temp_budget_expiry")},
    }


def updated_user(member: Member) -> Answer:
    """Who joined, in a few words."""
    user = member.user
    return {
        "user_id": user.username,
        "user_email": user.email or None,
        "user_alias": user.user_alias,
        "user_role": user.role,
        "teams": [member.team_id],
    }


def permissions_answer(team: Team) -> Answer:
    """What members may do, and what they could be given."""
    return {
        "team_id": team.team_id,
        "team_member_permissions": team.member_permissions,
        "all_available_permissions": list(MEMBER_PERMISSIONS),
    }
