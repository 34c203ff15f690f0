"""Finding keys. Whoever asks for one that does not exist gets the same answer, whatever was wrong with the name."""

from collections.abc import Sequence

from budgets.errors import InputError, NotFoundError
from keys.models import Key
from keys.parsing import token_hash_of


def key_not_found(field: str) -> NotFoundError:
    """The one answer for a key that does not exist."""
    return NotFoundError("Key not found in database", field=field)


def key_for(presented: str) -> Key:
    """The key with that text or hash, with its team. Raises NotFoundError."""
    key = Key.objects.select_related("team").filter(token_hash=token_hash_of(presented)).first()
    if key is None:
        raise key_not_found("key")
    return key


def token_hash_of_alias(alias: str, *, field: str) -> str:
    """The hash of the only key of that alias. Raises NotFoundError, and InputError where two teams have one."""
    hashes = Key.objects.filter(key_alias=alias).values_list("token_hash", flat=True)[:2]
    if not hashes:
        raise key_not_found(field)
    if len(hashes) > 1:
        raise InputError(f"{field}: {alias!r} is a key of more than one team; name it by its hash", field=field)
    return hashes[0]


def token_hashes_of_aliases(aliases: Sequence[str]) -> list[str]:
    """The hash of each alias, in order."""
    return [token_hash_of_alias(alias, field=f"key_aliases[{index}]") for index, alias in enumerate(aliases)]
