"""Scopes with limits, whatever their kind: their limits as the gate wants them, and the root of their counters."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from budgets.models import Budget, Grant
from budgets.rules.scopes import (
    CUSTOMER,
    KEY,
    MEMBER,
    TAG,
    TEAM,
    USER,
    GuestProfile,
    ScopeLimits,
    member_id,
    root_of,
)
from budgets.services import DefaultTier, grants_for, scope_limits
from keys.models import Key
from keys.profiles import limits_of_key
from teams.models import Customer, Member, Tag, Team, User
from teams.scopes import limits_of_membership, limits_of_team, limits_of_user

Row: TypeAlias = Key | Team | User | Member | Customer | Tag
"""A scope that the database knows. Runs and scopes that have limits only from a default have no row."""

MODELS: dict[str, type[Row]] = {KEY: Key, TEAM: Team, USER: User, MEMBER: Member, CUSTOMER: Customer, TAG: Tag}
_SELECTED = {MEMBER: ("budget", "team__member_budget")}


@dataclass(frozen=True, slots=True)
class Owner:
    """A scope's limits and the root under which its counters live."""

    limits: ScopeLimits
    root: str


def rows_of(kind: str) -> QuerySet[Row]:
    """The scopes of a kind, with what `owner_of` needs of each."""
    rows: QuerySet[Row] = MODELS[kind].objects.select_related(*_SELECTED.get(kind, ("budget",)))
    return rows


def scope_id_of(row: Row) -> str:
    """The id under which a row's calls stand in the ledger."""
    return member_id(row.user_id, team_id=row.team_id) if isinstance(row, Member) else str(row.pk)


def default_customer_tier() -> Budget | None:
    """The tier of customers that have none of their own."""
    if not settings.CUSTOMER_BUDGET_ID:
        return None
    return Budget.objects.filter(budget_id=settings.CUSTOMER_BUDGET_ID).first()


def owner_of(row: Row, *, grants: Sequence[Grant] = (), customer_tier: Budget | None = None) -> Owner:
    """The limits and root of one scope; its tier must have been selected with it."""
    match row:
        case Key():
            root = root_of(str(row.id), team_id=row.team_id, user_id=row.user_id)
            return Owner(limits_of_key(row, grants=grants), root)
        case Team():
            return Owner(limits_of_team(row, grants=grants), root_of("", team_id=row.team_id))
        case User():
            return Owner(limits_of_user(row, grants=grants), root_of("", team_id=None, user_id=row.username))
        case Member():
            limits = limits_of_membership(row.user_id, team=row.team, member=row, grants=grants)
            return Owner(limits, root_of("", team_id=row.team_id))
        case Customer():
            return _guest(row, kind=CUSTOMER, grants=grants, tier=customer_tier)
        case Tag():
            return _guest(row, kind=TAG, grants=grants, tier=None)


def _guest(row: Customer | Tag, *, kind: str, grants: Sequence[Grant], tier: Budget | None) -> Owner:
    default = None if tier is None else DefaultTier(tier, tier.created_at)
    limits = scope_limits(row, kind=kind, scope_id=str(row.pk), grants=grants, default=default)
    return Owner(limits, GuestProfile(limits).root)


def owners_of(kind: str, ids: Collection[str], *, now: datetime) -> dict[str, Owner]:
    """The scopes of these ids that have a row, by id. A constant number of queries."""
    tier = default_customer_tier() if kind == CUSTOMER else None
    rows = list(rows_of(kind).filter(_named(kind, ids)))
    grants = grants_for({(kind, scope_id_of(row)) for row in rows}, now=now)
    owners = {scope_id_of(row): owner_of(row, grants=grants, customer_tier=tier) for row in rows}
    return {scope_id: owner for scope_id, owner in owners.items() if scope_id in ids}


def _named(kind: str, ids: Iterable[str]) -> Q:
    if kind == KEY:
        return Q(pk__in=[scope_id for scope_id in ids if _is_uuid(scope_id)])
    if kind != MEMBER:
        return Q(pk__in=list(ids))
    pairs = [scope_id.split("/", 1) for scope_id in ids if "/" in scope_id]
    return Q(user_id__in={user_id for user_id, _ in pairs}, team_id__in={team_id for _, team_id in pairs})


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
