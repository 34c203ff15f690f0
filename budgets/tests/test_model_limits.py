"""Rates and limits by model: how they are read, stored and found again for the model of a call."""

from typing import Any

import pytest

from budgets.rules.limits import (
    LimitError,
    LimitUnit,
    check_distinct,
    limits_of_models,
    parse_limits,
    parse_model_limits,
    parse_model_rates,
    rate_limits,
)
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits, limits_of_model, member_id, root_of, run_scope_id
from budgets.rules.windows import Calendar


def test_rates_are_limits_over_a_minute_a_day_or_all_time() -> None:
    limits = rate_limits({"tpm_limit": 1000, "rpm_limit": 5, "tpd_limit": 9000, "max_parallel_requests": 2})
    assert [(limit.identity, limit.maximum) for limit in limits] == [
        ("tokens/1m", 1000),
        ("requests/1m", 5),
        ("tokens/1d", 9000),
        ("parallel/lifetime", 2),
    ]
    assert [limit.is_rate for limit in limits] == [True, True, False, True]


def test_rates_that_are_not_given_limit_nothing() -> None:
    assert rate_limits({"rpm_limit": None}) == ()


def test_a_rate_and_a_limit_of_the_list_that_are_the_same_are_named_both() -> None:
    limits = parse_limits([{"budget_duration": "60s", "max_requests": 9}])
    with pytest.raises(LimitError, match=r"budget_limits\[0\] \(60s\) has the same period as rpm_limit") as refused:
        check_distinct(limits, rates=rate_limits({"rpm_limit": 5}))
    assert refused.value.field == "budget_limits[0].budget_duration"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"gpt-4o": 5}, {"gpt-4o": {"max_budget": "5.0"}}),
        ({"gpt-4o": "0.25"}, {"gpt-4o": {"max_budget": "0.25"}}),
        (
            {"gpt-4o": {"budget_limit": 5, "time_period": "1d"}},
            {"gpt-4o": {"max_budget": "5.0", "budget_duration": "1d"}},
        ),
        ({"gpt-4o": {"tpm_limit": 7, "rpm_limit": None}}, {"gpt-4o": {"tpm_limit": 7}}),
        (
            {"a": {"budget_limits": [{"budget_duration": "hourly", "max_budget": 1}]}},
            {"a": {"budget_limits": [{"budget_duration": "hourly", "max_budget": "1.0"}]}},
        ),
        ({"a": None, "b": {}}, {}),
    ],
)
def test_limits_by_model_are_stored_in_one_form(given: dict[str, Any], stored: dict[str, Any]) -> None:
    assert parse_model_limits(given, field="model_max_budget") == stored
    assert parse_model_limits(stored, field="model_max_budget") == stored


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ([], "m", "is not an object"),
        ({"gpt-4*": 5}, "m.gpt-4*", "without *"),
        ({"": 5}, "m.", "without *"),
        ({"a": {"max_budget": -1}}, "m.a.max_budget", "-1"),
        ({"a": {"budget_duration": "1d"}}, "m.a.budget_duration", "give both"),
        ({"a": {"max_budget": 1, "budget_duration": "xx"}}, "m.a.budget_duration", "'xx' is not a duration"),
        ({"a": {"max_budget": 1, "budget_limit": 2}}, "m.a.budget_limit", "are the same"),
        ({"a": {"max": 1}}, "m.a.max", "unknown field"),
        ({"a": {"rpm_limit": 1.5}}, "m.a.rpm_limit", "whole number"),
        ({"a": {"budget_limits": [{"budget_duration": "1h"}]}}, "m.a.budget_limits[0].max_budget", "exactly one"),
        (
            {"a": {"rpm_limit": 5, "budget_limits": [{"budget_duration": "1m", "max_requests": 5}]}},
            "m.a.budget_limits[0].budget_duration",
            "rpm_limit",
        ),
        ({f"m{number}": 1 for number in range(101)}, "m", "101 models; allowed are at most 100"),
    ],
)
def test_wrong_limits_by_model_are_named(given: object, field: str, said: str) -> None:
    with pytest.raises(LimitError) as refused:
        parse_model_limits(given, field="m")
    assert refused.value.field == field
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("given", "field"), [(5, "r"), ({"a": -1}, "r.a"), ({"a": True}, "r.a"), ({"a*": 1}, "r.a*"), ({"": 1}, "r.")]
)
def test_wrong_rates_by_model_are_named(given: object, field: str) -> None:
    with pytest.raises(LimitError) as refused:
        parse_model_rates(given, field="r")
    assert refused.value.field == field


def test_rates_by_model_take_the_place_of_those_within_the_limits_of_the_model() -> None:
    limits = limits_of_models({"a": {"max_budget": "1", "rpm_limit": 5}}, rpm={"a": 9, "b": 1}, tpm={"b": 2})
    assert [(limit.identity, limit.maximum) for limit in limits["a"]] == [
        ("usd/lifetime", 1_000_000_000),
        ("requests/1m", 9),
    ]
    assert [limit.identity for limit in limits["b"]] == ["tokens/1m", "requests/1m"]


def counted(*maxima: int, duration: str = "1d") -> tuple[CountedLimit, ...]:
    entries = [{"budget_duration": duration, "max_tokens": maximum} for maximum in maxima]
    return tuple(CountedLimit(limit, 0) for limit in parse_limits(entries))


def test_the_limits_of_a_model_are_found_by_any_of_its_names_and_counted_under_one() -> None:
    scope = ScopeLimits(Scope("key", "k1"), Calendar(), (), {"openai/gpt-4o": counted(5)})
    found = limits_of_model(scope, spellings=("gpt-4o", "openai/gpt-4o"), model="gpt-4o")
    assert found is not None
    assert (found.scope, found.scope.path) == (Scope("key", "k1", "gpt-4o"), "k1/gpt-4o")
    assert found.limits == counted(5)
    assert limits_of_model(scope, spellings=("gpt-4o-mini",), model="gpt-4o-mini") is None


def test_of_the_same_limit_under_two_names_the_lower_maximum_holds() -> None:
    scope = ScopeLimits(Scope("key", "k1"), Calendar(), (), {"x/m": counted(9), "m": counted(5), "y/m": counted(7)})
    found = limits_of_model(scope, spellings=("x/m", "m", "y/m"), model="m")
    assert found is not None
    assert found.limits == counted(5)


def test_ids_of_scopes_that_have_two_parts() -> None:
    assert member_id("u1", team_id="t1") == "u1/t1"
    assert run_scope_id("r1", key_id="k1") == "k1/r1"


def test_counters_live_with_the_team_else_the_user_else_the_key() -> None:
    assert root_of("k", team_id="t", user_id="u") == "team:t"
    assert root_of("k", team_id=None, user_id="u") == "user:u"
    assert root_of("k", team_id=None) == "key:k"


def test_open_calls_are_a_unit_of_their_own() -> None:
    assert [unit.value for unit in LimitUnit] == ["usd", "tokens", "requests", "parallel"]
