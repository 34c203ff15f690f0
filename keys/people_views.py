"""The API where a team or a user meets keys: a team is shown with its keys."""

from datetime import datetime

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.answers import usage_answer
from budgets.documents import documented, nothing, record, text
from budgets.queries import IntParameter, QuerySerializer, TextParameter, parameters_of
from budgets.rules.scopes import ScopeLimits, root_of
from budgets.services import limit_set
from budgets.usage import Spends, spends_of, usage_of
from keys.answers import LISTED_KEYS, key_row
from keys.models import Key
from keys.profiles import limits_of_key
from teams.answers import TEAM_WITH_USAGE, team_row
from teams.scopes import limits_of_team
from teams.services import team_for

KEYS_SHOWN_MAX = 1000

TEAM_INFO_ANSWER = record(
    "TeamInfo",
    {
        "team_id": text("Its id."),
        "team_info": TEAM_WITH_USAGE,
        "keys": LISTED_KEYS,
        **nothing({"team_memberships": []}),
    },
    d="A team with its keys.",
)


class TeamInfoQuery(QuerySerializer):
    """GET /team/info."""

    team_id = TextParameter(required=True, help_text="Which team.")
    key_limit = IntParameter(
        minimum=0, maximum=KEYS_SHOWN_MAX, default=KEYS_SHOWN_MAX, help_text="How many of its keys are shown."
    )


class TeamInfo(APIView):
    """Shows a team, the usage of its windows, and its newest keys."""

    @documented("Show a team", query=TeamInfoQuery, answer=TEAM_INFO_ANSWER, tag="team")
    def get(self, request: Request) -> Response:
        query, now = parameters_of(TeamInfoQuery, request), timezone.now()
        team = team_for(query["team_id"])
        limits = limits_of_team(team)
        [spends] = spends_of([(limits.scope, limit_set(team))], now=now)
        usage = _windows(limits, listed=len(team.budget_limits), team_id=team.team_id, now=now)
        keys = list(Key.objects.filter(team=team).order_by("-created_at")[: query["key_limit"]])
        rows = [
            {"token": key.token_hash, **key_row(key, spends=spent, now=now)}
            for key, spent in zip(keys, _spends_of_keys(keys, now=now), strict=True)
        ]
        info = {**team_row(team, spends=spends, now=now), "budget_limits_usage": usage}
        return Response({"team_id": team.team_id, "team_info": info, "keys": rows, "team_memberships": []})


def _spends_of_keys(keys: list[Key], *, now: datetime) -> list[Spends]:
    return spends_of([(limits_of_key(key).scope, limit_set(key)) for key in keys], now=now)


def _windows(scope: ScopeLimits, *, listed: int, team_id: str | None, now: datetime) -> dict[str, object]:
    """The usage of the windows of `budget_limits`, which are the last `listed` of a scope's limits."""
    only = ScopeLimits(scope.scope, scope.calendar, scope.limits[len(scope.limits) - listed :])
    return usage_answer(usage_of(only, root=root_of(scope.scope.id, team_id=team_id), now=now))
