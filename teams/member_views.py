"""The API for members of teams, but removing one, which takes keys with it: that is in keys/people_views.py."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import Answer
from budgets.documents import documented
from budgets.errors import ConflictError, ForbiddenError, InputError
from budgets.queries import parameters_of
from budgets.requests import actor_of
from teams.access import check_manages_team, member_seen_by
from teams.answers import (
    ADDED_ANSWER,
    BULK_ADDED_ANSWER,
    MEMBERSHIP,
    RESET_ANSWER,
    UPDATED_MEMBER_ANSWER,
    budget_source,
    membership_row,
    updated_member_answer,
    updated_user,
)
from teams.guest_serializers import NoQuery
from teams.member_serializers import (
    AddMembersSerializer,
    BulkAddMembersSerializer,
    NoBodySerializer,
    UpdateMemberSerializer,
)
from teams.member_services import (
    Increase,
    MemberFields,
    NewMember,
    add_members,
    member_fields,
    reset_member_budget,
    update_member,
    user_id_of,
)
from teams.models import Member, Team, User
from teams.services import team_for
from teams.usage import shown_of, shown_of_all
from teams.views import team_answer, validated

_MEMBER_PATH = {"team_id": "Which team.", "user_id": "Which member."}


class AddMembers(APIView):
    """Adds one member or several, or none where one of them is a member already."""

    @documented(
        "Add members to a team",
        request=AddMembersSerializer,
        answer=ADDED_ANSWER,
        description="Unknown users are made. Everybody may join a team that is available, alone and without limits.",
    )
    def post(self, request: Request) -> Response:
        fields, by = validated(AddMembersSerializer, request), actor_of(request)
        team_id, people = fields.pop("team_id"), fields.pop("member")
        check_may_add(by, team_id, people=people, fields=fields)
        added = add_members(team_id, people, member_fields(fields), by=by, now=timezone.now())
        memberships = membership_rows(added.members)
        users = [updated_user(member) for member in added.members]
        answer = {**team_answer(added.team), "updated_users": users, "updated_team_memberships": memberships}
        return Response(answer)


def check_may_add(by: Actor, team_id: str, *, people: Sequence[NewMember], fields: dict[str, Any]) -> None:
    """Raises NotFoundError and ForbiddenError. A user may join a team that is available, as a plain member."""
    alone = by.user_id is not None and people == [NewMember(by.user_id, people[0].user_email)] and not fields
    if alone and by.may_write and not by.sees_team(team_id):
        joins = Team.objects.filter(team_id=team_id, is_available=True).exists()
        if joins:
            return
    check_manages_team(by, team_id)


def membership_rows(members: Sequence[Member]) -> list[Answer]:
    """Memberships with their windows, all read at once."""
    now = timezone.now()
    shown = shown_of_all(members, now=now)
    return [membership_row(member, shown=each, now=now) for member, each in zip(members, shown, strict=True)]


class BulkAddMembers(APIView):
    """Adds many members, each on its own."""

    @documented(
        "Add many members to a team",
        request=BulkAddMembersSerializer,
        answer=BULK_ADDED_ANSWER,
        description="Who cannot be added is named with the reason; the others join.",
    )
    def post(self, request: Request) -> Response:
        fields, by = validated(BulkAddMembersSerializer, request), actor_of(request)
        team_id, people = fields.pop("team_id"), fields.pop("members", None)
        check_manages_team(by, team_id)
        if fields.pop("all_users", None):
            people = _everybody_else(by, team_id)
        team_for(team_id)
        results = [_added(team_id, person, member_fields(fields), by=by) for person in people or []]
        good = sum(result["success"] for result in results)
        counts = {"successful_additions": good, "failed_additions": len(results) - good}
        team = team_answer(team_for(team_id))
        total = {"total_requested": len(results), **counts, "updated_team": team}
        return Response({"team_id": team_id, "results": results, **total})


def _everybody_else(by: Actor, team_id: str) -> list[NewMember]:
    if not by.manages_all:
        raise ForbiddenError("Only proxy admins may add all users")
    missing = User.objects.exclude(memberships__team_id=team_id).order_by("username")
    return [NewMember(user_id=username) for username in missing.values_list("username", flat=True)]


def _added(team_id: str, person: NewMember, fields: MemberFields, *, by: Actor) -> Answer:
    answer = {"user_id": person.user_id, "user_email": person.user_email, "success": True, "error": None}
    try:
        [member] = add_members(team_id, [person], fields, by=by, now=timezone.now()).members
    except (InputError, ConflictError) as error:
        return {**answer, "success": False, "error": str(error), "updated_user": None, "updated_team_membership": None}
    [membership] = membership_rows([member])
    user = updated_user(member)
    return {
        **answer,
        "user_id": user["user_id"],
        "user_email": user["user_email"],
        "updated_user": user,
        "updated_team_membership": membership,
    }


class UpdateMember(APIView):
    """Changes a membership."""

    @documented(
        "Change a member of a team",
        request=UpdateMemberSerializer,
        answer=UPDATED_MEMBER_ANSWER,
        description="A field that is left out stays as it is, null empties it.",
    )
    def post(self, request: Request) -> Response:
        fields, by, now = validated(UpdateMemberSerializer, request), actor_of(request), timezone.now()
        team_id = fields.pop("team_id")
        check_manages_team(by, team_id)
        user_id = user_id_of(fields.pop("user_id", None), user_email=fields.pop("user_email", None))
        increase = _increase(fields)
        member = update_member(team_id, user_id, member_fields(fields), increase=increase, by=by, now=now)
        return Response(updated_member_answer(member, shown=shown_of(member, now=now), now=now))


def _increase(fields: dict[str, Any]) -> Increase | None:
    if "temp_budget_increase" not in fields and "temp_budget_expiry" not in fields:
        return None
    return Increase(fields.get("temp_budget_increase"), fields.get("temp_budget_expiry"))


class ResetMemberBudget(APIView):
    """Gives a member the limits of the team's tier again."""

    @documented(
        "Give a member the team's limits",
        request=NoBodySerializer,
        answer=RESET_ANSWER,
        path=_MEMBER_PATH,
        description="What the member has spent stays counted.",
    )
    def post(self, request: Request, team_id: str, user_id: str) -> Response:
        validated(NoBodySerializer, request)
        by = actor_of(request)
        check_manages_team(by, team_id)
        reset = reset_member_budget(team_id, user_id, by=by, now=timezone.now())
        answer = {
            "team_id": team_id,
            "user_id": user_id,
            "budget_id": reset.member.team.member_budget_id,
            "previous_budget_id": reset.previous_budget_id,
            "budget_source": budget_source(reset.member),
        }
        return Response(answer)


class MyMembership(APIView):
    """Shows the caller's own membership."""

    @documented("Show one's own membership", query=NoQuery, answer=MEMBERSHIP, path={"team_id": "Which team."})
    def get(self, request: Request, team_id: str) -> Response:
        parameters_of(NoQuery, request)
        by, now = actor_of(request), timezone.now()
        member = member_seen_by(by, team_id=team_id, user_id=by.user_id or by.name)
        return Response(membership_row(member, shown=shown_of(member, now=now), now=now))
