"""Whatever a client sends, the answer names the field that was wrong, and nothing has happened."""

import json

import pytest

from keys.models import Key
from keys.serializers import GenerateKeySerializer, UpdateKeySerializer
from teams.models import Team
from tests.api import Api, error_of

HOUR = {"budget_duration": "1h", "max_budget": 10}
WRONG_MONEY = [-1, -0.000000001, True, "ten", [], {}, 1.0000000001, 9_007_199.254740992, 1e300, "1,5"]
ENDPOINTS = ["/key/generate", "/key/update", "/team/new", "/team/update"]
NAMES = {"/key/update": {"key": "sk-the-key-0123456789"}, "/team/update": {"team_id": "t1"}}


@pytest.fixture
def api(db: None) -> Api:
    """With one key and one team, which must look the same afterwards."""
    api = Api()
    api.post("/team/new", team_id="t1", budget_limits=[HOUR])
    api.post("/key/generate", key="sk-the-key-0123456789", key_alias="k1", budget_limits=[HOUR])
    return api


def state() -> tuple[list[object], list[object]]:
    return list(Key.objects.values()), list(Team.objects.values())


def refused(api: Api, path: str, body: object, *, status: int = 400) -> dict[str, str]:
    before = state()
    error = api.refusal(path, body, status=status)
    assert state() == before
    return error


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("value", WRONG_MONEY, ids=str)
def test_wrong_money_is_named(api: Api, path: str, value: object) -> None:
    error = refused(api, path, NAMES.get(path, {}) | {"max_budget": value})
    assert error["param"] == "max_budget"
    assert error["message"].startswith("max_budget: ")
    entry = {"budget_duration": "1d", "max_budget": value}
    error = refused(api, path, NAMES.get(path, {}) | {"budget_limits": [HOUR, entry]})
    assert error["param"] == "budget_limits[1].max_budget"
    assert "allowed" in error["message"] or "smallest" in error["message"]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused_bare_and_as_text(api: Api, path: str, constant: str) -> None:
    body = json.dumps(NAMES.get(path, {}) | {"max_budget": "?"})
    assert constant in refused(api, path, body.replace('"?"', constant))["message"]
    assert refused(api, path, body.replace("?", constant))["param"] == "max_budget"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("duration", ["xx", "1hr", "1month", "0s", "-1h", "1.5h", "2y", "1H ", 60, True, ["1h"], None])
def test_wrong_durations_are_named(api: Api, path: str, duration: object) -> None:
    named = NAMES.get(path, {})
    entry = {"budget_duration": duration, "max_budget": 1}
    error = refused(api, path, named | {"budget_limits": [entry]})
    assert error["param"] == "budget_limits[0].budget_duration"
    if duration is not None:
        error = refused(api, path, named | {"max_budget": 1, "budget_duration": duration})
        assert error["param"] == "budget_duration"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(("one", "other"), [("24h", "1d"), ("7d", "1w"), ("30d", "1mo"), ("daily", "86400s")])
def test_one_period_cannot_be_limited_twice_however_it_is_spelled(api: Api, path: str, one: str, other: str) -> None:
    named = NAMES.get(path, {})
    entries = [{"budget_duration": spelled, "max_budget": 1} for spelled in (one, other)]
    error = refused(api, path, named | {"budget_limits": entries})
    assert error["param"] == "budget_limits[1].budget_duration"
    assert one in error["message"]
    assert other in error["message"]
    single = {"max_budget": 1, "budget_duration": one, "budget_limits": entries[1:]}
    assert refused(api, path, named | single)["param"] == "budget_limits[0].budget_duration"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"budget_limits": "1h"}, "budget_limits"),
        ({"budget_limits": HOUR}, "budget_limits"),
        ({"budget_limits": 5}, "budget_limits"),
        ({"budget_limits": ["1h"]}, "budget_limits[0]"),
        ({"budget_limits": [HOUR, {}]}, "budget_limits[1].max_budget"),
        ({"budget_limits": [{"max_budget": 1}]}, "budget_limits[0].budget_duration"),
        ({"budget_limits": [{"budget_duration": "1h"}]}, "budget_limits[0].max_budget"),
        ({"budget_limits": [{**HOUR, "max_tokens": 1}]}, "budget_limits[0].max_tokens"),
        ({"budget_limits": [{"budget_duration": "1h", "max_tokens": 1.5}]}, "budget_limits[0].max_tokens"),
        ({"budget_limits": [{"budget_duration": "1h", "max_requests": -1}]}, "budget_limits[0].max_requests"),
        ({"budget_limits": [{**HOUR, "enforcement": "soft"}]}, "budget_limits[0].enforcement"),
        ({"budget_limits": [{**HOUR, "enforcement": []}]}, "budget_limits[0].enforcement"),
        ({"budget_limits": [{"budget_limit": 5, "max_budget": 5}]}, "budget_limits[0].max_budget"),
        ({"budget_limits": [{"budget_duration": f"{n}s", "max_budget": 1} for n in range(1, 22)]}, "budget_limits"),
        ({"budget_duration": "1h"}, "budget_duration"),
        ({"max_budget": None, "budget_duration": "1h"}, "budget_duration"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": 3}, "timezone"),
        ({"week_start": "someday"}, "week_start"),
        ({"week_start": 7}, "week_start"),
        ({"week_start": True}, "week_start"),
        ({"models": "gpt-4o"}, "models"),
        ({"models": {"a": 1}}, "models"),
        ({"models": ["gpt-4o", 3]}, "models[1]"),
        ({"models": ["gpt-4o", ""]}, "models[1]"),
        ({"models": ["x" * 256]}, "models[0]"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"n": 2**64}}, "metadata"),
        ({"metadata": {"text": "x" * 70_000}}, "metadata"),
        ({"blocked": "yes"}, "blocked"),
        ({"blocked": 1}, "blocked"),
        ({"rpm_limit": 5.5}, "rpm_limit"),
        ({"guardrails": ["a"]}, "guardrails"),
        ({"soft_budget": -1}, "soft_budget"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ENDPOINTS)
def test_wrong_fields_of_keys_and_teams_are_named(api: Api, path: str, body: dict[str, object], param: str) -> None:
    error = refused(api, path, NAMES.get(path, {}) | body)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/key/generate", {"key_alias": 5}, "key_alias"),
        ("/key/generate", {"key_alias": "k1"}, "key_alias"),
        ("/key/generate", {"key_alias": "x" * 256}, "key_alias"),
        ("/key/generate", {"key": "sk-the-key-0123456789"}, "key"),
        ("/key/generate", {"key": "pk-the-key-0123456789"}, "key"),
        ("/key/generate", {"key": "sk-short"}, "key"),
        ("/key/generate", {"key": "sk-with a space inside"}, "key"),
        ("/key/generate", {"key": 123}, "key"),
        ("/key/generate", {"team_id": "nobody"}, "team_id"),
        ("/key/generate", {"team_id": "no body{}"}, "team_id"),
        ("/key/generate", {"duration": "zz"}, "duration"),
        ("/key/generate", {"duration": "-2"}, "duration"),
        ("/key/generate", {"duration": 30}, "duration"),
        ("/key/generate", {"spend": True}, "spend"),
        ("/key/generate", {"spend": -1}, "spend"),
        ("/key/generate", {"key_type": "admin"}, "key_type"),
        ("/key/generate", {"key_type": "llm_api", "allowed_routes": ["/v1/models"]}, "allowed_routes"),
        ("/key/generate", {"allowed_routes": ["chat"]}, "allowed_routes[0]"),
        ("/key/generate", {"tags": ["a", "x" * 129]}, "tags[1]"),
        ("/key/generate", {"tags": ["a{b}"]}, "tags[0]"),
        ("/key/generate", {"tags": [""]}, "tags[0]"),
        ("/key/generate", {"tags": [str(n) for n in range(21)]}, "tags"),
        ("/key/generate", {"aliases": {"a": 5}}, "aliases.a"),
        ("/key/generate", {"aliases": ["a"]}, "aliases"),
        ("/key/generate", {"config": []}, "config"),
        ("/key/generate", {"prompts": {}}, "prompts"),
        ("/key/generate", {"default_estimated_output_tokens": 0}, "default_estimated_output_tokens"),
        ("/key/generate", {"rpm_limit_type": "guaranteed_throughput"}, "rpm_limit_type"),
        ("/key/generate", {"auto_rotate": True}, "auto_rotate"),
        ("/key/generate", {"budget_id": "nothing"}, "budget_id"),
        ("/key/generate", {"temp_budget_increase": 5}, "temp_budget_increase"),
        ("/key/service-account/generate", {}, "team_id"),
        ("/key/generate", {"user_id": "u1"}, "user_id"),
        ("/key/update", {}, "key"),
        ("/key/update", {"max_budget": 1}, "key"),
        ("/key/update", {"key": "", "max_budget": 1}, "key"),
        ("/key/update", {"key": "sk-the-key-0123456789", "temp_budget_increase": 5}, "temp_budget_increase"),
        (
            "/key/update",
            {"key": "sk-the-key-0123456789", "temp_budget_expiry": "2030-01-01T00:00:00Z"},
            "temp_budget_expiry",
        ),
        (
            "/key/update",
            {"key": "sk-the-key-0123456789", "temp_budget_increase": 5, "temp_budget_expiry": "2020-01-01"},
            "temp_budget_expiry",
        ),
        ("/key/update", {"key": "sk-the-key-0123456789", "user_id": "nobody"}, "user_id"),
        ("/key/block", {}, "key"),
        ("/key/bulk_update", {"keys": []}, "keys"),
        ("/key/bulk_update", {"keys": ["a"]}, "keys"),
        ("/key/bulk_update", {"keys": [{"key": "a"}] * 501}, "keys"),
        ("/team/key/bulk_update", {"team_id": "t1", "update_fields": {}}, "key_ids"),
        ("/team/key/bulk_update", {"team_id": "t1", "key_ids": ["a"]}, "update_fields"),
        ("/team/key/bulk_update", {"team_id": "t1", "key_ids": ["a"], "update_fields": {"x": 1}}, "x"),
        ("/v2/key/info", {}, "keys"),
        ("/key/regenerate", {}, "key"),
        ("/key/sk-the-key-0123456789/regenerate", {"new_key": "short"}, "key"),
        ("/key/sk-the-key-0123456789/regenerate", {"new_key": "sk-the-key-0123456789"}, "new_key"),
        ("/key/sk-the-key-0123456789/regenerate", {"grace_period": "soon"}, "grace_period"),
        ("/key/sk-the-key-0123456789/regenerate", {"key": "another"}, "key"),
        ("/key/sk-the-key-0123456789/regenerate", {"new_master_key": "sk-1"}, "new_master_key"),
        ("/key/update", {"key": "sk-the-key-0123456789", "team_id": "nobody"}, "team_id"),
        ("/key/delete", {}, "keys"),
        ("/key/delete", {"keys": []}, "keys"),
        ("/key/delete", {"keys": "sk-the-key-0123456789"}, "keys"),
        ("/key/delete", {"keys": [1]}, "keys[0]"),
        ("/key/delete", {"keys": ["a"], "key_aliases": ["b"]}, "keys"),
        ("/team/new", {"team_id": "t1"}, "team_id"),
        ("/team/new", {"team_id": "a b"}, "team_id"),
        ("/team/new", {"team_id": "a{b}"}, "team_id"),
        ("/team/new", {"team_id": "x" * 129}, "team_id"),
        ("/team/new", {"team_id": 7}, "team_id"),
        ("/team/new", {"team_alias": []}, "team_alias"),
        ("/team/new", {"members_with_roles": [{"user_id": "u1", "role": "owner"}]}, "members_with_roles[0].role"),
        ("/team/update", {}, "team_id"),
        ("/team/update", {"team_id": None}, "team_id"),
        ("/team/update", {"team_id": ""}, "team_id"),
    ],
    ids=str,
)
def test_wrong_fields_of_one_endpoint_are_named(api: Api, path: str, body: object, param: str) -> None:
    error = refused(api, path, body)
    assert error["param"] == param
    assert "sk-the-key" not in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param", "message"),
    [
        ("/key/update", {"key": "sk-nope-0123456789"}, "key", "Key not found in database"),
        ("/key/update", {"key_alias": "nope"}, "key_alias", "Key not found in database"),
        ("/key/block", {"key": "nope"}, "key", "Key not found in database"),
        ("/key/unblock", {"key": "nope"}, "key", "Key not found in database"),
        ("/key/nope/regenerate", {}, "key", "Key not found in database"),
        ("/key/regenerate?key=nope", {}, "key", "Key not found in database"),
        (
            "/team/key/bulk_update",
            {"team_id": "nope", "all_keys_in_team": True, "update_fields": {}},
            "team_id",
            "Team not found, passed team id: nope.",
        ),
        ("/key/delete", {"keys": ["sk-the-key-0123456789", "sk-nope"]}, "keys[1]", "Key not found in database"),
        ("/key/delete", {"key_aliases": ["k1", "nope"]}, "key_aliases[1]", "Key not found in database"),
        ("/team/update", {"team_id": "nope"}, "team_id", "Team not found, passed team id: nope."),
    ],
    ids=str,
)
def test_what_does_not_exist_is_404_and_nothing_is_half_done(
    api: Api, path: str, body: object, param: str, message: str
) -> None:
    error = refused(api, path, body, status=404)
    assert error == {"message": message, "type": "not_found_error", "param": param, "code": "404"}


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/key/info", 400, "key"),
        ("/key/info?key=", 400, "key"),
        ("/key/info?key=sk-nope", 404, "key"),
        ("/key/info?key=%00", 400, "key"),
        ("/key/info?key=%ff%ed%a0%80", 404, "key"),
        ("/key/list?size=101", 400, "size"),
        ("/key/list?size=0", 400, "size"),
        ("/key/list?page=0", 400, "page"),
        ("/key/list?sort_by=spend", 400, "sort_by"),
        ("/key/list?sort_order=up", 400, "sort_order"),
        ("/key/list?status=lost", 400, "status"),
        ("/key/list?expires=soon", 400, "expires"),
        ("/key/list?expand=team", 400, "expand"),
        ("/key/list?pages=1", 400, "pages"),
        ("/key/aliases?size=101", 400, "size"),
        ("/team/info", 400, "team_id"),
        ("/team/info?team_id=nope", 404, "team_id"),
        ("/team/info?team_id=%00", 400, "team_id"),
        ("/team/info?team_id=t1&key_limit=-1", 400, "key_limit"),
        ("/team/info?team_id=t1&key_limit=1001", 400, "key_limit"),
        ("/team/info?team_id=t1&key_limit=1" + "0" * 30, 400, "key_limit"),
    ],
)
def test_wrong_queries_are_named(api: Api, path: str, status: int, param: str) -> None:
    assert error_of(api.send(path, "", method="GET"), status=status)["param"] == param


def test_an_unknown_field_is_answered_with_the_nearest_known_one(api: Api) -> None:
    assert refused(api, "/key/generate", {"budget_limit": [HOUR]}) == {
        "message": "budget_limit: unknown field; did you mean budget_limits?",
        "type": "invalid_request_error",
        "param": "budget_limit",
        "code": "400",
    }
    assert refused(api, "/team/new", {"qqqqqqqq": 1})["message"] == "qqqqqqqq: unknown field"


def test_a_taken_alias_is_told_as_clients_know_it(api: Api) -> None:
    error = refused(api, "/key/generate", {"key_alias": "k1"})
    assert (error["type"], error["param"]) == ("bad_request_error", "key_alias")
    api.post("/team/new", team_id="t2")
    api.post("/key/generate", key_alias="k1", team_id="t2")
    error = refused(api, "/key/update", {"key": "sk-the-key-0123456789", "team_id": "t2"})
    assert (error["type"], error["param"]) == ("bad_request_error", "key_alias")


@pytest.mark.parametrize("path", [*ENDPOINTS, "/key/delete"])
@pytest.mark.parametrize(
    "body",
    [
        "{",
        "text",
        "[]",
        "3",
        "null",
        '"text"',
        '{"a":1,"a":2}',
        "\ufeff{}",
        b"\xff\xfe",
        '{"models":["\\ud800"]}',
        '{"metadata":{"a":"\\u0000"}}',
        '{"a":' * 100 + "1" + "}" * 100,
        "[" * 100_000,
        '{"max_budget":' + "9" * 5000 + "}",
        '{"max_budget":1e99999999999999999999}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_bodies_that_are_no_json_object_are_refused(api: Api, path: str, body: str | bytes) -> None:
    assert refused(api, path, body)["type"] == "invalid_request_error"


def test_every_field_that_means_nothing_yet_may_be_empty(api: Api) -> None:
    nothings: list[object] = [None, "", [], {}, False]
    for value in nothings:
        generate = dict.fromkeys(GenerateKeySerializer.not_yet, value)
        made = api.post("/key/generate", **generate)
        update = dict.fromkeys(UpdateKeySerializer.not_yet, value)
        api.post("/key/update", key=made["key"], **update)


def test_nothing_names_limits_of_a_key_that_would_be_lost(api: Api) -> None:
    for name in GenerateKeySerializer.not_yet:
        assert refused(api, "/key/generate", {name: {"a": 5}})["param"] == name
