"""POST /team/new and /team/update. A team is shown together with its keys, so /team/info is in keys/views.py."""

from typing import cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.documents import documented
from budgets.services import limit_set
from budgets.usage import Spends, spends_of
from teams.answers import TEAM_ROW, UPDATED_ANSWER, team_row
from teams.scopes import limits_of_team
from teams.serializers import NewTeamSerializer, UpdateTeamSerializer
from teams.services import TeamFields, create_team, update_team


class NewTeam(APIView):
    """Makes a team."""

    @documented(
        "Make a team",
        request=NewTeamSerializer,
        answer=TEAM_ROW,
        links={
            "get /team/info": {"team_id": "$response.body#/team_id"},
            "post /team/update": {"team_id": "$response.body#/team_id"},
            "post /key/generate": {"team_id": "$response.body#/team_id"},
        },
    )
    def post(self, request: Request) -> Response:
        body = NewTeamSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, now = body.validated_data, timezone.now()
        team_id = fields.pop("team_id", None)
        team = create_team(cast(TeamFields, fields), team_id=team_id, now=now)
        return Response(team_row(team, spends=Spends(0, 0), now=now))


class UpdateTeam(APIView):
    """Changes what the body names."""

    @documented(
        "Change a team",
        request=UpdateTeamSerializer,
        answer=UPDATED_ANSWER,
        description="A field that is left out stays as it is, null empties it.",
    )
    def post(self, request: Request) -> Response:
        body = UpdateTeamSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields, now = body.validated_data, timezone.now()
        team = update_team(fields.pop("team_id"), cast(TeamFields, fields), now=now)
        [spends] = spends_of([(limits_of_team(team).scope, limit_set(team))], now=now)
        return Response({"team_id": team.team_id, "data": team_row(team, spends=spends, now=now)})
