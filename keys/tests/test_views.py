"""What clients send and read, as they send and read it. Instants are those of the standing clock."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from redis.exceptions import RedisError

from budgets.gate.store import sync_gate
from budgets.rules.limits import LimitUnit
from budgets.services import ms_of
from keys.models import Key
from keys.parsing import hash_key
from teams.models import User
from tests.api import NOW, Api, answer_of, ledger_says, stop_clock
from tests.services import MASTER_KEY

HOUR_MS = ms_of(NOW.replace(minute=0, second=0, microsecond=0))
MONTH_MS = ms_of(NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
TWO_WINDOWS = [{"budget_duration": "1h", "max_budget": 10.0}, {"budget_duration": "30d", "max_budget": 500.0}]


def test_the_first_curl_answers_with_the_key_and_both_resets(db: None) -> None:
    body = '{"budget_limits":[{"budget_duration":"1h","max_budget":10.0},{"budget_duration":"30d","max_budget":500.0}]}'
    response = Client().post(
        "/key/generate",
        data=body,
        content_type="application/json",
        headers={"Authorization": f"Bearer {MASTER_KEY}"},
    )
    answer = answer_of(response)
    assert response.headers["Content-Type"] == "application/json"
    assert (
        b'"budget_limits":[{"budget_duration":"1h","max_budget":10.0,"reset_at":"2037-11-23T14:00:00Z"},'
        b'{"budget_duration":"30d","max_budget":500.0,"reset_at":"2037-12-01T00:00:00Z"}]'
    ) in response.content
    key = answer["key"]
    assert key.startswith("sk-")
    assert answer["token"] == answer["token_id"] == hash_key(key)
    assert answer["key_name"] == f"sk-...{key[-4:]}"
    assert answer["created_at"] == answer["updated_at"] == "2037-11-23T13:06:59.126000Z"


def test_a_new_key_answers_in_the_shape_that_clients_know(api: Api) -> None:
    answer = api.post("/key/generate", key_alias="k1", metadata={"cost": 1.5, "n": [1, None]}, models=["gpt-4o"])
    expected = {
        "key_alias": "k1",
        "duration": None,
        "models": ["gpt-4o"],
        "spend": Decimal("0.0"),
        "max_budget": None,
        "user_id": None,
        "team_id": None,
        "max_parallel_requests": None,
        "metadata": {"cost": Decimal("1.5"), "n": [1, None]},
        "tpm_limit": None,
        "rpm_limit": None,
        "budget_duration": None,
        "budget_limits": None,
        "allowed_cache_controls": [],
        "config": {},
        "permissions": {},
        "model_max_budget": {},
        "aliases": {},
        "allowed_routes": [],
        "key_type": "default",
        "expires": None,
        "tags": None,
    }
    assert {name: answer[name] for name in expected} == expected


def test_a_key_with_everything_keeps_everything(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    made = api.post(
        "/key/generate",
        key="sk-my-own-key-0123456789",
        key_alias="all",
        team_id="t1",
        duration="30d",
        max_budget="12.000000001",
        budget_duration="1d",
        budget_limits=[{"budget_duration": "hourly", "max_requests": 100, "enforcement": "strict", "reset_at": "x"}],
        timezone="Europe/Berlin",
        week_start="sunday",
        blocked=True,
        spend=0,
        key_type="default",
        tags=None,
        rpm_limit=None,
        auto_rotate=False,
    )
    assert made["key"] == "sk-my-own-key-0123456789"
    info = api.get("/key/info", key=made["key"])["info"]
    assert info["max_budget"] == Decimal("12.000000001")
    assert info["budget_duration"] == "1d"
    assert info["budget_reset_at"] == "2037-11-23T23:00:00Z"
    assert info["budget_limits"] == [
        {
            "budget_duration": "hourly",
            "max_requests": 100,
            "reset_at": "2037-11-23T14:00:00Z",
            "enforcement": "strict",
        }
    ]
    assert (info["timezone"], info["week_start"]) == ("Europe/Berlin", "sunday")
    assert (info["team_id"], info["blocked"], info["status"]) == ("t1", True, "revoked")
    assert info["expires"] == "2037-12-23T13:06:59.126000Z"


def test_info_says_what_every_window_has_spent(api: Api) -> None:
    made = api.post("/key/generate", budget_limits=TWO_WINDOWS)
    key = Key.objects.get()
    ledger_says(key.id, spent=220_000, start_ms=HOUR_MS)
    ledger_says(key.id, spent=501_000_000_001, start_ms=MONTH_MS)
    ledger_says(key.id, spent=600_000_000_001)
    answer = api.get("/key/info", key=made["key"])
    assert answer["key"] == made["key"]
    info = answer["info"]
    assert info["budget_limits_usage"] == {
        "1h": {
            "current_spend": Decimal("0.00022"),
            "held": Decimal("0.0"),
            "max_budget": Decimal("10.0"),
            "remaining": Decimal("9.99978"),
            "granted": Decimal("0.0"),
            "window_start": "2037-11-23T13:00:00Z",
            "reset_at": "2037-11-23T14:00:00Z",
        },
        "30d": {
            "current_spend": Decimal("501.000000001"),
            "held": Decimal("0.0"),
            "max_budget": Decimal("500.0"),
            "remaining": Decimal("0.0"),
            "granted": Decimal("0.0"),
            "window_start": "2037-11-01T00:00:00Z",
            "reset_at": "2037-12-01T00:00:00Z",
        },
    }
    assert info["spend"] == info["total_spend"] == Decimal("600.000000001")
    assert info["budget_limits"][0] == {
        "budget_duration": "1h",
        "max_budget": Decimal("10.0"),
        "reset_at": "2037-11-23T14:00:00Z",
    }
    assert "key" not in info


def test_spend_is_that_of_the_single_window_and_total_spend_that_of_all_time(api: Api) -> None:
    made = api.post("/key/generate", max_budget=5, budget_duration="1h")
    key = Key.objects.get()
    ledger_says(key.id, spent=220_000, start_ms=HOUR_MS)
    ledger_says(key.id, spent=7_000_000_000)
    info = api.get("/key/info", key=made["token"])["info"]
    assert (info["spend"], info["total_spend"]) == (Decimal("0.00022"), Decimal("7.0"))
    assert (info["max_budget"], info["budget_duration"]) == (Decimal("5.0"), "1h")
    assert info["budget_reset_at"] == "2037-11-23T14:00:00Z"
    assert info["budget_limits_usage"] == {}


def test_two_units_with_one_spelling_are_both_shown(api: Api) -> None:
    limits = [
        {"budget_duration": "1h", "max_tokens": 1000},
        {"budget_duration": "1h", "max_budget": 1},
        {"budget_duration": "1h", "max_requests": 9},
    ]
    made = api.post("/key/generate", budget_limits=limits)
    ledger_says(Key.objects.get().id, spent=400, start_ms=HOUR_MS, unit=LimitUnit.TOKENS)
    usage = api.get("/key/info", key=made["key"])["info"]["budget_limits_usage"]
    assert list(usage) == ["1h", "1h:usd", "1h:requests"]
    assert (usage["1h"]["max_tokens"], usage["1h"]["current_spend"], usage["1h"]["remaining"]) == (1000, 400, 600)
    assert usage["1h:usd"]["max_budget"] == Decimal("1.0")
    assert usage["1h:requests"]["max_requests"] == 9


def test_resets_in_answers_are_those_of_now_even_when_no_task_has_run(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = api.post("/key/generate", budget_limits=TWO_WINDOWS)
    stop_clock(monkeypatch, at=NOW + timedelta(days=40))
    info = api.get("/key/info", key=made["key"])["info"]
    assert [limit["reset_at"] for limit in info["budget_limits"]] == ["2038-01-02T14:00:00Z", "2038-02-01T00:00:00Z"]
    assert info["budget_limits_usage"]["30d"]["window_start"] == "2038-01-01T00:00:00Z"


def test_update_answers_with_the_flat_row_and_takes_back_what_info_said(api: Api) -> None:
    made = api.post("/key/generate", key_alias="k1", budget_limits=TWO_WINDOWS)
    info = api.get("/key/info", key=made["key"])["info"]
    limits = [{**info["budget_limits"][0], "max_budget": 20.25}]
    answer = api.post("/key/update", key=made["key"], budget_limits=limits, duration="-1")
    assert answer["key"] == made["key"]
    assert answer["token"] == hash_key(made["key"])
    assert answer["budget_limits"] == [
        {"budget_duration": "1h", "max_budget": Decimal("20.25"), "reset_at": "2037-11-23T14:00:00Z"}
    ]
    assert answer["key_alias"] == "k1"


def test_a_key_is_updated_by_its_hash_or_its_alias_too(api: Api) -> None:
    made = api.post("/key/generate", key_alias="k1")
    assert api.post("/key/update", key=made["token"], max_budget=1)["max_budget"] == Decimal("1.0")
    by_alias = api.post("/key/update", key_alias="k1", max_budget=2)
    assert (by_alias["max_budget"], by_alias["key"], by_alias["key_alias"]) == (Decimal("2.0"), made["token"], "k1")


def test_an_alias_of_two_teams_names_no_key(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    api.post("/key/generate", key_alias="twin", team_id="t1")
    api.post("/key/generate", key_alias="twin")
    refusal = api.refusal("/key/update", {"key_alias": "twin", "max_budget": 1})
    assert refusal["param"] == "key_alias"
    assert "more than one team" in refusal["message"]
    assert api.refusal("/key/delete", {"key_aliases": ["twin"]})["param"] == "key_aliases[0]"
    assert Key.objects.count() == 2


def test_keys_are_deleted_by_text_hash_or_alias(api: Api) -> None:
    first, second = api.post("/key/generate"), api.post("/key/generate")
    api.post("/key/generate", key_alias="third")
    keys = [first["key"], second["token"]]
    assert api.post("/key/delete", keys=keys) == {"deleted_keys": keys}
    assert api.post("/key/delete", key_aliases=["third"]) == {"deleted_keys": ["third"]}
    assert not Key.objects.exists()


def test_a_team_is_shown_with_its_usage_and_keys(api: Api) -> None:
    api.post("/team/new", team_id="t1", max_budget=100, budget_limits=TWO_WINDOWS)
    made = api.post("/key/generate", team_id="t1", key_alias="k1")
    api.post("/key/generate", key_alias="stranger")
    ledger_says("t1", spent=3_000_000_000)
    ledger_says("t1", spent=220_000, start_ms=HOUR_MS)
    ledger_says(Key.objects.get(key_alias="k1").id, spent=1_000_000_000)
    answer = api.get("/team/info", team_id="t1")
    assert answer.keys() == {"team_id", "team_info", "keys", "team_memberships"}
    info = answer["team_info"]
    assert (info["spend"], info["total_spend"]) == (Decimal("3.0"), Decimal("3.0"))
    assert info["budget_limits_usage"]["1h"]["current_spend"] == Decimal("0.00022")
    assert list(info["budget_limits_usage"]) == ["1h", "30d"]
    [key] = answer["keys"]
    assert (key["token"], key["key_alias"], key["spend"]) == (made["token"], "k1", Decimal("1.0"))
    assert api.get("/team/info", team_id="t1", key_limit="0")["keys"] == []


def test_answers_stand_when_the_counter_store_is_down(api: Api, settings: LazySettings) -> None:
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"},
    }
    with pytest.raises(RedisError):
        sync_gate().birth_ms("team:t1")
    made = api.post("/key/generate", budget_limits=TWO_WINDOWS)
    ledger_says(Key.objects.get().id, spent=5, start_ms=HOUR_MS)
    usage = api.get("/key/info", key=made["key"])["info"]["budget_limits_usage"]
    assert usage["1h"]["current_spend"] == Decimal("0.000000005")


def statements(captured: CaptureQueriesContext) -> list[str]:
    """What was asked, without the begin and end of transactions."""
    control = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")
    return [query["sql"] for query in captured.captured_queries if not query["sql"].startswith(control)]


def test_generate_info_and_update_ask_the_database_little(api: Api) -> None:
    api.post("/team/new", team_id="t1", budget_limits=TWO_WINDOWS)
    User.objects.create_user("u1")
    api.post("/budget/new", budget_id="b1", max_budget=5)
    with CaptureQueriesContext(connection) as captured:
        made = api.post(
            "/key/generate", team_id="t1", user_id="u1", budget_id="b1", tags=["a"], budget_limits=TWO_WINDOWS
        )
    assert len(statements(captured)) == 4, statements(captured)
    with CaptureQueriesContext(connection) as captured:
        api.get("/key/info", key=made["key"])
    assert len(statements(captured)) == 2  # the key with all around it, and grants; the ledger here is told
    with CaptureQueriesContext(connection) as captured:
        api.post("/key/update", key=made["key"], budget_limits=TWO_WINDOWS[:1])
    assert len(statements(captured)) == 4 + 1  # lock, read, save, audit; and the grants for the answer
    for _ in range(5):
        api.post("/key/generate", team_id="t1", budget_limits=TWO_WINDOWS)
    with CaptureQueriesContext(connection) as captured:
        assert len(api.get("/team/info", team_id="t1")["keys"]) == 6
    assert len(statements(captured)) <= 5, statements(captured)


def test_the_longest_key_can_be_deleted_by_its_text(api: Api) -> None:
    key = "sk-" + "x" * 253
    api.post("/key/generate", key=key)
    assert api.post("/key/delete", keys=[key]) == {"deleted_keys": [key]}
