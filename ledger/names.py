"""How reports call keys, teams and users, also keys that were deleted: a constant number of queries for any number."""

from collections.abc import Collection
from dataclasses import dataclass

from keys.models import DeletedKey, Key
from keys.parsing import token_hash_of
from teams.models import Customer, Team, User


@dataclass(frozen=True, slots=True)
class KeyNames:
    """What reports say of a key."""

    token_hash: str
    alias: str | None
    key_name: str
    team_id: str | None


_FIELDS = ("id", "token_hash", "key_alias", "key_name", "team_id")


def key_names(key_ids: Collection[str]) -> dict[str, KeyNames]:
    """Of those keys that exist or are known to have, by id."""
    names: dict[str, KeyNames] = {}
    for model in (DeletedKey, Key):
        rows = model._default_manager.filter(id__in=key_ids).values_list(*_FIELDS) if key_ids else ()
        names |= {str(key_id): KeyNames(*rest) for key_id, *rest in rows}
    return names


def hash_of(names: dict[str, KeyNames], key_id: str) -> str:
    """How a report calls a key; one of which nothing is known any more by its id."""
    return names[key_id].token_hash if key_id in names else key_id


def key_ids_of(presented: str) -> list[str]:
    """The internal ids of the keys that have or had that text or hash."""
    token_hash = token_hash_of(presented)
    return [
        str(key_id)
        for model in (Key, DeletedKey)
        for key_id in model._default_manager.filter(token_hash=token_hash).values_list("id", flat=True)
    ]


def key_ids_of_alias(alias: str) -> list[str]:
    """The same by alias, which keys of several teams may have."""
    return [str(key_id) for key_id in Key.objects.filter(key_alias=alias).values_list("id", flat=True)]


def aliases_of(kind: str, ids: Collection[str]) -> dict[str, str | None]:
    """What people call these teams, users or customers."""
    wanted = [each for each in ids if each]
    if kind == "team":
        return dict(Team.objects.filter(team_id__in=wanted).values_list("team_id", "team_alias"))
    if kind == "user":
        return dict(User.objects.filter(username__in=wanted).values_list("username", "user_alias"))
    if kind == "customer":
        return dict(Customer.objects.filter(customer_id__in=wanted).values_list("customer_id", "alias"))
    return {}
