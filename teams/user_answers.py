"""How the management API shows users. A password never stands in an answer."""

from collections.abc import Sequence
from datetime import datetime

from budgets.answers import LIMITS_FIELDS, SPENDS_FIELDS, USAGE_SCHEMA, Answer, limits_answer, spends_answer
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
    record,
    text,
)
from budgets.usage import Spends
from teams.models import User
from teams.usage import Shown
from teams.user_serializers import NOTED, ROLES

NOTHING: Answer = {
    "team_id": None,
    "object_permission_id": None,
    "object_permission": None,
    "allowed_cache_controls": [],
    "policies": [],
    "model_spend": {},
}
"""What clients read that means nothing here."""

ROLE_TEXTS = {
    "proxy_admin": ("Admin (All Permissions)", "sees and manages everything"),
    "proxy_admin_viewer": ("Admin (View Only)", "sees everything, changes nothing"),
    "internal_user": ("Internal User", "sees, makes and deletes their own keys, sees their own spend"),
    "internal_user_viewer": ("Internal Viewer", "sees their own keys and spend"),
}
ROLES_ANSWER = mapping(
    record(
        "RoleText",
        {"ui_label": text("What pages call it."), "description": text("What it may do.")},
        d="A role.",
    ),
    "The roles by name.",
)
USER_ROW = record(
    "UserRow",
    {
        "user_id": text("The user's id."),
        "user_alias": nullable(text("The name that people gave the user.")),
        "user_email": nullable(text("The user's address.")),
        "user_role": text("What the user may do here.", choices=ROLES),
        "sso_user_id": nullable(text("The user's id at the identity provider.")),
        "teams": names("The teams that the user is in."),
        "models": names("The models that the user's keys may call; empty for all."),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        "blocked": flag("Whether the user's keys are refused."),
        **LIMITS_FIELDS,
        **SPENDS_FIELDS,
        "created_by": nullable(text("Who made the user.")),
        "created_at": instant("When the user was made."),
        "updated_at": instant("When the user was last changed."),
        **{name: anything("Kept as it was given; changes nothing here.") for name in NOTED},
        **nothing(NOTHING),
    },
    d="A user.",
)
USER_WITH_USAGE = extend(USER_ROW, "UserWithUsage", {"budget_limits_usage": USAGE_SCHEMA}, d="A user and the windows.")
UPDATED_ANSWER = record("UpdatedUser", {"user_id": text("The user's id."), "data": USER_ROW}, d="A user, changed.")
BULK_UPDATED_ANSWER = record(
    "BulkUpdatedUsers",
    {
        "results": listing(
            record(
                "BulkUpdatedUser",
                {
                    "user_id": nullable(text("The user's id.")),
                    "user_email": nullable(text("The user's address.")),
                    "success": flag("Whether the user was changed."),
                    "error": nullable(text("Why not.")),
                    "updated_user": nullable(USER_ROW),
                },
                d="What became of one of them.",
            ),
            "One result for each.",
        ),
        "total_requested": integer("How many were to be changed."),
        "successful_updates": integer("How many were changed."),
        "failed_updates": integer("How many were not."),
    },
    d="Which users were changed, and which were not.",
)
PASSWORD_ANSWER = record(
    "ChangedPassword", {"user_id": text("The user's id."), "message": text("That it was done.")}, d="It was done."
)


def user_row(user: User, *, spends: Spends, teams: Sequence[str], now: datetime) -> Answer:
    """A user as of `now`, with the ids of the teams."""
    return {
        "user_id": user.username,
        "user_alias": user.user_alias,
        "user_email": user.email or None,
        "user_role": str(user.role),
        "sso_user_id": user.sso_user_id,
        "teams": list(teams),
        "models": user.allowed_models,
        "metadata": user.metadata,
        "blocked": not user.is_active,
        **limits_answer(user, now=now),
        **spends_answer(spends),
        "created_by": user.created_by or None,
        "created_at": user.date_joined,
        "updated_at": user.updated_at,
        **NOTED,
        **user.noted,
        **NOTHING,
    }


def user_with_usage(user: User, *, shown: Shown, teams: Sequence[str], now: datetime) -> Answer:
    """A user with the windows of the limits."""
    row = user_row(user, spends=shown.spends, teams=teams, now=now)
    return {**row, "budget_limits_usage": shown.windows}
