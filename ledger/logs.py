"""The calls themselves, as rows with the names that clients know: pages, sums by day, and exports of any length.

Nothing here reads or counts more of the table than it is bounded to. Calls are visible to whom their key, team or user
is (ledger/filters.py).
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from budgets.actors import Actor
from budgets.rules.calls import admitted_ms_of
from budgets.rules.money import usd_from_nanousd
from budgets.services import instant_of, text_of
from ledger.filters import Days, Where
from ledger.names import KeyNames, hash_of, key_ids_of, key_ids_of_alias, key_names
from ledger.queries import LOG_SORTS, instants_of

ROWS_MAX = 1000
COUNT_MAX = 10_000
"""Pages end there; sorting by anything but time sorts the newest of so many."""
CHUNK = 500

COLUMNS = (
    "id::text, kind, admitted_at, finished_at, key_id::text, team_id, user_id, customer_id, run_id, tags, model, "
    "provider, upstream_model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, "
    "cost_nanousd, price_source, is_estimated, is_unpriced, is_streamed, http_status, first_byte_ms"
)
PAGE = """
SELECT {columns} FROM (
    SELECT * FROM ledger_entry WHERE {where} ORDER BY admitted_at {direction}, id LIMIT %s
) AS newest
ORDER BY {sort} {order}, id LIMIT %s OFFSET %s
"""
COUNT = "SELECT count(*) FROM (SELECT 1 FROM ledger_entry WHERE {where} LIMIT %s) AS counted"
CHUNKS = "SELECT {columns} FROM ledger_entry WHERE {where} ORDER BY admitted_at, id LIMIT %s"
BY_DAY = """
SELECT (hour_at AT TIME ZONE 'UTC')::date AS day, user_id, model, key_id::text, sum(cost_nanousd)::bigint
FROM ledger_usage WHERE {where}
GROUP BY GROUPING SETS ((1), (1, 2), (1, 3), (1, 4))
"""

Answer = dict[str, Any]
Filters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One entry, as it is read for logs."""

    id: str
    kind: str
    admitted_at: datetime
    finished_at: datetime
    key_id: str
    team_id: str | None
    user_id: str | None
    customer_id: str | None
    run_id: str | None
    tags: list[str]
    model: str
    provider: str
    upstream_model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nanousd: int
    price_source: str
    is_estimated: bool
    is_unpriced: bool
    is_streamed: bool
    http_status: int
    first_byte_ms: int | None

    @property
    def succeeded(self) -> bool:
        return 200 <= self.http_status < 300


# --- what a query is about ----------------------------------------------------------------------------


def where_of(filters: Filters, *, by: Actor, now: datetime) -> Where:
    """The conditions on entries that a query means. A call is found by its id whenever it was."""
    where = Where()
    if filters.get("request_id") is not None:
        _add_request(where, filters["request_id"])
    if filters.get("request_id") is None or filters["start_date"] is not None:
        where.between("admitted_at", *instants_of(filters, now=now))
    where.visible_to(by)
    for column, name in (
        ("user_id", "user_id"),
        ("team_id", "team_id"),
        ("customer_id", "end_user"),
        ("run_id", "session_id"),
        ("model", "model_group"),
    ):
        where.any_of(column, None if filters.get(name) is None else [filters[name]])
    _add_keys(where, filters)
    _add_amounts(where, filters)
    return where


def _add_request(where: Where, request_id: str) -> None:
    """An id says in which millisecond its call was admitted, so that one index and one partition have it."""
    try:
        admitted_at = instant_of(admitted_ms_of(str(UUID(request_id))))
    except (ValueError, OverflowError):
        where.add("FALSE")
    else:
        where.add("id = %s::uuid AND admitted_at = %s", request_id, admitted_at)


def _add_keys(where: Where, filters: Filters) -> None:
    if filters.get("api_key") is not None:
        where.add("key_id = ANY(%s::uuid[])", key_ids_of(filters["api_key"]))
    if filters.get("key_alias") is not None:
        where.add("key_id = ANY(%s::uuid[])", key_ids_of_alias(filters["key_alias"]))


def _add_amounts(where: Where, filters: Filters) -> None:
    if filters.get("model") is not None:
        where.add("(model = %s OR upstream_model = %s)", filters["model"], filters["model"])
    if filters.get("min_spend") is not None:
        where.add("cost_nanousd >= %s", filters["min_spend"])
    if filters.get("max_spend") is not None:
        where.add("cost_nanousd <= %s", filters["max_spend"])
    if filters.get("status_filter") is not None:
        where.add("(http_status BETWEEN 200 AND 299) = %s", filters["status_filter"] == "success")


# --- pages ------------------------------------------------------------------------------------------


def log_page(filters: Filters, *, by: Actor, now: datetime) -> Answer:
    """A page of calls with their number, which is not counted beyond COUNT_MAX."""
    where, page, page_size = where_of(filters, by=by, now=now), filters["page"], filters["page_size"]
    total = int(_fetch(COUNT.format(where=where.sql), [*where.parameters, COUNT_MAX])[0][0])
    sort, order = LOG_SORTS[filters["sort_by"]], filters["sort_order"]
    rows = _page(where, sort=sort, order=order, most=page_size, first=(page - 1) * page_size)
    return {
        "data": log_rows(rows),
        "total": total,
        "page": page,
        "page_size": page_size,
        "total_pages": -(-total // page_size),
    }


def _page(where: Where, *, sort: str, order: str, most: int, first: int) -> list[Row]:
    direction = "ASC" if sort == "admitted_at" and order == "asc" else "DESC"
    statement = PAGE.format(columns=COLUMNS, where=where.sql, direction=direction, sort=sort, order=order)
    return [Row(*row) for row in _fetch(statement, [*where.parameters, COUNT_MAX, most, first])]


def newest_logs(filters: Filters, *, by: Actor, now: datetime) -> list[Answer]:
    """The newest calls, at most ROWS_MAX."""
    where = where_of(filters, by=by, now=now)
    return log_rows(_page(where, sort="admitted_at", order="desc", most=ROWS_MAX, first=0))


def daily_logs(days: Days, filters: Filters, *, by: Actor) -> list[Answer]:
    """For each day its spend, and that by user, by model and by key."""
    where = Where()
    where.between("hour_at", days.start_at, days.end_at)
    where.visible_to(by)
    where.any_of("user_id", None if filters["user_id"] is None else [filters["user_id"]])
    if filters["api_key"] is not None:
        where.add("key_id = ANY(%s::uuid[])", key_ids_of(filters["api_key"]))
    rows = _fetch(BY_DAY.format(where=where.sql), where.parameters)
    names = key_names({row[3] for row in rows if row[3] is not None})
    found: dict[Any, Answer] = {}
    for day, user_id, model, key_id, cost in rows:
        answer = found.setdefault(day, {"startTime": day.isoformat(), "spend": 0, "users": {}, "models": {}})
        spend = usd_from_nanousd(cost)
        if user_id is not None:
            answer["users"][user_id] = spend
        elif model is not None:
            answer["models"][model] = spend
        elif key_id is not None:
            answer[hash_of(names, key_id)] = spend
        else:
            answer["spend"] = spend
    return [found[day] for day in sorted(found)]


def _fetch(statement: str, parameters: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows


# --- rows -------------------------------------------------------------------------------------------


def log_rows(rows: Sequence[Row]) -> list[Answer]:
    """Rows under the names that clients know. Prompts and answers are never kept."""
    names = key_names({row.key_id for row in rows})
    return [_log_row(row, names=names) for row in rows]


def _log_row(row: Row, *, names: dict[str, KeyNames]) -> Answer:
    known = names.get(row.key_id)
    return {
        **_measures(row),
        "request_id": row.id,
        "call_type": "acompletion",
        "api_key": hash_of(names, row.key_id),
        "model": row.upstream_model,
        "model_id": "",
        "model_group": row.model,
        "custom_llm_provider": row.provider,
        "api_base": "",
        "user": row.user_id or "",
        "metadata": _metadata(row, known=known),
        "cache_hit": "False",
        "cache_key": "",
        "request_tags": row.tags,
        "team_id": row.team_id,
        "organization_id": None,
        "end_user": row.customer_id or "",
        "requester_ip_address": None,
        "messages": {},
        "response": {},
        "session_id": row.run_id,
        "status": "success" if row.succeeded else "failure",
        "mcp_namespaced_tool_name": None,
        "agent_id": None,
        "proxy_server_request": {},
        "litellm_call_id": row.id,
    }


def _measures(row: Row) -> Answer:
    duration = row.finished_at - row.admitted_at
    first_byte_ms = row.first_byte_ms
    began_ms = None if first_byte_ms is None else admitted_ms_of(row.id) + first_byte_ms
    return {
        "spend": usd_from_nanousd(row.cost_nanousd),
        "total_tokens": row.input_tokens + row.output_tokens,
        "prompt_tokens": row.input_tokens,
        "completion_tokens": row.output_tokens,
        "startTime": row.admitted_at,
        "endTime": row.finished_at,
        "request_duration_ms": int(duration.total_seconds() * 1000),
        "completionStartTime": None if began_ms is None else instant_of(began_ms),
    }


def _metadata(row: Row, *, known: KeyNames | None) -> Answer:
    return {
        "user_api_key_alias": None if known is None else known.alias,
        "user_api_key_team_id": row.team_id,
        "kind": row.kind,
        "http_status": row.http_status,
        "is_estimated": row.is_estimated,
        "is_unpriced": row.is_unpriced,
        "is_streamed": row.is_streamed,
        "price_source": row.price_source,
        "cache_read_input_tokens": row.cache_read_tokens,
        "cache_creation_input_tokens": row.cache_write_tokens,
        "reasoning_tokens": row.reasoning_tokens,
    }


# --- exports ----------------------------------------------------------------------------------------

EXPORTED: dict[str, Callable[[Row], Any]] = {
    "request_id": lambda row: row.id,
    "start_time": lambda row: row.admitted_at,
    "end_time": lambda row: row.finished_at,
    "status": lambda row: "success" if row.succeeded else "failure",
    "key_id": lambda row: row.key_id,
    "team_id": lambda row: row.team_id,
    "user_id": lambda row: row.user_id,
    "end_user": lambda row: row.customer_id,
    "session_id": lambda row: row.run_id,
    "tags": lambda row: row.tags,
    "model": lambda row: row.model,
    "provider": lambda row: row.provider,
    "provider_model": lambda row: row.upstream_model,
    "prompt_tokens": lambda row: row.input_tokens,
    "completion_tokens": lambda row: row.output_tokens,
    "cache_read_input_tokens": lambda row: row.cache_read_tokens,
    "cache_creation_input_tokens": lambda row: row.cache_write_tokens,
    "reasoning_tokens": lambda row: row.reasoning_tokens,
    "spend": lambda row: usd_from_nanousd(row.cost_nanousd),
    "is_estimated": lambda row: row.is_estimated,
    "price_source": lambda row: row.price_source,
}
"""The columns of an export; `api_key` and `key_alias` come after the first."""


def export(where: Where, *, as_json: bool) -> Iterator[bytes]:
    """The calls, oldest first, a chunk at a time. What is posted meanwhile may be in it or not."""
    write = _json if as_json else _csv
    yield b"[" if as_json else _csv_line([*EXPORTED, "api_key", "key_alias"])
    is_first = True
    for rows in _chunks(where):
        names = key_names({row.key_id for row in rows})
        yield write([_exported(row, names=names) for row in rows], is_first=is_first)
        is_first = False
    if as_json:
        yield b"]"


def _chunks(where: Where) -> Iterator[list[Row]]:
    """By the place of the last row, not by a cursor: nothing stays open in the database while a client reads."""
    condition, parameters = where.sql, list(where.parameters)
    while True:
        rows = [Row(*row) for row in _fetch(CHUNKS.format(columns=COLUMNS, where=condition), [*parameters, CHUNK])]
        if rows:
            yield rows
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        condition = f"{where.sql} AND admitted_at >= %s AND (admitted_at, id) > (%s, %s::uuid)"
        parameters = [*where.parameters, last.admitted_at, last.admitted_at, last.id]


def _exported(row: Row, *, names: dict[str, KeyNames]) -> Answer:
    known = names.get(row.key_id)
    values = {name: read(row) for name, read in EXPORTED.items()}
    return {**values, "api_key": hash_of(names, row.key_id), "key_alias": None if known is None else known.alias}


def _json(rows: Sequence[Answer], *, is_first: bool) -> bytes:
    lines = b",\n".join(orjson.dumps(row, default=_exact, option=orjson.OPT_PASSTHROUGH_DATETIME) for row in rows)
    return lines if is_first else b",\n" + lines


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    assert isinstance(value, datetime), "rows have nothing else"
    return text_of(value)


def _csv(rows: Sequence[Answer], *, is_first: bool) -> bytes:
    return b"".join(_csv_line([_cell(value) for value in row.values()]) for row in rows)


def _cell(value: object) -> str:
    """Text that a spreadsheet takes for a formula is callers' text, and is quoted with an apostrophe."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return text_of(value)
        case Decimal():
            return format(value, "f")
        case list():
            return _cell(",".join(value))
        case str() if value.startswith(("=", "+", "-", "@", "\t", "\r")):
            return f"'{value}"
    return str(value)


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
