"""How the management API shows teams and users with their keys, and what it says of deletions."""

from budgets.answers import Answer
from budgets.documents import (
    anything,
    extend,
    instant,
    integer,
    listing,
    names,
    nothing,
    nullable,
    record,
    text,
)
from keys.answers import LISTED_KEYS
from teams.answers import MEMBER_ROLE, MEMBERSHIP, TEAM_ROW, TEAM_WITH_USAGE
from teams.user_answers import USER_ROW, USER_WITH_USAGE

_HASHES = names("The hashes of the keys that were deleted with it.")
_MEMBERSHIPS = listing(MEMBERSHIP, "Its members with their limits and spends.")
TEAM_INFO_ANSWER = record(
    "TeamInfo",
    {
        "team_id": text("Its id."),
        "team_info": TEAM_WITH_USAGE,
        "keys": LISTED_KEYS,
        "team_memberships": _MEMBERSHIPS,
    },
    d="A team with its keys and members.",
)
TEAM_LIST_ANSWER = listing(
    extend(TEAM_ROW, "TeamWithKeys", {"keys": LISTED_KEYS, "team_memberships": _MEMBERSHIPS}, d="A team in a list."),
    "The teams that the caller sees.",
)
_PAGE = {
    "total": integer("How many there are in all."),
    "page": integer("Which page this is."),
    "page_size": integer("How many a page has."),
    "total_pages": integer("How many pages there are."),
}
TEAM_PAGE_ANSWER = record(
    "TeamPage",
    {
        "teams": listing(
            extend(
                TEAM_ROW,
                "CountedTeam",
                {
                    "members_count": integer("How many members it has."),
                    "keys_count": integer("How many keys it has."),
                    "caller_membership": nullable(MEMBER_ROLE),
                },
                d="A team in a page.",
            ),
            "The teams of this page.",
        ),
        **_PAGE,
    },
    d="One page of the teams that the caller sees.",
)
DELETED_TEAMS_ANSWER = record(
    "DeletedTeams", {"deleted_teams": names("The teams."), "deleted_keys": _HASHES}, d="What is gone."
)
REMOVED_MEMBER_ANSWER = extend(
    TEAM_ROW, "TeamWithoutMember", {"deleted_keys": _HASHES}, d="A team that somebody was taken out of."
)
DELETED_USERS_ANSWER = record(
    "DeletedUsers",
    {"deleted_users": integer("How many."), "deleted_user_ids": names("Who."), "deleted_keys": _HASHES},
    d="What is gone.",
)

NEW_USER_NOTHING: Answer = {
    "permissions": {},
    "budget_fallbacks": {},
    "mcp_rpm_limit": None,
    "tag_rpm_limit": None,
    "guardrails": None,
    "aliases": {},
    "default_estimated_output_tokens": None,
    "default_estimated_output_tokens_per_model": None,
    "end_user_budget_id": None,
    "tags": None,
    "disable_global_guardrails": None,
    "enable_prompt_caching": None,
    "throttle_on_budget_exceeded": None,
    "enforced_params": None,
    "allowed_routes": [],
    "allowed_passthrough_routes": None,
    "denied_passthrough_routes": None,
    "allowed_vector_store_indexes": None,
    "rpm_limit_type": None,
    "tpm_limit_type": None,
    "access_group_ids": [],
    "litellm_budget_table": None,
    "duration": None,
}
NEW_USER_ANSWER = extend(
    USER_ROW,
    "CreatedUser",
    {
        "key": text("The key, which is shown here only; empty where none was made."),
        "key_alias": nullable(text("The key's name.")),
        "key_name": nullable(text("The last four characters of the key.")),
        "key_type": nullable(text("What the key may be used for.")),
        "token": nullable(text("The key's hash.")),
        "token_id": nullable(text("The same.")),
        "expires": nullable(instant("When the key stops working; null for never.")),
        "updated_by": nullable(text("Who made the user.")),
        **nothing(NEW_USER_NOTHING),
    },
    d="A user who has just been made, with the key where there is one.",
)
USER_INFO_ANSWER = record(
    "UserInfo",
    {
        "user_id": nullable(text("The user's id; null where the caller is no user.")),
        "user_info": nullable(USER_WITH_USAGE),
        "keys": LISTED_KEYS,
        "teams": listing(TEAM_ROW, "The teams that the user is in."),
        "admin_mcp_permissions": anything("Means nothing here: always null."),
    },
    d="A user with keys and teams.",
)
USER_PAGE_ANSWER = record(
    "UserPage",
    {
        "users": listing(
            extend(USER_ROW, "CountedUser", {"key_count": integer("How many keys the user has.")}, d="A user."),
            "The users of this page.",
        ),
        **_PAGE,
    },
    d="One page of the users that the caller sees.",
)
