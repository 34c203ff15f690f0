"""Who may see and who may correct what a scope spent: one rule for every kind, which all views of this app use.

Who may not even see a scope gets the answer of one that does not exist.
"""

from datetime import datetime

from budgets.actors import Actor
from budgets.errors import ForbiddenError, InputError, NotFoundError
from budgets.rules.scopes import KEY, MEMBER, TEAM, USER, member_id
from keys.access import check_member_may, key_for, may_change_limits, sees_key
from keys.lookup import key_not_found
from keys.models import Key
from ledger.owners import MODELS, Owner, is_uuid, owners_of


def key_to_correct(presented: str, *, by: Actor, now: datetime) -> Key:
    """The key with that text or hash. Raises NotFoundError and ForbiddenError."""
    key = key_for(by, presented, now=now)
    if not may_change_limits(by, key):
        raise ForbiddenError("This key's spend may be corrected by an admin of its team or of the gateway only")
    check_member_may(by, key, "/key/{key}/reset_spend")
    return key


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


def scope_id_seen(kind: str, given: str, *, by: Actor, now: datetime) -> str:
    """The id in the ledger of the scope that a caller names: a key may be named by its text, hash or id."""
    if kind == KEY:
        return str(_key_named(given, by=by, now=now).id)
    if kind not in MODELS:
        raise InputError(f"scope: {kind!r} is not allowed; allowed are {', '.join(MODELS)}", field="scope")
    if not sees_scope(kind, given, by=by):
        raise _not_found(kind, given)
    return given


def owner_to_correct(kind: str, given: str, *, by: Actor, now: datetime) -> Owner:
    """The scope that a caller names, for a correction. Raises NotFoundError and ForbiddenError."""
    if kind == KEY:
        key = _key_named(given, by=by, now=now)
        scope_id, may = str(key.id), may_change_limits(by, key)
        check_member_may(by, key, "/key/{key}/reset_spend")
    else:
        scope_id = scope_id_seen(kind, given, by=by, now=now)
        may = corrects_scope(kind, scope_id, by=by)
    if not may:
        raise ForbiddenError(f"The spend of this {kind} may be corrected by an admin of the gateway only")
    owner = owners_of(kind, [scope_id], now=now).get(scope_id)
    if owner is None:
        raise _not_found(kind, given)
    return owner


def member_to_correct(team_id: str, user_id: str, *, by: Actor, now: datetime) -> Owner:
    """A user in a team, for a correction."""
    return owner_to_correct(MEMBER, member_id(user_id, team_id=team_id), by=by, now=now)


def _key_named(given: str, *, by: Actor, now: datetime) -> Key:
    """A key by its text, hash or id. Raises NotFoundError."""
    if not is_uuid(given):
        return key_for(by, given, now=now, field="scope_id")
    key = Key.objects.select_related("team").filter(id=given).first()
    if key is None or not sees_key(by, key):
        raise key_not_found("scope_id")
    return key


def _not_found(kind: str, scope_id: str) -> NotFoundError:
    return NotFoundError(f"scope_id: there is no {kind} {scope_id!r}", field="scope_id")
