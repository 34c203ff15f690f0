"""Every write to a team, and finding one."""

from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from budgets.errors import InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.services import LIMIT_FIELDS, LimitFields, changed_limits, set_limits
from teams.models import Team
from teams.parsing import TeamIdError, check_team_id, is_team_id, make_team_id


class TeamFields(LimitFields, total=False):
    """What a request says of a team: a missing field leaves it as it is, None empties it."""

    team_alias: str | None
    models: list[str] | None
    metadata: dict[str, Any] | None
    blocked: bool | None


def create_team(fields: TeamFields, *, now: datetime, team_id: str | None = None) -> Team:
    """Makes a team. Raises InputError and LimitError."""
    team_id = team_id or make_team_id()
    try:
        check_team_id(team_id)
    except TeamIdError as error:
        raise InputError(f"team_id: {error}", field="team_id") from None
    team = Team(team_id=team_id, created_at=now, updated_at=now)
    _apply(team, fields, now=now)
    taken = InputError(f"Team id = {team_id} already exists. Please use a different team id.", field="team_id")
    with conflicts_named({"teams_team_pkey": taken}), transaction.atomic():
        team.save(force_insert=True)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return team


def update_team(team_id: str, fields: TeamFields, *, now: datetime) -> Team:
    """Changes what `fields` names. Raises NotFoundError and LimitError."""
    with transaction.atomic():
        team = team_for(team_id, lock=True)
        _apply(team, fields, now=now)
        team.updated_at = now
        team.save(force_update=True)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return team


def team_for(team_id: str, *, lock: bool = False) -> Team:
    """The team of that id, until the end of the transaction nobody else's if locked. Raises NotFoundError."""
    teams = Team.objects.select_for_update() if lock else Team.objects.all()
    team = teams.filter(team_id=team_id).first() if is_team_id(team_id) else None
    if team is None:
        raise NotFoundError(f"Team not found, passed team id: {team_id}.", field="team_id")
    return team


def _apply(team: Team, fields: TeamFields, *, now: datetime) -> None:
    if "team_alias" in fields:
        team.team_alias = fields["team_alias"]
    if "models" in fields:
        team.allowed_models = fields["models"] or []
    if "metadata" in fields:
        team.metadata = fields["metadata"] or {}
    if "blocked" in fields:
        team.blocked = bool(fields["blocked"])
    if team._state.adding or LIMIT_FIELDS & fields.keys():
        set_limits(team, changed_limits(team, fields), now=now)
