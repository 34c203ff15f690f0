"""The document is complete: every address of the API is in it, every part is described, and it is valid OpenAPI."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jsonschema_rs
import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView
from schemathesis.openapi import from_dict

from budgetgate import __version__, openapi
from budgets.documents import RECORDS
from budgets.queries import QuerySerializer
from budgets.serializers import RequestSerializer
from proxy.entry import VIEWS
from tests.api import Api

LINK = re.compile(r'(?:src|href)="([^"]+)"')


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(openapi.document())
    return loaded


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def api_patterns(patterns: list[Any], prefix: str = "/") -> Iterator[tuple[str, type[APIView]]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from api_patterns(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern) and hasattr(pattern.callback, "cls"):
            yield prefix + str(pattern.pattern), pattern.callback.cls


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    from_dict(document).validate()
    assert document["openapi"].startswith("3.1")
    assert (document["info"]["title"], document["info"]["version"]) == ("BudgetGate", __version__)
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_view_of_the_api_is_in_the_document(document: dict[str, Any]) -> None:
    routes = list(api_patterns(get_resolver().url_patterns))
    assert routes
    for route, view in routes:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        methods = {method for method in openapi.METHODS if hasattr(view, method)}
        assert methods == document["paths"][path].keys(), path


def test_the_llm_routes_are_in_the_document(document: dict[str, Any]) -> None:
    assert VIEWS.keys() <= document["paths"].keys()


def test_every_operation_says_what_it_does_what_it_answers_and_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["operationId"] == openapi.operation_id(method, path), where
        assert operation.get("summary"), where
        assert "405" in operation["responses"], where
        good = {status: answer for status, answer in operation["responses"].items() if status < "300"}
        assert all(content["schema"] for answer in good.values() for content in answer["content"].values()), where
        if "security" in operation:
            assert operation["security"] == openapi.SECURITY, where
            assert operation["responses"].keys() >= {"401", "403", "503"}, where
        if "requestBody" in operation:
            assert operation["responses"].keys() >= {"400", "413"}, where


def test_operation_ids_are_given_once(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, inner in schema.get("properties", {}).items():
            assert "$ref" in inner or "anyOf" in inner or inner.get("description"), f"{name}.{field}"
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{method} {path}: {parameter['name']}"


def test_no_two_requests_and_no_request_and_record_share_a_name() -> None:
    requests = [cls.__name__.removesuffix("Serializer") for cls in {*subclasses(RequestSerializer)}]
    assert sorted(requests) == sorted({*requests} - RECORDS.keys())


def subclasses(cls: type[RequestSerializer]) -> Iterator[type[RequestSerializer]]:
    """Every request that is no query; queries are no components."""
    for subclass in cls.__subclasses__():
        if not issubclass(subclass, QuerySerializer) and ".tests." not in subclass.__module__:
            yield subclass
            yield from subclasses(subclass)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref":\s*"#/([^"]+)"', json.dumps(document)):
        found: Any = document
        for part in reference.split("/"):
            found = found[part]


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness"])
def test_only_health_is_open_to_everybody(document: dict[str, Any], path: str) -> None:
    assert "security" not in document["paths"][path]["get"]
    open_paths = {path for path, _, operation in operations(document) if "security" not in operation}
    assert open_paths == {"/health/liveliness", "/health/liveness", "/health/readiness"}


def test_a_field_that_is_not_acted_on_takes_only_what_means_nothing(document: dict[str, Any]) -> None:
    fields = document["components"]["schemas"]["GenerateKey"]["properties"]
    assert fields["guardrails"]["enum"] == [None, False, "", [], {}]
    assert "not acted on" in fields["guardrails"]["description"]


@pytest.mark.parametrize(
    ("limit", "is_allowed"),
    [
        ({"budget_duration": "1h", "max_budget": 10.5}, True),
        ({"budget_duration": "1h", "max_budget": "10.5", "max_tokens": None, "enforcement": "strict"}, True),
        ({"budget_duration": "30d", "max_requests": 0, "reset_at": "2037-11-23T14:00:00Z"}, True),
        ({"budget_duration": "1h"}, False),
        ({"max_budget": 1}, False),
        ({"budget_duration": "1 hour", "max_budget": 1}, False),
        ({"budget_duration": "1h", "max_budget": -1}, False),
        ({"budget_duration": "1h", "max_budget": 1, "max_tokens": 1}, False),
        ({"budget_duration": "1h", "max_budget": 1, "soft": True}, False),
    ],
)
@pytest.mark.django_db
def test_the_document_and_the_api_agree_on_limits(
    document: dict[str, Any], limit: dict[str, object], is_allowed: bool
) -> None:
    body = {"budget_limits": [limit]}
    schema = {**document["components"]["schemas"]["NewTeam"], "components": document["components"]}
    assert jsonschema_rs.is_valid(schema, body) is is_allowed
    assert Api().send("/team/new", body).status_code == (200 if is_allowed else 400)


def test_unknown_fields_are_allowed_in_the_document_where_they_are_dropped(
    settings: LazySettings, document: dict[str, Any]
) -> None:
    assert document["components"]["schemas"]["NewTeam"]["additionalProperties"] is False
    settings.UNKNOWN_FIELDS = "ignore"
    loose = json.loads(openapi.document.__wrapped__())
    assert "additionalProperties" not in loose["components"]["schemas"]["NewTeam"]


def test_the_document_is_served_without_a_key(client: Client, document: dict[str, Any]) -> None:
    answer = client.get("/openapi.json")
    assert answer["content-type"] == "application/json"
    assert answer.json() == document


@pytest.mark.django_db
def test_the_page_loads_files_of_this_server_only_and_they_exist(client: Client) -> None:
    page = client.get("/docs")
    links = LINK.findall(page.content.decode())
    assert page.status_code == 200
    assert len(links) == 4
    for link in links:
        with closing(client.get(link)) as file:
            assert link.startswith("/static/")
            assert file.status_code == 200
