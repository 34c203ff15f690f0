"""Scopes and what a key may do: the values that the management side hands to the data plane.

A scope is what can have limits (a key, a team). Its root is the outermost scope with a fixed home; everything that one
script touches lives under one root.
"""

from dataclasses import dataclass

from budgets.rules.limits import Limit, LimitUnit
from budgets.rules.windows import LIFETIME, Calendar


@dataclass(frozen=True, slots=True)
class Scope:
    """`kind` is `key` or `team`; `id` is the key's internal id or the team's id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class CountedLimit:
    """A limit and the instant since which it has been counted without a gap."""

    limit: Limit
    since_ms: int


@dataclass(frozen=True, slots=True)
class ScopeLimits:
    """All limits of one scope and the calendar that its windows follow."""

    scope: Scope
    calendar: Calendar
    limits: tuple[CountedLimit, ...]


@dataclass(frozen=True, slots=True)
class KeyProfile:
    """What the data plane knows of a key. `models` None allows every model; both lists must allow a model."""

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

    @property
    def root(self) -> str:
        """Where the counters of the key live: with its team, or alone."""
        return root_of(self.key_id, team_id=self.team_id)


def root_of(key_id: str, *, team_id: str | None) -> str:
    """The root of a key's counters."""
    return f"team:{team_id}" if team_id is not None else f"key:{key_id}"


def lifetime_tracker(since_ms: int) -> CountedLimit:
    """Counts a key's whole spend and refuses nothing, so that answers can say it without asking the database."""
    return CountedLimit(Limit(unit=LimitUnit.USD, period=LIFETIME, maximum=None), since_ms)
