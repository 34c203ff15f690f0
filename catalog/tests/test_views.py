"""What clients send and read about models."""

from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings

from catalog.models import Route
from catalog.secrets import make_secret_key, unseal
from catalog.tests.factories import saved_credential, saved_route
from tests.api import Api, answer_of, error_of, stop_clock

pytestmark = pytest.mark.django_db
PARAMS = {"model": "house/llama-70b", "api_base": "https://house.example/v1", "api_key": "sk-house"}
READ = ("/model/info", "/v1/model/info")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Api:
    stop_clock(monkeypatch)
    settings.PROVIDERS = {
        "openai": {"api_key": "sk-openai", "base_url": "https://openai.example/v1"},
        "anthropic": {"api_key": "", "base_url": "https://anthropic.example/v1"},
    }
    return Api()


def new_model(api: Api, name: str = "house", **body: Any) -> dict[str, Any]:
    return api.post("/model/new", **{"model_name": name, "litellm_params": PARAMS} | body)


def shown(api: Api, public_id: str) -> dict[str, Any]:
    [entry] = api.get("/model/info", litellm_model_id=public_id)["data"]
    return dict(entry)


# --- writing --------------------------------------------------------------------------------------


def test_a_new_model_answers_without_its_key_and_is_listed_so(api: Api) -> None:
    prices = {"input_cost_per_token": Decimal("0.0000025"), "output_cost_per_token": 0.00001}
    body = f"""{{"model_name": "house", "model_info": {{"id": "m1", "max_output_tokens": 512, "note": "ours"}},
        "litellm_params": {{"model": "house/llama-70b", "api_base": "https://house.example/v1", "api_key": "sk-house",
        "input_cost_per_token": {prices["input_cost_per_token"]}, "output_cost_per_token": 1e-05, "timeout": 30}}}}"""
    answer = answer_of(api.send("/model/new", body))
    assert b"sk-house" not in api.send("/model/info", method="GET").content
    entry = {
        "model_name": "house",
        "litellm_params": {
            "model": "house/llama-70b",
            "api_base": "https://house.example/v1",
            "timeout": 30,
            "input_cost_per_token": Decimal("0.0000025"),
            "output_cost_per_token": Decimal("0.00001"),
        },
        "model_info": {
            "id": "m1",
            "db_model": True,
            "key": "llama-70b",
            "litellm_provider": "house",
            "mode": "chat",
            "max_tokens": 512,
            "max_input_tokens": None,
            "max_output_tokens": 512,
            "input_cost_per_token": Decimal("0.0000025"),
            "output_cost_per_token": Decimal("0.00001"),
            "cache_read_input_token_cost": Decimal("0.0000025"),
            "cache_creation_input_token_cost": Decimal("0.0000025"),
            "price_source": "route",
            "api_key_from": "the stored key",
            "blocked": False,
            "problem": None,
            "note": "ours",
            "created_at": "2037-11-23T13:06:59.126000Z",
            "updated_at": "2037-11-23T13:06:59.126000Z",
        },
    }
    assert shown(api, "m1") == entry
    assert answer == entry | {
        "model_id": "m1",
        "blocked": False,
        "created_at": "2037-11-23T13:06:59.126000Z",
        "created_by": None,
        "updated_at": "2037-11-23T13:06:59.126000Z",
        "updated_by": None,
    }
    assert unseal(Route.objects.get().sealed_api_key).text == "sk-house"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_update_changes_what_it_names(api: Api, method: str) -> None:
    model_id = new_model(api)["model_id"]
    address = {"POST": "/model/update", "PATCH": f"/model/{model_id}/update"}[method]
    body = {"litellm_params": {"timeout": 60}, "model_info": {"id": model_id, "note": 1}, "model_name": "home"}
    answer = answer_of(api.send(address, body, method=method))
    assert (answer["model_name"], answer["litellm_params"]["timeout"]) == ("home", 60)
    assert (answer["model_info"]["note"], answer["litellm_params"]["api_base"]) == (1, PARAMS["api_base"])
    assert unseal(Route.objects.get().sealed_api_key).text == "sk-house"


def test_the_id_may_stand_beside_the_parameters_as_litellms_client_sends_it(api: Api) -> None:
    model_id = new_model(api)["model_id"]
    for ids in ({"id": model_id}, {"id": model_id, "model_info": {"id": model_id}}):
        assert api.post("/model/update", **ids, litellm_params={"timeout": 30})["model_info"]["id"] == model_id
    for address, body in (
        ("/model/update", {"id": "m2", "model_info": {"id": model_id}}),
        (f"/model/{model_id}/update", {"id": "m2"}),
    ):
        response = api.send(address, body, method="POST" if address == "/model/update" else "PATCH")
        assert (response.status_code, response.json()["error"]["param"]) == (400, "id")


def test_sending_back_what_was_shown_changes_nothing(api: Api) -> None:
    """Else a list's prices would become the route's own, without its tiers."""
    params = {"model": "gpt-4o", "api_key": "sk-own"}
    model_id = new_model(api, litellm_params=params, model_info={"note": [1.5]})["model_id"]
    before = Route.objects.values().get()
    raw = api.send(f"/model/info?litellm_model_id={model_id}", method="GET").content.decode()
    entry = raw.removeprefix('{"data":[').removesuffix("]}")
    answer_of(api.send(f"/model/{model_id}/update", entry, method="PATCH"))
    assert Route.objects.values().get() == before


def test_a_model_is_blocked_unblocked_and_deleted(api: Api) -> None:
    model_id = new_model(api)["model_id"]
    assert api.post("/model/block", id=model_id)["blocked"] is True
    assert shown(api, model_id)["model_info"]["problem"] == "it is blocked"
    assert api.post("/model/unblock", id=model_id)["blocked"] is False
    assert api.post("/model/delete", id=model_id) == {"message": f"Model: {model_id} deleted successfully"}
    assert not Route.objects.exists()


def test_blocked_can_be_said_in_the_body(api: Api) -> None:
    model_id = new_model(api, blocked=True)["model_id"]
    assert Route.objects.get().enabled is False
    api.post("/model/update", model_info={"id": model_id}, blocked=False)
    assert Route.objects.get().enabled is True


def test_a_credential_gives_key_and_address(api: Api) -> None:
    saved_credential(api_key="sk-shared")
    answer = new_model(api, litellm_params={"model": "house/llama-70b", "litellm_credential_name": "house"})
    assert answer["litellm_params"] == {"model": "house/llama-70b", "litellm_credential_name": "house"}
    assert answer["model_info"]["api_key_from"] == "the key of the credential house"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "model_name", "required"),
        ({"model_name": "a", "litellm_params": []}, "litellm_params", "it is not an object"),
        ({"model_name": "a", "litellm_params": {}}, "litellm_params.model", "it is missing"),
        ({"model_name": ["a"], "litellm_params": PARAMS}, "model_name", "a list is not a text"),
        ({"model_name": "a", "litellm_params": PARAMS | {"rpm": 5}}, "litellm_params.rpm", "not supported yet"),
        ({"model_name": "a", "litellm_params": PARAMS | {"api_bse": ""}}, "litellm_params.api_bse", "api_base?"),
        ({"model_name": "a", "litellm_params": PARAMS, "model_inf": {}}, "model_inf", "did you mean model_info?"),
        ({"model_name": "a", "litellm_params": PARAMS, "blocked": "no"}, "blocked", "allowed are true and false"),
        ({"model_name": "a", "litellm_params": PARAMS | {"api_base": "x"}}, "litellm_params.api_base", "'x'; allowed"),
        ({"model_name": "a", "litellm_params": PARAMS | {"api_base": 7}}, "litellm_params.api_base", "7 is not a text"),
        (
            {"model_name": "a", "litellm_params": PARAMS | {"litellm_credential_name": "n"}},
            "litellm_params.litellm_credential_name",
            "is 'n'; allowed is the name of a credential",
        ),
        (
            {"model_name": "a", "litellm_params": PARAMS | {"output_cost_per_token": 1e-16}},
            "litellm_params.output_cost_per_token",
            "whole steps",
        ),
    ],
)
def test_what_cannot_be_is_named(api: Api, body: object, param: str, message: str) -> None:
    error = api.refusal("/model/new", body)
    assert error["param"] == param
    assert message in error["message"]
    assert not Route.objects.exists()


@pytest.mark.parametrize("api_key", ["sk-secret with space", ["sk-secret"], "os.environ/sk-secret", "sk-secret\n"])
def test_a_wrong_key_is_not_repeated(api: Api, api_key: object) -> None:
    error = api.refusal("/model/new", {"model_name": "a", "litellm_params": PARAMS | {"api_key": api_key}})
    assert error["param"] == "litellm_params.api_key"
    assert "sk-secret" not in error["message"]


def test_second_model_of_a_name_is_refused(api: Api) -> None:
    new_model(api)
    error = api.refusal("/model/new", {"model_name": "house", "litellm_params": PARAMS})
    assert (error["param"], error["message"]) == (
        "model_name",
        "model_name 'house' has a route already; several routes of one name are not supported yet",
    )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/model/update", {}, 400),
        ("/model/update", {"model_info": {"id": 7}}, 400),
        ("/model/update", {"model_info": "m1"}, 400),
        ("/model/update", {"model_info": {"id": "nobody"}}, 404),
        ("/model/delete", {}, 400),
        ("/model/delete", {"id": "nobody"}, 404),
        ("/model/block", {"id": "gpt-4o"}, 404),
        ("/model/unblock", {"id": ["x"]}, 400),
    ],
)
def test_a_model_that_is_not_there_is_said_so(api: Api, path: str, body: object, status: int) -> None:
    api.refusal(path, body, status=status)


def test_malformed_id_in_an_address_is_not_found(api: Api) -> None:
    assert error_of(api.send("/model/a%00b/update", {}, method="PATCH"), status=404)["param"] == "id"


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READ)
def test_built_in_models_that_work_are_listed_with_their_prices(api: Api, path: str) -> None:
    models = {entry["model_name"]: entry for entry in api.get(path)["data"]}
    assert "claude-haiku-4-5" not in models
    info = models["gpt-4o"]["model_info"]
    assert (info["id"], info["db_model"], info["litellm_provider"]) == ("gpt-4o", False, "openai")
    assert (info["input_cost_per_token"], info["max_input_tokens"]) == (Decimal("0.0000025"), 128_000)
    assert models["demo"]["model_info"]["max_output_tokens"] == 1024
    assert models["gpt-4o"]["litellm_params"] == {"model": "openai/gpt-4o"}


def test_a_route_stands_in_place_of_the_built_in_model_of_its_name(api: Api) -> None:
    saved_route(model_name="openai/gpt-4o")
    names = [entry["model_name"] for entry in api.get("/model/info")["data"]]
    assert [name for name in names if name.endswith("gpt-4o")] == ["openai/gpt-4o"]


def test_a_route_whose_key_is_lost_is_listed_with_its_problem(api: Api, settings: LazySettings) -> None:
    saved_route(api_key="sk-own", public_id="m1")
    saved_route(model_name="unset", api_key_env="UNSET_API_KEY", public_id="m2")
    settings.SECRET_KEYS = (make_secret_key(),)
    lost = "the stored key is lost: no key of BUDGETGATE_SECRET_KEYS opens it"
    assert shown(api, "m1")["model_info"]["problem"] == lost
    assert shown(api, "m2")["model_info"]["problem"] == "the environment variable UNSET_API_KEY is not set"
    healthy = api.get("/model/info", healthy_only="true", include_team_models="True")["data"]
    assert not {"house-model", "unset"} & {entry["model_name"] for entry in healthy}
    api.post("/model/update", model_info={"id": "m1"}, litellm_params={"api_key": "sk-new"})
    assert shown(api, "m1")["model_info"]["problem"] is None


@pytest.mark.parametrize(
    ("query", "param", "status"),
    [
        ({"litellm_model_id": "nobody"}, "litellm_model_id", 404),
        ({"healthy_only": "maybe"}, "healthy_only", 400),
        ({"teamId": "t1"}, "teamId", 400),
        ({"litellm_model": "x"}, "litellm_model", 400),
    ],
)
def test_wrong_parameters_are_named(api: Api, query: dict[str, str], param: str, status: int) -> None:
    [(name, value)] = query.items()
    assert error_of(api.send(f"/model/info?{name}={value}", method="GET"), status=status)["param"] == param


def test_groups_are_the_models_that_can_be_called(api: Api) -> None:
    new_model(api, blocked=True)
    groups = {group["model_group"]: group for group in api.get("/model_group/info")["data"]}
    assert "house" not in groups
    assert api.get("/model_group/info", model_group="gpt-4o")["data"] == [groups["gpt-4o"]]
    assert groups["gpt-4o"] == {
        "model_group": "gpt-4o",
        "providers": ["openai"],
        "max_input_tokens": 128_000,
        "max_output_tokens": None,
        "input_cost_per_token": Decimal("0.0000025"),
        "output_cost_per_token": Decimal("0.00001"),
        "mode": "chat",
        "tpm": None,
        "rpm": None,
    }
    assert api.get("/model_group/info", model_group="nobody")["data"] == []
