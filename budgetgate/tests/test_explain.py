"""POST /budget/explain says what admission would say, to whoever may know it, and writes nothing."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.utils import timezone
from rest_framework.test import APIRequestFactory, force_authenticate

from budgetgate import explain as explain_module
from budgetgate.explain import Explain
from budgets.actors import Actor, Role
from budgets.gate.store import names, sync_gate
from budgets.gate.windows import Amounts, active_windows
from budgets.models import Grant
from budgets.services import ms_of
from keys.models import Key
from keys.profiles import load_profile
from ledger.models import Entry
from teams.models import Customer, Tag, Team, User
from tests.api import NOW, Api, ledger_says, pass_the_table, stop_clock, use_told_ledger

MODEL = "gpt-4o-mini"
INPUT, OUTPUT = 150, 600  # nano-USD per token
HOUR_MS = ms_of(NOW) // 3600_000 * 3600_000


@pytest.fixture(autouse=True)
def _surroundings(valkey: redis.Redis, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PROVIDERS = {**settings.PROVIDERS, "openai": {"api_key": "sk-openai", "base_url": "http://127.0.0.1:1"}}
    use_told_ledger(settings)
    stop_clock(monkeypatch)
    pass_the_table(monkeypatch)


@pytest.fixture
def api(db: None) -> Api:
    return Api()


def hour(maximum: str, **fields: object) -> dict[str, object]:
    return {"budget_duration": "1h", "max_budget": maximum, **fields}


def make_key(api: Api, **fields: object) -> str:
    return str(api.post("/key/generate", **fields)["key"])


def key_of(text: str) -> Key:
    return Key.objects.get(key_name=f"sk-...{text[-4:]}")


def ask(api: Api, **fields: Any) -> dict[str, Any]:
    if "body" not in fields:
        fields = {"input_tokens": 1000, "output_tokens": 100} | fields
    return api.post("/budget/explain", **{"model": MODEL} | fields)


def test_call_that_fits_says_so_and_what_it_would_hold(api: Api) -> None:
    key = make_key(api, budget_limits=[hour("1"), {"budget_duration": "1d", "max_requests": 5}])
    answer = ask(api, key=key)
    assert answer["would_pass"] is True
    assert answer["refusal"] is None
    assert answer["estimate"] == {"cost": Decimal("0.00021"), "input_tokens": 1000, "output_tokens": 100}
    dollars, requests = answer["windows"]
    assert dollars == {
        "scope": "key",
        "scope_id": str(key_of(key).id),
        "model": None,
        "budget_duration": "1h",
        "unit": "usd",
        "limit": 1,
        "granted": 0,
        "spent": 0,
        "held": 0,
        "estimate": Decimal("0.00021"),
        "would_pass": True,
        "reason": None,
        "passes_at": None,
        "reset_at": "2037-11-23T14:00:00Z",
        "output_tokens_max": None,
    }
    assert (requests["unit"], requests["limit"], requests["estimate"]) == ("requests", 5, 1)
    assert answer["output_tokens_max"] is None


def test_exhausted_window_passes_at_its_reset(api: Api) -> None:
    key = make_key(api, budget_limits=[hour("1")], max_budget="5")
    ledger_says(key_of(key).id, spent=10**9, start_ms=HOUR_MS)
    answer = ask(api, key=key)
    lifetime, window = answer["windows"]
    assert answer["would_pass"] is False
    assert (window["reason"], window["spent"], window["passes_at"]) == ("exhausted", 1, "2037-11-23T14:00:00Z")
    assert (answer["output_tokens_max"], window["output_tokens_max"]) == (0, 0)
    assert (lifetime["budget_duration"], lifetime["would_pass"], lifetime["reset_at"]) == ("lifetime", True, None)


def test_strict_windows_say_what_would_fit_and_it_does(api: Api) -> None:
    limits = [
        hour("0.001", enforcement="strict"),
        {"budget_duration": "1d", "max_tokens": 2000, "enforcement": "strict"},
    ]
    key = make_key(api, budget_limits=limits)
    answer = ask(api, key=key, output_tokens=5000)
    assert [window["reason"] for window in answer["windows"]] == ["request_too_large"] * 2
    assert [window["passes_at"] for window in answer["windows"]] == [None, None]
    assert [window["output_tokens_max"] for window in answer["windows"]] == [(10**6 - 1000 * INPUT) // OUTPUT, 1000]
    assert answer["output_tokens_max"] == 1000
    assert ask(api, key=key, output_tokens=1000)["would_pass"] is True
    assert ask(api, key=key, output_tokens=1001)["would_pass"] is False


def test_calls_in_flight_are_seen(api: Api) -> None:
    key = make_key(api, budget_limits=[hour("1")])
    profile = load_profile(key_of(key).token_hash, now=timezone.now())
    assert profile is not None
    windows = active_windows(profile.scopes, names=names(), root=profile.root, now_ms=ms_of(NOW))
    claims = [active.claim(Amounts(10**9, 10)) for active in windows]
    for claim in claims:
        sync_gate().seed(claim, spent=0, snapshot="1:1:")
    sync_gate().admit(profile.root, call_id="c", record=b"", claims=claims, now_ms=ms_of(NOW))
    [window] = ask(api, key=key)["windows"]
    assert (window["reason"], window["held"], window["passes_at"]) == ("in_flight", 1, "2037-11-23T14:00:00Z")


def test_grant_raises_the_limit_and_one_that_begins_later_lets_the_call_pass_then(api: Api) -> None:
    key = make_key(api, max_budget="1")
    key_id = str(key_of(key).id)
    ledger_says(key_id, spent=10**9)
    assert ask(api, key=key)["windows"][0]["passes_at"] is None
    begins = NOW + timedelta(minutes=10)
    grant(key_id, from_=begins, amount=10**8)
    assert ask(api, key=key)["windows"][0]["passes_at"] == begins.isoformat().replace("+00:00", "Z")
    grant(key_id, from_=NOW - timedelta(minutes=1), amount=5 * 10**8)
    [window] = ask(api, key=key)["windows"]
    assert (window["limit"], window["granted"], window["would_pass"]) == (Decimal("1.5"), Decimal("0.5"), True)


def grant(key_id: str, *, from_: Any, amount: int) -> None:
    Grant.objects.create(
        scope_kind="key",
        scope_id=key_id,
        amount=amount,
        starts_at=from_,
        ends_at=from_ + timedelta(hours=5),
        created_at=NOW,
        created_by="t",
    )


def test_body_is_bounded_as_a_call_would_be(api: Api) -> None:
    key = make_key(api, max_budget="1")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "n": 2, "max_tokens": 50}
    body["temperature"] = 0.5
    answer = ask(api, key=key, body=body)
    size = len(b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hello"}],"n":2,"max_tokens":50,')
    size += len(b'"temperature":0.5}')
    assert answer["estimate"]["input_tokens"] == size
    assert answer["estimate"]["output_tokens"] == 100
    without_model = {name: value for name, value in body.items() if name != "model"}
    assert ask(api, key=key, body=without_model)["estimate"] == answer["estimate"]
    assert api.post("/budget/explain", key=key, body=body)["estimate"] == answer["estimate"]


def test_limits_of_the_model_are_asked_for_its_calls_only(api: Api) -> None:
    key = make_key(api, model_max_budget={f"openai/{MODEL}": {"max_budget": "0", "budget_duration": "1d"}})
    [window] = ask(api, key=key)["windows"]
    assert (window["model"], window["would_pass"], window["budget_duration"]) == (MODEL, False, "1d")
    assert ask(api, key=key, model="gpt-4o")["windows"] == []


def test_team_is_asked_without_a_key(api: Api) -> None:
    team_id = api.post("/team/new", budget_limits=[hour("1")], rpm_limit=3)["team_id"]
    answer = ask(api, team_id=team_id)
    assert [(window["scope"], window["unit"]) for window in answer["windows"]] == [
        ("team", "usd"),
        ("team", "requests"),
    ]
    key = make_key(api, team_id=team_id, budget_limits=[hour("2")])
    assert [window["scope"] for window in ask(api, key=key)["windows"]] == ["key", "team", "team"]
    refused = api.refusal("/budget/explain", {"team_id": team_id, "model": MODEL, "input_tokens": 1, "run": "r1"})
    assert refused["param"] == "run"


def test_customer_tags_and_run_are_asked_too(api: Api) -> None:
    since = {"usd/1h": "2037-11-22T00:00:00Z"}
    limits = [{"budget_duration": "1h", "max_budget": "0"}]
    Customer.objects.create(
        customer_id="anna", budget_limits=limits, counted_since=since, created_at=NOW, updated_at=NOW
    )
    for name in ("given", "static"):
        Tag.objects.create(name=name, budget_limits=limits, counted_since=since, created_at=NOW, updated_at=NOW)
    key = make_key(api)
    Key.objects.update(tags=["static"])
    answer = ask(api, key=key, customer="anna", tags=["given", "unknown"], run="r1; max=0.5; enforcement=strict")
    assert [(window["scope"], window["scope_id"]) for window in answer["windows"]] == [
        ("run", f"{key_of(key).id}/r1"),
        ("customer", "anna"),
        ("tag", None),
        ("tag", "given"),
    ]
    assert [window["would_pass"] for window in answer["windows"]] == [True, False, False, False]
    told = ask(Api(key), key=key, customer="anna", tags=["given"])["windows"]
    assert [window["would_pass"] for window in told] == [False, False, False]
    for name in ("limit", "granted", "spent", "held", "output_tokens_max"):
        assert [window[name] for window in told] == [None, None, None], name
    assert [window["spent"] for window in answer["windows"]] == [0, 0, 0, 0]
    body = {"messages": [], "user": "anna", "metadata": {"tags": ["given"]}}
    assert [window["scope"] for window in ask(api, key=key, body=body)["windows"]] == ["customer", "tag", "tag"]


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"blocked": True}, 401, "auth_error"),
        ({"allowed_models": ["gpt-4o"]}, 403, "key_model_access_denied"),
        ({"expires_at": NOW}, 401, "expired_key"),
    ],
)
def test_what_refuses_before_any_window_is_said(api: Api, change: dict[str, object], status: int, kind: str) -> None:
    key = make_key(api, budget_limits=[hour("1")])
    Key.objects.update(**change)
    answer = ask(api, key=key)
    assert answer["would_pass"] is False
    assert (answer["refusal"]["status"], answer["refusal"]["type"]) == (status, kind)
    assert [window["would_pass"] for window in answer["windows"]] == [True]


def test_blocked_customer_is_said(api: Api) -> None:
    Customer.objects.create(customer_id="anna", blocked=True, created_at=NOW, updated_at=NOW)
    answer = ask(api, key=make_key(api), user="anna")
    assert answer["refusal"]["message"].startswith("Authentication Error, Customer=anna is blocked.")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "key"),
        ({"key": "k", "team_id": "t"}, "key"),
        ({"key": None}, "body"),
        ({"key": None, "body": {}, "input_tokens": 1}, "body"),
        ({"key": None, "body": {}}, "model"),
        ({"key": None, "body": "text"}, "body"),
        ({"key": None, "body": {"model": 5}}, "body.model"),
        ({"key": None, "body": {"model": "a"}, "model": "b"}, "model"),
        ({"key": None, "body": {"max_tokens": "many"}, "model": MODEL}, "body.max_tokens"),
        ({"key": None, "body": {"stream": 5}, "model": MODEL}, "body.stream"),
        ({"key": None, "body": {"user": 5}, "model": MODEL}, "user"),
        ({"key": None, "body": {"x": 10**30}, "model": MODEL}, "body"),
        ({"key": None, "input_tokens": 1}, "model"),
        ({"key": None, "input_tokens": 1, "model": "nothing"}, "model"),
        ({"key": None, "input_tokens": 1, "model": "openai/unpriced"}, "model"),
        ({"key": None, "input_tokens": -1, "model": MODEL}, "input_tokens"),
        ({"key": None, "output_tokens": 1.5, "model": MODEL}, "output_tokens"),
        ({"key": None, "output_tokens": True, "model": MODEL}, "output_tokens"),
        ({"key": None, "output_tokens": 10**9, "model": MODEL}, "output_tokens"),
        ({"key": None, "input_tokens": 1, "model": MODEL, "customer": "a", "user": "b"}, "customer"),
        ({"key": None, "input_tokens": 1, "model": MODEL, "tags": ["a\n"]}, "tags"),
        ({"key": None, "input_tokens": 1, "model": MODEL, "tags": "a"}, "tags"),
        ({"key": None, "input_tokens": 1, "model": MODEL, "run": "a b"}, "run"),
        ({"key": None, "input_tokens": 1, "model": MODEL, "run": "a; max=many"}, "run"),
        ({"key": None, "modell": MODEL}, "modell"),
    ],
)
def test_bad_questions_are_400_and_say_where(api: Api, body: dict[str, object], param: str) -> None:
    if "key" in body and body["key"] is None:
        body = {**body, "key": make_key(api)}
    assert api.refusal("/budget/explain", body)["param"] == param


@pytest.mark.parametrize("named", [{"key": "sk-nobody"}, {"team_id": "nobody"}])
def test_what_does_not_exist_is_404(api: Api, named: dict[str, str]) -> None:
    refused = api.refusal("/budget/explain", {**named, "model": MODEL, "input_tokens": 1}, status=404)
    assert refused["type"] == "not_found_error"


def test_nothing_is_written(api: Api, valkey: redis.Redis) -> None:
    key = make_key(api, budget_limits=[hour("1")])
    before = {name: valkey.dump(name) for name in valkey.scan_iter(f"{names().prefix}:{{*")}
    for _ in range(2):
        ask(api, key=key, run="r1; max=1", customer="anna", tags=["a"])
    assert {name: valkey.dump(name) for name in valkey.scan_iter(f"{names().prefix}:{{*")} == before == {}
    assert valkey.zcard(names().roots) == 0
    assert not Entry.objects.exists()
    assert not Customer.objects.exists()


# --- who may ask ----------------------------------------------------------------------------------------


def status_for(actor: Actor, **named: str) -> int:
    body = {**named, "model": MODEL, "input_tokens": 1, "output_tokens": 1}
    request = APIRequestFactory().post("/budget/explain", body, format="json")
    force_authenticate(request, user=actor)  # type: ignore[arg-type]
    return int(Explain.as_view()(request).status_code)


def test_key_is_explained_to_whoever_may_see_it(api: Api) -> None:
    team_id = api.post("/team/new")["team_id"]
    key = make_key(api, team_id=team_id)
    User.objects.create(username="owner")
    Key.objects.update(user_id="owner")
    key_id, teams = str(key_of(key).id), frozenset({team_id})
    sees = [
        Actor("viewer", Role.PROXY_ADMIN_VIEWER),
        Actor("owner", Role.INTERNAL_USER_VIEWER, user_id="owner"),
        Actor("team admin", Role.INTERNAL_USER, user_id="a", teams=teams, admin_of=teams),
        Actor("the key", Role.KEY, key_id=key_id),
    ]
    strangers = [
        Actor("member", Role.INTERNAL_USER, user_id="m", teams=teams),
        Actor("stranger", Role.INTERNAL_USER, user_id="s"),
        Actor("another key", Role.KEY, key_id="other", team_id=team_id),
    ]
    assert [status_for(actor, key=key) for actor in sees] == [200] * 4
    assert [status_for(actor, key=key) for actor in strangers] == [404] * 3


def test_team_is_explained_to_whoever_may_see_it(api: Api) -> None:
    team_id = api.post("/team/new")["team_id"]
    assert Team.objects.filter(team_id=team_id).exists()
    teams = frozenset({team_id})
    sees = [
        Actor("viewer", Role.PROXY_ADMIN_VIEWER),
        Actor("member", Role.INTERNAL_USER, user_id="m", teams=teams),
        Actor("team admin", Role.INTERNAL_USER, user_id="a", admin_of=teams),
    ]
    strangers = [
        Actor("stranger", Role.INTERNAL_USER, user_id="s"),
        Actor("a key of it", Role.KEY, key_id="k", team_id=team_id),
    ]
    assert [status_for(actor, team_id=team_id) for actor in sees] == [200] * 3
    assert [status_for(actor, team_id=team_id) for actor in strangers] == [404] * 2


def test_key_that_is_deleted_while_it_is_explained_is_404(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(api)
    monkeypatch.setattr(explain_module, "load_profile", lambda token_hash, now: None)
    body = {"key": key, "model": MODEL, "input_tokens": 1}
    assert api.refusal("/budget/explain", body, status=404)["param"] == "key"
