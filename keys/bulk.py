"""Changing many keys at once: each in a transaction of its own, with a result of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q
from rest_framework.exceptions import ValidationError

from budgets.actors import Actor
from budgets.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from budgets.rules.limits import LimitError
from keys.access import keys_visible_to
from keys.fields import KeyFields
from keys.lookup import any_named, hashes_of, key_not_found
from keys.models import Key
from keys.parsing import token_hash_of
from keys.services import update_key
from teams.models import Team

REFUSALS = (LimitError, InputError, NotFoundError, ConflictError, ForbiddenError, ValidationError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one key: it changed, or `reason` says why not."""

    name: str
    key: Key | None
    reason: str = ""


def outcome_of(name: str, change: Callable[[], Key]) -> Outcome:
    """Changes one key. What the request got wrong is told; an outage goes on."""
    try:
        return Outcome(name, change())
    except REFUSALS as error:
        return Outcome(name, None, _text(error))


def _text(error: Exception) -> str:
    if isinstance(error, LimitError):
        return f"{error.field}: {error}"
    if isinstance(error, ValidationError):
        return "; ".join(_flat(error.detail))
    return str(error)


def _flat(detail: Any, path: str = "") -> list[str]:
    if isinstance(detail, dict):
        return [text for name, item in detail.items() for text in _flat(item, f"{path}[{name}]" if path else f"{name}")]
    if isinstance(detail, list):
        return [text for item in detail for text in _flat(item, path)]
    return [f"{path}: {detail}"]


def update_team_keys(
    team_id: str, names: Sequence[str] | None, fields: KeyFields, *, now: datetime, by: Actor, most: int
) -> list[Outcome]:
    """The same change for keys of one team, all of them without `names`. Raises NotFoundError, ForbiddenError and
    InputError for the whole."""
    if not (by.sees_team(team_id) or team_id in by.admin_of) or not Team.objects.filter(team_id=team_id).exists():
        raise NotFoundError(f"Team not found, passed team id: {team_id}.", field="team_id")
    if not by.manages_team(team_id):
        raise ForbiddenError(f"{by.name} may not change all keys of this team; its admins may")
    of_team = keys_visible_to(by).filter(team_id=team_id)
    if names is None:
        names = list(of_team.order_by("id").values_list("token_hash", flat=True)[: most + 1])
        if len(names) > most:
            raise InputError(f"all_keys_in_team: there are more than {most} keys; name them", field="all_keys_in_team")
    there = of_team.filter(any_named(names, now=now) & Q(team_id=team_id))
    known = {token_hash for key in there for token_hash in hashes_of(key, now=now)}

    def change(name: str) -> Key:
        if token_hash_of(name) not in known:
            raise key_not_found("key_ids")
        return update_key(name, fields, now=now, by=by)

    return [outcome_of(name, lambda name=name: change(name)) for name in names]  # type: ignore[misc]
