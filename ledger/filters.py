"""What a report is about: conditions on usage, rollups or entries, with what its reader may see among them.

Column names come from this app alone; everything that a caller gave is a parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from budgets.actors import Actor
from teams.models import Team

ACTIVITY = "/team/daily/activity"
"""The permission with which members of a team see what the others spend."""


def teams_shown_to(by: Actor) -> set[str]:
    """The teams of which somebody sees every call: those that one administers, and those that show it to members."""
    others = by.teams - by.admin_of
    if not others:
        return set(by.admin_of)
    shown = Team.objects.filter(team_id__in=others, member_permissions__contains=[ACTIVITY])
    return {*by.admin_of, *shown.values_list("team_id", flat=True)}


@dataclass(slots=True)
class Where:
    """Conditions that must all hold, and their parameters."""

    conditions: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)

    def add(self, condition: str, *parameters: Any) -> None:
        self.conditions.append(condition)
        self.parameters += parameters

    def any_of(self, column: str, values: Sequence[str] | None) -> None:
        """No condition where `values` is None; none of them matches nothing."""
        if values is not None:
            self.add(f"{column} = ANY(%s)", list(values))

    def none_of(self, column: str, values: Sequence[str] | None) -> None:
        if values:
            self.add(f"{column} <> ALL(%s)", list(values))

    def between(self, column: str, start_at: datetime, end_at: datetime) -> None:
        """From `start_at` on, before `end_at`."""
        self.add(f"{column} >= %s AND {column} < %s", start_at, end_at)

    def visible_to(self, by: Actor) -> None:
        """What the reader may see: all calls of some teams, the own calls, those of the own key."""
        if not by.sees_all:
            teams = sorted(teams_shown_to(by))
            self.add("(team_id = ANY(%s) OR user_id = %s OR key_id = %s::uuid)", teams, by.user_id, by.key_id)

    @property
    def sql(self) -> str:
        return " AND ".join(self.conditions) or "TRUE"


@dataclass(frozen=True, slots=True)
class Days:
    """Whole days, the last one included, of a zone that is `offset_minutes` behind UTC."""

    first: date
    last: date
    offset_minutes: int = 0

    @property
    def start_at(self) -> datetime:
        return datetime.combine(self.first, time(), UTC) + timedelta(minutes=self.offset_minutes)

    @property
    def end_at(self) -> datetime:
        return datetime.combine(self.last + timedelta(days=1), time(), UTC) + timedelta(minutes=self.offset_minutes)
