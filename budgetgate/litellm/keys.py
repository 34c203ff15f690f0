"""Rows of virtual keys as the keys that shall be there for them. Pure; a key's text is known to nobody.

LiteLLM stores of a key what is stored here too, the SHA-256 of its text, so that clients keep their keys.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from budgetgate.litellm.fields import kept_metadata, models_of, note_unenforced, noted_fields
from budgetgate.litellm.planned import (
    USER_ID_RULE,
    Planned,
    born,
    increase_of,
    is_user_id,
    refused,
    spent_of,
    with_budget,
)
from budgetgate.litellm.values import Notes, Row, decoded, instant, mapping, names, text, texts_by_name
from keys.parsing import hash_key

DASHBOARD_TEAM = "litellm-dashboard"
"""The keys of this team are sessions of LiteLLM's own pages."""

MODELS_OF_TEAM = "all-team-models"
KEY_TYPES = ("default", "llm_api", "management", "read_only")
_INCREASE = {"temp_budget_increase", "temp_budget_expiry"}
_HASH = re.compile(r"[0-9a-f]{64}")
_NOTED = (
    "agent_id",
    "allowed_cache_controls",
    "auto_rotate",
    "config",
    "organization_id",
    "permissions",
    "project_id",
    "rotation_interval",
    "router_settings",
)


def key(row: Row, *, teams: Collection[str], now: datetime) -> Planned:
    """A key. `teams` are those that exist here."""
    notes = Notes()
    token = row["token"]
    if not isinstance(token, str) or not token:
        return refused("a key", "token: there is none")
    is_hash = _HASH.fullmatch(token) is not None
    if not is_hash:
        notes.add("token", "(not shown)", "its SHA-256 instead: it is no hash but the key itself")
    metadata = mapping(row, "metadata", notes=notes)
    limited = with_budget(row, notes=notes, metadata=metadata)
    note_unenforced(row, metadata, notes=notes)
    increase = increase_of(metadata, limited, now=now, notes=notes)
    alias = text(row, "key_alias", limit=255, notes=notes)
    token_hash = token if is_hash else hash_key(token)
    return Planned(
        token_hash,
        f"{alias or row.get('key_name') or 'sk-...'} ({token_hash[:8]})",
        {
            "key_alias": alias,
            **_owners(row, teams=teams, notes=notes),
            **_may(row, notes=notes),
            "tags": names(metadata, "tags", notes=notes),
            "metadata": {name: value for name, value in kept_metadata(metadata).items() if name not in _INCREASE},
            "noted": noted_fields(row, *_NOTED),
            "expires_at": instant(row.get("expires")),
        },
        {**born(row, now=now), **_history(row, notes=notes)},
        limited.limits,
        budget_id=limited.budget_id,
        spent=spent_of(row, limited, now=now),
        increase=increase,
        notes=tuple(notes.taken),
    )


def _owners(row: Row, *, teams: Collection[str], notes: Notes) -> dict[str, Any]:
    """The team and the user of a key, and whether it is blocked: LiteLLM refuses a key whose team is gone."""
    team_id, user_id = row.get("team_id") or None, row.get("user_id") or None
    is_blocked = bool(row.get("blocked"))
    if team_id is not None and team_id not in teams:
        notes.add("team_id", team_id, "no team, and blocked: there is no such team, and LiteLLM refuses its keys")
        team_id, is_blocked = None, True
    if user_id is not None and not is_user_id(user_id):
        notes.add("user_id", user_id, f"no user, whose limits do not hold for it: {USER_ID_RULE}")
        user_id = None
    return {"team_id": team_id, "user_id": user_id, "blocked": is_blocked}


def _may(row: Row, *, notes: Notes) -> dict[str, Any]:
    """What a key may call."""
    models = models_of(row, "models", notes=notes)
    if MODELS_OF_TEAM in models:
        if row.get("team_id"):
            models = []
        else:
            notes.add("models", MODELS_OF_TEAM, "brought, but it allows nothing without a team")
    key_type = row.get("key_type")
    return {
        "allowed_models": models,
        "allowed_routes": names(row, "allowed_routes", notes=notes),
        "key_type": key_type if key_type in KEY_TYPES else "default",
        "model_aliases": texts_by_name(row, "aliases", notes=notes),
    }


def _history(row: Row, *, notes: Notes) -> dict[str, Any]:
    """Its name, who changed it, its rotations, and its last text while that still works."""
    name = row.get("key_name")
    history = {
        "key_name": name if isinstance(name, str) and 0 < len(name) <= 16 else "sk-...",
        "updated_by": str(row.get("updated_by") or "")[:255],
        "rotation_count": max(int(row.get("rotation_count") or 0), 0),
        "rotated_at": instant(row.get("last_rotation_at")),
    }
    previous = decoded(row.get("previous"), field="previous", notes=notes) or []
    for index, old in enumerate(previous):
        if index == 0:
            history |= {"previous_token_hash": old["token"], "previous_until": instant(old["revoke_at"])}
        else:
            notes.add("previous key", str(old["token"])[:8], "not brought: only the last one goes on working")
    return history


def users_named(rows: Collection[Mapping[str, Any]]) -> set[str]:
    """The users of keys, as far as they can be here."""
    return {row["user_id"] for row in rows if is_user_id(row.get("user_id"))}
