"""How the management API shows a key: one flat row, with the fields that clients of this API read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from budgets.answers import (
    GRANT_SCHEMA,
    LIMITS_FIELDS,
    SPENDS_FIELDS,
    USAGE_SCHEMA,
    Answer,
    amount_of,
    grants_answer,
    limits_answer,
    listed_limits,
    spends_answer,
    usage_answer,
)
from budgets.documents import (
    Schema,
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
    one_of,
    record,
    text,
)
from budgets.grants import TEMPORARY
from budgets.models import Grant
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import KEY
from budgets.services import grants_for, limit_set
from budgets.tier_answers import TIER_ROW, tier_row
from budgets.usage import Spends, spends_of, usage_of
from catalog.model_usage import model_usage
from keys.models import DeletedKey, Key
from keys.profiles import limits_of_key, root_of_key
from keys.serializers import NOTED, REFUSED
from keys.services import CreatedKey

NOTHING: Answer = {
    **REFUSED,
    "policies": [],
    "soft_budget_cooldown": False,
    "model_spend": {},
    "settings_updated_at": None,
    "last_active": None,
    "key_rotation_at": None,
    "litellm_organization_table": None,
    "litellm_project_table": None,
    "object_permission_id": None,
    "jwt_key_mappings": None,
}
"""What clients read that means nothing here."""

STATUSES = ("active", "revoked", "expired", "deleted")
_NOTED_ANSWERS: Answer = {**NOTED, "router_settings": {}}

KEY_ROW = record(
    "KeyRow",
    {
        "id": text("Its id in audits and reports, which stays when everything else changes."),
        "key_name": text("The last four characters of the key."),
        "key_alias": nullable(text("The name that people gave it.")),
        "team_id": nullable(text("The team that it belongs to.")),
        "user_id": nullable(text("The user whom it belongs to.")),
        "models": names("The models that it may call; empty for all."),
        "aliases": mapping(text("The model that is meant."), "Names of models that its callers use."),
        "allowed_routes": names("What it may call; empty for everything."),
        "key_type": text(
            "The short word for `allowed_routes`.", choices=["default", "llm_api", "management", "read_only"]
        ),
        "tags": nullable(names("Tags of all its calls.")),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        "blocked": flag("Whether every call is refused."),
        "expires": nullable(instant("When it stops working; null for never.")),
        **LIMITS_FIELDS,
        "budget_limits": nullable(LIMITS_FIELDS["budget_limits"]),
        "litellm_budget_table": nullable(TIER_ROW),
        "temp_budget_increase": nullable(number("Added to its USD limits until `temp_budget_expiry`.", minimum=0)),
        "temp_budget_expiry": nullable(instant("Until when `temp_budget_increase` holds.")),
        **SPENDS_FIELDS,
        "status": text("`revoked` is a blocked key.", choices=STATUSES),
        "rotation_count": integer("How often it was rotated.", minimum=0),
        "last_rotation_at": nullable(instant("When it was last rotated.")),
        "previous_key_until": nullable(instant("Until when the text before the last rotation works too.")),
        "created_at": instant("When it was made."),
        "created_by": nullable(text("Who made it.")),
        "updated_at": instant("When it was last changed."),
        "updated_by": nullable(text("Who last changed it.")),
        **{name: anything("Kept as it was given; does nothing here.") for name in NOTED},
        **nothing(NOTHING),
    },
    d="A key.",
)
_TOKEN = {"token": text("The hash of the key, which names it like the key itself.")}
GENERATED_ANSWER = extend(
    KEY_ROW,
    "GeneratedKey",
    {
        "key": text("The key; it is shown here only."),
        **_TOKEN,
        "token_id": _TOKEN["token"],
        **nothing({"duration": None}),
    },
    d="A key that has just been made, or has just got another text.",
)
TOKEN_ANSWER = extend(KEY_ROW, "KeyWithToken", _TOKEN, d="A key.")
UPDATED_ANSWER = extend(KEY_ROW, "UpdatedKey", {"key": text("What the request named it by."), **_TOKEN}, d="A key.")
_GRANTS = {"grants": listing(GRANT_SCHEMA, "What raises its limits for a time.")}
_DELETION: dict[str, Schema] = {
    "deleted_at": nullable(instant("When it was deleted.")),
    "deleted_by": nullable(text("Who deleted it.")),
}
KEY_WITH_USAGE = extend(
    KEY_ROW,
    "KeyWithUsage",
    {
        "budget_limits_usage": USAGE_SCHEMA,
        "model_max_budget_usage": mapping(USAGE_SCHEMA, "The windows of each model that has limits."),
        **_GRANTS,
        **_DELETION,
    },
    required=["budget_limits_usage", "model_max_budget_usage", "grants"],
    d="A key and its windows; of a deleted one its last state.",
)
KEY_INFO_ANSWER = record(
    "KeyInfo",
    {"key": text("What the request named it by, or the hash of the calling key."), "info": KEY_WITH_USAGE},
    d="A key, and what is spent of its limits.",
)
KEYS_INFO_ANSWER = record(
    "KeysInfo",
    {
        "key": names("What the request named."),
        "info": listing(TOKEN_ANSWER, "Those of them that exist, in order."),
    },
    d="Several keys.",
)
DELETED_ANSWER = record(
    "DeletedKeys", {"deleted_keys": names("The keys, as the request named them.")}, d="What is gone."
)
LISTED_KEYS = listing(extend(KEY_ROW, "ListedKey", _TOKEN, d="A key in a list."), "Its newest keys.")
FULL_KEY = extend(
    TOKEN_ANSWER,
    "FullKey",
    {
        "team_alias": nullable(text("What people call its team.")),
        "user_email": nullable(text("Its user's address.")),
        "user": anything("With `expand=user` the user: `user_id`, `user_email`, `user_alias`; else not there."),
        **_DELETION,
    },
    required=["team_alias", "user_email"],
    d="A key in a list.",
)
KEY_LIST_ANSWER = record(
    "KeyList",
    {
        "keys": listing(one_of(text("Its hash."), FULL_KEY, d="A hash or a key."), "The keys of this page."),
        "total_count": integer("How many there are; a million stands for more, too.", minimum=0),
        "current_page": integer("This page.", minimum=1),
        "total_pages": integer("How many pages there are.", minimum=0),
    },
    d="A page of keys.",
)
KEY_ALIASES_ANSWER = record(
    "KeyAliases",
    {
        "aliases": names("The aliases of this page."),
        "total_count": integer("How many there are; a million stands for more, too.", minimum=0),
        "current_page": integer("This page.", minimum=1),
        "total_pages": integer("How many pages there are.", minimum=0),
        "size": integer("How many a page has.", minimum=1),
    },
    d="A page of aliases.",
)
BULK_ANSWER = record(
    "BulkUpdated",
    {
        "total_requested": integer("How many keys were to be changed.", minimum=0),
        "successful_updates": listing(
            record(
                "BulkSuccess",
                {"key": text("What the request named it by."), "key_info": TOKEN_ANSWER},
                d="A key that was changed.",
            ),
            "The keys that were changed.",
        ),
        "failed_updates": listing(
            record(
                "BulkFailure",
                {
                    "key": text("What the request named it by."),
                    "failed_reason": text("What is wrong."),
                    **nothing({"key_info": None}),
                },
                d="A key that was not changed.",
            ),
            "The keys that were not changed.",
        ),
    },
    d="What became of each key.",
)
HEALTH_ANSWER = record(
    "KeyHealth",
    {
        "key": text("`healthy`: it may be used.", choices=("healthy", "unhealthy")),
        **nothing({"logging_callbacks": None}),
    },
    d="Whether the calling key works.",
)


@dataclass(frozen=True, slots=True)
class Beside:
    """What a row says that is not in the key: what it has spent, and the grants, of other scopes too."""

    spends: Spends
    grants: Sequence[Grant] = ()


def key_row(key: Key, *, beside: Beside, now: datetime) -> Answer:
    """A key as it is at `now`; its tier must have been read with it."""
    limits = limits_answer(key, now=now)
    in_grace = key.previous_until is not None and key.previous_until > now
    return {
        "id": str(key.id),
        "key_name": key.key_name,
        "key_alias": key.key_alias,
        "team_id": key.team_id,
        "user_id": key.user_id,
        "models": key.allowed_models,
        "aliases": key.model_aliases,
        "allowed_routes": key.allowed_routes,
        "key_type": key.key_type,
        "tags": key.tags or None,
        "metadata": key.metadata,
        "blocked": key.blocked,
        "expires": key.expires_at,
        **limits,
        "budget_limits": limits["budget_limits"] or None,
        "litellm_budget_table": None if key.budget is None else tier_row(key.budget, now=now),
        **_temporary(key, beside.grants, now=now),
        **spends_answer(beside.spends),
        "status": status_of(key, now=now),
        "rotation_count": key.rotation_count,
        "last_rotation_at": key.rotated_at,
        "previous_key_until": key.previous_until if in_grace else None,
        "created_at": key.created_at,
        "created_by": key.created_by or None,
        "updated_at": key.updated_at,
        "updated_by": key.updated_by or None,
        **_NOTED_ANSWERS,
        **key.noted,
        **NOTHING,
    }


def _temporary(key: Key, grants: Sequence[Grant], *, now: datetime) -> Answer:
    scope_id = str(key.id)
    for grant in grants:
        if (grant.scope_kind, grant.scope_id, grant.name) == (KEY, scope_id, TEMPORARY) and grant.ends_at > now:
            amount = amount_of(grant.amount, unit=LimitUnit.USD)
            return {"temp_budget_increase": amount, "temp_budget_expiry": grant.ends_at}
    return {"temp_budget_increase": None, "temp_budget_expiry": None}


def status_of(key: Key, *, now: datetime) -> str:
    """`active`, `revoked` (blocked) or `expired`."""
    if key.blocked:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def key_rows(keys: Sequence[Key], *, now: datetime) -> list[Answer]:
    """The rows of several keys, with what they have spent: two statements, whatever their number."""
    if not keys:
        return []
    grants = grants_for({(KEY, str(key.id)) for key in keys}, now=now)
    of_key: dict[str, list[Grant]] = {}
    for grant in grants:
        of_key.setdefault(grant.scope_id, []).append(grant)
    spends = spends_of([(limits_of_key(key).scope, limit_set(key)) for key in keys], now=now)
    return [
        key_row(key, beside=Beside(spent, of_key.get(str(key.id), ())), now=now)
        for key, spent in zip(keys, spends, strict=True)
    ]


def generated_answer(created: CreatedKey, *, row: Mapping[str, Any]) -> Answer:
    """The only answer that has the key's text."""
    token_hash = created.key.token_hash
    return {"key": created.text, "token": token_hash, "token_id": token_hash, "duration": None, **row}


def token_answer(key: Key, *, now: datetime) -> Answer:
    """One key with its hash."""
    return {"token": key.token_hash, **key_rows([key], now=now)[0]}


def info_of(key: Key, *, now: datetime) -> Answer:
    """One key with its windows and grants."""
    grants = grants_for({(KEY, str(key.id))}, now=now)
    limits = limits_of_key(key, grants=grants)
    [spends] = spends_of([(limits.scope, limit_set(key))], now=now)
    usage = usage_of(listed_limits(key, limits, tier=key.budget), root=root_of_key(key), now=now)
    return {
        **key_row(key, beside=Beside(spends, grants), now=now),
        "budget_limits_usage": usage_answer(usage),
        "model_max_budget_usage": model_usage(limits, root=root_of_key(key), now=now, aliases=key.model_aliases),
        "grants": grants_answer(grants, kind=KEY, scope_id=str(key.id)),
    }


def deleted_row(deleted: DeletedKey) -> Answer:
    """The last answer of a key, and who deleted it."""
    gone = {"status": "deleted", "deleted_at": deleted.deleted_at, "deleted_by": deleted.deleted_by}
    return {**deleted.row, **gone}
