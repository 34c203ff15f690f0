"""Requests made from the document, allowed ones and others: every answer is one that the document has, and none a 500.

A few examples for each operation; `BUDGETGATE_FUZZ_EXAMPLES=500` makes a long run of it, then with all the fields that
are not acted on, which one piece of code refuses.
"""

import itertools
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import schemathesis
from django.conf import LazySettings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.utils import timezone
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from budgetgate.openapi import NOT_ACTED_ON, document
from budgetgate.tasks import beat
from budgets.documents import RECORDS
from keys.services import create_key
from teams.services import create_team
from tests.services import MASTER_KEY
from tests.system import System

Case = schemathesis.Case[Any]
EXAMPLES_SHORT = 10
EXAMPLES = int(os.environ.get("BUDGETGATE_FUZZ_EXAMPLES", EXAMPLES_SHORT))
IS_SHORT = EXAMPLES <= EXAMPLES_SHORT
IDLE_FIELDS_SHORT = 2
HEADERS = {"Authorization": f"Bearer {MASTER_KEY}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
CONFIG = {
    "seed": 1 if IS_SHORT else None,
    "generation": {"mode": "all", "max-examples": EXAMPLES, "database": "none", "with-security-parameters": False},
}


def closed_document() -> dict[str, Any]:
    """The document, with records that have the described fields and no others."""
    loaded: dict[str, Any] = json.loads(document())
    for name, schema in loaded["components"]["schemas"].items():
        if name in RECORDS and "properties" in schema:
            schema["additionalProperties"] = False
        idle = [
            field for field, said in schema.get("properties", {}).items() if said.get("description") == NOT_ACTED_ON
        ]
        for field in idle[IDLE_FIELDS_SHORT:] if IS_SHORT else []:
            del schema["properties"][field]
    return loaded


config = SchemathesisConfig.from_dict({name: value for name, value in CONFIG.items() if value is not None})
management = schemathesis.openapi.from_dict(closed_document(), config=config).exclude(tag="llm")
management.app = WSGIHandler()
llm = schemathesis.openapi.from_dict(closed_document(), config=config).include(tag="llm")


EXISTING = {"team_id": "fuzz-team", "key": "sk-fuzz-key-of-the-tests", "model": "demo"}
"""Names that lead to something, in place of about half of those that were made up."""

FRESH = {"/team/new": {"team_id"}, "/key/generate": {"key", "key_alias"}}
"""Names that may be given once: about half of them get a number."""

_numbers = itertools.count()


def lead_on(case: Case) -> None:
    """Lets requests that the document allows get further than to the first thing that does not exist."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for part in (case.body, case.query):
        if isinstance(part, dict):
            part.update({name: meaningful(case.path, name, value) for name, value in part.items()})


def meaningful(path: str, name: str, value: Any) -> Any:
    if isinstance(value, str) and len(value) % 2:
        if name in FRESH.get(path, ()):
            return f"{value[:100]}{next(_numbers)}"
        return EXISTING.get(name, value)
    return rounded(value)


def rounded(value: Any) -> Any:
    """Dollars have nine decimals, which a JSON schema cannot say exactly."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def _surroundings(
    db: None, valkey: redis.Redis, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """No providers; a team and a key; one connection for all requests, in the test's transaction."""
    now = timezone.now()
    create_team({}, team_id=EXISTING["team_id"], now=now)
    create_key({"team_id": EXISTING["team_id"]}, text=EXISTING["key"], now=now)
    beat()
    settings.PROVIDERS = {name: {**account, "api_key": ""} for name, account in settings.PROVIDERS.items()}
    caplog.set_level(logging.CRITICAL, "django.request")
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@management.parametrize()
@pytest.mark.usefixtures("_surroundings")
def test_every_answer_is_one_that_the_document_has(case: Case) -> None:
    lead_on(case)
    case.call_and_validate(headers=HEADERS, checks=CHECKS)


@pytest.mark.usefixtures("_surroundings")
def test_what_an_answer_names_can_be_asked_for_next() -> None:
    class Machine(management.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.savepoint = transaction.savepoint()

        def teardown(self) -> None:
            """Every scenario begins with the same database, or its data could not be made a second time."""
            transaction.savepoint_rollback(self.savepoint)
            super().teardown()

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": HEADERS}

        def validate_response(self, response: Any, case: Case, **kwargs: Any) -> None:
            case.validate_response(response, checks=CHECKS, headers=HEADERS)

    Machine.run(settings=hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=6, deadline=None))


@pytest.fixture(scope="session")
def key(system: System) -> str:
    return str(system.post("/key/generate", {})["key"])


@llm.parametrize()
@pytest.mark.xdist_group("system")
def test_every_answer_to_a_call_is_one_that_the_document_has(case: Case, system: System, key: str) -> None:
    """Without the check that refuses what the document does not have: the rest of a body is the provider's."""
    lead_on(case)
    checks = [check for check in CHECKS if check is not negative_data_rejection]
    case.call_and_validate(base_url=system.url, headers={"Authorization": f"Bearer {key}"}, checks=checks)
