"""Every write that concerns teams or users and their keys: one transaction for all of it, or nothing happens.

Teams are locked first, then users, then keys, then memberships. A key that somebody makes at the same moment for what
is being deleted is found at commit: then all of it is done again, and that key is deleted too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, Q

from budgets.actors import Actor
from budgets.audit import record_change
from budgets.errors import ConflictError, InputError, NotFoundError
from budgets.gate.changes import publish
from budgets.rules.scopes import MEMBER, TEAM, USER, member_id
from keys.access import locked_keys
from keys.deletion import delete_locked
from keys.fields import KeyFields
from keys.models import Key
from keys.services import CreatedKey, create_key
from teams.member_services import MemberFields, NewMember, add_members, locked_member
from teams.models import Member, Team, User
from teams.records import member_record, team_record, user_record
from teams.services import drop_tier, team_for, team_not_found
from teams.user_services import UserFields, check_admin_remains, create_user, locked_users

ATTEMPTS = 3
DoneT = TypeVar("DoneT")


def _all_or_again(act: Callable[[], DoneT], *, field: str) -> DoneT:
    """Runs a deletion in a transaction, and again where something new referred to what was deleted."""
    for _ in range(ATTEMPTS):
        try:
            with transaction.atomic():
                return act()
        except (IntegrityError, ProtectedError):
            continue
    raise ConflictError("Keys or members are being added all the time; nothing was deleted, try again", field=field)


def _delete_keys(where: Q, *, field: str, by: Actor, now: datetime) -> list[str]:
    """Deletes the keys that match; answers with their hashes. Whoever calls has checked that `by` may do it."""
    keys = locked_keys(Key.objects.filter(where))
    delete_locked(keys, now=now, by=by)
    return [key.token_hash for key in keys]


def _delete_members(where: Q, *, by: Actor, now: datetime) -> None:
    members = list(Member.objects.select_for_update().filter(where).order_by("id"))
    for member in members:
        subject_id = member_id(member.user_id, team_id=member.team_id)
        before = member_record(member)
        record_change(by, action="delete", kind=MEMBER, subject_id=subject_id, before=before, after={}, now=now)
    Member.objects.filter(id__in=[member.pk for member in members]).delete()
    teams = sorted({member.team_id for member in members})
    transaction.on_commit(partial(publish, *(f"team:{team_id}" for team_id in teams)))


def delete_teams(team_ids: Sequence[str], *, by: Actor, now: datetime) -> list[str]:
    """Deletes all of these teams with their keys and memberships, or none and raises NotFoundError.

    Answers with the hashes of the keys. What they spent stays in the ledger.
    """
    return _all_or_again(partial(_delete_teams, team_ids, by=by, now=now), field="team_ids")


def _delete_teams(team_ids: Sequence[str], *, by: Actor, now: datetime) -> list[str]:
    locked = Team.objects.select_for_update().filter(team_id__in=team_ids).order_by("team_id")
    teams = {team.team_id: team for team in locked}
    for index, team_id in enumerate(team_ids):
        if team_id not in teams:
            raise team_not_found(team_id, field=f"team_ids[{index}]")
    hashes = _delete_keys(Q(team__in=teams), field="team_ids", by=by, now=now)
    _delete_members(Q(team__in=teams), by=by, now=now)
    for team_id, team in teams.items():
        record_change(by, action="delete", kind=TEAM, subject_id=team_id, before=team_record(team), after={}, now=now)
    Team.objects.filter(team_id__in=teams).delete()
    for team in teams.values():
        if team.member_budget is not None:
            drop_tier(team.member_budget)
    transaction.on_commit(partial(publish, *(f"team:{team_id}" for team_id in teams)))
    return hashes


def remove_member(team_id: str, user_id: str, *, by: Actor, now: datetime) -> list[str]:
    """Takes a user out of a team and deletes the keys that the user has there; answers with their hashes."""

    def remove() -> list[str]:
        locked_member(team_for(team_id, lock=True), user_id)
        hashes = _delete_keys(Q(team=team_id, user=user_id), field="user_id", by=by, now=now)
        _delete_members(Q(team=team_id, user=user_id), by=by, now=now)
        return hashes

    return _all_or_again(remove, field="user_id")


def delete_users(user_ids: Sequence[str], *, by: Actor, now: datetime) -> list[str]:
    """Deletes all of these users with their keys and memberships, or none; answers with the hashes of the keys.

    Raises NotFoundError, and ConflictError where no proxy admin would be left.
    """
    return _all_or_again(partial(_delete_users, user_ids, by=by, now=now), field="user_ids")


def _delete_users(user_ids: Sequence[str], *, by: Actor, now: datetime) -> list[str]:
    users = locked_users(user_ids, field="user_ids")
    check_admin_remains(users, field="user_ids")
    names = [user.username for user in users]
    hashes = _delete_keys(Q(user__in=names), field="user_ids", by=by, now=now)
    _delete_members(Q(user__in=names), by=by, now=now)
    for user in users:
        before = user_record(user)
        record_change(by, action="delete", kind=USER, subject_id=user.username, before=before, after={}, now=now)
    User.objects.filter(username__in=names).delete()
    transaction.on_commit(partial(publish, *(f"user:{name}" for name in names)))
    return hashes


@dataclass(frozen=True, slots=True)
class CreatedUser:
    """A new user, the teams that the user joined, and a key where one was asked for."""

    user: User
    teams: tuple[str, ...]
    key: CreatedKey | None


@dataclass(frozen=True, slots=True)
class Joining:
    """A team that a new user joins."""

    team_id: str
    role: str = Member.Role.USER
    max_budget_nanousd: int | None = None


def create_user_with_key(
    fields: UserFields,
    *,
    teams: Sequence[Joining],
    key: KeyFields | None,
    by: Actor,
    now: datetime,
    user_id: str | None = None,
    spend_nanousd: int | None = None,
) -> CreatedUser:
    """Makes a user who joins the teams, and a key that belongs to none. Raises InputError and LimitError."""
    with transaction.atomic():
        for team in sorted(teams, key=lambda team: team.team_id):
            _lock_team(team.team_id, teams=teams)
        user = create_user(fields, user_id=user_id, spend_nanousd=spend_nanousd, by=by, now=now)
        for team in teams:
            given: MemberFields = {}
            if team.max_budget_nanousd is not None:
                given = {"max_budget_nanousd": team.max_budget_nanousd}
            person = NewMember(user_id=user.username, role=team.role)
            add_members(team.team_id, [person], given, by=by, now=now, field="teams")
        created = None
        if key is not None:
            created = create_key(cast(KeyFields, {**key, "user_id": user.username}), now=now, by=by)
    return CreatedUser(user, tuple(team.team_id for team in teams), created)


def _lock_team(team_id: str, *, teams: Sequence[Joining]) -> None:
    try:
        team_for(team_id, lock=True)
    except NotFoundError as error:
        index = [team.team_id for team in teams].index(team_id)
        raise InputError(f"teams[{index}]: {error}", field=f"teams[{index}]") from None
