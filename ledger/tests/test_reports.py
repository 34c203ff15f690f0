"""Reports say what adding up the entries gives, to each reader what that one may see, with few queries."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.actors import Actor
from budgets.services import ms_of
from keys.models import DeletedKey, Key
from ledger import report_views as views
from ledger import reports
from ledger.posting import post_entries
from ledger.tests.actors import ADMIN, STRANGER, TEAM_ADMIN, USER, VIEWER, answer, ask, key_actor
from ledger.tests.factories import KEY_ID, NOW, at, make_entry, posted_entry, saved_key, saved_team
from teams.models import Customer, User
from tests.api import stop_clock

QueryCount = Callable[[int], AbstractContextManager[object]]
pytestmark = pytest.mark.django_db
USD = 10**9
DAYS = {"start_date": "2040-03-01", "end_date": "2040-03-31"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch, at=NOW)


def call(text: str, cost: int, **fields: Any) -> None:
    posted_entry(at_ms=ms_of(at(text)), cost_nanousd=cost * USD, **fields)


def spends(activity: dict[str, Any]) -> dict[str, Decimal]:
    return {day["date"]: day["metrics"]["spend"] for day in activity["results"]}


# --- daily activity -----------------------------------------------------------------------------------


def test_days_of_teams_are_what_their_entries_add_up_to() -> None:
    key = saved_key(key_alias="ci")
    saved_team(team_id="a-team", team_alias="The A-Team")
    fields = {"team_id": "a-team", "key_id": str(key.id), "model": "big", "provider": "openai"}
    call("03-05 23:59:59", 1, **fields, cache_read_tokens=4, cache_write_tokens=3)
    call("03-06 00:00", 2, **fields | {"model": "small"})
    call("03-06 10:00", 4, **fields, http_status=0, input_tokens=100)
    call("03-06 10:00", 8, team_id="b-team")
    call("03-06 10:00", 16)
    report = answer(views.TeamActivity, ADMIN, query=DAYS | {"team_ids": "a-team"})
    assert spends(report) == {"2040-03-06": 6, "2040-03-05": 1}
    assert report["results"][0]["metrics"] == {
        "spend": 6,
        "prompt_tokens": 110,
        "completion_tokens": 10,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "total_tokens": 120,
        "successful_requests": 1,
        "failed_requests": 1,
        "api_requests": 2,
    }
    parts = report["results"][0]["breakdown"]
    assert {name: part["metrics"]["spend"] for name, part in parts["models"].items()} == {"big": 4, "small": 2}
    assert parts["model_groups"] == parts["models"]
    assert parts["providers"]["openai"]["metrics"]["spend"] == 6
    assert parts["providers"]["openai"]["api_key_breakdown"][key.token_hash]["metrics"]["spend"] == 6
    assert parts["api_keys"][key.token_hash]["metadata"] == {"key_alias": "ci", "team_id": None}
    assert parts["entities"]["a-team"]["metadata"] == {"alias": "The A-Team"}
    assert (parts["endpoints"], parts["mcp_servers"]) == ({}, {})
    metadata = report["metadata"]
    assert (metadata["total_spend"], metadata["total_api_requests"], metadata["total_tokens"]) == (7, 3, 135)
    assert metadata["total_cache_read_input_tokens"] == 4
    assert (metadata["page"], metadata["total_pages"], metadata["has_more"]) == (1, 1, False)


def test_days_are_paged_and_sums_are_of_all_pages() -> None:
    for day in range(1, 8):
        call(f"03-0{day} 12:00", day, team_id="a-team")
    pages = [
        answer(views.TeamActivity, ADMIN, query=DAYS | {"page": str(page), "page_size": "3"}) for page in (1, 2, 3, 4)
    ]
    assert [list(spends(page).values()) for page in pages] == [[7, 6, 5], [4, 3, 2], [1], []]
    assert {page["metadata"]["total_spend"] for page in pages} == {28}
    assert [page["metadata"]["has_more"] for page in pages] == [True, True, False, False]


@pytest.mark.parametrize(("offset", "day"), [("0", "2040-03-06"), ("480", "2040-03-05"), ("-1440", "400")])
def test_days_begin_in_the_zone_that_is_asked_for(offset: str, day: str) -> None:
    call("03-06 02:00", 1, team_id="a-team")
    response = ask(views.TeamActivity, ADMIN, query=DAYS | {"timezone": offset})
    if day == "400":
        assert response.status_code == 400
    else:
        assert list(spends(answer(views.TeamActivity, ADMIN, query=DAYS | {"timezone": offset}))) == [day]


@pytest.mark.parametrize("offset", ["-60", "480", "0"])
def test_first_and_last_day_are_whole_in_any_zone(offset: str) -> None:
    """As many hours as there are in a day, none of them in the neighbours."""
    for hour in range(-30, 60):
        posted_entry(at_ms=ms_of(at("03-06 00:00")) + hour * 3600_000, team_id="a-team")
    query = {"start_date": "2040-03-06", "end_date": "2040-03-06", "timezone": offset}
    (day,) = answer(views.TeamActivity, ADMIN, query=query)["results"]
    assert (day["date"], day["metrics"]["api_requests"]) == ("2040-03-06", 24)


def test_activity_is_filtered_by_model_key_and_ids() -> None:
    key = saved_key()
    call("03-06 10:00", 1, team_id="a-team", model="big")
    call("03-06 10:00", 2, team_id="a-team", key_id=str(key.id))
    call("03-06 10:00", 4, team_id="b-team")
    call("03-06 10:00", 8, team_id="c-team")
    for given, total in (
        ({}, 15),
        ({"model": "big"}, 1),
        ({"api_key": key.token_hash}, 2),
        ({"api_key": "sk-of-nobody-at-all"}, 0),
        ({"team_ids": "a-team,b-team"}, 7),
        ({"exclude_team_ids": "a-team,b-team"}, 8),
        ({"team_ids": "no-team"}, 0),
    ):
        assert answer(views.TeamActivity, ADMIN, query=DAYS | given)["metadata"]["total_spend"] == total, given


def test_activity_of_users_and_customers() -> None:
    User.objects.create(username="u1", user_alias="Una")
    Customer.objects.create(customer_id="c1", alias="Acme", created_at=NOW, updated_at=NOW)
    call("03-06 10:00", 1, user_id="u1", customer_id="c1")
    call("03-06 10:00", 2, user_id="u2", customer_id="c2")
    users = answer(views.UserActivity, ADMIN, query=DAYS)
    assert users["results"][0]["breakdown"]["entities"]["u1"]["metadata"] == {"alias": "Una"}
    assert answer(views.UserActivity, ADMIN, query=DAYS | {"user_id": "u1"})["metadata"]["total_spend"] == 1
    customers = answer(views.CustomerActivity, ADMIN, query=DAYS | {"exclude_end_user_ids": "c2"})
    assert {name: part["metadata"] for name, part in customers["results"][0]["breakdown"]["entities"].items()} == {
        "c1": {"alias": "Acme"}
    }


def test_activity_of_tags_counts_a_call_for_each_of_its_tags() -> None:
    call("03-06 10:00", 1, tags=("a", "b"), model="big")
    call("03-06 11:00", 2, tags=("b",))
    report = answer(views.TagActivity, VIEWER, query=DAYS)
    parts = report["results"][0]["breakdown"]
    assert {name: part["metrics"]["spend"] for name, part in parts["entities"].items()} == {"a": 1, "b": 3}
    assert answer(views.TagActivity, ADMIN, query=DAYS | {"tags": "a"})["metadata"]["total_spend"] == 1
    assert ask(views.TagActivity, TEAM_ADMIN, query=DAYS).status_code == 403


@pytest.mark.parametrize(
    ("by", "teams", "users"),
    [(ADMIN, 7, 15), (VIEWER, 7, 15), (USER, 1, 9), (TEAM_ADMIN, 3, 0), (STRANGER, 0, 0)],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_reader_sees_the_own_calls_and_the_teams_that_one_administers(by: Actor, teams: int, users: int) -> None:
    call("03-06 10:00", 1, team_id="a-team", user_id="u1")
    call("03-06 10:00", 2, team_id="a-team", user_id="u2")
    call("03-06 10:00", 4, team_id="b-team", user_id="u3")
    call("03-06 10:00", 8, user_id="u1")
    assert answer(views.TeamActivity, by, query=DAYS)["metadata"]["total_spend"] == teams
    assert answer(views.UserActivity, by, query=DAYS)["metadata"]["total_spend"] == users


def test_asking_for_a_foreign_team_is_as_asking_for_none() -> None:
    call("03-06 10:00", 4, team_id="b-team", user_id="u3")
    foreign, none = (answer(views.TeamActivity, USER, query=DAYS | {"team_ids": name}) for name in ("b-team", "x"))
    assert foreign == none


def test_key_sees_what_it_spent_itself() -> None:
    key = saved_key()
    call("03-06 10:00", 1, key_id=str(key.id), team_id="a-team")
    call("03-06 10:00", 2, team_id="a-team")
    assert answer(views.GlobalSpend, key_actor(key), query=DAYS)["spend"] == 1
    assert [row["api_key"] for row in answer(views.SpendKeys, key_actor(key), query=DAYS)] == [key.token_hash]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_date": "2040-03-09", "end_date": "2040-03-01"},
        {"start_date": "1990-01-01", "end_date": "2040-01-01"},
        {"start_date": "yesterday"},
        {"end_date": "9999-12-31"},
        {"page": "0"},
        {"page_size": "100000"},
        {"team": "x"},
    ],
    ids=str,
)
def test_query_that_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    assert ask(views.TeamActivity, ADMIN, query=wrong).status_code == 400


def test_number_of_queries_does_not_grow(django_assert_num_queries: QueryCount) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            answer(views.TeamActivity, ADMIN, query=DAYS | {"page_size": "100"})
        return len(captured)

    call("03-01 10:00", 1, team_id="a-team")
    few = queries()
    keys = [saved_key() for _ in range(10)]
    post_entries(
        [
            make_entry(at_ms=ms_of(at(f"03-{day:02} 10:00")), team_id=f"t{day}", model=f"m{day}", key_id=str(key.id))
            for day in range(1, 29)
            for key in keys
        ]
    )
    assert queries() == few == 5


# --- spend report -------------------------------------------------------------------------------------


def test_report_by_team_has_the_form_that_clients_know() -> None:
    key = saved_key()
    saved_team(team_id="a-team", team_alias="The A-Team")
    call("03-05 10:00", 1, team_id="a-team", model="big", key_id=str(key.id))
    call("03-06 10:00", 2, team_id="a-team", model="big", key_id=str(key.id))
    call("03-06 10:00", 4, team_id="a-team", model="small", key_id=str(key.id))
    call("03-06 10:00", 8)
    first, second = answer(views.SpendReport, ADMIN, query=DAYS)
    assert first == {
        "group_by_day": "2040-03-05",
        "teams": [
            {
                "team_name": "The A-Team",
                "team_id": "a-team",
                "total_spend": 1,
                "metadata": [{"model": "big", "spend": 1, "total_tokens": 15, "api_key": key.token_hash}],
            }
        ],
    }
    assert [team["total_spend"] for team in second["teams"]] == [6]


def test_report_by_customer_and_by_key() -> None:
    key = saved_key(key_alias="ci")
    call("03-06 10:00", 2, customer_id="c1", model="big", key_id=str(key.id))
    call("03-06 11:00", 4, model="small", key_id=str(key.id))
    [day] = answer(views.SpendReport, ADMIN, query=DAYS | {"group_by": "customer"})
    assert [(line["customer"], line["total_spend"]) for line in day["customers"]] == [("c1", 2)]
    [line] = answer(views.SpendReport, ADMIN, query=DAYS | {"group_by": "api_key"})
    assert (line["api_key"], line["total_cost"], line["total_input_tokens"]) == (key.token_hash, 6, 20)
    assert [(model["model"], model["total_cost"]) for model in line["model_details"]] == [("big", 2), ("small", 4)]


def test_report_is_filtered_and_needs_dates() -> None:
    call("03-06 10:00", 1, team_id="a-team", user_id="u1", customer_id="c1")
    call("03-06 10:00", 2, team_id="b-team", user_id="u2")
    for given in ({"team_id": "a-team"}, {"internal_user_id": "u1"}, {"customer_id": "c1"}):
        [day] = answer(views.SpendReport, ADMIN, query=DAYS | given)
        assert [team["total_spend"] for team in day["teams"]] == [1]
    assert ask(views.SpendReport, ADMIN, query={}).status_code == 400
    assert answer(views.SpendReport, TEAM_ADMIN, query=DAYS)[0]["teams"][0]["team_id"] == "a-team"
    assert answer(views.SpendReport, TEAM_ADMIN, query=DAYS | {"team_id": "b-team"}) == []


def test_report_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "ROWS_MAX", 2)
    for model in "abc":
        call("03-06 10:00", 1, team_id="a-team", model=model)
    assert ask(views.SpendReport, ADMIN, query=DAYS).status_code == 400


# --- spend by one thing -------------------------------------------------------------------------------


def test_spend_by_key_names_deleted_keys_too() -> None:
    key, gone = saved_key(key_alias="ci"), saved_key(key_alias="old")
    call("03-06 10:00", 1, key_id=str(key.id))
    call("03-06 10:00", 5, key_id=str(gone.id))
    call("03-06 10:00", 3, key_id=KEY_ID)
    DeletedKey.objects.create(
        id=gone.id, token_hash=gone.token_hash, key_alias="old", key_name="x", row={}, deleted_at=NOW, deleted_by=""
    )
    Key.objects.filter(id=gone.id).delete()
    rows = answer(views.SpendKeys, ADMIN, query=DAYS)
    assert [(row["api_key"], row["key_alias"], row["total_spend"]) for row in rows] == [
        (gone.token_hash, "old", 5),
        (KEY_ID, None, 3),
        (key.token_hash, "ci", 1),
    ]
    assert len(answer(views.SpendKeys, ADMIN, query=DAYS | {"limit": "1"})) == 1


def test_spend_by_user_model_team_and_tag() -> None:
    call("03-06 10:00", 1, user_id="u1", model="big", team_id="a-team", tags=("x",))
    call("03-06 10:00", 2, user_id="u2", model="small", tags=("x", "y"))
    assert [(row["user_id"], row["spend"]) for row in answer(views.SpendUsers, ADMIN, query=DAYS)] == [
        ("u2", 2),
        ("u1", 1),
    ]
    assert [(row["model"], row["spend"]) for row in answer(views.SpendModels, ADMIN)] == [("small", 2), ("big", 1)]
    teams = answer(views.SpendTeams, ADMIN)["total_spend_per_team"]
    assert [(row["team_id"], row["spend"]) for row in teams] == [("", 2), ("a-team", 1)]
    tags = answer(views.SpendTags, VIEWER)
    assert [(row["individual_request_tag"], row["log_count"], row["total_spend"]) for row in tags] == [
        ("x", 2, 3),
        ("y", 1, 2),
    ]
    assert len(answer(views.SpendTags, VIEWER, query={"tags": "y"})) == 1
    assert ask(views.SpendTags, USER).status_code == 403
    assert answer(views.GlobalSpend, ADMIN) == {"spend": 3, "max_budget": None}


# --- costs ----------------------------------------------------------------------------------------------


def test_cost_of_an_answer_is_exact() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    body = {"completion_response": {"model": "demo", "usage": usage}}
    # 600 tokens at 0.15, 400 at 0.075 and 500 at 0.60 dollars per million.
    assert answer(views.Calculate, ADMIN, body) == {"cost": Decimal("0.00042")}
    messages = {"input_tokens": 600, "cache_read_input_tokens": 400, "output_tokens": 500}
    assert answer(views.Calculate, ADMIN, {"model": "demo", "completion_response": {"usage": messages}}) == {
        "cost": Decimal("0.00042")
    }


def test_cost_of_messages_is_a_bound_of_the_input() -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
    assert 0 < answer(views.Calculate, ADMIN, body)["cost"] < Decimal("0.00002")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"model": "demo"}, "messages"),
        ({"messages": []}, "model"),
        ({"model": "no-such-model", "messages": []}, "model"),
        ({"model": "demo", "messages": "Hello"}, "messages"),
        ({"completion_response": []}, "completion_response"),
        ({"completion_response": {"usage": {}}}, "completion_response.model"),
        ({"completion_response": {"model": "demo"}}, "completion_response.usage"),
        ({"completion_response": {"model": "demo", "usage": {"prompt_tokens": -1}}}, "prompt_tokens"),
        ({"completion_response": {"model": "demo", "usage": {"prompt_tokens": 1.5}}}, "prompt_tokens"),
        ({"completion_response": {"model": 5, "usage": {}}}, "completion_response.model"),
    ],
    ids=str,
)
def test_cost_of_what_makes_no_sense_is_refused(body: dict[str, Any], field: str) -> None:
    response = ask(views.Calculate, ADMIN, body)
    assert response.status_code == 400
    assert field.encode() in response.content
