"""A key as the audit shows it, and who hears of a change. Never its text, and nothing of what people keep in it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from budgets.actors import Actor
from budgets.audit import limits_record
from keys.models import Key

DIGEST_LENGTH = 16


def key_record(key: Key) -> dict[str, Any]:
    """What a change of a key is told by. Of metadata there are the names only: clients keep secrets in them."""
    return {
        **limits_record(key),
        "key_alias": key.key_alias,
        "key_name": key.key_name,
        "team_id": key.team_id,
        "user_id": key.user_id,
        "models": key.allowed_models,
        "aliases": key.model_aliases,
        "allowed_routes": key.allowed_routes,
        "key_type": key.key_type,
        "tags": key.tags,
        "blocked": key.blocked,
        "expires": None if key.expires_at is None else key.expires_at.isoformat(),
        "metadata": _digest(key.metadata),
        "noted": _digest(key.noted),
    }


def _digest(kept: Mapping[str, Any]) -> dict[str, Any]:
    if not kept:
        return {}
    encoded = orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    return {"names": sorted(kept), "digest": hashlib.sha256(encoded).hexdigest()[:DIGEST_LENGTH]}


def author_of(by: Actor) -> str:
    """Who stands in `created_by`: the user, else what the actor is called."""
    return by.user_id or by.name


def subjects_of(key: Key) -> set[str]:
    """Under which names gateways know a key: its hash, after a rotation for some time also the one before."""
    hashes = [key.token_hash, *([key.previous_token_hash] if key.previous_token_hash else [])]
    return {f"key:{token_hash}" for token_hash in hashes}
