"""Every name that clients send is acted on, kept, or refused with the reason; prices are exact."""

from decimal import Decimal
from typing import Any

import pytest

from catalog.litellm_params import RouteFields, route_fields
from catalog.secrets import Secret


def fields_of(params: dict[str, Any], info: dict[str, Any] | None = None) -> RouteFields:
    fields, problems = route_fields(params, info or {})
    assert problems == {}
    return fields


def problems_of(params: dict[str, Any], info: dict[str, Any] | None = None) -> dict[str, str]:
    return route_fields(params, info or {})[1]


# --- where the calls go ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "provider", "upstream_model"),
    [
        ({"model": "openai/gpt-4o"}, "openai", "gpt-4o"),
        ({"model": "openrouter/meta-llama/llama-3"}, "openrouter", "meta-llama/llama-3"),
        ({"model": "gpt-4o"}, "openai", "gpt-4o"),
        ({"model": "claude-haiku-4-5"}, "anthropic", "claude-haiku-4-5"),
        ({"model": "demo"}, "demo", "demo"),
        ({"model": "llama-70b", "custom_llm_provider": "house"}, "house", "llama-70b"),
        ({"model": "house/llama-70b", "custom_llm_provider": "house"}, "house", "llama-70b"),
        ({"model": "meta/llama-70b", "custom_llm_provider": "house"}, "house", "meta/llama-70b"),
    ],
)
def test_model_names_provider_and_upstream_model(params: dict[str, Any], provider: str, upstream_model: str) -> None:
    fields = fields_of(params)
    assert (fields["provider"], fields["upstream_model"]) == (provider, upstream_model)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("gpt-99", "allowed is provider/model, like openai/gpt-99"),
        ("openai/*", "wildcards are not supported yet"),
        ("azure/gpt-4o", "the provider 'azure' is not supported yet"),
        ("two words", "without spaces"),
        ("", "without spaces"),
        (7, "allowed is a text like"),
    ],
)
def test_model_that_leads_nowhere_is_refused(model: object, reason: str) -> None:
    assert reason in problems_of({"model": model})["litellm_params.model"]


def test_both_names_of_an_address_may_agree_and_not_differ() -> None:
    assert fields_of({"api_base": "http://a/v1", "base_url": "http://a/v1"})["base_url"] == "http://a/v1"
    problems = problems_of({"api_base": "http://a/v1", "base_url": "http://b/v1"})
    assert next(iter(problems.values())).startswith("it says something else than litellm_params.")


# --- keys -----------------------------------------------------------------------------------------


def test_key_in_the_clear_is_a_secret_and_a_variable_is_a_name() -> None:
    clear = fields_of({"api_key": "sk-house"})
    assert (clear["api_key"], clear["api_key_env"]) == (Secret("sk-house"), None)
    assert "sk-house" not in repr(clear)
    named = fields_of({"api_key": "os.environ/HOUSE_API_KEY"})
    assert (named["api_key"], named["api_key_env"]) == (None, "HOUSE_API_KEY")


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_key_empties_both(nothing: str | None) -> None:
    fields = fields_of({"api_key": nothing})
    assert (fields["api_key"], fields["api_key_env"]) == (None, None)


@pytest.mark.parametrize("value", ["sk-with space", "sk-\nheader: 1", "sk-ü", "x" * 4097, 7, ["sk-list"]])
def test_what_no_header_can_carry_is_no_key_and_is_not_repeated(value: object) -> None:
    assert problems_of({"api_key": value}) == {
        "litellm_params.api_key": "it is not a key; allowed are up to 4096 visible ASCII characters, or os.environ/NAME"
    }


# --- prices and bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd", "nanousd"),
    [
        (Decimal("0.0000025"), 2_500_000_000),
        (Decimal("2.5E-6"), 2_500_000_000),
        (2.5e-06, 2_500_000_000),
        ("25e-7", 2_500_000_000),
        (Decimal("1e-15"), 1),
        (0, 0),
        (1, 10**15),
        (None, None),
    ],
)
def test_price_per_token_is_exact(usd: object, nanousd: int | None) -> None:
    assert fields_of({"input_cost_per_token": usd})["input_nanousd_per_mtok"] == nanousd


@pytest.mark.parametrize(
    "usd",
    [
        Decimal("1.5e-15"),
        Decimal("0.0000025000000000000000000000000000000001"),
        Decimal("1e-999999"),
        Decimal("1e999999"),
        Decimal("-1e-6"),
        Decimal("1.1"),
        float("nan"),
        float("inf"),
        "1_5e-7",
        "dear",
        True,
        [],
    ],
)
def test_price_that_is_not_whole_or_no_number_is_refused(usd: object) -> None:
    assert (
        "whole steps of 0.000000000000001 USD"
        in problems_of({}, {"output_cost_per_token": usd})["model_info.output_cost_per_token"]
    )


def test_price_may_stand_in_either_place_and_not_differ() -> None:
    assert fields_of({"input_cost_per_token": 0}, {"input_cost_per_token": Decimal("0.0")})
    assert problems_of({"input_cost_per_token": 0}, {"input_cost_per_token": 1}) == {
        "model_info.input_cost_per_token": (
            "it says something else than litellm_params.input_cost_per_token; allowed is one of them"
        )
    }


def test_bounds_are_whole_numbers() -> None:
    fields = fields_of({"timeout": Decimal("30.0"), "max_tokens": 512}, {"max_output_tokens": 512.0})
    assert (fields["read_timeout_s"], fields["output_tokens_max"]) == (30, 512)


@pytest.mark.parametrize("value", [0.5, Decimal("1e999999999"), float("inf"), "30", True, {}])
def test_fraction_or_no_number_is_refused_as_a_bound(value: object) -> None:
    assert problems_of({"timeout": value})["litellm_params.timeout"].endswith("allowed is a whole number")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rpm", 10),
        ("tpm", 10),
        ("weight", 2),
        ("max_budget", 1),
        ("budget_duration", "1d"),
        ("max_retries", 3),
        ("input_cost_per_token_above_200k_tokens", Decimal("1e-6")),
    ],
)
def test_known_name_that_does_nothing_is_refused_with_a_value(name: str, value: object) -> None:
    reason = "not supported yet; leave it out or send null"
    assert problems_of({name: value}) == {f"litellm_params.{name}": reason}


def test_known_name_that_says_nothing_passes() -> None:
    nothing = {"rpm": None, "weight": 1, "max_retries": 0, "drop_params": False, "input_cost_per_second": 0}
    assert fields_of(nothing) == {}


def test_unknown_name_is_refused_with_the_nearest() -> None:
    assert problems_of({"api_bse": "http://a"}) == {"litellm_params.api_bse": "unknown field; did you mean api_base?"}


def test_other_prices_and_teams_of_model_info_are_refused_too() -> None:
    assert problems_of({}, {"team_id": "t1", "output_cost_per_reasoning_token": 1}).keys() == {
        "model_info.team_id",
        "model_info.output_cost_per_reasoning_token",
    }


def test_rest_of_model_info_is_kept_and_what_is_ours_is_not() -> None:
    info = {"id": "m1", "mode": "chat", "note": {"a": [Decimal("0.5")]}, "db_model": True, "problem": "x"}
    fields = fields_of({}, info)
    assert fields["public_id"] == "m1"
    assert fields["info"] == {"mode": "chat", "note": {"a": [0.5]}}


@pytest.mark.parametrize("value", ["x" * 70_000, 2**70, Decimal("1e999999999"), "\0", {1, 2}, "\ud800"])
def test_model_info_that_cannot_be_kept_is_refused(value: object) -> None:
    assert list(problems_of({}, {"a": value})) == ["model_info"]


@pytest.mark.parametrize("public_id", ["a b", "x" * 129, "a/b", 7])
def test_malformed_id_is_refused(public_id: object) -> None:
    assert "allowed are 1 to 128 of the characters" in problems_of({}, {"id": public_id})["model_info.id"]
