"""Every path that clients of LiteLLM's management API use, with every name that they send and read.

tests/contract/litellm.json lists the names, of LiteLLM proxy 1.109.1. The document says what we take and answer;
tests/test_openapi_fuzz.py proves that the answers are what the document says.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api

CONTRACT: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent / "contract" / "litellm.json").read_text()
)


@cache
def document() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(Api().send("/openapi.json", "", method="GET").content)
    return answer


@cache
def operations() -> dict[str, dict[str, Any]]:
    """By method and path, with the names of its parts left out."""
    return {
        f"{method.upper()} {_shape(path)}": operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def _shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def properties(schema: dict[str, Any]) -> Iterator[str]:
    """The names of an object, of each of its forms, and of what a list lists."""
    schema = resolved(schema)
    yield from schema.get("properties", {})
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from properties(part)


def operation_of(name: str) -> dict[str, Any]:
    method, path = name.split(" ", 1)
    found = operations().get(f"{method} {_shape(path)}")
    assert found is not None, f"there is no {name}"
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_that_clients_send_is_known(name: str) -> None:
    operation = operation_of(name)
    parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
    parts = set(re.findall(r"\{([^}]*)\}", name))
    assert set(CONTRACT[name].get("parameters", [])) - parts <= parameters
    if body := CONTRACT[name].get("body"):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert set(body) <= set(properties(schema))
        assert set(resolved(schema).get("required", [])) <= set(CONTRACT[name]["required"])


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name, contract in CONTRACT.items() if "answer" in contract])
def test_every_name_that_clients_read_is_answered(name: str) -> None:
    schema = operation_of(name)["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(CONTRACT[name]["answer"]) <= set(properties(schema))
