"""The API for tiers, for grants, and for the audit."""

from typing import Any, cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from budgets.answers import GRANT_SCHEMA, grant_answer
from budgets.changes import CHANGES_ANSWER, change_row, changes_for
from budgets.documents import documented, listing, record
from budgets.grants import Wanted, grant, grants_of, revoke
from budgets.queries import parameters_of
from budgets.request_serializers import (
    ChangesQuery,
    DeleteTierSerializer,
    GrantSerializer,
    GrantsQuery,
    NewTierSerializer,
    RevokeSerializer,
    TierQuery,
    TiersSerializer,
    UpdateTierSerializer,
)
from budgets.requests import actor_of
from budgets.rules.limits import LimitUnit
from budgets.rules.windows import parse_period
from budgets.services import LimitFields
from budgets.tier_answers import SETTINGS_ANSWER, TIER_ROW, TIER_ROWS, settings_answer, tier_row
from budgets.tiers import all_tiers, create_tier, delete_tier, tier_for, tiers_of, update_tier

GRANTS_ANSWER = record("Grants", {"grants": listing(GRANT_SCHEMA, "Those that hold now.")}, d="Grants of a scope.")


def _fields_of(serializer: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields: dict[str, Any] = body.validated_data
    return fields


_NAMED = {"budget_id": "$response.body#/budget_id"}


class NewTier(APIView):
    """Makes a tier."""

    @documented(
        "Make a budget",
        request=NewTierSerializer,
        answer=TIER_ROW,
        description="A budget is a tier: keys, teams, users and others refer to it by `budget_id`.",
        links={
            "post /budget/update": _NAMED,
            "get /budget/settings": _NAMED,
            "post /budget/info": {"budgets": [_NAMED["budget_id"]]},
            "post /budget/delete": {"id": _NAMED["budget_id"]},
            "post /key/generate": _NAMED,
        },
    )
    def post(self, request: Request) -> Response:
        fields, now = _fields_of(NewTierSerializer, request), timezone.now()
        budget_id = fields.pop("budget_id", None)
        tier = create_tier(cast(LimitFields, fields), budget_id=budget_id, now=now, by=actor_of(request))
        return Response(tier_row(tier, now=now))


class UpdateTier(APIView):
    """Changes what the body names, for everything that refers to the tier."""

    @documented(
        "Change a budget",
        request=UpdateTierSerializer,
        answer=TIER_ROW,
        description="A field that is left out stays as it is, null empties it.",
    )
    def post(self, request: Request) -> Response:
        fields, now = _fields_of(UpdateTierSerializer, request), timezone.now()
        tier = update_tier(fields.pop("budget_id"), cast(LimitFields, fields), now=now, by=actor_of(request))
        return Response(tier_row(tier, now=now))


class TierInfo(APIView):
    """Shows some tiers."""

    @documented("Show budgets", request=TiersSerializer, answer=TIER_ROWS, description="Unknown ids are left out.")
    def post(self, request: Request) -> Response:
        names, now = _fields_of(TiersSerializer, request)["budgets"], timezone.now()
        return Response([tier_row(tier, now=now) for tier in tiers_of(names, by=actor_of(request))])


class ListTiers(APIView):
    """Shows all tiers."""

    @documented("List budgets", answer=TIER_ROWS)
    def get(self, request: Request) -> Response:
        now = timezone.now()
        return Response([tier_row(tier, now=now) for tier in all_tiers(by=actor_of(request))])


class TierSettings(APIView):
    """Shows the fields of a tier with their meanings."""

    @documented("Show the fields of a budget", query=TierQuery, answer=SETTINGS_ANSWER)
    def get(self, request: Request) -> Response:
        tier = tier_for(parameters_of(TierQuery, request)["budget_id"], by=actor_of(request))
        return Response(settings_answer(tier, now=timezone.now()))


class DeleteTier(APIView):
    """Deletes a tier that nothing refers to."""

    @documented(
        "Delete a budget",
        request=DeleteTierSerializer,
        answer=TIER_ROW,
        description="Answers 409 with the names of what refers to it, as long as something does.",
    )
    def post(self, request: Request) -> Response:
        now = timezone.now()
        tier = delete_tier(_fields_of(DeleteTierSerializer, request)["id"], now=now, by=actor_of(request))
        return Response(tier_row(tier, now=now))


class MakeGrant(APIView):
    """Raises a limit for a time."""

    @documented(
        "Raise a limit for a time",
        request=GrantSerializer,
        answer=GRANT_SCHEMA,
        description="`budget_duration`, `unit` and `model` name one limit; without them all USD limits of the scope "
        "are raised. `until` or `windows` says for how long.",
        links={"post /budget/grant/revoke": {"id": "$response.body#/id"}},
    )
    def post(self, request: Request) -> Response:
        fields = _fields_of(GrantSerializer, request)
        duration, unit = fields.get("budget_duration"), fields.get("unit")
        wanted = Wanted(
            fields["amount"],
            unit=None if unit is None else LimitUnit(unit),
            period=None if duration is None else parse_period(duration),
            model=fields.get("model") or "",
            until=fields.get("until"),
            windows=fields.get("windows"),
            reason=fields.get("reason") or "",
        )
        made = grant(fields["scope"], fields["scope_id"], wanted, now=timezone.now(), by=actor_of(request))
        return Response(grant_answer(made))


class ListGrants(APIView):
    """Shows the grants of a scope."""

    @documented("List what raises limits", query=GrantsQuery, answer=GRANTS_ANSWER)
    def get(self, request: Request) -> Response:
        query = parameters_of(GrantsQuery, request)
        found = grants_of(query["scope"], query["scope_id"], now=timezone.now(), by=actor_of(request))
        return Response({"grants": [grant_answer(each) for each in found]})


class RevokeGrant(APIView):
    """Ends a grant."""

    @documented("End a grant", request=RevokeSerializer, answer=GRANT_SCHEMA)
    def post(self, request: Request) -> Response:
        ended = revoke(_fields_of(RevokeSerializer, request)["id"], now=timezone.now(), by=actor_of(request))
        return Response(grant_answer(ended))


class ListChanges(APIView):
    """Shows the audit."""

    @documented(
        "List changes",
        query=ChangesQuery,
        answer=CHANGES_ANSWER,
        description="Who changed what, newest first. For proxy admins and viewers.",
    )
    def get(self, request: Request) -> Response:
        page = changes_for(actor_of(request), parameters_of(ChangesQuery, request))
        rows = [change_row(change) for change in page.rows]
        counts = {"total": page.total, "page": page.number, "page_size": page.size, "total_pages": page.pages}
        return Response({"changes": rows, **counts})
