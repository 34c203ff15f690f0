"""How the management API shows a key: one flat row, with the fields that clients of this API read."""

from datetime import datetime

from budgets.answers import LIMITS_FIELDS, SPENDS_FIELDS, USAGE_SCHEMA, Answer, limits_answer, spends_answer
from budgets.documents import (
    anything,
    extend,
    flag,
    instant,
    listing,
    mapping,
    names,
    nothing,
    nullable,
    record,
    text,
)
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


KEY_ROW = record(
    "KeyRow",
    {
        "key_name": text("The last four characters of the key."),
        "key_alias": nullable(text("The name that people gave it.")),
        "team_id": nullable(text("The team that it belongs to.")),
        "models": names("The models that it may call; empty for all."),
        "metadata": mapping(anything("Whatever was given."), "Kept as it was given."),
        "blocked": flag("Whether every call is refused."),
        "expires": nullable(instant("When it stops working; null for never.")),
        **LIMITS_FIELDS,
        "budget_limits": nullable(LIMITS_FIELDS["budget_limits"]),
        **SPENDS_FIELDS,
        "status": text("`revoked` is a blocked key.", choices=("active", "revoked", "expired")),
        "created_at": instant("When it was made."),
        "updated_at": instant("When it was last changed."),
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
    d="A key that has just been made.",
)
UPDATED_ANSWER = extend(KEY_ROW, "UpdatedKey", {"key": text("What the request named it by."), **_TOKEN}, d="A key.")
KEY_INFO_ANSWER = record(
    "KeyInfo",
    {
        "key": text("What the request named it by."),
        "info": extend(KEY_ROW, "KeyWithUsage", {"budget_limits_usage": USAGE_SCHEMA}, d="A key and its windows."),
    },
    d="A key, and what is spent of its limits.",
)
DELETED_ANSWER = record(
    "DeletedKeys", {"deleted_keys": names("The keys, as the request named them.")}, d="What is gone."
)
LISTED_KEYS = listing(extend(KEY_ROW, "ListedKey", _TOKEN, d="A key in a list."), "Its newest keys.")


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
