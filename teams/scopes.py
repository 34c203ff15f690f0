"""The limits of teams, users, members, customers and tags as the gate wants them, and what it knows of guests."""

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from budgets.models import Budget, Grant
from budgets.rules.scopes import CUSTOMER, MEMBER, TAG, TEAM, USER, GuestProfile, ScopeLimits, member_id
from budgets.services import DefaultTier, grants_for, scope_limits
from teams.models import Customer, Member, Tag, Team, User

# The setting may name another tier since this process started: what was counted before may be of the one before.
_STARTED_AT = timezone.now()


def limits_of_team(team: Team, *, grants: Sequence[Grant] = ()) -> ScopeLimits:
    """A team's limits, which hold for all of its keys together."""
    return scope_limits(team, kind=TEAM, scope_id=team.team_id, grants=grants)


def limits_of_user(user: User, *, grants: Sequence[Grant] = ()) -> ScopeLimits:
    """A user's limits, which hold for the keys of the user that belong to no team."""
    return scope_limits(user, kind=USER, scope_id=user.username, grants=grants)


def limits_of_membership(
    user_id: str, *, team: Team, member: Member | None, grants: Sequence[Grant] = ()
) -> ScopeLimits:
    """The limits of a user in a team: those of the membership, under them the team's tier for members.

    A key may name a user who is no member: the team's tier holds for that one all the same.
    """
    scope_id = member_id(user_id, team_id=team.team_id)
    own = member if member is not None else Member(user_id=user_id, timezone=team.timezone, week_start=team.week_start)
    default = None
    if team.member_budget is not None:
        assert team.member_budget_since is not None, "a tier knows since when it is used"
        default = DefaultTier(team.member_budget, team.member_budget_since)
    return scope_limits(own, kind=MEMBER, scope_id=scope_id, grants=grants, default=default)


def limits_of_customer(
    customer: Customer, *, grants: Sequence[Grant] = (), default: DefaultTier | None = None
) -> ScopeLimits:
    """A customer's limits, which hold for the calls that name the customer."""
    return scope_limits(customer, kind=CUSTOMER, scope_id=customer.customer_id, grants=grants, default=default)


def limits_of_tag(tag: Tag, *, grants: Sequence[Grant] = ()) -> ScopeLimits:
    """A tag's limits, which hold for the calls that have it."""
    return scope_limits(tag, kind=TAG, scope_id=tag.name, grants=grants)


def load_guest(kind: str, scope_id: str, *, now: datetime) -> GuestProfile | None:
    """What is known of a customer or a tag that a call names; None where it has no limits and nothing forbids it."""
    grants = grants_for({(kind, scope_id)}, now=now)
    return _customer(scope_id, grants=grants) if kind == CUSTOMER else _tag(scope_id, grants=grants)


def _customer(customer_id: str, *, grants: Sequence[Grant]) -> GuestProfile | None:
    customer = Customer.objects.select_related("budget").filter(customer_id=customer_id).first()
    default = None
    if settings.CUSTOMER_BUDGET_ID:
        default = Budget.objects.filter(budget_id=settings.CUSTOMER_BUDGET_ID).first()
    if customer is None and default is None:
        return None
    own = customer if customer is not None else Customer(customer_id=customer_id)
    tier = None if default is None else DefaultTier(default, _STARTED_AT)
    limits = limits_of_customer(own, grants=grants, default=tier)
    return GuestProfile(limits, own.blocked, frozenset(own.allowed_models) or None)


def _tag(name: str, *, grants: Sequence[Grant]) -> GuestProfile | None:
    tag = Tag.objects.select_related("budget").filter(name=name).first()
    if tag is None:
        return None
    return GuestProfile(limits_of_tag(tag, grants=grants), models=frozenset(tag.allowed_models) or None)
