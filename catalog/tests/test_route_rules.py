"""Every message names the field, its value and what is allowed; a pasted key is not repeated."""

from typing import Any

import pytest

from catalog.route_rules import route_problems
from catalog.tests.factories import make_route


def test_route_of_ones_own_has_no_problems() -> None:
    prices = {"input_nanousd_per_mtok": 0, "output_nanousd_per_mtok": 10**15}
    bounds = {"output_tokens_max": 1, "connect_timeout_s": 1, "read_timeout_s": 86_400}
    assert route_problems(make_route(api_key_env="HOUSE_API_KEY", **prices, **bounds)) == {}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "demo"])
def test_providers_of_the_settings_need_no_address(provider: str) -> None:
    assert route_problems(make_route(provider=provider, base_url="")) == {}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("model_name", "", "1 to 200 visible ASCII characters"),
        ("model_name", "two words", "visible ASCII characters without spaces"),
        ("upstream_model", "x" * 201, "1 to 200"),
        ("provider", "My Provider", "lower-case letters"),
        ("base_url", "", "an http or https address"),
        ("base_url", "ftp://host/v1", "an http or https address"),
        ("base_url", "http://", "with a host"),
        ("base_url", "http://host:99999/v1", "an http or https address"),
        ("base_url", "http://host/v1?key=1", "without a query"),
        ("output_tokens_max", 0, "from 1 to 10000000"),
        ("connect_timeout_s", 0, "from 1 to 86400"),
        ("read_timeout_s", 86_401, "from 1 to 86400"),
    ],
)
def test_wrong_value_is_named_with_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    problems = route_problems(make_route(**{field: value}))
    assert list(problems) == [field]
    assert problems[field].startswith(f"{field} is {value!r}; allowed is ")
    assert allowed in problems[field]


@pytest.mark.parametrize("price", [-1, 10**15 + 1])
def test_price_out_of_range_is_named(price: int) -> None:
    problems = route_problems(make_route(input_nanousd_per_mtok=1, output_nanousd_per_mtok=price))
    assert problems == {
        "output_nanousd_per_mtok": f"output_nanousd_per_mtok is {price}; "
        "allowed is 0 to 1000000000000000 nano-USD, or empty"
    }


def test_input_and_output_price_come_together() -> None:
    assert list(route_problems(make_route(input_nanousd_per_mtok=1))) == ["output_nanousd_per_mtok"]
    assert list(route_problems(make_route(cache_read_nanousd_per_mtok=1))) == [
        "input_nanousd_per_mtok",
        "output_nanousd_per_mtok",
    ]


@pytest.mark.parametrize("text", ["sk-proj-abcdef", "DJANGO_SECRET_KEY", "BUDGETGATE_MASTER_KEY", "DATABASE_URL"])
def test_pasted_key_and_the_gateways_own_secrets_are_refused(text: str) -> None:
    problems = route_problems(make_route(api_key_env=text))
    assert list(problems) == ["api_key_env"]
    assert text not in problems["api_key_env"]
