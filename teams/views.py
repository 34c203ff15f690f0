"""The API for teams, but where a team is shown or deleted with its keys: that is in keys/people_views.py."""

from typing import Any, cast

from django.db.models import Count
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from budgets.answers import Answer
from budgets.documents import Links, documented
from budgets.queries import parameters_of
from budgets.requests import actor_of
from budgets.serializers import RequestSerializer
from budgets.usage import Spends
from teams.access import check_manages_all, check_manages_team, check_may_set, team_seen_by
from teams.answers import (
    AVAILABLE_ANSWER,
    PERMISSIONS_ANSWER,
    TEAM_ROW,
    UPDATED_ANSWER,
    permissions_answer,
    team_row,
)
from teams.guest_serializers import AvailableTeamsQuery
from teams.member_services import NewMember, create_team_of, members_of
from teams.models import Member, Team
from teams.serializers import (
    NewTeamSerializer,
    PatchTeamSerializer,
    TeamModelsSerializer,
    TeamPermissionsSerializer,
    TeamQuery,
    TeamSerializer,
    UpdateTeamSerializer,
)
from teams.services import TIER_FIELDS, TeamFields, set_models, update_team
from teams.usage import spends_of_rows

OPEN_TO_TEAM_ADMINS = frozenset(TIER_FIELDS) | {
    "team_alias",
    "default_team_member_models",
    "team_member_permissions",
    "team_member_key_duration",
    "metadata",
    "noted",
}
"""What admins of a team may set. What binds the whole team, them too, is set by proxy admins."""
_NAMED = {"team_id": "$response.body#/team_id"}
_LINKS: Links = {
    "get /team/info": _NAMED,
    "post /team/update": _NAMED,
    "patch /team/{team_id}": _NAMED,
    "post /team/block": _NAMED,
    "post /team/unblock": _NAMED,
    "post /team/member_add": _NAMED,
    "post /team/model/add": _NAMED,
    "post /team/delete": {"team_ids": [_NAMED["team_id"]]},
    "post /key/generate": _NAMED,
}
AVAILABLE_MAX = 1000


def validated(serializer: type[RequestSerializer], request: Request) -> dict[str, Any]:
    """What the body of a request says. Raises DRF's ValidationError."""
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields: dict[str, Any] = body.validated_data
    return fields


def team_answer(team: Team) -> Answer:
    """A team with its members and spends, as most requests about a team answer."""
    [spends] = spends_of_rows([team], now=timezone.now())
    return team_row(team, spends=spends, members=members_of(team), now=timezone.now())


class NewTeam(APIView):
    """Makes a team."""

    @documented(
        "Make a team",
        request=NewTeamSerializer,
        answer=TEAM_ROW,
        description="The user who makes it becomes one of its admins; the master key is no user.",
        links=_LINKS,
    )
    def post(self, request: Request) -> Response:
        fields, now, by = validated(NewTeamSerializer, request), timezone.now(), actor_of(request)
        check_manages_all(by)
        people = _people(fields)
        team_id = fields.pop("team_id", None)
        team = create_team_of(cast(TeamFields, fields), people=people, team_id=team_id, by=by, now=now)
        return Response(team_row(team, spends=Spends(0, 0), members=members_of(team), now=now))


def _people(fields: dict[str, Any]) -> list[NewMember]:
    """Everybody whom a request names, once; who is named as an admin is one."""
    people = list(fields.pop("members_with_roles", None) or [])
    named = {person.user_id for person in people}
    for name, role in (("admins", Member.Role.ADMIN), ("members", Member.Role.USER)):
        for user_id in fields.pop(name, None) or []:
            if user_id not in named:
                named.add(user_id)
                people.append(NewMember(user_id=user_id, role=role))
    return people


class UpdateTeam(APIView):
    """Changes what the body names."""

    @documented(
        "Change a team",
        request=UpdateTeamSerializer,
        answer=UPDATED_ANSWER,
        description="A field that is left out stays as it is, null empties it.",
    )
    def post(self, request: Request) -> Response:
        fields = validated(UpdateTeamSerializer, request)
        team = _update(fields.pop("team_id"), fields, request)
        return Response({"team_id": team.team_id, "data": team_answer(team)})


class PatchTeam(APIView):
    """The same, with the team in the address."""

    @documented(
        "Change a team",
        request=PatchTeamSerializer,
        answer=TEAM_ROW,
        path={"team_id": "Which team."},
        description="A field that is left out stays as it is, null empties it.",
    )
    def patch(self, request: Request, team_id: str) -> Response:
        fields = validated(PatchTeamSerializer, request)
        if fields.pop("team_id", None) not in (None, team_id):
            raise ValidationError({"team_id": f"not the team of the address, which is {team_id}"})
        return Response(team_answer(_update(team_id, fields, request)))


def _update(team_id: str, fields: dict[str, Any], request: Request) -> Team:
    by = actor_of(request)
    check_manages_team(by, team_id)
    check_may_set(by, fields, open_to_others=OPEN_TO_TEAM_ADMINS)
    return update_team(team_id, cast(TeamFields, fields), by=by, now=timezone.now())


class BlockTeam(APIView):
    """Refuses every call of a team's keys."""

    @documented("Block a team", request=TeamSerializer, answer=TEAM_ROW)
    def post(self, request: Request) -> Response:
        return Response(team_answer(_block(request, blocked=True)))


class UnblockTeam(APIView):
    """Lets a team's keys make calls again."""

    @documented("Unblock a team", request=TeamSerializer, answer=TEAM_ROW)
    def post(self, request: Request) -> Response:
        return Response(team_answer(_block(request, blocked=False)))


def _block(request: Request, *, blocked: bool) -> Team:
    """A team admin may block and not unblock: a proxy admin's block must hold for them too."""
    team_id, by = validated(TeamSerializer, request)["team_id"], actor_of(request)
    check_manages_team(by, team_id)
    if not blocked:
        check_manages_all(by)
    action = "block" if blocked else "unblock"
    return update_team(team_id, {"blocked": blocked}, by=by, now=timezone.now(), action=action)


class AddTeamModels(APIView):
    """Lets a team call more models."""

    @documented("Add models to a team", request=TeamModelsSerializer, answer=TEAM_ROW)
    def post(self, request: Request) -> Response:
        return Response(team_answer(_set_models(request, added=True)))


class DeleteTeamModels(APIView):
    """Lets a team call fewer models."""

    @documented(
        "Take models from a team",
        request=TeamModelsSerializer,
        answer=TEAM_ROW,
        description="The last one stays: an empty list would allow every model.",
    )
    def post(self, request: Request) -> Response:
        return Response(team_answer(_set_models(request, added=False)))


def _set_models(request: Request, *, added: bool) -> Team:
    fields, by = validated(TeamModelsSerializer, request), actor_of(request)
    models = fields.get("models")
    if not models:
        raise ValidationError({"models": "needed"})
    check_manages_team(by, fields["team_id"])
    if added:
        check_manages_all(by)
    return set_models(fields["team_id"], models, added=added, by=by, now=timezone.now())


class AvailableTeams(APIView):
    """The teams that the caller may join with /team/member_add."""

    @documented("List the teams that one may join", query=AvailableTeamsQuery, answer=AVAILABLE_ANSWER)
    def get(self, request: Request) -> Response:
        parameters_of(AvailableTeamsQuery, request)
        teams = Team.objects.filter(is_available=True).exclude(team_id__in=actor_of(request).teams)
        rows = teams.annotate(members_count=Count("members")).order_by("team_id")[:AVAILABLE_MAX]
        return Response(
            [
                {
                    "team_id": team.team_id,
                    "team_alias": team.team_alias,
                    "models": team.allowed_models,
                    "members_count": team.members_count,
                }
                for team in rows
            ]
        )


class TeamPermissions(APIView):
    """What members may do with the keys of their team."""

    @documented("Show what members may do", query=TeamQuery, answer=PERMISSIONS_ANSWER)
    def get(self, request: Request) -> Response:
        team_id = parameters_of(TeamQuery, request)["team_id"]
        return Response(permissions_answer(team_seen_by(actor_of(request), team_id)))


class UpdateTeamPermissions(APIView):
    """Changes it."""

    @documented("Change what members may do", request=TeamPermissionsSerializer, answer=TEAM_ROW)
    def post(self, request: Request) -> Response:
        fields = validated(TeamPermissionsSerializer, request)
        if "team_member_permissions" not in fields:
            raise ValidationError({"team_member_permissions": "needed"})
        return Response(team_answer(_update(fields.pop("team_id"), fields, request)))
