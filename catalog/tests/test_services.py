"""Writes to routes and credentials, and what gateways hear of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from pytest_django import DjangoCaptureOnCommitCallbacks

from budgets.errors import InputError, NotFoundError
from catalog.litellm_params import RouteFields
from catalog.models import Credential, Route
from catalog.secrets import Secret, unseal
from catalog.services import create_route, delete_route, delete_routes, import_model_list, save_route, update_route
from catalog.tests.factories import make_route, saved_credential

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def published() -> Iterator[list[str]]:
    subjects: list[str] = []
    with patch("catalog.credential_services.changes.publish", side_effect=lambda *names: subjects.extend(names)):
        yield subjects


def test_saving_and_deleting_publish_after_the_commit(
    published: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    route = make_route()
    with django_capture_on_commit_callbacks(execute=True):
        save_route(route, now=NOW)
        assert published == []
    assert published == ["routes"]
    with django_capture_on_commit_callbacks(execute=True):
        delete_routes([route], now=NOW)
    assert published == ["routes", "routes"]
    assert not Route.objects.exists()


def test_route_with_problems_is_not_saved(published: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        save_route(make_route(base_url="nowhere", output_tokens_max=0), now=NOW)
    assert set(refused.value.message_dict) == {"base_url", "output_tokens_max"}
    assert not Route.objects.exists()


# --- routes by the API's words --------------------------------------------------------------------

HOUSE = RouteFields(
    model_name="house", provider="house", upstream_model="llama-70b", base_url="http://127.0.0.1:8000/v1"
)


def test_route_is_made_with_its_key_sealed(published: list[str]) -> None:
    saved_credential()
    route = create_route(HOUSE | {"api_key": Secret("sk-1"), "credential": "house", "info": {"a": 1}}, now=NOW)
    assert "sk-1" not in route.sealed_api_key
    assert unseal(route.sealed_api_key) == Secret("sk-1")
    assert (route.credential, route.info) == (Credential.objects.get(), {"a": 1})
    assert (route.created_at, route.updated_at) == (NOW, NOW)
    assert UUID(route.public_id)


def test_update_changes_what_is_named_and_keeps_the_rest(published: list[str]) -> None:
    made = create_route(HOUSE | {"api_key": Secret("sk-1"), "info": {"a": 1, "b": 2}}, now=NOW)
    route = update_route(made.public_id, {"info": {"a": None, "c": 3}, "enabled": False}, now=NOW + timedelta(hours=1))
    route.refresh_from_db()
    assert (route.sealed_api_key, route.info) == (made.sealed_api_key, {"b": 2, "c": 3})
    assert (route.enabled, route.upstream_model) == (False, "llama-70b")
    assert (route.created_at, route.updated_at) == (NOW, NOW + timedelta(hours=1))


def test_one_kind_of_key_replaces_the_other() -> None:
    made = create_route(HOUSE | {"api_key": Secret("sk-1"), "api_key_env": None}, now=NOW)
    named = update_route(made.public_id, {"api_key": None, "api_key_env": "HOUSE_API_KEY"}, now=NOW)
    assert (named.sealed_api_key, named.api_key_env) == ("", "HOUSE_API_KEY")
    stored = update_route(made.public_id, {"api_key": Secret("sk-2"), "api_key_env": None}, now=NOW)
    assert (unseal(stored.sealed_api_key).text, stored.api_key_env) == ("sk-2", "")
    neither = update_route(made.public_id, {"api_key": None, "api_key_env": None}, now=NOW)
    assert (neither.sealed_api_key, neither.api_key_env) == ("", "")


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"model_name": "a b"}, "model_name", "model_name is 'a b'; allowed is 1 to 200"),
        ({"model_name": "gpt-*"}, "model_name", "wildcards are not supported yet"),
        ({"base_url": None}, "litellm_params.api_base", "litellm_params.api_base is ''; allowed is an http"),
        ({"api_key_env": "HOUSE"}, "litellm_params.api_key", "litellm_params.api_key is not the name of"),
        (
            {"input_nanousd_per_mtok": 5},
            "litellm_params.output_cost_per_token",
            "litellm_params.output_cost_per_token is empty; allowed is a price, because "
            "litellm_params.input_cost_per_token has one",
        ),
        ({"read_timeout_s": 0}, "litellm_params.timeout", "litellm_params.timeout is 0; allowed is a whole number"),
        ({"credential": "nobody"}, "litellm_params.litellm_credential_name", "is 'nobody'; allowed is the name"),
    ],
)
def test_problems_have_the_names_that_clients_know(fields: RouteFields, field: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        create_route(HOUSE | fields, now=NOW)
    assert refused.value.field == field
    assert message in str(refused.value)
    assert not Route.objects.exists()


def test_name_and_id_are_given_once_and_an_id_never_changes() -> None:
    create_route(HOUSE | {"public_id": "m1"}, now=NOW)
    other = create_route(HOUSE | {"model_name": "other"}, now=NOW)
    with pytest.raises(InputError, match="model_name 'house' has a route already"):
        create_route(HOUSE, now=NOW)
    with pytest.raises(InputError, match="model_name 'house' has a route already"):
        update_route(other.public_id, {"model_name": "house"}, now=NOW)
    with pytest.raises(InputError, match="'m1', which another model has"):
        create_route(HOUSE | {"model_name": "third", "public_id": "m1"}, now=NOW)
    with pytest.raises(InputError, match="the id of a model never changes"):
        update_route(other.public_id, {"public_id": "m2"}, now=NOW)


@pytest.mark.parametrize("public_id", ["nobody", "", "a\0b", "x" * 129])
def test_unknown_route_is_not_found(public_id: str) -> None:
    for write in (lambda: delete_route(public_id, now=NOW), lambda: update_route(public_id, {}, now=NOW)):
        with pytest.raises(NotFoundError):
            write()


# --- a model_list ---------------------------------------------------------------------------------


def entry(name: str, **params: object) -> dict[str, object]:
    return {"model_name": name, "litellm_params": {"model": "openai/gpt-4o"} | params}


LIST = [
    entry("clear", api_key="sk-1", api_base="http://127.0.0.1:8000/v1"),
    entry("named", api_key="os.environ/HOUSE_API_KEY", input_cost_per_token=2.5e-06, output_cost_per_token=1e-05),
    entry("named"),
    entry("limited", rpm=10),
    entry("lost", litellm_credential_name="nobody"),
    entry("half", input_cost_per_token=0.000001),
]


def test_list_is_imported_once_and_a_second_run_changes_nothing() -> None:
    first = import_model_list(LIST, dry_run=False, now=NOW)
    assert (first.created, first.changed, first.unchanged) == (("clear", "named"), (), ())
    assert [(refused.position, refused.model_name) for refused in first.refused] == [
        (3, "named"),
        (4, "limited"),
        (5, "lost"),
        (6, "half"),
    ]
    assert "litellm_credential_name is 'nobody'" in first.refused[2].reasons[0]
    rows = list(Route.objects.order_by("model_name").values())
    second = import_model_list(LIST, dry_run=False, now=NOW + timedelta(days=1))
    assert (second.created, second.changed, second.unchanged) == ((), (), ("clear", "named"))
    assert second.refused == first.refused
    assert list(Route.objects.order_by("model_name").values()) == rows


def test_dry_run_reports_the_same_and_writes_nothing(
    published: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        planned = import_model_list(LIST, dry_run=True, now=NOW)
    assert not Route.objects.exists()
    assert published == []
    assert import_model_list(LIST, dry_run=False, now=NOW) == planned


def test_changed_entry_changes_what_it_names_and_nothing_beside() -> None:
    import_model_list(LIST[:1], dry_run=False, now=NOW)
    Route.objects.update(output_tokens_max=512)
    report = import_model_list([entry("clear", api_key="sk-2")], dry_run=False, now=NOW)
    assert report.changed == ("clear",)
    route = Route.objects.get()
    assert unseal(route.sealed_api_key) == Secret("sk-2")
    assert (route.output_tokens_max, route.base_url) == (512, "http://127.0.0.1:8000/v1")
