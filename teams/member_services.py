"""Every write to memberships but removing one, which takes keys with it. The team is locked first, then its users.

Of two requests about one team the second one sees what the first one did, so nobody is added twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import uuid4

from django.db import transaction
from django.db.models.functions import Lower

from budgets.actors import Actor
from budgets.audit import record_change
from budgets.errors import ConflictError, InputError, NotFoundError
from budgets.gate.changes import publish
from budgets.models import Grant
from budgets.rules.limits import LimitError
from budgets.rules.money import exact_usd
from budgets.rules.scopes import MEMBER, USER, member_id
from budgets.services import LIMIT_FIELDS, LimitFields, LimitSet, changed_limits, limit_set, set_limits, text_of
from teams.models import Member, Team, User
from teams.parsing import TeamIdError, check_new_user_id, check_user_id, is_email
from teams.records import member_record, user_record
from teams.services import TeamFields, create_team, set_limits_of_member, team_for

MEMBERS_MAX = 500
INCREASE = "temp_budget_increase"
"""The reason of grants that /team/member_update makes; of them a membership has one at a time."""


@dataclass(frozen=True, slots=True)
class NewMember:
    """Whom a request adds: by id or by address, or both for somebody who does not exist yet."""

    user_id: str | None = None
    user_email: str | None = None
    role: str = Member.Role.USER

    def __str__(self) -> str:
        return f"user_id={self.user_id}, user_email={self.user_email}"


class MemberFields(LimitFields, total=False):
    """What a request says of memberships: a missing field leaves it as it is, None empties it."""

    allowed_models: list[str] | None
    role: str | None


@dataclass(frozen=True, slots=True)
class Increase:
    """A temporary increase of all USD limits of a membership; without an amount it ends those that there are."""

    amount_nanousd: int | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class AddedMembers:
    """A team and who is new in it, with their users."""

    team: Team
    members: list[Member] = field(default_factory=list)


def create_team_of(
    fields: TeamFields, *, people: Sequence[NewMember], by: Actor, now: datetime, team_id: str | None = None
) -> Team:
    """Makes a team with these members; the user who makes it is one of its admins."""
    known = [person for person in people if person.user_id != by.user_id or by.user_id is None]
    if by.user_id is not None:
        known.insert(0, NewMember(user_id=by.user_id, role=Member.Role.ADMIN))
    with transaction.atomic():
        team = create_team(fields, team_id=team_id, by=by, now=now)
        if known:
            add_members(team.team_id, known, {}, by=by, now=now, field="members_with_roles")
    return team


def add_members(
    team_id: str, people: Sequence[NewMember], fields: MemberFields, *, by: Actor, now: datetime, field: str = "member"
) -> AddedMembers:
    """Adds all of these people to a team, or none. Whom nobody knows yet becomes an internal user.

    Raises NotFoundError, LimitError, and InputError where somebody is a member already.
    """
    with transaction.atomic():
        team = team_for(team_id, lock=True)
        users = find_or_create_users(people, by=by, now=now, field=field)
        there = set(Member.objects.filter(team=team, user__in=users).values_list("user_id", flat=True))
        members = []
        for person, user in zip(people, users, strict=True):
            if user.username in there:
                message = f"{field}: User already in team. Member: {person}"
                raise InputError(message, field=field, kind="team_member_already_in_team")
            there.add(user.username)
            members.append(_new_member(team, user, role=person.role, fields=fields, by=by, now=now))
        Member.objects.bulk_create(members)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return AddedMembers(team, members)


def _new_member(team: Team, user: User, *, role: str, fields: MemberFields, by: Actor, now: datetime) -> Member:
    member = Member(team=team, user=user, role=role, created_at=now, timezone=team.timezone, week_start=team.week_start)
    member.allowed_models = fields.get("allowed_models") or []
    set_limits_of_member(member, changed_limits(member, fields), team=team, now=now)
    _record(member, action="create", before={}, by=by, now=now)
    return member


def _record(member: Member, *, action: str, before: dict[str, Any], by: Actor, now: datetime) -> None:
    subject_id = member_id(member.user_id, team_id=member.team_id)
    after = member_record(member)
    record_change(by, action=action, kind=MEMBER, subject_id=subject_id, before=before, after=after, now=now)


def find_or_create_users(people: Sequence[NewMember], *, by: Actor, now: datetime, field: str) -> list[User]:
    """The users of these people, locked until the end of the transaction; unknown ones are made. Raises InputError."""
    for person in people:
        _check_person(person, field=field)
    found = _find(people)
    missing = {
        (person.user_id, None if person.user_id else _email_key(person)): person
        for person, user in zip(people, found, strict=True)
        if user is None
    }
    if missing:
        _check_new(list(missing.values()), field=field)
        made = _create_users(list(missing.values()), by=by, now=now)
        found = _find(people)
        _record_users(made & {user.username for user in found if user is not None}, by=by, now=now)
    for person, user in zip(people, found, strict=True):
        if user is None:
            message = f"{field}: {person.user_email!r} is the address of another user, or becomes it right now"
            raise ConflictError(message, field=field)
    return [user for user in found if user is not None]


def _check_person(person: NewMember, *, field: str) -> None:
    if person.user_id is None and person.user_email is None:
        raise InputError(f"{field}: user_id or user_email is needed", field=field)
    if person.user_email is not None and not is_email(person.user_email):
        raise InputError(f"{field}: {person.user_email!r} is not an email address", field=field)
    if person.user_id is not None:
        try:
            check_user_id(person.user_id)
        except TeamIdError as error:
            raise InputError(f"{field}: {error}", field=field) from None


def _check_new(people: Sequence[NewMember], *, field: str) -> None:
    for person in people:
        try:
            check_new_user_id(person.user_id or str(uuid4()))
        except TeamIdError as error:
            raise InputError(f"{field}: {error}", field=field) from None


def _find(people: Sequence[NewMember]) -> list[User | None]:
    """Two queries at most, which lock in the order of the ids."""
    ids = {person.user_id for person in people if person.user_id is not None}
    emails = {_email_key(person) for person in people if person.user_id is None}
    locked = User.objects.select_for_update(no_key=True).order_by("username")
    by_id = {user.username: user for user in locked.filter(username__in=ids)} if ids else {}
    of_emails = locked.annotate(email_key=Lower("email")).filter(email_key__in=emails) if emails else ()
    by_email = {user.email.lower(): user for user in of_emails}
    return [
        by_id.get(person.user_id) if person.user_id is not None else by_email.get(_email_key(person))
        for person in people
    ]


def _email_key(person: NewMember) -> str:
    return (person.user_email or "").lower()


def _create_users(people: Sequence[NewMember], *, by: Actor, now: datetime) -> set[str]:
    """Makes users and answers with their ids. Somebody else may make the same ones at this moment: then theirs stay."""
    users = []
    for person in people:
        user = User(
            username=person.user_id or str(uuid4()),
            email=person.user_email or "",
            role=User.Role.INTERNAL_USER,
            created_by=by.name,
            date_joined=now,
            updated_at=now,
        )
        user.set_unusable_password()
        set_limits(user, changed_limits(user, {}), now=now)
        users.append(user)
    users.sort(key=lambda user: user.username)
    User.objects.bulk_create(users, ignore_conflicts=True)
    return {user.username for user in users}


def _record_users(user_ids: set[str], *, by: Actor, now: datetime) -> None:
    for user in User.objects.filter(username__in=user_ids).order_by("username"):
        after = user_record(user)
        record_change(by, action="create", kind=USER, subject_id=user.username, before={}, after=after, now=now)


def user_id_of(user_id: str | None, *, user_email: str | None) -> str:
    """The id of the user whom a request names by id or by address. Raises NotFoundError and InputError."""
    if user_id is not None:
        return user_id
    if user_email is None:
        raise InputError("user_id: needed, or user_email", field="user_id")
    found = User.objects.annotate(email_key=Lower("email")).filter(email_key=user_email.lower()).first()
    if found is None:
        raise NotFoundError(f"User not found, passed user email: {user_email}.", field="user_email")
    return found.username


def locked_member(team: Team, user_id: str) -> Member:
    """A membership of a locked team. Raises NotFoundError."""
    member = Member.objects.select_for_update().filter(team=team, user_id=user_id).first()
    if member is None:
        raise NotFoundError(f"{user_id} is not a member of team {team.team_id}.", field="user_id")
    member.team = team
    return member


def update_member(
    team_id: str, user_id: str, fields: MemberFields, *, by: Actor, now: datetime, increase: Increase | None = None
) -> Member:
    """Changes what `fields` names, and grants an increase. Raises NotFoundError, InputError and LimitError."""
    with transaction.atomic():
        team = team_for(team_id, lock=True)
        member = locked_member(team, user_id)
        before = member_record(member)
        if "allowed_models" in fields:
            member.allowed_models = fields["allowed_models"] or []
        member.role = fields.get("role") or member.role
        if LIMIT_FIELDS & fields.keys():
            set_limits_of_member(member, changed_limits(member, fields), team=team, now=now)
        member.save(force_update=True)
        _record(member, action="update", before=before, by=by, now=now)
        if increase is not None:
            _grant(member, increase, by=by, now=now)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return member


def _grant(member: Member, increase: Increase, *, by: Actor, now: datetime) -> None:
    """The new increase takes the place of those that this request made before."""
    scope_id = member_id(member.user_id, team_id=member.team_id)
    amount, ends_at = increase.amount_nanousd, increase.ends_at
    if (amount is None) != (ends_at is None):
        missing = "temp_budget_expiry" if ends_at is None else "temp_budget_increase"
        raise InputError(f"{missing}: an increase needs an amount and an end; give both", field=missing)
    if ends_at is not None and ends_at <= now:
        message = f"temp_budget_expiry: {text_of(ends_at)} is not later than now ({text_of(now)})"
        raise InputError(message, field="temp_budget_expiry")
    if amount == 0:
        raise LimitError("0 increases nothing; allowed is more than 0", field="temp_budget_increase")
    before = Grant.objects.filter(scope_kind=MEMBER, scope_id=scope_id, reason=INCREASE, ends_at__gt=now)
    ended = before.update(ends_at=now)
    record = {} if amount is None or ends_at is None else {"amount": exact_usd(amount), "ends_at": text_of(ends_at)}
    if amount is not None and ends_at is not None:
        Grant.objects.create(
            scope_kind=MEMBER,
            scope_id=scope_id,
            amount=amount,
            starts_at=now,
            ends_at=ends_at,
            reason=INCREASE,
            created_at=now,
            created_by=by.name,
        )
    if record or ended:
        record_change(
            by,
            action="grant" if record else "revoke",
            kind=MEMBER,
            subject_id=scope_id,
            before={"ended": ended} if ended else {},
            after=record,
            now=now,
        )


@dataclass(frozen=True, slots=True)
class ResetMember:
    """A membership that has its team's limits again, and the tier that it had of its own."""

    member: Member
    previous_budget_id: str | None


def reset_member_budget(team_id: str, user_id: str, *, by: Actor, now: datetime) -> ResetMember:
    """Takes away the limits that a membership has of its own: those of the team's tier hold. Raises NotFoundError."""
    with transaction.atomic():
        team = team_for(team_id, lock=True)
        member = locked_member(team, user_id)
        before, previous = member_record(member), member.budget_id
        set_limits_of_member(member, LimitSet((), None, limit_set(member).calendar), team=team, now=now)
        member.save(force_update=True)
        _record(member, action="update", before=before, by=by, now=now)
        transaction.on_commit(partial(publish, f"team:{team_id}"))
    return ResetMember(member, previous)


def members_of(team: Team) -> list[Member]:
    """The members of a team with their users and tiers, in the order in which they came."""
    members = list(Member.objects.filter(team=team).select_related("user", "budget").order_by("created_at", "id"))
    for member in members:
        member.team = team
    return members


def member_fields(fields: dict[str, Any]) -> MemberFields:
    """What a validated request says of memberships."""
    names = LIMIT_FIELDS | {"allowed_models", "role"}
    return cast(MemberFields, {name: value for name, value in fields.items() if name in names})
