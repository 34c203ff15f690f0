"""POST /health/test_connection, against a provider that answers, refuses, hangs up, or is not there."""

from typing import Any

import pytest
from django.conf import LazySettings

from catalog import connection
from catalog.models import Route
from catalog.secrets import make_secret_key
from catalog.tests.factories import saved_credential
from tests.api import Api
from tests.provider.app import API_KEY
from tests.provider.behaviour import Behaviour, Ending
from tests.provider.server import Provider

pytestmark = pytest.mark.django_db


def answer_for(params: dict[str, Any], **body: Any) -> dict[str, Any]:
    return Api().post("/health/test_connection", litellm_params=params, **body)


def to(provider: Provider, **params: Any) -> dict[str, Any]:
    return {"model": "house/gpt-4o", "api_base": provider.base_url, "api_key": API_KEY} | params


def test_one_smallest_call_is_sent_and_nothing_is_kept(provider: Provider) -> None:
    answer = answer_for(to(provider), mode="chat", model_info={})
    assert answer["status"] == "success"
    assert (answer["result"]["model"], answer["result"]["status_code"]) == ("house/gpt-4o", 200)
    [call] = provider.calls
    assert call.payload == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16}
    assert not Route.objects.exists()


def test_a_credential_and_a_variable_give_the_key(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_credential(api_key=API_KEY, base_url=provider.base_url)
    monkeypatch.setenv("HOUSE_API_KEY", API_KEY)
    assert answer_for({"model": "house/gpt-4o", "litellm_credential_name": "house"})["status"] == "success"
    assert answer_for(to(provider, api_key="os.environ/HOUSE_API_KEY"))["status"] == "success"


def test_the_demo_model_needs_no_call() -> None:
    assert answer_for({"model": "demo"})["status"] == "success"


def test_a_refusal_is_told_without_the_key(provider: Provider) -> None:
    provider.behave(Behaviour(status=500, body=f"no {API_KEY} {'x' * 1000}".encode()))
    result = answer_for(to(provider))["result"]
    assert result["status_code"] == 500
    assert result["error"].startswith("the provider answered 500: ")
    assert API_KEY not in result["error"]
    assert len(result["error"]) <= connection.TOLD_CHARS_MAX + 3


def test_a_wrong_key_is_an_error(provider: Provider) -> None:
    answer = answer_for(to(provider, api_key="wrong"))
    assert (answer["status"], answer["result"]["status_code"]) == ("error", 401)


@pytest.mark.parametrize("ending", [Ending.RESET_BEFORE_HEADERS, Ending.HANG_BEFORE_HEADERS, Ending.CUT])
def test_a_provider_that_breaks_off_is_an_error(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, ending: Ending
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.2)
    provider.behave(Behaviour(ending=ending, pieces=0))
    assert answer_for(to(provider))["status"] == "error"


@pytest.mark.parametrize(
    "api_base", ["http://127.0.0.1:1/v1", f"http://{'a' * 64}.example/v1", "http://a..b/v1", "http://[::1/v1%"]
)
def test_an_address_where_nobody_answers_is_an_error_or_refused(api_base: str) -> None:
    response = Api().send(
        "/health/test_connection", {"litellm_params": {"model": "house/x", "api_base": api_base, "api_key": "sk-1"}}
    )
    assert response.status_code in (200, 400)
    assert b'"success"' not in response.content
    assert b"sk-1" not in response.content


def test_a_route_that_could_not_work_is_an_error_without_a_call(settings: LazySettings) -> None:
    saved_credential(api_key="sk-1")
    settings.SECRET_KEYS = (make_secret_key(),)
    answer = answer_for({"model": "house/x", "litellm_credential_name": "house"})
    assert answer["status"] == "error"
    assert answer["result"]["error"].startswith("the key of the credential house is lost")


def test_a_key_that_no_header_can_carry_is_an_error(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSE_API_KEY", "sk-secret\nx-header: 1")
    error = answer_for(to(provider, api_key="os.environ/HOUSE_API_KEY"))["result"]["error"]
    assert error == "the environment variable HOUSE_API_KEY has characters that no header can carry"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "litellm_params"),
        ({"litellm_params": {}}, "litellm_params.model"),
        ({"litellm_params": {"model": "house/x"}}, "litellm_params.api_base"),
        ({"litellm_params": {"model": "demo"}, "mode": "embedding"}, "mode"),
    ],
)
def test_bad_parameters_are_refused_as_for_a_new_model(body: dict[str, Any], param: str) -> None:
    assert Api().refusal("/health/test_connection", body)["param"] == param
