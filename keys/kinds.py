"""Tells budgets/kinds.py how the scopes of keys and teams are found, who may raise their limits, and what has a tier.

Team admins raise the limits of their team's keys and members; everything else is the proxy admins' business.
"""

from datetime import datetime

from django.db.models import Q

from budgets.actors import Actor
from budgets.errors import NotFoundError
from budgets.kinds import Found, Referrer, register_kind, register_referrers
from budgets.models import LimitedScope
from budgets.rules.scopes import CUSTOMER, KEY, MEMBER, TAG, TEAM, USER
from budgets.services import scope_limits
from keys.access import keys_visible_to, may_change_limits
from keys.lookup import key_not_found, named, token_hash_of_alias
from keys.models import Key
from keys.profiles import SELECTED, limits_of_key
from keys.records import subjects_of
from teams.models import Customer, Member, Tag, Team, User
from teams.scopes import limits_of_membership, limits_of_team, limits_of_user

FIELD = "scope_id"


def register() -> None:
    """Called once, when all apps are there."""
    for kind, find in (
        (KEY, _key),
        (TEAM, _team),
        (MEMBER, _member),
        (USER, _user),
        (CUSTOMER, _customer),
        (TAG, _tag),
    ):
        register_kind(kind, find)
    register_referrers(
        Referrer(KEY, Key),
        Referrer(TEAM, Team),
        Referrer("team (for its members)", Team, lookup="member_budget_id", is_due=False),
        Referrer(USER, User),
        Referrer(MEMBER, Member),
        Referrer(MEMBER, Member, lookup="team__member_budget_id", keeps=False),
        Referrer(CUSTOMER, Customer),
        Referrer(TAG, Tag),
    )


def _unknown(kind: str, scope_id: str) -> NotFoundError:
    return NotFoundError(f"There is no {kind} {scope_id!r}", field=FIELD)


def _key(actor: Actor, name: str, now: datetime, is_id: bool) -> Found:
    """A key by its text, hash or alias."""
    keys = keys_visible_to(actor).select_related(*SELECTED)
    key = keys.filter(Q(id=name) if is_id else named(name, now=now)).first()
    if key is None and not is_id:
        token_hash = token_hash_of_alias(name, field=FIELD, keys=keys_visible_to(actor))
        key = keys.filter(token_hash=token_hash).first()
    if key is None:
        raise key_not_found(FIELD)
    return Found(limits_of_key(key), tuple(sorted(subjects_of(key))), may_change_limits(actor, key))


def _team(actor: Actor, team_id: str, now: datetime, is_id: bool) -> Found:
    team = Team.objects.select_related("budget").filter(team_id=team_id).first()
    if team is None or not actor.sees_team(team_id):
        raise _unknown(TEAM, team_id)
    return Found(limits_of_team(team), (f"team:{team_id}",), actor.manages_all)


def _member(actor: Actor, name: str, now: datetime, is_id: bool) -> Found:
    """A user in a team, as `user/team`."""
    user_id, _, team_id = name.partition("/")
    team = Team.objects.select_related("member_budget").filter(team_id=team_id).first()
    member = Member.objects.select_related("budget").filter(team_id=team_id, user_id=user_id).first()
    is_seen = actor.sees_all or user_id == actor.user_id or team_id in actor.admin_of
    if team is None or member is None or not is_seen:
        raise _unknown(MEMBER, name)
    limits = limits_of_membership(user_id, team=team, member=member)
    return Found(limits, (f"team:{team_id}",), actor.manages_team(team_id))


def _user(actor: Actor, user_id: str, now: datetime, is_id: bool) -> Found:
    user = User.objects.select_related("budget").filter(username=user_id).first()
    if user is None or not (actor.sees_all or user_id == actor.user_id):
        raise _unknown(USER, user_id)
    return Found(limits_of_user(user), (f"user:{user_id}",), actor.manages_all)


def _customer(actor: Actor, customer_id: str, now: datetime, is_id: bool) -> Found:
    customer = Customer.objects.select_related("budget").filter(customer_id=customer_id).first()
    return _guest(actor, customer, kind=CUSTOMER, scope_id=customer_id)


def _tag(actor: Actor, name: str, now: datetime, is_id: bool) -> Found:
    tag = Tag.objects.select_related("budget").filter(name=name).first()
    return _guest(actor, tag, kind=TAG, scope_id=name)


def _guest(actor: Actor, row: LimitedScope | None, *, kind: str, scope_id: str) -> Found:
    if row is None or not actor.sees_all:
        raise _unknown(kind, scope_id)
    return Found(scope_limits(row, kind=kind, scope_id=scope_id), (f"{kind}:{scope_id}",), actor.manages_all)
