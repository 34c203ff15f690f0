"""The API for the calls themselves: logs and exports."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from budgets.documents import (
    anything,
    documented,
    instant,
    integer,
    listing,
    mapping,
    names,
    nothing,
    nullable,
    number,
    one_of,
    record,
    text,
)
from budgets.queries import parameters_of
from budgets.requests import actor_of
from ledger.logs import COUNT_MAX, ROWS_MAX, daily_logs, export, log_page, newest_logs, where_of
from ledger.queries import ExportQuery, LogsQuery, PagedLogsQuery, days_of

LOG_ROW = record(
    "SpendLog",
    {
        "request_id": text("The id of the call."),
        "api_key": text("The hash of the key."),
        "spend": number("What it cost, in USD."),
        "total_tokens": integer("Input and output tokens."),
        "prompt_tokens": integer("Input tokens."),
        "completion_tokens": integer("Output tokens."),
        "startTime": instant("When it was admitted."),
        "endTime": instant("When it ended."),
        "request_duration_ms": integer("How long that was."),
        "completionStartTime": nullable(instant("When the first byte of the answer came.")),
        "model": text("The provider's name of the model."),
        "model_group": text("Its public name."),
        "custom_llm_provider": text("The provider."),
        "user": text("The user of the key; empty for none."),
        "metadata": mapping(anything("A detail."), "What else the ledger knows of the call."),
        "request_tags": names("Its tags."),
        "team_id": nullable(text("The team.")),
        "end_user": text("The customer; empty for none."),
        "session_id": nullable(text("The run of an agent.")),
        "status": text("How it ended.", choices=("success", "failure")),
        "litellm_call_id": text("The id of the call."),
        **nothing(
            {
                "call_type": "acompletion",
                "model_id": "",
                "api_base": "",
                "cache_hit": "False",
                "cache_key": "",
                "organization_id": None,
                "requester_ip_address": None,
                "messages": {},
                "response": {},
                "mcp_namespaced_tool_name": None,
                "agent_id": None,
                "proxy_server_request": {},
            }
        ),
    },
    d="One call. Prompts and answers are never kept.",
)
LOG_DAY = mapping(
    anything(
        "`startTime` the day, `spend` its spend in USD, `users` and `models` the spend by each, and the spend of keys."
    ),
    "One day. Beside the named fields, each key's spend stands under its hash.",
)
PAGE_ANSWER = record(
    "SpendLogPage",
    {
        "data": listing(LOG_ROW, "The calls of the page."),
        "total": integer(f"How many calls there are, at most {COUNT_MAX}."),
        "page": integer("Which page this is."),
        "page_size": integer("How many can be on a page."),
        "total_pages": integer("How many pages there are."),
    },
    d="A page of calls.",
)


class Logs(APIView):
    """The newest calls, or the spend of days."""

    @documented(
        "Calls, or spend by day",
        query=LogsQuery,
        answer=listing(one_of(LOG_ROW, LOG_DAY, d="A call, or a day."), "Calls, or days."),
        tag="spend",
        description="With dates and without `summarize=false` the spend of each day, else the newest "
        f"{ROWS_MAX} calls; without dates of the last 30 days, a call that is named by its id whenever it was.",
    )
    def get(self, request: Request) -> Response:
        query, by, now = parameters_of(LogsQuery, request), actor_of(request), timezone.now()
        has_dates = query["start_date"] is not None or query["end_date"] is not None
        if has_dates and query["summarize"] == "true" and query["request_id"] is None:
            return Response(daily_logs(days_of(query, now=now), query, by=by))
        return Response(newest_logs(query, by=by, now=now))


class PagedLogs(APIView):
    """A page of calls."""

    @documented(
        "A page of calls",
        query=PagedLogsQuery,
        answer=PAGE_ANSWER,
        tag="spend",
        description=f"Of the last 30 days, unless dates are given. Pages end with the {COUNT_MAX}th call; sorting by "
        f"anything but `startTime` sorts the newest {COUNT_MAX}. GET /spend/export has all of them.",
    )
    def get(self, request: Request) -> Response:
        query = parameters_of(PagedLogsQuery, request)
        return Response(log_page(query, by=actor_of(request), now=timezone.now()))


class Export(APIView):
    """All calls of some days, as a file."""

    @documented(
        "Export calls",
        query=ExportQuery,
        answer=listing(
            mapping(anything("A column."), "One call, with the columns of the CSV."), "The calls, the oldest first."
        ),
        or_as={"text/csv": text("The same with a header, for `format=csv`.")},
        tag="spend",
        description="A file of any length, sent while it is read. `format=csv` has a header; text that begins like a "
        "formula is preceded by an apostrophe. Dollars are exact in both.",
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        query, now = parameters_of(ExportQuery, request), timezone.now()
        where = where_of(query, by=actor_of(request), now=now)
        as_json = query["format"] == "json"
        chunks = export(where, as_json=as_json)
        streams = isinstance(request._request, ASGIRequest)
        response = StreamingHttpResponse(
            _from_thread(chunks) if streams else chunks,
            content_type="application/json" if as_json else "text/csv; charset=utf-8",
        )
        name = f"spend-{now:%Y%m%dT%H%M%SZ}.{query['format']}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


async def _from_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunk by chunk: of an ordinary iterator Django's ASGI handler would read all before it sends the first byte."""

    def take() -> bytes | None:
        return next(chunks, None)

    while (chunk := await sync_to_async(take, thread_sensitive=True)()) is not None:
        yield chunk
