"""Scopes with limits, whatever their kind: their limits as the gate wants them, and the root of their counters."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    limits_of_model,
    member_id,
    root_of,
)
from budgets.services import DefaultTier, grants_for, scope_limits
from keys.models import Key
from keys.profiles import limits_of_key
from teams.models import Customer, Member, Tag, Team, User
from teams.scopes import limits_of_membership, limits_of_team, limits_of_user

logger = logging.getLogger(__name__)

Row: TypeAlias = Key | Team | User | Member | Customer | Tag
"""A scope that the database knows. Runs and scopes that have limits only from a default have no row."""

MODELS: dict[str, type[Row]] = {KEY: Key, TEAM: Team, USER: User, MEMBER: Member, CUSTOMER: Customer, TAG: Tag}
_SELECTED = {KEY: ("budget", "team"), MEMBER: ("budget", "team__member_budget")}


@dataclass(frozen=True, slots=True)
class Owner:
    """A scope's limits and the root under which its counters live. `aliases` are its own names of models."""

    limits: ScopeLimits
    root: str
    aliases: Mapping[str, str] = field(default_factory=dict)

    def parts(self, models: Iterable[str] = ()) -> Iterator[ScopeLimits]:
        """The limits of all of its calls, then those of each of these models that has some."""
        yield self.limits
        for model in models:
            spellings = _spellings(model)
            own = tuple(alias for alias, name in self.aliases.items() if name in spellings)
            if (limits := limits_of_model(self.limits, spellings=(*own, *spellings), model=model)) is not None:
                yield limits


def _spellings(model: str) -> tuple[str, ...]:
    """The names under which admins may mean a route: its own, and that with or without its provider."""
    provider, _, bare = model.partition("/")
    if bare:
        return (model, bare) if provider in settings.PROVIDERS else (model,)
    return (model, *(f"{each}/{model}" for each in settings.PROVIDERS))


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
            aliases = {**({} if row.team is None else row.team.model_aliases), **row.model_aliases}
            return Owner(limits_of_key(row, grants=grants), root, aliases)
        case Team():
            return Owner(limits_of_team(row, grants=grants), root_of("", team_id=row.team_id), row.model_aliases)
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
    """The scopes of these ids by id, as far as they exist or a default gives them limits.

    What cannot be read is reported and left out. A constant number of queries.
    """
    tier = default_customer_tier() if kind == CUSTOMER else None
    rows = {scope_id_of(row): row for row in rows_of(kind).filter(_named(kind, ids))}
    if tier is not None:
        rows |= {name: Customer(customer_id=name) for name in ids if name not in rows}
    wanted = {scope_id: row for scope_id, row in rows.items() if scope_id in ids}
    grants = grants_for({(kind, scope_id) for scope_id in wanted}, now=now)
    owners: dict[str, Owner] = {}
    for scope_id, row in wanted.items():
        try:
            owners[scope_id] = owner_of(row, grants=grants, customer_tier=tier)
        except Exception:
            logger.exception("the limits of %s %s cannot be read", kind, scope_id)
    return owners


def _named(kind: str, ids: Iterable[str]) -> Q:
    if kind == KEY:
        return Q(pk__in=[scope_id for scope_id in ids if is_uuid(scope_id)])
    if kind != MEMBER:
        return Q(pk__in=list(ids))
    pairs = [scope_id.split("/", 1) for scope_id in ids if "/" in scope_id]
    return Q(user_id__in={user_id for user_id, _ in pairs}, team_id__in={team_id for _, team_id in pairs})


def is_uuid(text: str) -> bool:
    """Whether a text is a key's internal id."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
