"""What a request may say of a key, and doing it to an unsaved or locked one. Nothing is saved here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists

from budgets.errors import InputError
from budgets.rules.windows import DurationError
from budgets.services import LIMIT_FIELDS, LimitFields, changed_limits, set_limits
from keys.models import Key
from keys.parsing import expiry_of
from keys.profiles import root_of_key
from teams.models import Member, Team, User
from teams.parsing import is_team_id

ROUTES_OF_TYPE: Mapping[str, list[str]] = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}
"""What a key of a type may call, where nothing else is said; an empty list is every route."""


class KeyFields(LimitFields, total=False):
    """What a request says of a key: a missing field leaves it as it is, None empties it."""

    key_alias: str | None
    team_id: str | None
    user_id: str | None
    models: list[str] | None
    aliases: dict[str, str] | None
    allowed_routes: list[str] | None
    key_type: str | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    noted: dict[str, Any]
    duration: str | None
    blocked: bool | None
    spend_nanousd: int | None
    temp_budget_increase_nanousd: int | None
    temp_budget_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """The team and the user that a key is to have. `life` is how long the keys of the team's members live."""

    team: Team | None
    user_id: str | None
    life: str | None


def apply_fields(key: Key, fields: KeyFields, *, now: datetime) -> None:
    """Changes what `fields` names, but for the spend and the grant. Raises InputError and LimitError."""
    if "key_alias" in fields:
        key.key_alias = fields["key_alias"]
    if "models" in fields:
        key.allowed_models = list(dict.fromkeys(fields["models"] or []))
    if "aliases" in fields:
        key.model_aliases = fields["aliases"] or {}
    if "tags" in fields:
        key.tags = list(dict.fromkeys(fields["tags"] or []))
    if "metadata" in fields:
        key.metadata = fields["metadata"] or {}
    if "noted" in fields:
        noted = {**key.noted, **fields["noted"]}
        key.noted = {name: value for name, value in noted.items() if value is not None}
    if "blocked" in fields:
        key.blocked = bool(fields["blocked"])
    _set_routes(key, fields)
    moved, life = _move(key, fields, now=now)
    if "duration" in fields or life is not None:
        key.expires_at = _expires_at(fields.get("duration") or life, now=now)
    if moved or key._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(key, changed_limits(key, fields), now=now, recount=moved)


def _set_routes(key: Key, fields: KeyFields) -> None:
    if "key_type" in fields:
        key.key_type = fields["key_type"] or "default"
    elif "allowed_routes" not in fields:
        return
    given, implied = fields.get("allowed_routes") or [], ROUTES_OF_TYPE[key.key_type]
    if "key_type" not in fields and given != implied:
        key.key_type, implied = "default", []
    if given and implied and given != implied:
        message = f"allowed_routes: a key of the type {key.key_type!r} has {implied}; give one of the two"
        raise InputError(message, field="allowed_routes")
    key.allowed_routes = given or list(implied)


def _expires_at(duration: str | None, *, now: datetime) -> datetime | None:
    try:
        return expiry_of(duration, now=now)
    except DurationError as error:
        raise InputError(f"duration: {error}", field="duration") from None


def _move(key: Key, fields: KeyFields, *, now: datetime) -> tuple[bool, str | None]:
    """Gives a key its team and user. Says whether its counters live elsewhere now, where they count anew, and how long
    a new key of a member lives."""
    team_id, user_id = fields.get("team_id", key.team_id), fields.get("user_id", key.user_id)
    if (team_id, user_id) == (key.team_id, key.user_id):
        return False, None
    root = root_of_key(key)
    place = _place(team_id, user_id)
    if team_id != key.team_id:
        key.team = place.team
    key.user_id = place.user_id
    if root_of_key(key) == root:
        return False, None
    key.rooted_at = now
    return True, place.life if key._state.adding else None


def _place(team_id: str | None, user_id: str | None) -> Place:
    """One query, whatever is given. Raises InputError where one of the two does not exist."""
    users = User.objects.filter(username=user_id or "")
    if team_id is None:
        if user_id is not None and not users.exists():
            raise _no_user(user_id)
        return Place(None, user_id, None)
    found = Team.objects.annotate(
        knows_user=Exists(users),
        has_member=Exists(Member.objects.filter(team_id=team_id, user_id=user_id or "")),
    )
    team = found.filter(team_id=team_id).first() if is_team_id(team_id) else None
    if team is None:
        raise InputError(f"Team not found, passed team id: {team_id}.", field="team_id")
    if user_id is not None and not team.knows_user:
        raise _no_user(user_id)
    return Place(team, user_id, team.member_key_duration if team.has_member else None)


def limit_life(key: Key, *, is_given: bool, now: datetime) -> None:
    """Lets a key that a member of its team makes, renews or brings along live no longer than the team allows.

    Raises InputError where a longer life `is_given`.
    """
    most = None if key.team is None else key.team.member_key_duration
    latest = _expires_at(most, now=now)
    if latest is None or (key.expires_at is not None and key.expires_at <= latest):
        return
    if is_given:
        message = f"duration: too long; keys that members of team {key.team_id} make live at most {most}"
        raise InputError(message, field="duration")
    key.expires_at = latest


def _no_user(user_id: str) -> InputError:
    return InputError(f"user_id: there is no user {user_id!r}; POST /user/new makes one", field="user_id")
