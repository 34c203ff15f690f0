"""Who sees which keys, and who may do what with them. Every view and every service about keys asks here.

A stranger to a key gets the same answer as for one that does not exist. Whoever sees a key and may not do something
with it is told so. A limit that an admin set cannot be lifted by the one whom it binds.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Q, QuerySet

from budgets.actors import MASTER, SYSTEM, Actor
from budgets.errors import ForbiddenError, InputError
from budgets.services import LIMIT_FIELDS
from keys.lookup import key_not_found, named
from keys.models import Key
from keys.profiles import SELECTED
from teams.models import Member

BINDING = LIMIT_FIELDS | {
    "spend_nanousd",
    "temp_budget_increase_nanousd",
    "temp_budget_expiry",
    "models",
    "aliases",
    "allowed_routes",
    "key_type",
    "tags",
    "duration",
    "team_id",
    "user_id",
}
"""What binds the key's holder: of a key that somebody else made, only who manages it changes these."""
_ONCE = {"spend_nanousd", "temp_budget_increase_nanousd", "temp_budget_expiry"}
"""Of these, what leaves no limit behind."""


def keys_visible_to(actor: Actor) -> QuerySet[Key]:
    """The keys that somebody sees: all, or those of the teams that one administers and one's own."""
    if actor.sees_all:
        return Key.objects.all()
    if actor.user_id is None:
        return Key.objects.filter(id=actor.key_id) if actor.key_id is not None else Key.objects.none()
    return Key.objects.filter(visible(actor))


def locked_keys(keys: QuerySet[Key]) -> list[Key]:
    """Those keys, nobody else's until the end of the transaction; their teams, users and tiers are read after that."""
    ids = [key.pk for key in keys.select_for_update().only("pk").order_by("id")]
    return list(Key.objects.filter(pk__in=ids).select_related(*SELECTED).order_by("id"))


def visible(actor: Actor) -> Q:
    """The same as a condition, also for what is left of deleted keys, for somebody who does not see all."""
    own = Q(user_id=actor.user_id) if actor.user_id is not None else Q(pk=actor.key_id)
    return own | Q(team_id__in=actor.admin_of) if actor.admin_of else own


def sees_key(actor: Actor, key: Key) -> bool:
    """Whether somebody sees a key that has been read."""
    if actor.sees_all or str(key.id) == actor.key_id or _owns(actor, key):
        return True
    return key.team_id is not None and key.team_id in actor.admin_of


def key_for(actor: Actor, presented: str, *, now: datetime, field: str = "key", lock: bool = False) -> Key:
    """The key with that text or hash, if the actor sees it; until the end of the transaction nobody else's if locked.

    With its team, user and tiers, which of a locked key are read after the lock: what is joined to a row that a lock
    waits for is read before the wait, and a tier or team that somebody else gave the key meanwhile would be lost.
    Raises NotFoundError.
    """
    keys = Key.objects.select_related(*SELECTED)
    if lock:
        locked = Key.objects.select_for_update(no_key=True).filter(named(presented, now=now)).only("pk").first()
        key = None if locked is None else keys.get(pk=locked.pk)
    else:
        key = keys.filter(named(presented, now=now)).first()
    if key is None or not sees_key(actor, key):
        raise key_not_found(field)
    return key


def may_change_limits(actor: Actor, key: Key) -> bool:
    """Whether the limits of a key are the actor's business."""
    return _manages(actor, key) or (_owns_and_writes(actor, key) and _made(actor, key))


def acts_for_user(actor: Actor, user_id: object) -> bool:
    """Whether a key whose text the actor knows may act as that user: a team admin gets nobody's rights so."""
    return actor.manages_all or user_id is None or user_id == actor.user_id


def binds(actor: Actor, key: Key, fields: Mapping[str, object]) -> bool:
    """Whether such a change by the actor is one that the key's user must not undo."""
    is_limit = bool((BINDING - _ONCE) & fields.keys()) or bool(fields.get("blocked"))
    return is_limit and key.user_id is not None and key.user_id != actor.user_id


def check_may_manage(actor: Actor, key: Key) -> None:
    """Raises ForbiddenError where somebody sees a key and may not change, rotate or delete it."""
    if not _manages(actor, key) and not _owns_and_writes(actor, key):
        raise ForbiddenError(f"{actor.name} sees this key and may not change it; its user or an admin may")


def check_member_may(actor: Actor, key: Key, *addresses: str) -> None:
    """Raises ForbiddenError where a plain member uses one of these addresses for a key of the team, and the team has a
    list of what members may use, with none of them in it. Without a list they do with own keys what others do."""
    team = key.team
    if team is None or actor.manages_team(team.team_id) or not team.member_permissions:
        return
    if not set(addresses) & set(team.member_permissions):
        allowed = ", ".join(team.member_permissions)
        raise ForbiddenError(f"Team member does not have permissions for endpoint: {addresses[0]}; allowed: {allowed}")


def check_may_change(actor: Actor, key: Key, fields: Mapping[str, object]) -> None:
    """Raises ForbiddenError where these fields are not the actor's to change, InputError for an unknown team."""
    check_may_manage(actor, key)
    if not may_change_limits(actor, key):
        bound = sorted(BINDING & fields.keys())
        if key.blocked and "blocked" in fields and not fields["blocked"]:
            bound.append("blocked")
        if bound:
            shown = ", ".join(name.removesuffix("_nanousd") for name in bound)
            raise ForbiddenError(f"{shown}: only an admin changes this of a key that an admin made or limited")
    if actor.manages_all:
        return
    team_id, user_id = fields.get("team_id", key.team_id), fields.get("user_id", key.user_id)
    if team_id != key.team_id:
        _check_team(actor, team_id)
        if not _owns(actor, key) and not actor.manages_team(_text(team_id)):
            raise ForbiddenError("team_id: a key of a team moves only to another team that the same one administers")
    if user_id != key.user_id or (team_id != key.team_id and user_id is not None):
        _check_user(actor, user_id, team_id=team_id)


def owner_of_new_key(actor: Actor, fields: Mapping[str, object], *, is_service_account: bool) -> object:
    """Whose key a new one is: the user that is named; who is no admin makes keys for oneself.

    Raises ForbiddenError, and InputError for a team that the actor does not know.
    """
    user_id, team_id = fields.get("user_id"), fields.get("team_id")
    if actor.manages_all:
        return None if is_service_account else user_id
    if not actor.may_write or actor.user_id is None:
        raise ForbiddenError(f"{actor.name} makes no keys; users and admins do")
    if team_id is not None:
        _check_team(actor, team_id)
    if is_service_account:
        if not actor.manages_team(str(team_id)):
            raise ForbiddenError("team_id: only an admin of the team makes keys for a service")
        return None
    if fields.get("spend_nanousd") and not actor.manages_team(_text(team_id)):
        raise ForbiddenError("spend: only an admin says what a new key has spent")
    user_id = user_id or actor.user_id
    _check_user(actor, user_id, team_id=team_id)
    return user_id


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _owns(actor: Actor, key: Key) -> bool:
    return actor.user_id is not None and key.user_id == actor.user_id


def _owns_and_writes(actor: Actor, key: Key) -> bool:
    return actor.may_write and _owns(actor, key)


def _manages(actor: Actor, key: Key) -> bool:
    return actor.manages_all or actor.manages_team(key.team_id)


def _made(actor: Actor, key: Key) -> bool:
    """Made, and nobody else has bound it since. A user who is called like the master key has made none of its keys."""
    return key.created_by == actor.user_id and not key.is_bound and actor.user_id not in (MASTER.name, SYSTEM.name)


def _check_team(actor: Actor, team_id: object) -> None:
    if team_id is not None and team_id not in actor.teams and team_id not in actor.admin_of:
        raise InputError(f"Team not found, passed team id: {team_id}.", field="team_id")


def _check_user(actor: Actor, user_id: object, *, team_id: object) -> None:
    """Somebody who is no proxy admin gives keys to oneself, and in a team of one's own to its members."""
    if user_id == actor.user_id:
        return
    if actor.manages_team(_text(team_id)) and (
        user_id is None or Member.objects.filter(team_id=team_id, user_id=user_id).exists()
    ):
        return
    raise ForbiddenError("user_id: keys of others are made and given by admins, in a team to its members")
