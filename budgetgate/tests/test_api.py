"""Who may call the management API, what it reads and writes, and how it refuses."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import orjson
import pytest
import redis
from django.conf import LazySettings
from django.core.handlers.asgi import ASGIRequest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client, RequestFactory
from rest_framework.exceptions import ParseError, Throttled

from budgetgate import middleware
from budgetgate.api import BodyTooLarge, ExactJSONParser, ExactJSONRenderer, handle_exception
from keys.models import Key
from keys.services import create_key
from keys.views import GenerateKey
from tests.api import NOW, Api, error_of, use_told_ledger
from tests.services import MASTER_KEY


@pytest.fixture(autouse=True)
def _surroundings(valkey: redis.Redis, settings: LazySettings) -> None:
    use_told_ledger(settings)


def call(headers: dict[str, str]) -> Any:
    return Client(headers=headers).post("/key/generate", data="{}", content_type="application/json")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {MASTER_KEY}"},
        {"Authorization": f"bearer  {MASTER_KEY} "},
        {"x-api-key": MASTER_KEY},
        {"x-litellm-api-key": MASTER_KEY},
        {"x-litellm-api-key": f"Bearer {MASTER_KEY}", "Authorization": "Bearer sk-something-else"},
    ],
    ids=str,
)
def test_the_master_key_is_taken_from_any_of_its_headers(headers: dict[str, str]) -> None:
    assert call(headers).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "message", "kind", "param"),
    [
        ({}, "No api key passed in.", "auth_error", None),
        ({"Authorization": "Bearer "}, "No api key passed in.", "auth_error", None),
        ({"Authorization": MASTER_KEY}, "Malformed API Key passed in.", "auth_error", None),
        ({"Authorization": "Basic cm9vdDpyb290"}, "Malformed API Key passed in.", "auth_error", None),
        ({"Authorization": "Bearer sk-wrong"}, "Invalid API key provided.", "token_not_found_in_db", "key"),
        ({"Authorization": f"Bearer {MASTER_KEY}x"}, "Invalid API key provided.", "token_not_found_in_db", "key"),
        ({"x-api-key": "sk-wr\u00f6ng"}, "Invalid API key provided.", "token_not_found_in_db", "key"),
    ],
    ids=str,
)
def test_whoever_has_no_or_a_wrong_key_is_told_so(
    headers: dict[str, str], message: str, kind: str, param: str | None
) -> None:
    response = call(headers)
    error = error_of(response, status=401)
    assert error["message"].startswith(f"Authentication Error, {message}")
    assert (error["type"], error["param"]) == (kind, param)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert not Key.objects.exists()


@pytest.mark.django_db
def test_a_virtual_key_manages_nothing_not_even_by_its_hash() -> None:
    created = create_key({}, now=NOW)
    error = error_of(call({"Authorization": f"Bearer {created.text}"}), status=401)
    assert "Only proxy admin can be used" in error["message"]
    assert "Route=/key/generate" in error["message"]
    message = error_of(call({"Authorization": f"Bearer {created.key.token_hash}"}), status=401)["message"]
    assert message == "Authentication Error, Invalid API key provided."


@pytest.mark.django_db
def test_without_a_master_key_nobody_gets_in(settings: LazySettings) -> None:
    settings.MASTER_KEY = ""
    assert call({"Authorization": "Bearer  "}).status_code == 401
    assert call({"Authorization": f"Bearer {MASTER_KEY}"}).status_code == 401


def parse(body: bytes) -> dict[str, object]:
    return ExactJSONParser().parse(BytesIO(body))


def test_numbers_with_a_fraction_stay_exact() -> None:
    data = parse(b'{"a": 0.1, "b": 1e-9, "c": 9007199.254740991, "d": 12345678901234567890}')
    assert data == {
        "a": Decimal("0.1"),
        "b": Decimal("1e-9"),
        "c": Decimal("9007199.254740991"),
        "d": 12345678901234567890,
    }
    assert repr(data["a"]) == "0.1"


def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_not(settings: LazySettings) -> None:
    settings.BODY_BYTES_MAX = 10
    assert parse(b'{"a":1234}') == {"a": 1234}
    with pytest.raises(BodyTooLarge):
        parse(b'{"a":12345}')
    response = Api().send("/key/generate", '{"a":12345}')
    assert error_of(response, status=413)["type"] == "invalid_request_error"


@pytest.mark.parametrize("depth", [3, 62])
def test_nesting_is_bounded(depth: int) -> None:
    assert parse(b'{"a":' * depth + b"1" + b"}" * depth)
    with pytest.raises(ParseError):
        parse(b'{"a":' * 66 + b"1" + b"}" * 66)


@pytest.mark.django_db
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "multipart/form-data"])
def test_json_is_read_whatever_the_content_type_says(content_type: str) -> None:
    client = Client(headers={"Authorization": f"Bearer {MASTER_KEY}"})
    client.generic("POST", "/key/generate", '{"key_alias": "k1"}', content_type=content_type)
    assert Key.objects.get().key_alias == "k1"


@pytest.mark.django_db
def test_a_body_in_chunks_is_not_taken_for_an_empty_one() -> None:
    headers = [(b"authorization", f"Bearer {MASTER_KEY}".encode()), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/key/generate", "query_string": b"", "headers": headers}
    request = ASGIRequest(scope, BytesIO(b'{"max_budget": 5}'))
    response = middleware.sized_body(GenerateKey.as_view())(request)
    assert response.status_code == 200
    assert Key.objects.get().max_budget_nanousd == 5_000_000_000


def test_a_body_without_length_gets_one_and_is_still_bounded(settings: LazySettings) -> None:
    settings.BODY_BYTES_MAX = 10
    request = RequestFactory().post(
        "/", data=b"x" * 50, content_type="text/plain", headers={"transfer-encoding": "chunked"}
    )
    del request.META["CONTENT_LENGTH"]
    seen = middleware.sized_body(lambda request: HttpResponse(request.body))(request)
    assert (request.META["CONTENT_LENGTH"], len(seen.content)) == ("11", 11)


def test_answers_are_exact_and_instants_end_in_z() -> None:
    berlin = datetime(2037, 11, 23, 15, 0, tzinfo=timezone(timedelta(hours=1)))
    data = {
        "a": Decimal("10.0"),
        "b": Decimal("1E-9"),
        "c": berlin,
        "d": datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=UTC),
        "e": UUID(int=1),
    }
    assert ExactJSONRenderer().render(data) == (
        b'{"a":10.0,"b":0.000000001,"c":"2037-11-23T14:00:00Z","d":"2026-01-01T00:00:00.005000Z",'
        b'"e":"00000000-0000-0000-0000-000000000001"}'
    )
    with pytest.raises(orjson.JSONEncodeError):
        ExactJSONRenderer().render({"a": object()})


@pytest.mark.django_db
@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "*/*", ""])
def test_answers_are_json_whatever_the_client_accepts(accept: str) -> None:
    response = call({"Authorization": f"Bearer {MASTER_KEY}", "Accept": accept})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.django_db
def test_another_method_is_405_and_says_which_are_allowed() -> None:
    response = Api().send("/key/generate", "", method="GET")
    assert error_of(response, status=405)["type"] == "invalid_request_error"
    assert response.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.django_db
def test_unknown_addresses_are_json_and_html_below_admin() -> None:
    assert error_of(Client().get("/key/nothing"), status=404)["type"] == "not_found_error"
    assert error_of(Client().get("/nothing"), status=404)["message"] == "Not found: /nothing"
    browser = Client().get("/admin/nothing/", follow=True)
    assert browser.headers["Content-Type"].startswith("text/html")


@pytest.mark.django_db
def test_a_defect_is_500_and_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keys.views.create_key", lambda *_, **__: 1 / 0)
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {MASTER_KEY}"})
    error = error_of(client.post("/key/generate", data="{}", content_type="application/json"), status=500)
    assert error == {"message": "Internal server error", "type": "internal_server_error", "param": None, "code": "500"}


@pytest.mark.django_db
def test_a_host_that_is_not_ours_is_refused_in_json() -> None:
    response = Client(headers={"Host": "evil.example"}).get("/key/info")
    assert error_of(response, status=400)["message"] == "Bad request"


def test_an_outage_is_told_apart_from_a_refusal() -> None:
    response = handle_exception(OperationalError("connection refused by 10.0.0.1"), {})
    assert response is not None
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "10.0.0.1" not in str(response.data)


def test_whoever_is_too_fast_is_told_when_to_come_back() -> None:
    response = handle_exception(Throttled(wait=2.5), {})
    assert response is not None
    assert (response.status_code, response.headers["Retry-After"]) == (429, "4")


@pytest.mark.django_db
def test_long_values_do_not_come_back_whole() -> None:
    error = Api().refusal("/key/generate", {"budget_limits": {"a": "x" * 100_000}})
    assert len(error["message"]) < 1100
