"""Who may see and who may correct what a scope spent: one rule for every kind, which all views of this app use.

Who may not even see a scope gets the answer of one that does not exist.
"""

from datetime import datetime

from budgets.actors import Actor
from budgets.errors import ForbiddenError, InputError, NotFoundError
from budgets.rules.scopes import KEY, MEMBER, TEAM, USER, member_id
from keys.lookup import key_for, key_not_found
from keys.models import Key
from ledger.owners import MODELS, Owner, is_uuid, owners_of


def sees_key(key: Key, *, by: Actor) -> bool:
    """A key sees itself, a user the own keys, a member those of the team."""
    is_own = by.user_id is not None and key.user_id == by.user_id
    return by.sees_team(key.team_id) or is_own or by.key_id == str(key.id)


def corrects_key(key: Key, *, by: Actor) -> bool:
    """Those who manage its team; of a user's own keys those that the user has made: what an admin gave stays given."""
    is_own = by.user_id is not None and key.user_id == by.user_id == key.created_by
    return by.manages_all or by.manages_team(key.team_id) or (by.may_write and is_own)


def key_to_correct(presented: str, *, by: Actor) -> Key:
    """The key with that text or hash. Raises NotFoundError and ForbiddenError."""
    key = key_for(presented)
    if corrects_key(key, by=by):
        return key
    if sees_key(key, by=by):
        raise ForbiddenError("This key's spend may be corrected by an admin of its team or of the gateway only")
    raise key_not_found("key")


def sees_scope(kind: str, scope_id: str, *, by: Actor) -> bool:
    """What an actor sees of scopes other than keys: the own teams with their members, and itself."""
    if kind == MEMBER:
        user_id, _, team_id = scope_id.partition("/")
        return by.manages_team(team_id) or by.sees_all or (by.sees_team(team_id) and user_id == by.user_id)
    if kind == TEAM:
        return by.sees_team(scope_id)
    return by.sees_all or (kind == USER and by.user_id is not None and scope_id == by.user_id)


def corrects_scope(kind: str, scope_id: str, *, by: Actor) -> bool:
    """The admin of a team corrects its members' spends, and not the team's own, which binds the admin too."""
    return by.manages_all or (kind == MEMBER and by.manages_team(scope_id.partition("/")[2]))


def scope_id_seen(kind: str, given: str, *, by: Actor) -> str:
    """The id in the ledger of the scope that a caller names: a key may be named by its text, hash or id."""
    if kind == KEY:
        key = _key_named(given)
        if key is None or not sees_key(key, by=by):
            raise key_not_found("scope_id")
        return str(key.id)
    if kind not in MODELS:
        raise InputError(f"scope: {kind!r} is not allowed; allowed are {', '.join(MODELS)}", field="scope")
    if not sees_scope(kind, given, by=by):
        raise _not_found(kind, given)
    return given


def owner_to_correct(kind: str, given: str, *, by: Actor, now: datetime) -> Owner:
    """The scope that a caller names, for a correction. Raises NotFoundError and ForbiddenError."""
    scope_id = scope_id_seen(kind, given, by=by)
    key = _key_named(given) if kind == KEY else None
    if not (corrects_scope(kind, scope_id, by=by) if key is None else corrects_key(key, by=by)):
        raise ForbiddenError(f"The spend of this {kind} may be corrected by an admin of the gateway only")
    owner = owners_of(kind, [scope_id], now=now).get(scope_id)
    if owner is None:
        raise _not_found(kind, given)
    return owner


def member_to_correct(team_id: str, user_id: str, *, by: Actor, now: datetime) -> Owner:
    """A user in a team, for a correction."""
    return owner_to_correct(MEMBER, member_id(user_id, team_id=team_id), by=by, now=now)


def _key_named(given: str) -> Key | None:
    if is_uuid(given):
        return Key.objects.select_related("team").filter(id=given).first()
    try:
        return key_for(given)
    except NotFoundError:
        return None


def _not_found(kind: str, scope_id: str) -> NotFoundError:
    return NotFoundError(f"scope_id: there is no {kind} {scope_id!r}", field="scope_id")
