"""What stands above this app has limits of it: the kinds of scopes and the rows that refer to tiers.

Apps above register theirs when they are ready, because this one may not import them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Model

from budgets.actors import Actor
from budgets.errors import InputError
from budgets.rules.scopes import ScopeLimits


@dataclass(frozen=True, slots=True)
class Found:
    """A scope that somebody asked for: its limits without grants, under which names gateways hear of it, and whether
    its limits are the actor's business."""

    limits: ScopeLimits
    subjects: tuple[str, ...]
    is_managed: bool


Find = Callable[[Actor, str, datetime, bool], Found]
"""Finds what an actor names. The flag says that it is the id of the scope, where people have other names too."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """Rows that refer to a tier: `lookup` finds those of one. What only inherits is due with it, and keeps no tier."""

    kind: str
    model: type[Model]
    lookup: str = "budget_id"
    is_due: bool = True
    keeps: bool = True


_finds: dict[str, Find] = {}
_referrers: list[Referrer] = []


def register_kind(kind: str, find: Find) -> None:
    """Says how scopes of a kind are found."""
    _finds[kind] = find


def register_referrers(*referrers: Referrer) -> None:
    """Says which rows refer to tiers."""
    _referrers.extend(referrer for referrer in referrers if referrer not in _referrers)


def referrers() -> tuple[Referrer, ...]:
    return tuple(_referrers)


def found(actor: Actor, *, kind: str, scope_id: str, now: datetime, is_id: bool = False) -> Found:
    """The scope that somebody asks for. Raises NotFoundError where that one does not see it, InputError for a kind."""
    if kind not in _finds:
        raise InputError(f"scope: {kind!r} is not allowed; allowed are {', '.join(_finds)}", field="scope")
    return _finds[kind](actor, scope_id, now, is_id)
