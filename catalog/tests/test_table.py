"""The route table over real rows."""

import logging
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from django.conf import LazySettings
from pytest_django import DjangoAssertNumQueries

from catalog.pricing import Rates
from catalog.secrets import make_secret_key
from catalog.table import DEMO_CARD, RESOLVED_MAX, RouteTable
from catalog.tests.factories import saved_credential, saved_route

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def make_table(*, openai_key: str = "sk-openai", anthropic_key: str = "") -> RouteTable:
    providers = {
        "openai": {"api_key": openai_key, "base_url": "https://openai.example/v1"},
        "anthropic": {"api_key": anthropic_key, "base_url": "https://anthropic.example/v1"},
    }
    return RouteTable(providers=providers, connect_timeout_s=10, read_timeout_s=600, clock=lambda: NOW)


def reloaded_table(*, openai_key: str = "sk-openai") -> RouteTable:
    table = make_table(openai_key=openai_key)
    table.reload()
    return table


# --- built-in models: no database -----------------------------------------------------------------


def test_openai_model_resolves_by_its_name_once_a_key_is_set() -> None:
    route = make_table().resolve("gpt-4o")
    assert route is not None
    assert (route.model, route.provider, route.upstream_model) == ("gpt-4o", "openai", "gpt-4o")
    assert (route.base_url, route.api_key) == ("https://openai.example/v1", "sk-openai")
    assert (route.connect_timeout_s, route.read_timeout_s) == (10, 600)
    assert route.card is not None
    assert route.card.rates.output == 10_000_000_000


def test_both_spellings_are_one_route() -> None:
    table = make_table()
    assert table.resolve("openai/gpt-4o") == table.resolve("gpt-4o")


def test_dated_name_goes_upstream_as_given() -> None:
    route = make_table().resolve("gpt-4o-2024-08-06")
    assert route is not None
    assert route.upstream_model == "gpt-4o-2024-08-06"
    assert route.card is not None


def test_without_a_key_nothing_of_the_provider_resolves() -> None:
    table = make_table(openai_key="")
    assert table.resolve("gpt-4o") is None
    assert table.resolve("openai/gpt-4o") is None
    assert table.names() == ["demo"]


def test_unlisted_name_resolves_unpriced_only_with_its_provider() -> None:
    table = make_table()
    assert table.resolve("gpt-99") is None
    route = table.resolve("openai/gpt-99")
    assert route is not None
    assert (route.model, route.upstream_model, route.card) == ("openai/gpt-99", "gpt-99", None)


@pytest.mark.parametrize("name", ["", "openai/", "/gpt-4o", "nobody/gpt-4o", "gpt-4o ", "openai/" + "x" * 200])
def test_malformed_names_do_not_resolve(name: str) -> None:
    assert make_table().resolve(name) is None


def test_demo_needs_no_key() -> None:
    route = make_table(openai_key="").resolve("demo")
    assert route is not None
    assert (route.provider, route.output_tokens_max, route.card) == ("demo", 1024, DEMO_CARD)


def test_names_list_chat_models_of_keyed_providers() -> None:
    names = make_table(anthropic_key="sk-ant").names()
    assert {"demo", "gpt-4o", "claude-haiku-4-5"} <= set(names)
    assert "whisper-1" not in names
    assert len(names) == len(set(names))
    table = make_table(anthropic_key="sk-ant")
    assert all(table.resolve(name) for name in names)


def test_answers_are_kept_within_a_bound() -> None:
    table = make_table()
    assert table.resolve("openai/kept") is table.resolve("openai/kept")
    with patch("catalog.table.listed_model", return_value=None) as lookups:
        for number in range(RESOLVED_MAX + 1):
            table.resolve(f"openai/name-{number}")
        table.resolve("openai/name-0")
        table.resolve(f"openai/name-{RESOLVED_MAX}")
    assert lookups.call_count == RESOLVED_MAX + 2


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_row_resolves_with_its_own_prices_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSE_API_KEY", "sk-house")
    saved_route(
        api_key_env="HOUSE_API_KEY",
        input_nanousd_per_mtok=7,
        output_nanousd_per_mtok=9,
        cache_read_nanousd_per_mtok=1,
        output_tokens_max=512,
        connect_timeout_s=3,
        read_timeout_s=30,
    )
    route = reloaded_table().resolve("house-model")
    assert route is not None
    assert (route.provider, route.upstream_model) == ("house", "llama-70b")
    assert (route.base_url, route.api_key) == ("http://127.0.0.1:8000/v1", "sk-house")
    assert (route.output_tokens_max, route.connect_timeout_s, route.read_timeout_s) == (512, 3, 30)
    assert route.card is not None
    assert route.card.source == "route"
    assert route.card.rates == Rates.of(input=7, output=9, cache_read=1)


@pytest.mark.django_db
def test_row_without_prices_takes_the_lists_or_none() -> None:
    saved_route(model_name="fast", provider="openai", base_url="", upstream_model="gpt-4o-mini")
    saved_route(model_name="unknown")
    table = reloaded_table()
    fast, unknown = table.resolve("fast"), table.resolve("unknown")
    assert fast is not None
    assert fast.api_key == "sk-openai"
    assert fast.card is not None
    assert fast.card.rates.input == 150_000_000
    assert unknown is not None
    assert unknown.card is None


@pytest.mark.django_db
@pytest.mark.parametrize("row_name", ["gpt-4o", "openai/gpt-4o"])
@pytest.mark.parametrize("called", ["gpt-4o", "openai/gpt-4o"])
def test_row_beats_the_built_in_model_under_both_spellings(row_name: str, called: str) -> None:
    saved_route(model_name=row_name, input_nanousd_per_mtok=1, output_nanousd_per_mtok=1)
    table = reloaded_table()
    route = table.resolve(called)
    assert route is not None
    assert (route.model, route.provider) == (row_name, "house")
    assert [name for name in table.names() if name.endswith("gpt-4o")] == [row_name]


@pytest.mark.django_db
def test_disabled_row_switches_the_built_in_model_off() -> None:
    saved_route(model_name="gpt-4o", enabled=False)
    table = reloaded_table()
    assert table.resolve("gpt-4o") is None
    assert table.resolve("openai/gpt-4o") is None
    assert "gpt-4o" not in table.names()


@pytest.mark.django_db
def test_row_without_its_key_is_off_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    saved_route(api_key_env="MISSING_API_KEY")
    saved_route(model_name="fast", provider="openai", base_url="", upstream_model="gpt-4o-mini")
    with caplog.at_level(logging.WARNING):
        table = reloaded_table(openai_key="")
    assert table.resolve("house-model") is None
    assert table.resolve("fast") is None
    assert table.names() == ["demo"]
    assert "route house-model is off: the environment variable MISSING_API_KEY" in caplog.text
    assert "route fast is off: the key of openai" in caplog.text


@pytest.mark.django_db
def test_stored_key_and_credential_reach_the_route_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    saved_route(api_key="sk-own")
    saved_route(model_name="shared", base_url="", credential=saved_credential(api_key="sk-shared"))
    table = make_table()
    with django_assert_num_queries(1):
        table.reload()
    own, shared = table.resolve("house-model"), table.resolve("shared")
    assert own is not None
    assert own.api_key == "sk-own"
    assert shared is not None
    assert (shared.base_url, shared.api_key) == ("https://house.example/v1", "sk-shared")


@pytest.mark.django_db
def test_route_whose_secret_is_lost_is_off_and_said_so_without_it(
    caplog: pytest.LogCaptureFixture, settings: LazySettings
) -> None:
    route = saved_route(api_key="sk-own")
    saved_route(model_name="shared", base_url="", credential=saved_credential(api_key="sk-shared"))
    saved_route(model_name="open")
    settings.SECRET_KEYS = (make_secret_key(),)
    table = reloaded_table(openai_key="")
    assert table.names() == ["open", "demo"]
    assert table.resolve("house-model") is None
    assert "route house-model is off: the stored key is lost: no key of BUDGETGATE_SECRET_KEYS opens it" in caplog.text
    assert "route shared is off: the key of the credential house is lost" in caplog.text
    assert "sk-" not in caplog.text
    assert route.sealed_api_key not in caplog.text


@pytest.mark.django_db
def test_key_of_the_settings_never_goes_to_an_address_of_a_row() -> None:
    saved_route(provider="openai", base_url="http://elsewhere.example/v1")
    route = reloaded_table().resolve("house-model")
    assert route is not None
    assert route.api_key == ""


@pytest.mark.django_db
def test_rows_appear_and_disappear_with_a_reload() -> None:
    table = reloaded_table()
    row = saved_route()
    assert table.resolve("house-model") is None
    table.reload()
    assert table.resolve("house-model") is not None
    assert table.names()[0] == "house-model"
    row.delete()
    table.reload()
    assert table.resolve("house-model") is None


@pytest.mark.django_db
def test_row_of_the_demo_provider_answers_under_another_name() -> None:
    saved_route(model_name="try-me", provider="demo", base_url="", upstream_model="demo")
    route = reloaded_table().resolve("try-me")
    assert route is not None
    assert (route.model, route.provider, route.card, route.output_tokens_max) == ("try-me", "demo", DEMO_CARD, 1024)


def test_table_from_settings_knows_demo() -> None:
    assert RouteTable.from_settings().resolve("demo") is not None


@pytest.mark.parametrize(
    "name", ["openai/new\nx-header: 1", "gpt-4o\r\n", "openai/\x00", "openai/gpt 4o", "openai/ü", ""]
)
def test_names_that_no_header_can_carry_are_no_models(name: str) -> None:
    assert make_table().resolve(name) is None
