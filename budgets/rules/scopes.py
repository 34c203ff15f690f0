"""Scopes and what a key may do: the values that the management side hands to the data plane.

A scope is what can have limits (a key, a team, a member of a team, a user, a customer, a tag, a run). Its root is the
outermost scope with a fixed home; everything that one script touches lives under one root.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from budgets.rules.limits import Limit, LimitUnit
from budgets.rules.windows import LIFETIME, Calendar

KEY, TEAM, MEMBER, USER, CUSTOMER, TAG, RUN = "key", "team", "member", "user", "customer", "tag", "run"


@dataclass(frozen=True, slots=True)
class Scope:
    """`id` is the key's internal id, the id of the team, user or customer, the tag, or what `member_id` and `run_id`
    make. With a `model` it is the part of the scope's calls that went to this model."""

    kind: str
    id: str
    model: str | None = None

    @property
    def path(self) -> str:
        """The id as it stands in names of counters."""
        return self.id if self.model is None else f"{self.id}/{self.model}"


def member_id(user_id: str, *, team_id: str) -> str:
    """The scope id of a user in a team. Neither id has a slash, and all teams of a user stand together."""
    return f"{user_id}/{team_id}"


def run_scope_id(run: str, *, key_id: str) -> str:
    """The scope id of one run of an agent under its key."""
    return f"{key_id}/{run}"


class Raise(NamedTuple):
    """What a grant adds to a limit's maximum, in its unit, from `start_ms` until `end_ms`."""

    start_ms: int
    end_ms: int
    amount: int


@dataclass(frozen=True, slots=True)
class CountedLimit:
    """A limit, the instant since which it has been counted without a gap, and the grants that raise it."""

    limit: Limit
    since_ms: int
    raises: tuple[Raise, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeLimits:
    """All limits of one scope and the calendar that its windows follow. `by_model` has those that hold for the calls of
    one model only, by any name of the model."""

    scope: Scope
    calendar: Calendar
    limits: tuple[CountedLimit, ...]
    by_model: Mapping[str, tuple[CountedLimit, ...]] = field(default_factory=dict)


def limits_of_model(limits: ScopeLimits, *, spellings: tuple[str, ...], model: str) -> ScopeLimits | None:
    """The limits that a scope has for one model, None where it has none. Callers and admins may spell it differently.

    Spends are counted by the route's own name, `model`. Of two limits that are the same one the lower maximum holds.
    """
    found: dict[str, CountedLimit] = {}
    for spelling in dict.fromkeys(spellings):
        for counted in limits.by_model.get(spelling, ()):
            before = found.get(counted.limit.identity)
            if before is None or (counted.limit.maximum or 0) < (before.limit.maximum or 0):
                found[counted.limit.identity] = counted
    if not found:
        return None
    return ScopeLimits(Scope(limits.scope.kind, limits.scope.id, model), limits.calendar, tuple(found.values()))


@dataclass(frozen=True, slots=True)
class KeyProfile:
    """What the data plane knows of a key. A list of models that is None allows every model; all lists must allow one.

    `aliases` turns names of models that the key's callers use into names of routes; `routes` None allows every route.
    `has_max_budget` says that the first limit of the first scope is the key's own `max_budget`.
    """

    key_id: str
    token_hash: str
    alias: str | None
    team_id: str | None
    blocked: bool
    team_blocked: bool
    expires_ms: int | None
    models: frozenset[str] | None
    team_models: frozenset[str] | None
    scopes: tuple[ScopeLimits, ...]
    user_id: str | None = None
    user_blocked: bool = False
    user_models: frozenset[str] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    routes: frozenset[str] | None = None
    tags: tuple[str, ...] = ()
    has_max_budget: bool = False

    @property
    def root(self) -> str:
        """Where the counters of the key live: with its team, with its user, or alone."""
        return root_of(self.key_id, team_id=self.team_id, user_id=self.user_id)


@dataclass(frozen=True, slots=True)
class GuestProfile:
    """What the data plane knows of a scope that a call names itself: a customer or a tag. Its root is its own."""

    limits: ScopeLimits
    blocked: bool = False
    models: frozenset[str] | None = None

    @property
    def root(self) -> str:
        return f"{self.limits.scope.kind}:{self.limits.scope.id}"


def root_of(key_id: str, *, team_id: str | None, user_id: str | None = None) -> str:
    """The root of a key's counters. A user's limits hold for the keys that belong to no team."""
    if team_id is not None:
        return f"team:{team_id}"
    return f"user:{user_id}" if user_id is not None else f"key:{key_id}"


def lifetime_tracker(since_ms: int) -> CountedLimit:
    """Counts a key's whole spend and refuses nothing, so that answers can say it without asking the database."""
    return CountedLimit(Limit(unit=LimitUnit.USD, period=LIFETIME, maximum=None), since_ms)
