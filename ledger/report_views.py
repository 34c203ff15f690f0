"""The API for reports: daily activity, the spend report, spend by one thing, and what a call costs."""

from typing import Any, ClassVar

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.documents import (
    Schema,
    anything,
    documented,
    flag,
    integer,
    listing,
    mapping,
    nothing,
    nullable,
    number,
    one_of,
    record,
    text,
)
from budgets.errors import ForbiddenError
from budgets.queries import parameters_of
from budgets.requests import actor_of
from budgets.rules.money import usd_from_nanousd
from ledger.costs import cost_of_messages, cost_of_response
from ledger.names import aliases_of, hash_of, key_names
from ledger.queries import (
    ActivityQuery,
    CustomerActivityQuery,
    DaysQuery,
    SpendReportQuery,
    TagActivityQuery,
    TagsQuery,
    TeamActivityQuery,
    TopQuery,
    UserActivityQuery,
    days_of,
)
from ledger.reports import (
    Asked,
    ReportAsked,
    Sums,
    daily_activity,
    spend_by,
    spend_by_tag,
    spend_report,
    total_spend,
)
from ledger.serializers import CalculateSerializer

# --- answers ----------------------------------------------------------------------------------------

_METRICS: dict[str, Schema] = {
    "spend": number("What it cost, in USD."),
    "prompt_tokens": integer("Input tokens, those from and into a cache included."),
    "completion_tokens": integer("Output tokens, those of reasoning included."),
    "cache_read_input_tokens": integer("Input tokens that were read from a cache."),
    "cache_creation_input_tokens": integer("Input tokens that were written into a cache."),
    "total_tokens": integer("Input and output tokens."),
    "successful_requests": integer("Calls that the provider answered well."),
    "failed_requests": integer("Calls that were charged and did not end well."),
    "api_requests": integer("All calls that were charged."),
}
METRICS = record("SpendMetrics", _METRICS, d="What was used and what it cost.")
KEY_PART = record(
    "SpendOfKey",
    {
        "metrics": METRICS,
        "metadata": record(
            "SpendKeyMetadata",
            {"key_alias": nullable(text("Its alias.")), "team_id": nullable(text("Its team."))},
            d="What is known of the key.",
        ),
    },
    d="The part of one key.",
)
PART = record(
    "SpendPart",
    {
        "metrics": METRICS,
        "metadata": mapping(anything("Its alias, of a team, user or customer."), "What is known of it."),
        "api_key_breakdown": mapping(KEY_PART, "Its parts by the hash of the key."),
    },
    d="The part of one model, provider or entity.",
)
ACTIVITY_ANSWER = record(
    "DailyActivity",
    {
        "results": listing(
            record(
                "DailyActivityDay",
                {
                    "date": text("The day, YYYY-MM-DD."),
                    "metrics": METRICS,
                    "breakdown": record(
                        "DailyActivityBreakdown",
                        {
                            "models": mapping(PART, "By public name of the model."),
                            "model_groups": mapping(PART, "The same."),
                            "providers": mapping(PART, "By provider; empty for tags."),
                            "api_keys": mapping(KEY_PART, "By the hash of the key; empty for tags."),
                            "entities": mapping(PART, "By team, user, customer or tag."),
                            **nothing({"endpoints": {}, "mcp_servers": {}}),
                        },
                        d="What the day consists of.",
                    ),
                },
                d="One day.",
            ),
            "The days on which anything was used, the latest first.",
        ),
        "metadata": record(
            "DailyActivityMetadata",
            {
                **{f"total_{name.removeprefix('total_')}": schema for name, schema in _METRICS.items()},
                "page": integer("Which page this is."),
                "total_pages": integer("How many there are."),
                "has_more": flag("Whether there is a next page."),
            },
            d="The sums of all pages.",
        ),
    },
    d="What was used on each day.",
)
_REPORT_PART = record(
    "SpendReportPart",
    {
        "model": text("The model."),
        "spend": number("What it cost, in USD."),
        "total_tokens": integer("Input and output tokens."),
        "api_key": text("The hash of the key."),
    },
    d="What a key spent with a model.",
)
_TOTALS: dict[str, Schema] = {
    "total_cost": number("What it cost, in USD."),
    "total_input_tokens": integer("Input tokens."),
    "total_output_tokens": integer("Output tokens."),
}


def _report_day(name: str, named: str, ids: str) -> Schema:
    line = record(
        f"SpendReportOf{name}",
        {
            named: text("Its name."),
            ids: text("Its id."),
            "total_spend": number("What it spent on the day, in USD."),
            "metadata": listing(_REPORT_PART, "What it consists of."),
        },
        d="One line of the report.",
    )
    day = {"group_by_day": text("The day, YYYY-MM-DD."), f"{name.lower()}s": listing(line, "The lines of the day.")}
    return record(f"SpendReportDayOf{name}s", day, d="One day of the report.")


REPORT_ANSWER = listing(
    one_of(
        _report_day("Team", "team_name", "team_id"),
        _report_day("Customer", "customer", "customer_id"),
        record(
            "SpendReportOfKey",
            {
                "api_key": text("The hash of the key."),
                "key_alias": nullable(text("Its alias.")),
                **_TOTALS,
                "model_details": listing(
                    record("SpendReportModel", {"model": text("The model."), **_TOTALS}, d="One model."),
                    "What it consists of.",
                ),
            },
            d="One key.",
        ),
        d="A day, or a key.",
    ),
    "Days, or keys.",
)

# --- daily activity ---------------------------------------------------------------------------------

_HOW = (
    "Sums of whole hours: where the zone of the days is not whole hours from UTC, an hour belongs to the day in which "
    "it begins. Adjustments are not in it. Who does not see everything sees the own calls, "
    "and all of teams that one administers, or that show them to their members."
)


class _Activity(APIView):
    """What was used on each day, by one kind of entity."""

    entity: ClassVar[str]
    query: ClassVar[type[ActivityQuery]]
    ids: ClassVar[str]

    def _answer(self, request: Request) -> Response:
        query, by = parameters_of(self.query, request), actor_of(request)
        ids = query[self.ids]
        asked = Asked(
            days_of(query, now=timezone.now()),
            ids=[ids] if isinstance(ids, str) else ids,
            exclude_ids=query.get(f"exclude_{self.ids}"),
            model=query["model"],
            api_key=query.get("api_key"),
        )
        answer = daily_activity(self.entity, asked, page=query["page"], page_size=query["page_size"], by=by)
        return Response(answer)


class TeamActivity(_Activity):
    """By team."""

    entity, query, ids = "team", TeamActivityQuery, "team_ids"

    @documented("Usage of teams by day", query=TeamActivityQuery, answer=ACTIVITY_ANSWER, tag="team", description=_HOW)
    def get(self, request: Request) -> Response:
        return self._answer(request)


class UserActivity(_Activity):
    """By user."""

    entity, query, ids = "user", UserActivityQuery, "user_id"

    @documented("Usage of users by day", query=UserActivityQuery, answer=ACTIVITY_ANSWER, tag="user", description=_HOW)
    def get(self, request: Request) -> Response:
        return self._answer(request)


class CustomerActivity(_Activity):
    """By customer."""

    entity, query, ids = "customer", CustomerActivityQuery, "end_user_ids"

    @documented(
        "Usage of customers by day",
        query=CustomerActivityQuery,
        answer=ACTIVITY_ANSWER,
        tag="customer",
        description=_HOW,
    )
    def get(self, request: Request) -> Response:
        return self._answer(request)


class TagActivity(_Activity):
    """By tag."""

    entity, query, ids = "tag", TagActivityQuery, "tags"

    @documented(
        "Usage of tags by day",
        query=TagActivityQuery,
        answer=ACTIVITY_ANSWER,
        tag="tag",
        description=f"A call with two tags counts for both. For those who see everything. {_HOW}",
    )
    def get(self, request: Request) -> Response:
        _check_sees_all(request)
        return self._answer(request)


def _check_sees_all(request: Request) -> None:
    if not actor_of(request).sees_all:
        raise ForbiddenError("Tags are of calls of all teams; only admins and viewers of the gateway see them")


# --- the report and lists -----------------------------------------------------------------------------


class SpendReport(APIView):
    """Spend by day and team or customer, or by key."""

    @documented(
        "Spend by team, customer or key", query=SpendReportQuery, answer=REPORT_ANSWER, tag="spend", description=_HOW
    )
    def get(self, request: Request) -> Response:
        query = parameters_of(SpendReportQuery, request)
        asked = ReportAsked(
            days_of(query, now=timezone.now()),
            query["group_by"],
            api_key=query["api_key"],
            user_id=query["internal_user_id"],
            team_id=query["team_id"],
            customer_id=query["customer_id"],
        )
        return Response(spend_report(asked, by=actor_of(request)))


def _top(request: Request, dimension: str) -> list[tuple[str, Sums]]:
    query = parameters_of(TopQuery, request)
    return spend_by(dimension, days_of(query, now=timezone.now()), most=query["limit"], by=actor_of(request))


_TEAM: dict[str, Schema] = {"team_id": text("The team; empty for none."), "team_alias": nullable(text("Its name."))}
_SPEND: dict[str, Schema] = {"total_spend": number("What was spent, in USD."), "spend": number("The same.")}
KEY_SPENDS = listing(
    record(
        "SpendByKey",
        {
            "api_key": text("The hash of the key."),
            "token": text("The same."),
            "key_alias": nullable(text("Its alias.")),
            "key_name": nullable(text("Its last four characters.")),
            "team_id": nullable(text("Its team.")),
            **_SPEND,
        },
        d="What one key spent.",
    ),
    "The dearest first.",
)


def _spend_answer(sums: Sums) -> dict[str, Any]:
    spend = usd_from_nanousd(sums.cost_nanousd)
    return {"total_spend": spend, "spend": spend}


class SpendKeys(APIView):
    """What each key spent."""

    @documented("Spend by key", query=TopQuery, answer=KEY_SPENDS, tag="spend")
    def get(self, request: Request) -> Response:
        rows = _top(request, "key_id")
        names = key_names({key_id for key_id, _ in rows})
        return Response([self._row(key_id, sums, names=names) for key_id, sums in rows])

    def _row(self, key_id: str, sums: Sums, *, names: dict[str, Any]) -> dict[str, Any]:
        known, token_hash = names.get(key_id), hash_of(names, key_id)
        return {
            "api_key": token_hash,
            "token": token_hash,
            "key_alias": None if known is None else known.alias,
            "key_name": None if known is None else known.key_name,
            "team_id": None if known is None else known.team_id,
            **_spend_answer(sums),
        }


class SpendUsers(APIView):
    """What each user spent."""

    @documented(
        "Spend by user",
        query=TopQuery,
        answer=listing(
            record("SpendByUser", {"user_id": text("The user; empty for none."), **_SPEND}, d="What one user spent."),
            "The dearest first.",
        ),
        tag="spend",
    )
    def get(self, request: Request) -> Response:
        return Response([{"user_id": name, **_spend_answer(sums)} for name, sums in _top(request, "user_id")])


class SpendModels(APIView):
    """What was spent with each model."""

    @documented(
        "Spend by model",
        query=TopQuery,
        answer=listing(
            record("SpendByModel", {"model": text("The model."), **_SPEND}, d="What one model cost."),
            "The dearest first.",
        ),
        tag="spend",
    )
    def get(self, request: Request) -> Response:
        return Response([{"model": name, **_spend_answer(sums)} for name, sums in _top(request, "model")])


class SpendTeams(APIView):
    """What each team spent."""

    @documented(
        "Spend by team",
        query=TopQuery,
        answer=record(
            "SpendByTeams",
            {
                "teams": listing(text("A name."), "The names of the teams."),
                "total_spend_per_team": listing(
                    record(
                        "SpendByTeam",
                        {
                            "team_id": text("The team; empty for none."),
                            "team_alias": nullable(text("Its name.")),
                            **_SPEND,
                        },
                        d="What one team spent.",
                    ),
                    "The dearest first.",
                ),
                **nothing({"daily_spend": []}),
            },
            d="What the teams spent.",
        ),
        tag="spend",
    )
    def get(self, request: Request) -> Response:
        rows = _top(request, "team_id")
        aliases = aliases_of("team", [name for name, _ in rows])
        teams = [{"team_id": name, "team_alias": aliases.get(name), **_spend_answer(sums)} for name, sums in rows]
        names = [aliases.get(name) or name for name, _ in rows]
        return Response({"teams": names, "total_spend_per_team": teams, "daily_spend": []})


class GlobalSpend(APIView):
    """What was spent in all."""

    @documented(
        "Spend in all",
        query=DaysQuery,
        answer=record(
            "GlobalSpend",
            {"spend": number("What was spent, in USD."), **nothing({"max_budget": None})},
            d="The spend of all calls.",
        ),
        tag="spend",
    )
    def get(self, request: Request) -> Response:
        days = days_of(parameters_of(DaysQuery, request), now=timezone.now())
        total = total_spend(days, by=actor_of(request))
        return Response({"spend": usd_from_nanousd(total.cost_nanousd), "max_budget": None})


class SpendTags(APIView):
    """What was spent by each tag."""

    @documented(
        "Spend by tag",
        query=TagsQuery,
        answer=listing(
            record(
                "SpendByTag",
                {
                    "individual_request_tag": text("The tag."),
                    "log_count": integer("How many calls had it."),
                    "total_spend": number("What they cost, in USD."),
                },
                d="What the calls of one tag cost.",
            ),
            "The dearest first.",
        ),
        tag="spend",
        description="A call with two tags counts for both. For those who see everything.",
    )
    def get(self, request: Request) -> Response:
        _check_sees_all(request)
        query = parameters_of(TagsQuery, request)
        rows = spend_by_tag(days_of(query, now=timezone.now()), tags=query["tags"], most=query["limit"])
        return Response(
            [
                {
                    "individual_request_tag": name,
                    "log_count": sums.requests,
                    "total_spend": usd_from_nanousd(sums.cost_nanousd),
                }
                for name, sums in rows
            ]
        )


class Calculate(APIView):
    """What a call would cost, or did."""

    @documented(
        "Calculate the cost of a call",
        request=CalculateSerializer,
        answer=record("CalculatedCost", {"cost": number("USD, exact to nine decimals.")}, d="What the call costs."),
        tag="spend",
        description="With `completion_response` the cost of its usage, exactly. With `messages` an upper bound of what "
        "their input costs: no message has more tokens than bytes. What would be written in answer is not in it.",
    )
    def post(self, request: Request) -> Response:
        body = CalculateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields: dict[str, Any] = body.validated_data
        answer = fields.get("completion_response")
        if answer is not None:
            cost = cost_of_response(answer, model=fields.get("model"))
        else:
            cost = cost_of_messages(fields["model"], fields["messages"])
        return Response({"cost": usd_from_nanousd(cost)})
