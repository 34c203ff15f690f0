"""Answers say what they cost and what is left, to the nano-dollar."""

from typing import Any

from budgets.gate.windows import ActiveWindow, Amounts
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import lifetime_tracker
from proxy.calls import Call, group_of
from proxy.estimate import Estimate
from proxy.headers import answer_headers
from proxy.labels import NO_LABELS
from proxy.profiles import CachedKey
from proxy.tests.factories import MODEL, NAMES, make_active, make_limit, make_profile, make_reading, make_route

NOW = 1_800_000_000_000


def make_call(*windows: ActiveWindow, spent: int = 0, held: int = 0, cost: int | None = 42, **fields: Any) -> Call:
    """A call that holds 1000 nano-dollars, in windows that had so much spent and held."""
    home = group_of("key:k1", windows, Amounts(1000, 100))
    home.readings = fields.pop("readings", tuple(make_reading(spent=spent, held=held) for _ in windows))
    return Call(
        id="0198f000-0000-7000-8000-000000000001",
        key=CachedKey(make_profile(), names=NAMES, loaded_ms=NOW),
        asked=MODEL,
        route=make_route(),
        payload={},
        body=b"",
        estimate=Estimate(60, 40, 1, 1000, bound_given=False),
        labels=NO_LABELS,
        tags=(),
        amounts=Amounts(1000, 100),
        groups=[home],
        admitted_ms=NOW,
        cost_nanousd=cost,
        **fields,
    )


def headers_of(call: Call) -> dict[str, str]:
    headers = answer_headers(call)
    assert len(dict(headers)) == len(headers)
    return dict(headers)


def test_cost_is_exact_and_has_the_name_that_clients_know() -> None:
    headers = headers_of(make_call(cost=1))
    assert headers["x-budgetgate-response-cost"] == headers["x-litellm-response-cost"] == "0.000000001"
    assert headers["x-request-id"] == "0198f000-0000-7000-8000-000000000001"


def test_free_call_says_so() -> None:
    assert headers_of(make_call(cost=0))["x-budgetgate-response-cost"] == "0.0"


def test_remaining_is_the_least_that_a_dollar_window_has_left_after_the_call() -> None:
    windows = (make_active(make_limit(10**6)), make_active(make_limit(10**5, duration="30d")))
    headers = headers_of(make_call(*windows, spent=1000, held=500, cost=42))
    assert headers["x-budgetgate-remaining"] == "0.000098458"


def test_stream_has_no_cost_yet_and_counts_its_hold() -> None:
    headers = headers_of(make_call(make_active(make_limit(10**6)), cost=None))
    assert "x-budgetgate-response-cost" not in headers
    assert "x-litellm-response-cost" not in headers
    assert headers["x-budgetgate-remaining"] == "0.000999"


def test_nothing_is_left_of_a_window_that_was_overspent() -> None:
    headers = headers_of(make_call(make_active(make_limit(100)), spent=99, cost=42))
    assert headers["x-budgetgate-remaining"] == "0.0"
    assert ";r=0;" in headers["ratelimit"]


def test_rate_limit_is_that_of_the_tightest_window_by_share() -> None:
    dollars = make_active(make_limit(10**6, duration="1h"))
    requests = make_active(make_limit(4, duration="1d", unit=LimitUnit.REQUESTS))
    headers = headers_of(make_call(dollars, requests, spent=2, cost=42))
    assert headers["ratelimit"].startswith('"1d";r=1;')
    assert headers["x-budgetgate-remaining"] == "0.000999956"


def test_key_s_whole_spend_counts_this_call() -> None:
    tracker = make_active(lifetime_tracker(0).limit)
    team = make_active(lifetime_tracker(0).limit, kind="team")
    readings = (make_reading(spent=5000), make_reading(spent=10**9))
    headers = headers_of(make_call(tracker, team, readings=readings, cost=42))
    assert headers["x-litellm-key-spend"] == "0.000005042"
    assert "x-budgetgate-remaining" not in headers
    assert "ratelimit" not in headers


def test_call_that_was_admitted_against_nothing_says_nothing_of_budgets() -> None:
    headers = headers_of(make_call(make_active(), readings=()))
    assert set(headers) == {"x-request-id", "x-budgetgate-response-cost", "x-litellm-response-cost"}
