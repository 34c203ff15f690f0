"""Every write to a key. Gateways hear of it after the commit; amounts and windows are budgets.services' business."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from budgets.errors import InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.rules.windows import DurationError
from budgets.services import LIMIT_FIELDS, LimitFields, changed_limits, set_limits
from keys.lookup import key_not_found
from keys.models import Key
from keys.parsing import KeyTextError, check_custom_key, expiry_of, hash_key, key_name_of, make_key
from teams.services import team_for


class KeyFields(LimitFields, total=False):
    """What a request says of a key: a missing field leaves it as it is, None empties it."""

    key_alias: str | None
    team_id: str | None
    user_id: str | None
    models: list[str] | None
    metadata: dict[str, Any] | None
    duration: str | None
    blocked: bool | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key and its text, which is known at this moment only."""

    key: Key
    text: str = field(repr=False)


def create_key(fields: KeyFields, *, now: datetime, text: str | None = None) -> CreatedKey:
    """Makes a key, with the given text or a random one. Raises InputError and LimitError."""
    if text is None:
        text = make_key()
    try:
        check_custom_key(text)
    except KeyTextError as error:
        raise InputError(f"key: {error}", field="key") from None
    key = Key(token_hash=hash_key(text), key_name=key_name_of(text), rooted_at=now, created_at=now, updated_at=now)
    _apply(key, fields, now=now)
    _save(key)
    return CreatedKey(key, text)


def update_key(token_hash: str, fields: KeyFields, *, now: datetime) -> Key:
    """Changes what `fields` names. Raises NotFoundError, InputError and LimitError."""
    keys = Key.objects.select_for_update(of=("self",)).select_related("team")
    with conflicts_named(_conflicts(fields.get("key_alias"))), transaction.atomic():
        key = keys.filter(token_hash=token_hash).first()
        if key is None:
            raise key_not_found("key")
        _apply(key, fields, now=now)
        key.updated_at = now
        key.save(force_update=True)
        transaction.on_commit(partial(publish, f"key:{token_hash}"))
    return key


def delete_keys(token_hashes: Sequence[str], *, field: str) -> None:
    """Deletes all of these keys, or none and raises NotFoundError, which names the first unknown one in `field`.

    What they spent stays in the ledger, and counts for their teams.
    """
    with transaction.atomic():
        keys = Key.objects.select_for_update().filter(token_hash__in=token_hashes).order_by("id")
        found = {key.token_hash for key in keys}
        for index, token_hash in enumerate(token_hashes):
            if token_hash not in found:
                raise key_not_found(f"{field}[{index}]")
        Key.objects.filter(token_hash__in=found).delete()
        transaction.on_commit(partial(publish, *(f"key:{token_hash}" for token_hash in sorted(found))))


def _save(key: Key) -> None:
    with conflicts_named(_conflicts(key.key_alias)), transaction.atomic():
        key.save(force_insert=True)
        transaction.on_commit(partial(publish, f"key:{key.token_hash}"))


def _conflicts(alias: str | None) -> dict[str, InputError]:
    message = f"Key with alias '{alias}' already exists. Unique key aliases are required within a team."
    alias_taken = InputError(message, field="key_alias", kind="bad_request_error")
    return {
        "keys_alias_once_per_team": alias_taken,
        "keys_alias_once_without_team": alias_taken,
        "keys_token_hash_once": InputError("key: this key exists already", field="key"),
    }


def _apply(key: Key, fields: KeyFields, *, now: datetime) -> None:
    if "key_alias" in fields:
        key.key_alias = fields["key_alias"]
    if "user_id" in fields:
        key.user_id = fields["user_id"]
    if "models" in fields:
        key.allowed_models = fields["models"] or []
    if "metadata" in fields:
        key.metadata = fields["metadata"] or {}
    if "blocked" in fields:
        key.blocked = bool(fields["blocked"])
    if "duration" in fields:
        key.expires_at = _expires_at(fields["duration"], now=now)
    moved = "team_id" in fields and _move(key, team_id=fields["team_id"], now=now)
    if moved or key._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(key, changed_limits(key, fields), now=now, recount=moved)


def _expires_at(duration: str | None, *, now: datetime) -> datetime | None:
    try:
        return expiry_of(duration, now=now)
    except DurationError as error:
        raise InputError(f"duration: {error}", field="duration") from None


def _move(key: Key, *, team_id: str | None, now: datetime) -> bool:
    """Says whether the key has another team now. Its counters then live elsewhere, and count anew."""
    if team_id == key.team_id:
        return False
    try:
        key.team = None if team_id is None else team_for(team_id)
    except NotFoundError as error:
        raise InputError(str(error), field="team_id") from None
    key.rooted_at = now
    return True
