"""The API for correcting spend: resets, adjustments, and the list of them."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.actors import Actor
from budgets.answers import LIMITS_FIELDS, USAGE_SCHEMA, limits_answer, usage_answer
from budgets.documents import Schema, documented, flag, instant, integer, listing, number, record, text
from budgets.errors import ForbiddenError
from budgets.queries import parameters_of
from budgets.requests import actor_of
from budgets.rules.money import usd_from_nanousd
from budgets.rules.scopes import ScopeLimits
from budgets.services import limit_set
from budgets.usage import usage_of
from keys.models import Key
from ledger.access import scope_id_seen
from ledger.serializers import KINDS, AdjustmentsQuery, AdjustSpendSerializer, ResetSpendSerializer
from ledger.services import (
    ListedAdjustment,
    SpendReset,
    adjust_scope,
    list_adjustments,
    reset_all_spend,
    reset_key_spend,
    reset_member_spend,
)

_RESET_FIELDS: dict[str, Schema] = {
    "spend": number("What was spent in the window of `max_budget` now, in USD; without a duration, in all time."),
    "previous_spend": number("What it was before."),
    "max_budget": LIMITS_FIELDS["max_budget"],
    "budget_reset_at": LIMITS_FIELDS["budget_reset_at"],
    "budget_limits_usage": USAGE_SCHEMA,
}
KEY_RESET_ANSWER = record(
    "KeySpendReset", {"key_hash": text("The hash of the key."), **_RESET_FIELDS}, d="A key whose spend was reset."
)
MEMBER_RESET_ANSWER = record(
    "MemberSpendReset",
    {"team_id": text("The team."), "user_id": text("The member."), **_RESET_FIELDS},
    d="A member whose spend was reset.",
)
GLOBAL_RESET_ANSWER = record(
    "GlobalSpendReset",
    {
        "message": text("What was done."),
        "status": text("Always `success`."),
        "keys": integer("How many keys there are."),
        "teams": integer("How many teams there are."),
    },
    d="All spend was reset.",
)
_SCOPE_FIELDS: dict[str, Schema] = {
    "scope": text("The kind of the scope.", choices=KINDS),
    "scope_id": text("Its id in the ledger; of a key its internal id, of a member `user_id/team_id`."),
}
ADJUSTED_ANSWER = record(
    "SpendAdjusted",
    {
        **_SCOPE_FIELDS,
        "spend": number("What it has spent in all time now, in USD."),
        "previous_spend": number("What it had before."),
        "budget_limits_usage": USAGE_SCHEMA,
    },
    d="A scope whose spend was adjusted.",
)
ADJUSTMENT = record(
    "SpendAdjustment",
    {
        "id": text("Its id."),
        **_SCOPE_FIELDS,
        "amount": number("By how much the spend of all time was changed, in USD."),
        "tokens": integer("By how many tokens."),
        "requests": integer("By how many requests."),
        "actor": text("Who did it."),
        "reason": text("Why."),
        "made_at": instant("When."),
    },
    d="One correction of what a scope has spent.",
)
ADJUSTMENTS_ANSWER = record(
    "SpendAdjustments",
    {
        "adjustments": listing(ADJUSTMENT, "The newest first."),
        "page": integer("Which page this is."),
        "page_size": integer("How many can be on a page."),
        "has_more": flag("Whether there is a next page."),
    },
    d="A page of corrections.",
)


class ResetKeySpend(APIView):
    """Lowers what a key has spent."""

    @documented(
        "Reset the spend of a key",
        request=ResetSpendSerializer,
        answer=KEY_RESET_ANSWER,
        path={"key": "The key, or its hash."},
        tag="key",
        description="Every window of the key then shows at most `reset_to`; with 0, those of tokens and requests are "
        "empty too. The windows keep their times. What was spent stays in the ledger, beside the adjustment.",
    )
    def post(self, request: Request, key: str) -> Response:
        to_nanousd = _parsed(ResetSpendSerializer, request)["reset_to"]
        reset = reset_key_spend(key, to_nanousd=to_nanousd, by=actor_of(request), now=timezone.now())
        assert isinstance(reset.row, Key), "what was asked for is a key"
        return Response({"key_hash": reset.row.token_hash, **_reset_answer(reset)})


class ResetMemberSpend(APIView):
    """Lowers what a user has spent in a team."""

    @documented(
        "Reset the spend of a member of a team",
        request=ResetSpendSerializer,
        answer=MEMBER_RESET_ANSWER,
        path={"team_id": "The team.", "user_id": "The member."},
        tag="team",
    )
    def post(self, request: Request, team_id: str, user_id: str) -> Response:
        to_nanousd = _parsed(ResetSpendSerializer, request)["reset_to"]
        reset = reset_member_spend(team_id, user_id, to_nanousd=to_nanousd, by=actor_of(request), now=timezone.now())
        return Response({"team_id": team_id, "user_id": user_id, **_reset_answer(reset)})


class ResetAllSpend(APIView):
    """Lets all keys and teams have spent nothing."""

    @documented(
        "Reset the spend of all keys and teams",
        answer=GLOBAL_RESET_ANSWER,
        tag="spend",
        description="Those of users, members, customers and tags stay. Admins of the gateway only.",
    )
    def post(self, request: Request) -> Response:
        counts = reset_all_spend(by=actor_of(request), now=timezone.now())
        message = "Spend for all API Keys and Teams reset successfully"
        return Response({"message": message, "status": "success", "keys": counts["key"], "teams": counts["team"]})


class AdjustSpend(APIView):
    """Moves what a scope has spent by an amount."""

    @documented(
        "Adjust what a scope has spent",
        request=AdjustSpendSerializer,
        answer=ADJUSTED_ANSWER,
        tag="spend",
        description="The spend of all time and of every current window moves by the amount, and none below zero.",
    )
    def post(self, request: Request) -> Response:
        fields, now = _parsed(AdjustSpendSerializer, request), timezone.now()
        owner, before, after = adjust_scope(
            fields["scope"],
            fields["scope_id"],
            amount_nanousd=fields["amount"],
            by=actor_of(request),
            reason=fields["reason"],
            now=now,
        )
        named = [each for each in owner.limits.limits if each.limit.spelled and not each.limit.is_rate]
        shown = ScopeLimits(owner.limits.scope, owner.limits.calendar, tuple(named))
        return Response(
            {
                "scope": owner.limits.scope.kind,
                "scope_id": owner.limits.scope.id,
                "spend": usd_from_nanousd(after),
                "previous_spend": usd_from_nanousd(before),
                "budget_limits_usage": usage_answer(usage_of(shown, root=owner.root, now=now)),
            }
        )


class Adjustments(APIView):
    """Lists corrections of spend."""

    @documented("List adjustments of spend", query=AdjustmentsQuery, answer=ADJUSTMENTS_ANSWER, tag="spend")
    def get(self, request: Request) -> Response:
        query = parameters_of(AdjustmentsQuery, request)
        kind, scope_id = _scope_asked(query, by=actor_of(request))
        rows, has_more = list_adjustments(kind, scope_id, page=query["page"], page_size=query["page_size"])
        answers = [_adjustment_answer(row) for row in rows]
        page = {"page": query["page"], "page_size": query["page_size"], "has_more": has_more}
        return Response({"adjustments": answers, **page})


def _scope_asked(query: dict[str, Any], *, by: Actor) -> tuple[str | None, str | None]:
    kind, given = query["scope"], query["scope_id"]
    if kind is not None and given is not None:
        return kind, scope_id_seen(kind, given, by=by, now=timezone.now())
    if not by.sees_all:
        raise ForbiddenError("Name the scope with scope and scope_id; only admins of the gateway see all adjustments")
    return kind, given


def _adjustment_answer(row: ListedAdjustment) -> dict[str, Any]:
    return {
        "id": row.id,
        "scope": row.scope_kind,
        "scope_id": row.scope_id,
        "amount": usd_from_nanousd(row.cost_nanousd),
        "tokens": row.tokens,
        "requests": row.requests,
        "actor": row.actor,
        "reason": row.reason,
        "made_at": row.made_at,
    }


def _parsed(serializer: type[Any], request: Request) -> dict[str, Any]:
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    fields: dict[str, Any] = body.validated_data
    return fields


def _reset_answer(reset: SpendReset) -> dict[str, Any]:
    now, limits = timezone.now(), reset.owner.limits
    own = {limit.identity for limit in limit_set(reset.row).limits}
    listed = tuple(counted for counted in limits.limits if counted.limit.identity in own)
    shown = ScopeLimits(limits.scope, limits.calendar, listed)
    answer = limits_answer(reset.row, now=now)
    return {
        "spend": usd_from_nanousd(reset.spend_nanousd),
        "previous_spend": usd_from_nanousd(reset.previous_nanousd),
        "max_budget": answer["max_budget"],
        "budget_reset_at": answer["budget_reset_at"],
        "budget_limits_usage": usage_answer(usage_of(shown, root=reset.owner.root, now=now)),
    }
