"""Refusals name the window that matters, in words for people and numbers for programs."""

import json
from dataclasses import replace
from typing import Any

import pytest

from budgets.rules.admission import Verdict
from budgets.rules.limits import Limit, LimitUnit, rate_limits
from budgets.rules.scopes import Scope
from budgets.rules.windows import END_OF_TIME_MS
from proxy import errors
from proxy.errors import ApiError, Refused, budget_error, refusing
from proxy.tests.factories import make_active, make_limit, make_reading, strict

NOW = 1_800_000_000_000  # an hour begins
CALL_ID = "0198f000-0000-7000-8000-000000000001"


def refusal(
    limit: Limit,
    verdict: Verdict = Verdict.EXHAUSTED,
    *,
    spent: int = 0,
    held: int = 0,
    amount: int = 0,
    later_ms: int = 0,
    kind: str = "key",
    fits: int | None = None,
) -> ApiError:
    active = make_active(limit, now_ms=NOW, kind=kind)
    refused = Refused(CALL_ID, active, make_reading(verdict, spent=spent, held=held), amount, fits)
    return budget_error(refused, now_ms=NOW + later_ms)


def budget_of(error: ApiError) -> dict[str, Any]:
    budget: dict[str, Any] = json.loads(error.body())["error"]["budget"]
    return budget


@pytest.mark.parametrize(
    ("limit", "spent", "kind", "message"),
    [
        (make_limit(10**10), 10**10, "key", "Key over 1h budget. Spend=$10.0000, Limit=$10.00"),
        (make_limit(0), 0, "key", "Key over 1h budget. Spend=$0.0000, Limit=$0.00"),
        (make_limit(300_000), 440_000, "team", "Team over 1h budget. Spend=$0.0004, Limit=$0.0003"),
        (make_limit(1, duration="monthly"), 1, "key", "Key over monthly budget. Spend=$0.0000, Limit=$0.000000001"),
        (make_limit(10**9, duration=None), 10**9, "key", "Key over lifetime budget. Spend=$1.0000, Limit=$1.00"),
        (make_limit(5, unit=LimitUnit.REQUESTS), 5, "key", "Key over 1h budget. Spend=5 requests, Limit=5 requests"),
        (
            make_limit(10**15, unit=LimitUnit.TOKENS),
            7,
            "key",
            f"Key over 1h budget. Spend=7 tokens, Limit={10**15} tokens",
        ),
    ],
)
def test_message_is_the_one_that_clients_know(limit: Limit, spent: int, kind: str, message: str) -> None:
    error = refusal(limit, spent=spent, kind=kind)
    assert error.message == f"ExceededBudget: {message}"
    assert (error.status, error.type, error.param) == (429, "budget_exceeded", None)
    assert json.loads(error.body())["error"]["code"] == "429"


def test_messages_of_the_other_reasons_say_what_to_do() -> None:
    in_flight = refusal(make_limit(10**9), Verdict.IN_FLIGHT, held=10**9)
    assert in_flight.message.endswith("Limit=$1.00. Calls in flight hold the rest; try again soon")
    too_large = refusal(strict(10**9), Verdict.TOO_LARGE, amount=2 * 10**9)
    assert too_large.message.endswith("Limit=$1.00. This call alone may cost more than the whole limit")


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict.EXHAUSTED, "exhausted"),
        (Verdict.IN_FLIGHT, "in_flight"),
        (Verdict.TOO_LARGE, "request_too_large"),
    ],
)
def test_fields_are_exact(verdict: Verdict, reason: str) -> None:
    error = refusal(make_limit(10**10), verdict, spent=1, held=10**9, amount=220_000, fits=17)
    assert budget_of(error) == {
        "reason": reason,
        "scope": "key",
        "scope_id": "k1",
        "budget_duration": "1h",
        "unit": "usd",
        "limit": 10.0,
        "spent": 1e-9,
        "held": 1.0,
        "estimate": 0.00022,
        "reset_at": "2027-01-15T09:00:00Z",
        "output_tokens_max": 17,
    }
    assert b'"spent":0.000000001,' in error.body()
    assert b'"estimate":0.00022,' in error.body()


def test_amounts_of_any_size_keep_every_digit() -> None:
    body = refusal(make_limit(2**53 - 1), spent=2**53 - 2).body()
    assert b'"limit":9007199.254740991,' in body
    assert b'"spent":9007199.25474099,' in body
    assert b"e-" not in body.lower().replace(b"exceeded", b"")


def test_tokens_and_requests_are_whole_numbers() -> None:
    error = refusal(make_limit(5, unit=LimitUnit.REQUESTS), spent=5, amount=1)
    assert {name: budget_of(error)[name] for name in ("unit", "limit", "spent", "held", "estimate")} == {
        "unit": "requests",
        "limit": 5,
        "spent": 5,
        "held": 0,
        "estimate": 1,
    }
    assert b'"limit":5,' in error.body()


def test_lifetime_has_no_reset() -> None:
    error = refusal(make_limit(10**9, duration=None))
    assert budget_of(error)["reset_at"] is None
    assert budget_of(error)["budget_duration"] == "lifetime"


# --- when to try again --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later_ms", "retry_after", "gives_up"),
    [
        (0, "3600", True),
        (1, "3600", True),
        (1000, "3599", True),
        (3_539_000, "61", True),
        (3_540_000, "60", False),
        (3_599_001, "1", False),
        (3_599_999, "1", False),
        (3_600_500, "1", False),
    ],
)
def test_exhausted_window_says_when_it_resets(later_ms: int, retry_after: str, gives_up: bool) -> None:
    headers = dict(refusal(make_limit(duration="1h"), later_ms=later_ms).headers)
    assert headers["retry-after"] == retry_after
    assert headers.get("x-should-retry") == ("false" if gives_up else None)
    assert headers["x-request-id"] == CALL_ID


def test_calls_in_flight_are_worth_a_second_try() -> None:
    headers = dict(refusal(make_limit(duration="30d"), Verdict.IN_FLIGHT).headers)
    assert headers["retry-after"] == "1"
    assert "x-should-retry" not in headers


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(make_limit(duration=None), Verdict.EXHAUSTED), (strict(1), Verdict.TOO_LARGE)],
)
def test_what_never_passes_is_not_tried_again(limit: Limit, verdict: Verdict) -> None:
    headers = dict(refusal(limit, verdict).headers)
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers


def test_refusals_carry_the_rate_limit_of_their_window() -> None:
    headers = dict(refusal(make_limit(10**10, duration="1h"), spent=4 * 10**9, held=10**9).headers)
    assert headers["ratelimit"] == '"1h";r=5000000;t=3600'


# --- which window -------------------------------------------------------------------------------------

ROOM, EXHAUSTED, IN_FLIGHT, TOO_LARGE = Verdict.ROOM, Verdict.EXHAUSTED, Verdict.IN_FLIGHT, Verdict.TOO_LARGE


@pytest.mark.parametrize(
    ("verdicts", "named"),
    [
        ([EXHAUSTED, ROOM, ROOM], 0),
        ([ROOM, ROOM, IN_FLIGHT], 2),
        ([EXHAUSTED, EXHAUSTED, ROOM], 1),
        ([IN_FLIGHT, EXHAUSTED, IN_FLIGHT], 1),
        ([EXHAUSTED, IN_FLIGHT, IN_FLIGHT], 0),
        ([TOO_LARGE, EXHAUSTED, EXHAUSTED], 0),
        ([EXHAUSTED, EXHAUSTED, EXHAUSTED], 2),
    ],
)
def test_window_that_keeps_the_call_out_longest_is_named(verdicts: list[Verdict], named: int) -> None:
    windows = tuple(make_active(make_limit(duration=duration), now_ms=NOW) for duration in ("1h", "30d", None))
    assert windows[2].window.end_ms == END_OF_TIME_MS
    assert refusing(windows, readings=tuple(make_reading(verdict) for verdict in verdicts)) == named


# --- the other errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "message", "kind", "param"),
    [
        (errors.no_key(), 401, "Authentication Error, No api key passed in.", "auth_error", None),
        (
            errors.unknown_key(),
            401,
            "Authentication Error, Invalid API key provided.",
            "token_not_found_in_db",
            "key",
        ),
        (
            errors.blocked_key(),
            401,
            "Authentication Error, Key is blocked. Update via `/key/unblock` if you're an admin.",
            "auth_error",
            "key",
        ),
        (
            errors.blocked_team("t1"),
            401,
            "Authentication Error, Team=t1 is blocked. Update via `/team/unblock` if you're an admin.",
            "auth_error",
            "team_id",
        ),
        (
            errors.expired_key(NOW),
            401,
            "Authentication Error - Expired Key. Key Expiry time 2027-01-15T08:00:00Z.",
            "expired_key",
            "key",
        ),
        (errors.internal_error(), 500, "Internal server error", "internal_server_error", None),
        (errors.body_too_large(5), 413, "The request body is larger than 5 bytes.", "invalid_request_error", None),
        (errors.not_found("/x"), 404, "There is no /x.", "not_found_error", None),
    ],
)
def test_errors_have_their_shape(error: ApiError, status: int, message: str, kind: str, param: str | None) -> None:
    assert json.loads(error.body()) == {
        "error": {"message": message, "type": kind, "param": param, "code": str(status)}
    }
    assert error.status == status


@pytest.mark.parametrize("holder", ["key", "team"])
def test_denied_model_names_who_denies_it(holder: str) -> None:
    error = errors.model_denied("gpt-4o", holder=holder)
    assert (error.status, error.type, error.param) == (403, f"{holder}_model_access_denied", "model")
    assert "'gpt-4o'" in error.message


@pytest.mark.parametrize("make", [errors.unknown_model, errors.unpriced_model])
def test_long_names_are_repeated_in_part(make: Any) -> None:
    assert len(make("x" * 10**6).message) < 500
    assert len(errors.model_denied("x" * 10**6, holder="key").message) < 500
    assert "gpt-4o" in make("gpt-4o").message


@pytest.mark.parametrize("make", [errors.store_down, errors.database_down])
def test_outages_are_worth_a_second_try(make: Any) -> None:
    assert (make().status, dict(make().headers)["retry-after"]) == (503, "1")


# --- rates, models and scopes that are not shown --------------------------------------------------------


def rate_refusal(verdict: Verdict = Verdict.EXHAUSTED, *, spent: int, held: int = 0, **fields: Any) -> ApiError:
    [limit] = rate_limits({"rpm_limit": 3})
    active = replace(make_active(limit, now_ms=NOW + 1000), scope=Scope("team", "t1", fields.pop("model", None)))
    refused = Refused(CALL_ID, active, make_reading(verdict, spent=spent, held=held), 1, None, **fields)
    return budget_error(refused, now_ms=NOW + 1000, status=402)


def test_rate_is_refused_in_the_words_of_rates() -> None:
    error = rate_refusal(spent=3)
    assert error.message == (
        "Rate limit exceeded for team: t1. Limit type: requests. Current limit: 3, Remaining: 0. "
        "Limit resets at: 2027-01-15 08:01:00 UTC"
    )
    assert (error.status, error.type) == (429, "throttling_error")
    assert dict(error.headers)["retry-after"] == "59"
    assert dict(error.headers)["rate_limit_type"] == "requests"
    assert budget_of(error)["reason"] == "exhausted"


def test_requests_in_flight_give_nothing_back_within_their_minute() -> None:
    assert dict(rate_refusal(Verdict.IN_FLIGHT, spent=1, held=2).headers)["retry-after"] == "59"


def test_rate_of_one_model_names_it() -> None:
    error = rate_refusal(spent=3, model="gpt-4o")
    assert error.message.startswith("Rate limit exceeded for team: t1 for gpt-4o. ")
    assert budget_of(error)["model"] == "gpt-4o"


def test_scope_that_the_caller_need_not_know_has_no_name() -> None:
    error = rate_refusal(spent=3, is_hidden=True)
    assert error.message.startswith("Rate limit exceeded for team. Limit type")
    assert budget_of(error)["scope_id"] is None
    assert b"t1" not in error.body()


def test_unknown_windows_never_name_a_refusal() -> None:
    windows = (make_active(make_limit(duration=None)), make_active(make_limit(duration="1h")))
    readings = (make_reading(Verdict.UNKNOWN), make_reading(Verdict.IN_FLIGHT))
    assert refusing(windows, readings=readings) == 1
