"""Every write to a team but its members, and finding one. Gateways hear of it after the commit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import uuid4

from django.db import transaction
from django.db.models import ProtectedError, Q

from budgets.actors import SYSTEM, Actor
from budgets.audit import record_change
from budgets.errors import InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.models import Budget
from budgets.rules.limits import LimitError, parse_duration
from budgets.rules.scopes import TEAM
from budgets.services import (
    LIMIT_FIELDS,
    LimitFields,
    LimitSet,
    calendar_of,
    changed_limits,
    limit_set,
    set_limits,
    set_limits_beside,
)
from teams.models import Member, Team
from teams.parsing import TeamIdError, check_team_id, is_team_id, make_team_id
from teams.records import team_record

MEMBER_PERMISSIONS = (
    "/key/generate",
    "/key/update",
    "/key/delete",
    "/key/info",
    "/key/list",
    "/key/regenerate",
    "/key/{key}/regenerate",
    "/key/block",
    "/key/unblock",
    "/key/bulk_update",
    "/key/health",
    "/key/{key}/reset_spend",
    "/key/service-account/generate",
    "/team/daily/activity",
)
"""What `team_member_permissions` may name."""

TIER_FIELDS = {
    "team_member_budget_nanousd": "max_budget_nanousd",
    "team_member_budget_duration": "budget_duration",
    "team_member_budget_limits": "budget_limits",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
    "team_member_model_max_budget": "model_max_budget",
}
"""The fields of a team's tier for members, by the names that they have in requests about the team."""
_SENT_NAMES = {"max_budget": "budget"}


class TeamFields(LimitFields, total=False):
    """What a request says of a team: a missing field leaves it as it is, None empties it."""

    team_alias: str | None
    models: list[str] | None
    model_aliases: dict[str, str] | None
    default_team_member_models: list[str] | None
    team_member_permissions: list[str] | None
    team_member_key_duration: str | None
    team_member_budget_nanousd: int | None
    team_member_budget_duration: str | None
    team_member_budget_limits: Any
    team_member_rpm_limit: int | None
    team_member_tpm_limit: int | None
    team_member_model_max_budget: dict[str, dict[str, Any]] | None
    is_available: bool | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    noted: dict[str, Any]
    blocked: bool | None


_COLUMNS = {
    "models": "allowed_models",
    "model_aliases": "model_aliases",
    "default_team_member_models": "default_member_models",
    "team_member_permissions": "member_permissions",
    "tags": "tags",
    "metadata": "metadata",
}
"""The columns of JSON, by the names that they have in requests."""


def create_team(fields: TeamFields, *, now: datetime, team_id: str | None = None, by: Actor = SYSTEM) -> Team:
    """Makes a team without members. Raises InputError and LimitError."""
    team_id = team_id or make_team_id()
    try:
        check_team_id(team_id)
    except TeamIdError as error:
        raise InputError(f"team_id: {error}", field="team_id") from None
    team = Team(team_id=team_id, created_at=now, updated_at=now, created_by=by.name)
    taken = InputError(f"Team id = {team_id} already exists. Please use a different team id.", field="team_id")
    with conflicts_named({"teams_team_pkey": taken}), transaction.atomic():
        _apply(team, fields, by=by, now=now)
        team.save(force_insert=True)
        record_change(by, action="create", kind=TEAM, subject_id=team_id, before={}, after=team_record(team), now=now)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return team


def update_team(team_id: str, fields: TeamFields, *, now: datetime, by: Actor = SYSTEM, action: str = "update") -> Team:
    """Changes what `fields` names. Raises NotFoundError, InputError and LimitError."""
    with changed_team(team_id, action=action, by=by, now=now) as team:
        before = calendar_of(team)
        _apply(team, fields, by=by, now=now)
        if calendar_of(team) != before:
            _move_calendars(team, now=now)
    return team


@contextmanager
def changed_team(team_id: str, *, action: str, by: Actor, now: datetime) -> Iterator[Team]:
    """A locked team that is saved, recorded and announced afterwards. Raises NotFoundError."""
    with transaction.atomic():
        team = team_for(team_id, lock=True)
        before = team_record(team)
        unused = team.member_budget
        yield team
        team.updated_at = now
        team.save(force_update=True)
        if unused is not None and team.member_budget is None:
            drop_tier(unused)
        after = team_record(team)
        record_change(by, action=action, kind=TEAM, subject_id=team_id, before=before, after=after, now=now)
        transaction.on_commit(partial(publish, f"team:{team_id}"))


def set_models(team_id: str, models: Sequence[str], *, added: bool, now: datetime, by: Actor = SYSTEM) -> Team:
    """Adds models to what a team may call, or takes them away. Raises NotFoundError and InputError.

    An empty list allows every model, so the last one cannot be taken away and nothing can be taken from all.
    """
    with changed_team(team_id, action="update", by=by, now=now) as team:
        had = team.allowed_models
        if added:
            team.allowed_models = list(dict.fromkeys([*had, *models]))
        else:
            team.allowed_models = [model for model in had if model not in models]
            if not team.allowed_models:
                said = "it may call every model" if not had else "none would be left, and an empty list allows all"
                raise InputError(f"models: {said}; block the team or set its models in /team/update", field="models")
    return team


def team_for(team_id: str, *, lock: bool = False) -> Team:
    """The team of that id, until the end of the transaction nobody else's if locked. Raises NotFoundError.

    A row that a lock waited for is the new one, but what is joined to it is read before the wait: a locked team's tiers
    are read afterwards, or somebody else's change of them would be lost. So it is with all other locks here.
    """
    teams = Team.objects.select_for_update() if lock else Team.objects.select_related("budget", "member_budget")
    team = teams.filter(team_id=team_id).first() if is_team_id(team_id) else None
    if team is None:
        raise team_not_found(team_id)
    return team


def team_not_found(team_id: str, *, field: str = "team_id") -> NotFoundError:
    """The one answer for a team that does not exist."""
    return NotFoundError(f"Team not found, passed team id: {team_id}.", field=field)


def drop_tier(tier: Budget) -> None:
    """Deletes a team's tier for members, unless somebody else refers to it."""
    try:
        with transaction.atomic():
            tier.delete()
    except ProtectedError:
        pass


def _check_permissions(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name not in MEMBER_PERMISSIONS:
            path = f"team_member_permissions[{index}]"
            message = f"{path}: {name!r} is not allowed; allowed are {', '.join(MEMBER_PERMISSIONS)}"
            raise InputError(message, field=path)


def _apply(team: Team, fields: TeamFields, *, by: Actor, now: datetime) -> None:
    given = cast(dict[str, Any], fields)
    _check_permissions(given.get("team_member_permissions") or ())
    if "team_alias" in fields:
        team.team_alias = fields["team_alias"]
    for name, column in _COLUMNS.items():
        if name in given:
            setattr(team, column, given[name] or type(getattr(team, column))())
    if "blocked" in fields:
        team.blocked = bool(fields["blocked"])
    if "is_available" in fields:
        team.is_available = bool(fields["is_available"])
    if "team_member_key_duration" in fields:
        team.member_key_duration = _key_duration(fields["team_member_key_duration"])
    team.noted = {**team.noted, **given.get("noted", {})}
    if team._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(team, changed_limits(team, fields), now=now)
    if TIER_FIELDS.keys() & fields.keys():
        _set_tier(team, given, by=by, now=now)


def _key_duration(duration: str | None) -> str | None:
    if duration is not None:
        parse_duration(duration, field="team_member_key_duration")
    return duration


def _set_tier(team: Team, fields: dict[str, Any], *, by: Actor, now: datetime) -> None:
    """Gives the team's members the limits of `fields` besides those that they had; without any they have no tier."""
    tier = team.member_budget
    if tier is None:
        tier = Budget(budget_id=str(uuid4()), created_at=now, created_by=by.name)
    else:
        tier = Budget.objects.select_for_update().get(budget_id=tier.budget_id)
    given = cast(LimitFields, {TIER_FIELDS[name]: fields[name] for name in TIER_FIELDS if name in fields})
    try:
        wanted = changed_limits(tier, given)
        set_limits(tier, wanted, now=now)
    except LimitError as error:
        name, dot, rest = error.field.partition(".")
        sent = f"team_member_{_SENT_NAMES.get(name, name)}{dot}{rest}"
        raise LimitError(str(error), field=sent) from None
    if not (wanted.single or wanted.limits or wanted.rates or wanted.model_max_budget):
        team.member_budget = team.member_budget_since = None
        return
    tier.updated_at, tier.updated_by = now, by.name
    tier.save()
    if team.member_budget_since is None:
        team.member_budget_since = now
    team.member_budget = tier
    if not team._state.adding:
        _make_members_due(team, now=now)


def set_limits_of_member(member: Member, wanted: LimitSet, *, team: Team, now: datetime) -> None:
    """Gives a membership limits of its own, beside those of its team's tier. Raises LimitError."""
    if team.member_budget_id is not None:
        set_limits_beside(member, wanted, now=now)
    else:
        set_limits(member, wanted, now=now)


def _make_members_due(team: Team, *, now: datetime) -> None:
    waiting = Q(next_reset_at__isnull=True) | Q(next_reset_at__gt=now)
    Member.objects.filter(waiting, team=team).update(next_reset_at=now)


def _move_calendars(team: Team, *, now: datetime) -> None:
    """The days and weeks of the members begin when those of their team do."""
    for member in Member.objects.select_for_update().filter(team=team):
        set_limits_of_member(member, replace(limit_set(member), calendar=calendar_of(team)), team=team, now=now)
        member.save(force_update=True)
