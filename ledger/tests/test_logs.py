"""Logs and exports: the calls as clients know them, page by page or as a file of any length in constant memory."""

import csv
import io
import json
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext

from budgets.actors import Actor
from budgets.services import ms_of
from keys.models import Key
from ledger import logs
from ledger.log_views import Export, Logs, PagedLogs
from ledger.posting import COLUMNS, post_entries
from ledger.tests.actors import ADMIN, STRANGER, TEAM_ADMIN, USER, VIEWER, answer, ask, key_actor
from ledger.tests.factories import KEY_ID, NOW, NOW_MS, at, make_entry, posted_entry, saved_key
from teams.models import Team
from tests.api import stop_clock
from tests.services import MASTER_KEY

pytestmark = pytest.mark.django_db
USD = 10**9
DAYS = {"start_date": "2040-03-01", "end_date": "2040-03-31"}

MANY_MORE = """
INSERT INTO ledger_entry ({columns}, admitted_at, finished_at, id)
SELECT {columns}, admitted_at - number * interval '1 millisecond', finished_at, gen_random_uuid()
FROM ledger_entry AS entry, generate_series(1, %s) AS number
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, at=NOW)


@pytest.fixture
def key() -> Key:
    return saved_key(key_alias="ci")


def ids(page: dict[str, Any]) -> list[str]:
    return [row["request_id"] for row in page["data"]]


def exported(query: dict[str, str], by: Actor = ADMIN) -> bytes:
    response = ask(Export, by, query=query)
    assert response.status_code == 200
    return b"".join(response.streaming_content)


# --- rows -------------------------------------------------------------------------------------------


def test_row_has_the_columns_that_clients_know(key: Key) -> None:
    entry = posted_entry(
        key_id=str(key.id),
        team_id="a-team",
        user_id="u1",
        customer_id="c1",
        run_id="r1",
        tags=("x",),
        model="big",
        provider="openai",
        upstream_model="gpt-big",
        cost_nanousd=220_001,
        first_byte_ms=12,
        reasoning_tokens=3,
    )
    [row] = answer(PagedLogs, ADMIN, query={})["data"]
    expected = {
        "request_id": entry.id,
        "api_key": key.token_hash,
        "spend": Decimal("0.000220001"),
        "total_tokens": 15,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "startTime": "2040-03-06T12:30:00Z",
        "endTime": "2040-03-06T12:30:01Z",
        "request_duration_ms": 1000,
        "completionStartTime": "2040-03-06T12:30:00.012000Z",
        "model": "gpt-big",
        "model_group": "big",
        "custom_llm_provider": "openai",
        "user": "u1",
        "team_id": "a-team",
        "end_user": "c1",
        "session_id": "r1",
        "request_tags": ["x"],
        "status": "success",
        "messages": {},
        "response": {},
    }
    assert {name: row[name] for name in expected} == expected
    assert row["metadata"]["user_api_key_alias"] == "ci"
    assert row["metadata"]["reasoning_tokens"] == 3


def test_logs_are_found_by_key_user_and_request(key: Key) -> None:
    mine = posted_entry(key_id=str(key.id), user_id="u1")
    old = posted_entry(at_ms=ms_of(at("01-01 00:00")))
    posted_entry(user_id="u2")
    for query, found in (
        ({"api_key": key.token_hash}, [mine.id]),
        ({"user_id": "u1"}, [mine.id]),
        ({"request_id": mine.id}, [mine.id]),
        ({"request_id": old.id}, [old.id]),
        ({"request_id": "nobody-knows"}, []),
        ({"request_id": "00000000-0000-4000-8000-000000000000"}, []),
        ({"request_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}, []),
        ({"api_key": "sk-unknown"}, []),
    ):
        assert [row["request_id"] for row in answer(Logs, ADMIN, query=query)] == found, query
    assert len(answer(Logs, ADMIN, query={})) == 2


def test_logs_with_dates_are_sums_by_day_unless_rows_are_asked_for(key: Key) -> None:
    posted_entry(at_ms=ms_of(at("03-05 10:00")), key_id=str(key.id), user_id="u1", cost_nanousd=USD)
    posted_entry(key_id=str(key.id), user_id="u1", model="big", cost_nanousd=2 * USD)
    posted_entry(user_id="u2", cost_nanousd=4 * USD)
    first, second = answer(Logs, ADMIN, query=DAYS)
    assert first == {
        "startTime": "2040-03-05",
        "spend": 1,
        "users": {"u1": 1},
        "models": {"demo": 1},
        key.token_hash: 1,
    }
    assert (second["spend"], second["models"], second[KEY_ID]) == (6, {"big": 2, "demo": 4}, 4)
    assert answer(Logs, ADMIN, query=DAYS | {"user_id": "u2"})[0]["spend"] == 4
    assert answer(Logs, ADMIN, query=DAYS | {"api_key": key.token_hash})[1]["spend"] == 2
    assert len(answer(Logs, ADMIN, query=DAYS | {"summarize": "false"})) == 3


# --- pages ------------------------------------------------------------------------------------------


def test_pages_are_newest_first_and_counted() -> None:
    posted = [posted_entry(at_ms=NOW_MS - number * 1000).id for number in range(7)]
    pages = [answer(PagedLogs, ADMIN, query={"page": str(page), "page_size": "3"}) for page in (1, 2, 3)]
    assert [each for page in pages for each in ids(page)] == posted
    assert {(page["total"], page["total_pages"], page["page_size"]) for page in pages} == {(7, 3, 3)}
    assert ids(answer(PagedLogs, ADMIN, query={"sort_order": "asc"})) == posted[::-1]


def test_pages_are_sorted_by_what_is_asked_for() -> None:
    costs = [3, 1, 2]
    posted = [
        posted_entry(at_ms=NOW_MS - n, cost_nanousd=cost, finished_ms=NOW_MS + cost) for n, cost in enumerate(costs)
    ]
    by_cost = [entry.id for entry in sorted(posted, key=lambda entry: -entry.cost_nanousd)]
    assert ids(answer(PagedLogs, ADMIN, query={"sort_by": "spend"})) == by_cost
    assert ids(answer(PagedLogs, ADMIN, query={"sort_by": "spend", "sort_order": "asc"})) == by_cost[::-1]
    for name in ("endTime", "total_tokens", "request_duration_ms", "startTime"):
        assert len(ids(answer(PagedLogs, ADMIN, query={"sort_by": name}))) == 3
    assert ask(PagedLogs, ADMIN, query={"sort_by": "id; DROP TABLE x"}).status_code == 400


def test_pages_are_filtered(key: Key) -> None:
    wanted = posted_entry(
        key_id=str(key.id),
        team_id="a-team",
        user_id="u1",
        customer_id="c1",
        run_id="r1",
        model="big",
        upstream_model="gpt-big",
        cost_nanousd=5 * USD,
        http_status=500,
    )
    posted_entry()
    for query in (
        *({"api_key": key.token_hash}, {"key_alias": "ci"}, {"team_id": "a-team"}, {"user_id": "u1"}),
        *({"end_user": "c1"}, {"session_id": "r1"}, {"model": "big"}, {"model": "gpt-big"}, {"model_group": "big"}),
        *({"min_spend": "5"}, {"status_filter": "failure"}, {"request_id": wanted.id}),
    ):
        assert ids(answer(PagedLogs, ADMIN, query=query)) == [wanted.id], query
    for query in ({"max_spend": "0.1"}, {"status_filter": "success"}):
        assert wanted.id not in ids(answer(PagedLogs, ADMIN, query=query)), query


@pytest.mark.parametrize(
    "query",
    [
        *({"search": "x"}, {"error_code": "500"}, {"cache_hit_filter": "true"}, {"group_by_session": "true"}),
        *({"min_spend": "much"}, {"status_filter": "good"}, {"page": "0"}, {"nonsense": "1"}),
        {"start_date": "2040-03-09", "end_date": "2040-03-01"},
    ],
    ids=str,
)
def test_filter_that_is_not_there_is_refused(query: dict[str, str]) -> None:
    response = ask(PagedLogs, ADMIN, query=query)
    assert response.status_code == 400
    assert next(iter(query)).encode() in response.content


def test_filters_of_no_meaning_are_taken() -> None:
    assert answer(PagedLogs, ADMIN, query={"group_by_session": "false", "search": ""})["total"] == 0


def test_nothing_is_counted_or_sorted_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "COUNT_MAX", 5)
    post_entries([make_entry(at_ms=NOW_MS - number, cost_nanousd=number) for number in range(9)])
    page = answer(PagedLogs, ADMIN, query={"sort_by": "spend", "page_size": "3"})
    assert (page["total"], page["total_pages"]) == (5, 2)
    assert [row["spend"] for row in page["data"]] == [Decimal(f"0.00000000{number}") for number in (4, 3, 2)]


def test_calls_of_long_ago_are_shown_when_their_days_are_asked_for() -> None:
    old = posted_entry(at_ms=ms_of(at("01-01 00:00")))
    assert answer(PagedLogs, ADMIN, query={})["total"] == 0
    page = answer(PagedLogs, ADMIN, query={"start_date": "2040-01-01", "end_date": "2040-01-01"})
    assert ids(page) == [old.id]


@pytest.mark.parametrize(
    ("by", "seen"),
    [(ADMIN, 4), (VIEWER, 4), (USER, 1), (TEAM_ADMIN, 2), (STRANGER, 0)],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_reader_sees_the_own_calls_and_those_of_teams_that_one_administers(by: Actor, seen: int) -> None:
    for fields in (
        {"team_id": "a-team", "user_id": "u2"},
        {"team_id": "a-team"},
        {"user_id": "u1"},
        {"team_id": "b-team"},
    ):
        posted_entry(**fields)
    assert answer(PagedLogs, by, query={})["total"] == seen
    assert len(answer(Logs, by, query={})) == seen
    assert len(json.loads(exported({"format": "json"}, by))) == seen


def test_members_see_the_calls_of_a_team_that_shows_them() -> None:
    posted_entry(team_id="a-team", user_id="u2")
    team = Team.objects.create(team_id="a-team", created_at=NOW, updated_at=NOW)
    assert answer(PagedLogs, USER, query={})["total"] == 0
    team.member_permissions = ["/key/generate", "/team/daily/activity"]
    team.save()
    assert answer(PagedLogs, USER, query={})["total"] == 1
    assert answer(PagedLogs, STRANGER, query={})["total"] == 0


def test_key_sees_its_own_calls(key: Key) -> None:
    mine = posted_entry(key_id=str(key.id), team_id="a-team")
    other = posted_entry(team_id="a-team")
    assert ids(answer(PagedLogs, key_actor(key), query={})) == [mine.id]
    assert answer(Logs, key_actor(key), query={"request_id": other.id}) == []


def test_number_of_queries_does_not_grow_with_the_rows() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            answer(PagedLogs, ADMIN, query={"page_size": "100"})
        return len(captured)

    posted_entry(key_id=str(saved_key().id))
    few = queries()
    for _ in range(20):
        posted_entry(key_id=str(saved_key().id))
    assert queries() == few == 4


# --- exports ----------------------------------------------------------------------------------------


def test_csv_has_a_header_and_exact_dollars(key: Key) -> None:
    entry = posted_entry(key_id=str(key.id), cost_nanousd=1_000_000_001, tags=("a", "b"))
    [row] = csv.DictReader(io.StringIO(exported({"format": "csv"}).decode()))
    assert (row["request_id"], row["spend"], row["tags"], row["key_alias"]) == (entry.id, "1.000000001", "a,b", "ci")
    assert (row["start_time"], row["team_id"], row["is_estimated"]) == ("2040-03-06T12:30:00Z", "", "false")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_text_of_callers_is_no_formula_in_a_spreadsheet(text: str) -> None:
    posted_entry(customer_id=text)
    [row] = csv.DictReader(io.StringIO(exported({"format": "csv"}).decode()))
    assert row["end_user"] == f"'{text}"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_json_is_one_array_however_many_chunks_there_are(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(logs, "CHUNK", 2)
    posted = [posted_entry(at_ms=NOW_MS - number // 2).id for number in range(count)]
    rows = json.loads(exported({"format": "json"}), parse_float=Decimal)
    assert sorted(row["request_id"] for row in rows) == sorted(posted)
    assert [row["start_time"] for row in rows] == sorted(row["start_time"] for row in rows)


def test_export_is_filtered_and_named() -> None:
    wanted = posted_entry(team_id="a-team")
    posted_entry()
    rows = json.loads(exported({"format": "json", "team_id": "a-team"}))
    assert [row["request_id"] for row in rows] == [wanted.id]
    response = ask(Export, ADMIN, query={"format": "csv"})
    assert response["Content-Disposition"] == 'attachment; filename="spend-20400306T123000Z.csv"'
    assert ask(Export, ADMIN, query={"format": "xlsx"}).status_code == 400


def test_export_of_any_length_takes_constant_memory() -> None:
    posted_entry()
    with connection.cursor() as cursor:
        cursor.execute(MANY_MORE.format(columns=COLUMNS.removeprefix("id, ")), [100_000])
        cursor.execute("ANALYZE ledger_entry")
    response = ask(Export, ADMIN, query={"format": "json"})
    chunks, length = iter(response.streaming_content), 0
    next(chunks)
    tracemalloc.start()
    try:
        length = sum(map(len, chunks))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length > 20_000_000
    assert peak < 16 * 2**20


@pytest.mark.django_db(transaction=True)
async def test_export_is_streamed_by_the_server_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """There Django would read an ordinary iterator to its end before the first byte."""
    monkeypatch.setattr(logs, "CHUNK", 2)
    await sync_to_async(lambda: [posted_entry(at_ms=NOW_MS - number) for number in range(5)])()
    headers = {"Authorization": f"Bearer {MASTER_KEY}"}
    response: Any = await AsyncClient().get("/spend/export?format=json", headers=headers)
    assert response.is_async
    parts = [part async for part in response.streaming_content]
    await sync_to_async(lambda: connection.close())()  # that of the thread
    assert len(parts) == 5
    assert len(json.loads(b"".join(parts))) == 5
