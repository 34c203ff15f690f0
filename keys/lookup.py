"""Finding keys by what names them. Who may see one that was found, keys/access.py says.

Whoever asks for a key that does not exist gets the same answer, whatever was wrong with the name.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q, QuerySet

from budgets.errors import InputError, NotFoundError
from keys.models import Key
from keys.parsing import token_hash_of


def key_not_found(field: str) -> NotFoundError:
    """The one answer for a key that does not exist."""
    return NotFoundError("Key not found in database", field=field)


def named(presented: str, *, now: datetime) -> Q:
    """The key with that text or hash; until its time is over also the text or hash before the last rotation."""
    return _with_hash(token_hash_of(presented), now=now)


def any_named(presented: Iterable[str], *, now: datetime) -> Q:
    """The keys with any of these texts or hashes."""
    hashes = [token_hash_of(each) for each in presented]
    return Q(token_hash__in=hashes) | Q(previous_token_hash__in=hashes, previous_until__gt=now)


def _with_hash(token_hash: str, *, now: datetime) -> Q:
    return Q(token_hash=token_hash) | Q(previous_token_hash=token_hash, previous_until__gt=now)


def hashes_of(key: Key, *, now: datetime) -> list[str]:
    """The hashes that name a key which has been read."""
    if key.previous_token_hash is None or key.previous_until is None or key.previous_until <= now:
        return [key.token_hash]
    return [key.token_hash, key.previous_token_hash]


def token_hash_of_alias(alias: str, *, field: str, keys: QuerySet[Key] | None = None) -> str:
    """The hash of the only key of that alias. Raises NotFoundError, and InputError where two teams have one."""
    found = Key.objects.all() if keys is None else keys
    hashes = found.filter(key_alias=alias).values_list("token_hash", flat=True)[:2]
    if not hashes:
        raise key_not_found(field)
    if len(hashes) > 1:
        raise InputError(f"{field}: {alias!r} is a key of more than one team; name it by its hash", field=field)
    return hashes[0]
