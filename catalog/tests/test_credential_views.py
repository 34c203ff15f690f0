"""LiteLLM's credentials API: keys go in and never come out."""

from typing import Any

import pytest
from django.conf import LazySettings

from catalog.models import Credential
from catalog.secrets import make_secret_key, unseal
from catalog.tests.factories import saved_credential, saved_route
from tests.api import Api, answer_of, error_of, stop_clock

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    stop_clock(monkeypatch)
    return Api()


def new_credential(api: Api, name: str = "house", **values: Any) -> dict[str, Any]:
    return api.post(
        "/credentials",
        credential_name=name,
        credential_values={"api_key": "sk-house", "api_base": "https://house.example/v1"} | values,
        credential_info={"description": "ours"},
    )


def test_a_credential_is_made_and_shown_without_its_key(api: Api) -> None:
    assert new_credential(api) == {"success": True, "message": "Credential created successfully"}
    expected = {
        "credential_name": "house",
        "credential_values": {"api_base": "https://house.example/v1"},
        "credential_info": {"description": "ours"},
        "has_api_key": True,
        "problem": None,
        "created_at": "2037-11-23T13:06:59.126000Z",
        "updated_at": "2037-11-23T13:06:59.126000Z",
    }
    assert api.get("/credentials") == {"success": True, "credentials": [expected]}
    assert api.get("/credentials/by_name/house") == expected
    assert unseal(Credential.objects.get().sealed_api_key).text == "sk-house"


@pytest.mark.parametrize("name", ["house", "our house", "a/b", "ünser"])
def test_every_name_has_an_address(api: Api, name: str) -> None:
    new_credential(api, name)
    answer_of(api.send(f"/credentials/{name}", {"credential_info": {}}, method="PATCH"))
    assert api.get(f"/credentials/by_name/{name}")["credential_info"] == {}
    answer = answer_of(api.send(f"/credentials/{name}", method="DELETE"))
    assert answer == {"success": True, "message": "Credential deleted successfully"}
    assert not Credential.objects.exists()


def test_patch_changes_what_it_names(api: Api) -> None:
    new_credential(api)
    body = {"credential_name": "home", "credential_values": {"api_key": "sk-new"}}
    answer = answer_of(api.send("/credentials/house", body, method="PATCH"))
    assert answer == {"success": True, "message": "Credential updated successfully"}
    credential = Credential.objects.get()
    assert (credential.name, credential.base_url) == ("home", "https://house.example/v1")
    assert unseal(credential.sealed_api_key).text == "sk-new"
    answer_of(api.send("/credentials/home", {"credential_values": {"api_key": None}}, method="PATCH"))
    assert api.get("/credentials/by_name/home")["has_api_key"] is False


def test_a_credential_whose_key_is_lost_says_so(api: Api, settings: LazySettings) -> None:
    saved_credential(api_key="sk-1")
    settings.SECRET_KEYS = (make_secret_key(),)
    problem = "the key is lost: no key of BUDGETGATE_SECRET_KEYS opens it"
    assert api.get("/credentials/by_name/house")["problem"] == problem


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "credential_name"),
        ({"credential_name": "a"}, "credential_values"),
        ({"credential_name": "a", "credential_values": {}}, "credential_values.api_key"),
        ({"credential_name": "a", "credential_values": []}, "credential_values"),
        ({"credential_name": "by_name/a", "credential_values": {"api_key": "x"}}, "credential_name"),
        ({"credential_name": "a", "credential_values": {"api_key": 7}}, "credential_values.api_key"),
        (
            {"credential_name": "a", "credential_values": {"api_key": "os.environ/A"}},
            "credential_values.api_key",
        ),
        ({"credential_name": "a", "credential_values": {"api_base": "nowhere"}}, "credential_values.api_base"),
        ({"credential_name": "a", "credential_values": {"api_base": 7}}, "credential_values.api_base"),
        ({"credential_name": "a", "credential_values": {"aws_region": "x"}}, "credential_values.aws_region"),
        ({"credential_name": "a", "credential_values": {"api_key": "x"}, "credential_info": 7}, "credential_info"),
        ({"credential_name": "a", "credential_values": {"api_key": "x"}, "model_id": "m1"}, "model_id"),
    ],
)
def test_what_cannot_be_is_named(api: Api, body: object, param: str) -> None:
    assert api.refusal("/credentials", body)["param"] == param
    assert not Credential.objects.exists()


def test_without_a_key_to_seal_with_a_credential_is_refused(api: Api, settings: LazySettings) -> None:
    settings.SECRET_KEYS = ()
    body = {"credential_name": "a", "credential_values": {"api_key": "sk-secret"}}
    error = api.refusal("/credentials", body)
    assert error["message"] == "credential_values.api_key: no secret can be kept: BUDGETGATE_SECRET_KEYS is empty"


def test_a_taken_name_and_a_credential_in_use_are_refused(api: Api) -> None:
    saved_route(credential=saved_credential())
    body = {"credential_name": "house", "credential_values": {"api_key": "x"}}
    assert "exists already" in api.refusal("/credentials", body)["message"]
    assert "used by house-model" in error_of(api.send("/credentials/house", method="DELETE"), status=400)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/credentials/by_name/nobody"),
        ("GET", "/credentials/by_name/a%00b"),
        ("PATCH", "/credentials/nobody"),
        ("DELETE", "/credentials/a%00b"),
    ],
)
def test_an_unknown_credential_is_not_found(api: Api, method: str, path: str) -> None:
    assert error_of(api.send(path, {}, method=method), status=404)["param"] == "credential_name"
