"""Rotating a key: another text, everything else stays, counters and ledger too, because they know the key by its id."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.errors import ConflictError, InputError
from budgets.rules.windows import DurationError
from keys.access import acts_for_user, check_may_manage, check_member_may, key_for
from keys.fields import KeyFields
from keys.parsing import expiry_of, hash_key, key_name_of, token_hash_of
from keys.records import key_record, subjects_of
from keys.services import CreatedKey, change_locked, errors_named, new_text, save_changed, tell


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation shall do: the new text, a random one without; how long the old one works; what else changes."""

    fields: KeyFields
    text: str | None = None
    grace: str | None = None


def rotate_key(presented: str, rotation: Rotation, *, now: datetime, by: Actor = SYSTEM) -> CreatedKey:
    """Gives a key another text. Raises NotFoundError, ForbiddenError, InputError, LimitError and ConflictError.

    A key that is named by its text before the last rotation is not rotated again: of two rotations at once the second
    would make the new text of the first one worthless before anybody has read it.
    """
    until = _grace_until(rotation.grace, now=now)
    text = new_text(rotation.text, now=now)
    with errors_named(rotation.fields.get("key_alias")), transaction.atomic():
        key = key_for(by, presented, now=now, lock=True)
        check_may_manage(by, key)
        check_member_may(by, key, "/key/regenerate", "/key/{key}/regenerate")
        if key.token_hash != token_hash_of(presented):
            message = "key: it was rotated since; name it by its new text or hash"
            raise ConflictError(message, field="key")
        if rotation.fields:
            change_locked(key, rotation.fields, now=now, by=by, action="update")
        before, subjects = key_record(key), subjects_of(key)
        if hash_key(text) == key.token_hash:
            raise InputError("new_key: this is the key's text now; allowed is another one", field="new_key")
        key.previous_token_hash, key.previous_until = (None, None) if until is None else (key.token_hash, until)
        key.token_hash, key.key_name = hash_key(text), key_name_of(text)
        key.rotated_at = now
        # With a grace the old text goes on, and who was told that one.
        key.acts_for_user = acts_for_user(by, key.user_id) and (key.acts_for_user or until is None)
        key.rotation_count += 1
        save_changed(key, now=now, by=by)
        given = {"rotation_count": key.rotation_count, "previous_until": until.isoformat() if until else None}
        tell(key, action="rotate", before=before, subjects=subjects, now=now, by=by, given=given)
    return CreatedKey(key, text)


def _grace_until(grace: str | None, *, now: datetime) -> datetime | None:
    """When the old text stops to work; None for at once."""
    if grace is None or grace in ("0", "0s"):
        return None
    try:
        return expiry_of(grace, now=now)
    except DurationError as error:
        raise InputError(f"grace_period: {error}", field="grace_period") from None
