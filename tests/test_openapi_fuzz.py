"""Requests made from the document, allowed ones and others: every answer is one that the document has, and none a 500.

A few examples for each operation, the same in every run. `BUDGETGATE_FUZZ_EXAMPLES=500` makes a long run of it, then
with all the fields that are not acted on, which one piece of code refuses, and with another seed each time, unless
`BUDGETGATE_FUZZ_SEED` says which.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import pytest
import redis
import schemathesis
from django.conf import LazySettings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.utils import timezone
from hypothesis import seed
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
from budgets.models import Grant
from budgets.services import ms_of
from keys.models import Key
from keys.parsing import hash_key
from ledger.tests.factories import posted_entry
from tests.api import Api
from tests.services import MASTER_KEY
from tests.system import System

Case = schemathesis.Case[Any]
EXAMPLES_SHORT = 5
EXAMPLES = int(os.environ.get("BUDGETGATE_FUZZ_EXAMPLES", EXAMPLES_SHORT))
IS_SHORT = EXAMPLES <= EXAMPLES_SHORT
IDLE_FIELDS_SHORT = 2
SEED = os.environ.get("BUDGETGATE_FUZZ_SEED", "1" if IS_SHORT else None)
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
    "seed": None if SEED is None else int(SEED),
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


# --- what exists ----------------------------------------------------------------------------------

KEY, TEAM, USER, CUSTOMER, TAG, TIER = (
    "sk-fuzz-key-of-the-tests", "fuzz-team", "fuzz-user", "fuzz-customer", "fuzz-tag", "fuzz-tier"
)  # fmt: skip
ROUTE, CREDENTIAL = "fuzz-route", "fuzz-credential"
UNUSED_TIER = "fuzz-tier-unused"
CALL_ID = UUID("01938f00-0000-7000-8000-000000000000")
GRANT_ID = 1_000_000

EXISTING: dict[str, object] = {
    "key": KEY,
    "keys": KEY,
    "key_ids": KEY,
    "api_key": KEY,
    "key_alias": "fuzz-alias",
    "key_aliases": "fuzz-alias",
    "team_id": TEAM,
    "team_ids": TEAM,
    "exclude_team_ids": TEAM,
    "team": TEAM,
    "teams": TEAM,
    "user_id": USER,
    "user_ids": USER,
    "user_email": "fuzz@users.example",
    "internal_user_id": USER,
    "customer": CUSTOMER,
    "customer_id": CUSTOMER,
    "end_user": CUSTOMER,
    "end_user_id": CUSTOMER,
    "end_user_ids": CUSTOMER,
    "exclude_end_user_ids": CUSTOMER,
    "tag": TAG,
    "tags": TAG,
    "exclude_tags": TAG,
    "budget_id": TIER,
    "budgets": TIER,
    "member_budget_id": TIER,
    "team_member_budget_id": TIER,
    "model": "demo",
    "models": "demo",
    "model_group": "demo",
    "model_id": ROUTE,
    "litellm_model_id": ROUTE,
    "public_id": ROUTE,
    "credential_name": CREDENTIAL,
    "litellm_credential_name": CREDENTIAL,
    "request_id": str(CALL_ID),
    "subject_id": TEAM,
    "actor": "master-key",
}
"""Names that lead to something, by the fields that have them, in place of about half of those that were made up."""

EXISTING_AT: dict[str, dict[str, object]] = {
    "/customer/": {"user_id": CUSTOMER, "user_ids": CUSTOMER},
    "/end_user/": {"user_id": CUSTOMER, "user_ids": CUSTOMER},
    "/tag/": {"name": TAG, "names": TAG},
    "/credentials": {"name": CREDENTIAL},
    "/budget/delete": {"id": UNUSED_TIER},
    "/budget/grant/revoke": {"id": GRANT_ID},
    "/model/": {"id": ROUTE},
}
"""The same for fields whose meaning depends on the address."""

SCOPE_IDS = {"key": KEY, "team": TEAM, "member": f"{USER}/{TEAM}", "user": USER, "customer": CUSTOMER, "tag": TAG}

FRESH = {
    "/team/new": {"team_id"},
    "/key/generate": {"key", "key_alias"},
    "/key/service-account/generate": {"key", "key_alias"},
    "/key/regenerate": {"new_key", "key_alias"},
    "/key/{key}/regenerate": {"new_key", "key_alias"},
    "/user/new": {"user_id", "user_email", "key_alias"},
    "/customer/new": {"user_id"},
    "/end_user/new": {"user_id"},
    "/budget/new": {"budget_id"},
    "/tag/new": {"name"},
    "/credentials": {"credential_name"},
}
"""Names that may be given once: what was made up stays. Nothing of one example is there for the next."""


def lead_on(case: Case) -> None:
    """Lets requests that the document allows get further than to the first thing that does not exist."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    known = EXISTING | next((names for path, names in EXISTING_AT.items() if case.path.startswith(path)), {})
    known = {name: value for name, value in known.items() if name not in FRESH.get(case.path, ())}
    for part in (case.body, case.query, case.path_parameters):
        if isinstance(part, dict):
            part.update(led_on(part, known=known))


def led_on(fields: Mapping[str, Any], *, known: Mapping[str, object]) -> dict[str, Any]:
    scope = {"scope_id": SCOPE_IDS[fields["scope"]]} if fields.get("scope") in SCOPE_IDS else {}
    return {name: meaningful(name, value, known={**known, **scope}) for name, value in fields.items()}


def meaningful(name: str, value: Any, *, known: Mapping[str, object]) -> Any:
    """Dollars have nine decimals, which a JSON schema cannot say exactly."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return led_on(value, known=known)
    if isinstance(value, list):
        return [meaningful(name, item, known=known) for item in value]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    other = known.get(name, value)
    is_chosen = len(value) % 2 == 1 if isinstance(value, str) else value % 2 == 1
    return other if is_chosen and type(other) is type(value) else value


def make_surroundings() -> None:
    """One of everything that a request can name, and a call that was made with all of it."""
    api = Api()
    limited = {"max_budget": 1000, "budget_limits": [{"budget_duration": "1d", "max_budget": 100}]}
    for budget_id in (TIER, UNUSED_TIER):
        api.post("/budget/new", budget_id=budget_id, **limited)
    api.post("/team/new", team_id=TEAM, **limited)
    api.post("/user/new", user_id=USER, user_email=EXISTING["user_email"], auto_create_key=False, budget_id=TIER)
    api.post("/team/member_add", team_id=TEAM, member={"role": "user", "user_id": USER}, max_budget_in_team=10)
    api.post("/key/generate", key=KEY, key_alias="fuzz-alias", team_id=TEAM, user_id=USER, **limited)
    api.post("/customer/new", user_id=CUSTOMER, **limited)
    api.post("/tag/new", name=TAG, **limited)
    api.post("/credentials", credential_name=CREDENTIAL, credential_values={"api_key": "sk-made-up"})
    params = {"model": "openai/gpt-4o", "litellm_credential_name": CREDENTIAL, "api_base": "http://127.0.0.1:1/v1"}
    api.post("/model/new", model_name="fuzz-model", litellm_params=params, model_info={"id": ROUTE})
    granted = api.post("/budget/grant", scope="key", scope_id=KEY, amount=5, until="2100-01-01T00:00:00Z")
    Grant.objects.filter(pk=granted["id"]).update(id=GRANT_ID)
    key_id = str(Key.objects.get(token_hash=hash_key(KEY)).id)
    names = {"key_id": key_id, "team_id": TEAM, "user_id": USER, "customer_id": CUSTOMER, "tags": (TAG,)}
    posted_entry(at_ms=ms_of(timezone.now()), cost_nanousd=10**9, **names)
    api.post("/spend/adjust", scope="key", scope_id=KEY, amount=1, reason="A test")


@pytest.fixture
def _surroundings(
    db: None, valkey: redis.Redis, settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """No providers; one of everything; one connection for all requests, in the test's transaction."""
    settings.PROVIDERS = {name: {**account, "api_key": ""} for name, account in settings.PROVIDERS.items()}
    caplog.set_level(logging.CRITICAL, "django.request")
    beat()
    make_surroundings()
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@management.parametrize()
@pytest.mark.usefixtures("_surroundings")
def test_every_answer_is_one_that_the_document_has(case: Case) -> None:
    lead_on(case)
    before = transaction.savepoint()
    try:
        case.call_and_validate(headers=HEADERS, checks=CHECKS)
    finally:
        transaction.savepoint_rollback(before)


@pytest.mark.usefixtures("_surroundings")
def test_what_an_answer_names_can_be_asked_for_next() -> None:
    class Machine(management.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.savepoint = transaction.savepoint()

        def teardown(self) -> None:
            """Every scenario begins with the same database, or its data could not be made a second time."""
            transaction.savepoint_rollback(self.savepoint)
            super().teardown()

        def before_call(self, case: Case) -> None:
            lead_on(case)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": HEADERS}

        def validate_response(self, response: Any, case: Case, **kwargs: Any) -> None:
            case.validate_response(response, checks=CHECKS, headers=HEADERS)

    if SEED is not None:
        seed(int(SEED))(Machine)
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
