"""Every write to a key. Gateways hear of it after the commit; amounts and windows are budgets.services' business."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast

import psycopg.errors
from django.db import IntegrityError, transaction

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import InputError, conflicts_named
from budgets.gate.changes import publish
from budgets.grants import replace_grant
from budgets.rules.money import exact_usd
from budgets.rules.scopes import KEY
from budgets.usage import set_spend
from keys.access import acts_for_user, binds, check_may_change, check_member_may, key_for, owner_of_new_key
from keys.fields import KeyFields, apply_fields, limit_life
from keys.models import Key
from keys.parsing import KeyTextError, check_custom_key, hash_key, key_name_of, make_key
from keys.profiles import limits_of_key, root_of_key
from keys.records import author_of, key_record, subjects_of

_TAKEN = InputError("key: this key exists already", field="key")
_REFERENCES = ("team_id", "user_id", "budget_id")


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key and its new text, which is known at this moment only."""

    key: Key
    text: str = field(repr=False)


def create_key(
    fields: KeyFields, *, now: datetime, text: str | None = None, by: Actor = SYSTEM, is_service_account: bool = False
) -> CreatedKey:
    """Makes a key, with the given text or a random one. Raises InputError, LimitError and ForbiddenError.

    At most four statements: what the fields refer to, the tier, the key, the audit.
    """
    user_id = cast(str | None, owner_of_new_key(by, fields, is_service_account=is_service_account))
    fields = {**fields, "user_id": user_id}
    text = new_text(text, now=now)
    author = author_of(by)
    key = Key(token_hash=hash_key(text), key_name=key_name_of(text), rooted_at=now, created_at=now, updated_at=now)
    key.created_by = key.updated_by = author
    key.acts_for_user = acts_for_user(by, user_id)
    apply_fields(key, fields, now=now)
    _check_joined(key, fields, now=now, by=by)
    with errors_named(key.key_alias), transaction.atomic():
        key.save(force_insert=True)
        _change_amounts(key, fields, now=now, by=by, is_new=True)
        tell(key, action="create", before={}, subjects=set(), now=now, by=by)
    return CreatedKey(key, text)


def update_key(presented: str, fields: KeyFields, *, now: datetime, by: Actor = SYSTEM, action: str = "update") -> Key:
    """Changes what `fields` names. Raises NotFoundError, ForbiddenError, InputError and LimitError."""
    with errors_named(fields.get("key_alias")), transaction.atomic():
        key = key_for(by, presented, now=now, lock=True)
        change_locked(key, fields, now=now, by=by, action=action)
    return key


def change_locked(key: Key, fields: KeyFields, *, now: datetime, by: Actor, action: str) -> None:
    """Changes and saves a key that the caller has locked. `errors_named` stands around the transaction."""
    check_may_change(by, key, fields)
    before, subjects = key_record(key), subjects_of(key)
    check_member_may(by, key, f"/key/{action}")
    user_id, team_id = key.user_id, key.team_id
    key.is_bound = key.is_bound or binds(by, key, fields)
    apply_fields(key, fields, now=now)
    if key.user_id != user_id:
        key.acts_for_user = acts_for_user(by, key.user_id)
    if key.team_id != team_id:
        _check_joined(key, fields, now=now, by=by)
    elif "duration" in fields and not by.manages_team(key.team_id):
        limit_life(key, is_given=True, now=now)
    save_changed(key, now=now, by=by)
    given = _change_amounts(key, fields, now=now, by=by)
    tell(key, action=action, before=before, subjects=subjects, now=now, by=by, given=given)


def _check_joined(key: Key, fields: KeyFields, *, now: datetime, by: Actor) -> None:
    """What a team says of keys that its members make, or bring along. Raises ForbiddenError and InputError."""
    check_member_may(by, key, "/key/generate")
    if not by.manages_team(key.team_id):
        limit_life(key, is_given=fields.get("duration") is not None, now=now)


def save_changed(key: Key, *, now: datetime, by: Actor) -> None:
    """Saves a key that the caller has locked, and who changed it."""
    key.updated_at, key.updated_by = now, author_of(by)
    key.save(force_update=True)


def tell(
    key: Key,
    *,
    action: str,
    before: dict[str, Any],
    subjects: set[str],
    now: datetime,
    by: Actor,
    given: dict[str, Any] | None = None,
) -> None:
    """Writes the audit of a change, and lets gateways hear of it: under the names that the key had and has."""
    after = {**key_record(key), **(given or {})}
    record_change(by, action=action, kind=KEY, subject_id=str(key.id), before=before, after=after, now=now)
    transaction.on_commit(partial(publish, *sorted(subjects | subjects_of(key))))


def _change_amounts(key: Key, fields: KeyFields, *, now: datetime, by: Actor, is_new: bool = False) -> dict[str, Any]:
    """Sets what the key has spent and its temporary increase; answers what the audit shall say of the increase."""
    given: dict[str, Any] = {}
    limits = limits_of_key(key)
    spend = fields.get("spend_nanousd")
    if spend is not None and (spend > 0 or not is_new):
        set_spend(limits, root=root_of_key(key), to_nanousd=spend, by=by, reason="spend of the key", now=now)
    if {"temp_budget_increase_nanousd", "temp_budget_expiry"} & fields.keys():
        amount, until = fields.get("temp_budget_increase_nanousd"), fields.get("temp_budget_expiry")
        replace_grant(limits.scope, amount=amount, until=until, now=now, by=by)
        given["temp_budget_increase"] = None if amount is None else exact_usd(amount)
        given["temp_budget_expiry"] = None if until is None else until.isoformat()
    return given


def new_text(text: str | None, *, now: datetime) -> str:
    """A random text for a key, or the given one, if it may be one and no key has or had it. Raises InputError."""
    if text is None:
        return make_key()
    try:
        check_custom_key(text)
    except KeyTextError as error:
        raise InputError(f"key: {error}", field="key") from None
    if Key.objects.filter(previous_token_hash=hash_key(text), previous_until__gt=now).exists():
        raise _TAKEN
    return text


@contextmanager
def errors_named(alias: str | None) -> Iterator[None]:
    """What only the database can decide, as errors of the request. Stands outside of the transaction."""
    try:
        with conflicts_named(_conflicts(alias)):
            yield
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.errors.ForeignKeyViolation):
            raise
        constraint = cause.diag.constraint_name or ""
        name = next((name for name in _REFERENCES if name in constraint), "team_id")
        message = f"{name}: what it names was deleted at this moment; nothing was changed"
        raise InputError(message, field=name) from None


def _conflicts(alias: str | None) -> dict[str, InputError]:
    message = f"Key with alias '{alias}' already exists. Unique key aliases are required within a team."
    alias_taken = InputError(message, field="key_alias", kind="bad_request_error")
    return {
        "keys_alias_once_per_team": alias_taken,
        "keys_alias_once_without_team": alias_taken,
        "keys_token_hash_once": _TAKEN,
    }


def set_blocked(presented: str, blocked: bool, *, now: datetime, by: Actor = SYSTEM) -> Key:
    """Refuses every call of a key from now on, or no longer. Raises NotFoundError and ForbiddenError."""
    return update_key(presented, {"blocked": blocked}, now=now, by=by, action="block" if blocked else "unblock")
