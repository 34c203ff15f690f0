"""Deleting keys. What they spent stays in the ledger and counts for their teams; the API goes on telling of them."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.gate.changes import publish
from budgets.rules.scopes import KEY
from keys.access import check_may_manage, check_member_may, keys_visible_to, locked_keys
from keys.answers import key_rows
from keys.lookup import any_named, hashes_of, key_not_found, token_hash_of_alias
from keys.models import DeletedKey, Key
from keys.parsing import token_hash_of
from keys.records import author_of, key_record, subjects_of


def delete_keys(presented: Sequence[str], *, field: str, now: datetime, by: Actor = SYSTEM) -> None:
    """Deletes all of these keys (by text or hash), or none and raises NotFoundError, which names the first unknown one.

    Calls that are running still settle. A key leaves its last answer and its audit.
    """
    with transaction.atomic():
        keys = locked_keys(keys_visible_to(by).filter(any_named(presented, now=now)))
        known = {token_hash for key in keys for token_hash in hashes_of(key, now=now)}
        for index, name in enumerate(presented):
            if token_hash_of(name) not in known:
                raise key_not_found(f"{field}[{index}]")
        for key in keys:
            check_may_manage(by, key)
            check_member_may(by, key, "/key/delete")
        delete_locked(keys, now=now, by=by)


def delete_keys_of_aliases(aliases: Sequence[str], *, now: datetime, by: Actor = SYSTEM) -> None:
    """The same by alias. Raises InputError where an alias is that of several keys."""
    visible = keys_visible_to(by)
    hashes = [
        token_hash_of_alias(alias, field=f"key_aliases[{index}]", keys=visible) for index, alias in enumerate(aliases)
    ]
    delete_keys(hashes, field="key_aliases", now=now, by=by)


def delete_locked(keys: Sequence[Key], *, now: datetime, by: Actor) -> None:
    """Deletes keys that the caller has locked, in the caller's transaction."""
    DeletedKey.objects.bulk_create(
        DeletedKey(
            id=key.id,
            token_hash=key.token_hash,
            key_alias=key.key_alias,
            key_name=key.key_name,
            team_id=key.team_id,
            user_id=key.user_id,
            row=row,
            deleted_at=now,
            deleted_by=author_of(by),
        )
        for key, row in zip(keys, key_rows(keys, now=now), strict=True)
    )
    for key in keys:
        record_change(by, action="delete", kind=KEY, subject_id=str(key.id), before=key_record(key), after={}, now=now)
    Key.objects.filter(id__in=[key.id for key in keys]).delete()
    subjects = sorted({subject for key in keys for subject in subjects_of(key)})
    transaction.on_commit(partial(publish, *subjects))
