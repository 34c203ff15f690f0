"""Limits of one model, of a run, of calls at the same time, and rates; aliases and allowed routes from end to end."""

import asyncio
from pathlib import Path

import pytest
import redis
from django.conf import LazySettings

from budgets.rules.limits import Limit, LimitUnit, rate_limits
from budgets.rules.scopes import CountedLimit, Raise, Scope, ScopeLimits
from budgets.rules.windows import Calendar
from proxy.calls import now_ms
from proxy.tests.factories import MODEL, make_body, make_limit, make_route, make_scope
from proxy.tests.gateway import KEY, Gateway, assert_nothing_happened, counters, open_holds, running_gateway
from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token
COST = 1000 * INPUT + 10 * OUTPUT
KEY_ID = "0198f000-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
def _usage(provider: Provider) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10))


def add_route(gateway: Gateway, provider: Provider, model: str) -> None:
    gateway.plane.routes.by_name[model] = make_route(  # type: ignore[attr-defined]
        model=model, base_url=provider.base_url, api_key=provider.api_key
    )


def rate(**fields: int) -> Limit:
    [limit] = rate_limits(fields)
    return limit


# --- models -------------------------------------------------------------------------------------------


async def test_limit_of_one_model_counts_its_calls_only(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    add_route(gateway, provider, "other")
    gateway.keys.add(make_scope(make_limit(), by_model={MODEL: [make_limit(COST, duration="1d")]}))
    assert (await gateway.ask(make_body(model="other"))).status == 200
    assert (await gateway.ask()).status == 200
    await gateway.settled()
    refused = await gateway.ask()
    assert refused.error["message"] == (
        f"ExceededBudget: Key over 1d budget for {MODEL}. Spend=$0.0002, Limit=$0.000156"
    )
    assert refused.error["budget"]["model"] == MODEL
    assert (await gateway.ask(make_body(model="other"))).status == 200
    await gateway.settled()
    by_model = {name: each for name, each in counters(valkey, gateway.names).items() if f"/{MODEL}:" in name}
    assert [*by_model.values()] == [{"spent": COST, "held": 0}]


@pytest.mark.parametrize("named", ["fast", MODEL, f"openai/{MODEL}"])
async def test_limit_of_a_model_holds_however_caller_and_admin_spell_it(gateway: Gateway, named: str) -> None:
    gateway.keys.add(make_scope(make_limit(), by_model={named: [make_limit(0)]}), aliases={"fast": MODEL})
    assert (await gateway.ask(make_body(model="fast"))).status == 429
    assert (await gateway.ask(make_body(model=MODEL))).status == 429


async def test_limit_of_a_model_whose_name_is_an_alias_of_another_leaves_that_one_alone(
    gateway: Gateway, provider: Provider
) -> None:
    add_route(gateway, provider, "other")
    gateway.keys.add(make_scope(make_limit(), by_model={"other": [make_limit(0)]}), aliases={"other": MODEL})
    assert (await gateway.ask(make_body(model="other"))).status == 429
    assert (await gateway.ask(make_body(model=MODEL))).status == 200


async def test_windows_of_a_model_are_worked_out_once_and_again_at_their_end(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(make_limit(), by_model={MODEL: [make_limit()]}))
    await gateway.ask()
    key = await gateway.plane.authenticate(KEY)
    assert not hasattr(key, "status")
    at_ms = now_ms()
    first = key.windows_for(at_ms, spellings=(MODEL,), model=MODEL)
    again = key.windows_for(at_ms, spellings=(MODEL,), model=MODEL)
    assert first[-1] is again[-1]
    assert (first[-1].scope.model, first[0].scope.model) == (MODEL, None)
    later = key.windows_for(first[-1].window.end_ms, spellings=(MODEL,), model=MODEL)
    assert later[-1].window.start_ms == first[-1].window.end_ms


# --- rates --------------------------------------------------------------------------------------------


async def test_requests_of_a_minute_are_refused_as_a_rate(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(rate(rpm_limit=1)), alias="mine")
    assert (await gateway.ask()).status == 200
    await gateway.settled()
    refused = await gateway.ask()
    assert (refused.status, refused.error["type"]) == (429, "throttling_error")
    assert refused.error["message"].startswith(
        "Rate limit exceeded for key: mine. Limit type: requests. Current limit: 1, Remaining: 0. Limit resets at: 20"
    )
    assert refused.error["message"].endswith(":00 UTC")
    assert refused.headers["rate_limit_type"] == "requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.error["budget"]["reason"] == "exhausted"


async def test_parallel_calls_are_bounded_exactly_and_leave_nothing_behind(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    provider.behave(Behaviour(delay_s=0.3))
    gateway.keys.add(make_scope(make_limit(), rate(max_parallel_requests=5)))
    answers = await asyncio.gather(*(gateway.ask() for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 15
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error["type"] == "throttling_error"
    assert refused.error["message"] == (
        "Rate limit exceeded for key: k1. Limit type: max_parallel_requests. Current limit: 5, Remaining: 0. "
        "Calls in flight hold the rest; try again soon"
    )
    assert refused.headers["rate_limit_type"] == "max_parallel_requests"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit-policy"] == '"parallel";q=5;qu="calls"'
    assert len(await gateway.settled()) == 5
    parallel = {name: each for name, each in counters(valkey, gateway.names).items() if "parallel/" in name}
    assert [*parallel.values()] == [{"spent": 0, "held": 0}]
    assert (await gateway.ask()).status == 200
    await gateway.settled()


async def test_no_parallel_calls_at_all_is_never_worth_trying_again(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(rate(max_parallel_requests=0)))
    refused = await gateway.ask()
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")


@pytest.mark.parametrize("status", [422, 402, 400])
async def test_operator_chooses_the_status_of_budgets_and_not_that_of_rates(
    valkey: redis.Redis, settings: LazySettings, provider: Provider, tmp_path: Path, status: int
) -> None:
    async with running_gateway(prefix=settings.REDIS_PREFIX, journal=tmp_path, budget_status=status) as gateway:
        gateway.keys.add(make_scope(make_limit(0)))
        refused = await gateway.ask()
        assert (refused.status, refused.error["code"], refused.error["type"]) == (
            status,
            str(status),
            "budget_exceeded",
        )
        gateway.keys.add(make_scope(rate(tpm_limit=0)), key="sk-another")
        throttled = await gateway.ask(key="sk-another")
        assert (throttled.status, throttled.error["type"]) == (429, "throttling_error")
        assert throttled.headers["rate_limit_type"] == "tokens"


# --- runs ---------------------------------------------------------------------------------------------


async def test_run_is_bounded_for_its_life(gateway: Gateway, valkey: redis.Redis) -> None:
    headers = {"x-budgetgate-run": "r1; max=0.0002"}
    first = await gateway.ask(headers=headers)
    assert first.headers["x-budgetgate-run-remaining"] == "0.000044"
    await gateway.settled()
    second = await gateway.ask(headers=headers)
    assert (second.status, second.headers["x-budgetgate-run-remaining"]) == (200, "0.0")
    await gateway.settled()
    refused = await gateway.ask(headers=headers)
    assert refused.error["message"] == "ExceededBudget: Run over lifetime budget. Spend=$0.0003, Limit=$0.0002"
    assert (refused.error["budget"]["scope"], refused.error["budget"]["scope_id"]) == ("run", f"{KEY_ID}/r1")
    assert (await gateway.ask(headers={"x-budgetgate-run": "r2; max=0.0002"})).status == 200
    assert (await gateway.ask()).status == 200
    entries = await gateway.settled()
    assert [entry.run_id for entry in entries] == ["r1", "r1", "r2", None]
    assert open_holds(valkey, gateway.names) == 0


async def test_run_without_a_maximum_is_counted(gateway: Gateway, valkey: redis.Redis) -> None:
    answer = await gateway.ask(headers={"x-budgetgate-run": "r1"})
    assert "x-budgetgate-run-remaining" not in answer.headers
    await gateway.settled()
    [counter] = [each for name, each in counters(valkey, gateway.names).items() if ":run:" in name]
    assert counter == {"spent": COST, "held": 0}


async def test_strict_run_is_never_passed(gateway: Gateway, provider: Provider) -> None:
    headers = {"x-budgetgate-run": "r1; max=0.01; enforcement=strict"}
    body = make_body(max_tokens=1000)
    answers = await asyncio.gather(*(gateway.ask(body, headers=headers) for _ in range(40)))
    hold = len(body) * INPUT + 1000 * OUTPUT
    assert sum(answer.status == 200 for answer in answers) == 10_000_000 // hold
    await gateway.settled()
    await gateway.ask(make_body(), headers=headers)
    assert provider.calls[-1].payload["max_completion_tokens"] == 1000


async def test_run_s_counter_vanishes_a_day_after_its_last_use_and_is_seeded_from_the_ledger(
    gateway: Gateway, valkey: redis.Redis
) -> None:
    headers = {"x-budgetgate-run": "r1; max=1"}
    await gateway.ask(headers=headers)
    await gateway.settled()
    [name] = [name for name in counters(valkey, gateway.names) if ":run:" in name]
    assert 86_000_000 < valkey.pttl(name) <= 86_400_000
    valkey.delete(name)
    await gateway.ask(headers=headers)
    await gateway.settled()
    assert counters(valkey, gateway.names)[name] == {"spent": 2 * COST, "held": 0}


# --- aliases and routes -------------------------------------------------------------------------------


async def test_alias_goes_where_it_says_and_is_listed(gateway: Gateway, provider: Provider) -> None:
    gateway.keys.add(aliases={"fast": MODEL, "gone": "nothing"})
    assert (await gateway.ask(make_body(model="fast"))).status == 200
    assert provider.calls[0].payload["model"] == MODEL
    assert (await gateway.settled())[0].model == MODEL
    unknown = await gateway.ask(make_body(model="gone"))
    assert (unknown.status, unknown.error["param"]) == (400, "model")
    listed = (await gateway.ask(b"", method="GET", path="/v1/models")).json["data"]
    assert [model["id"] for model in listed] == [MODEL, "fast"]


async def test_key_reaches_its_allowed_routes_only(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.keys.add(routes=frozenset({"info_routes"}))
    assert (await gateway.ask(b"", method="GET", path="/v1/models")).status == 200
    refused = await gateway.ask()
    assert (refused.status, refused.error["type"]) == (403, "auth_error")
    assert refused.error["message"] == (
        "Virtual key is not allowed to call this route. Only allowed to call routes: ['info_routes']. "
        "Tried to call route: /v1/chat/completions"
    )
    await assert_nothing_happened(gateway, valkey)


async def test_user_that_is_not_active_makes_no_calls(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.keys.add(user_id="u1", user_blocked=True)
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"], answer.error["param"]) == (401, "auth_error", "user_id")
    await assert_nothing_happened(gateway, valkey)


# --- max_budget ---------------------------------------------------------------------------------------


async def test_answer_says_the_key_s_max_budget_with_its_grants(gateway: Gateway) -> None:
    assert "x-litellm-key-max-budget" not in (await gateway.ask()).headers
    granted = CountedLimit(make_limit(5 * 10**9), 0, (Raise(0, now_ms() + 60_000, 10**8),))
    scope = ScopeLimits(Scope("key", KEY_ID), Calendar(), (granted,))
    gateway.keys.add(scope, key="sk-another", has_max_budget=True)
    assert (await gateway.ask(key="sk-another")).headers["x-litellm-key-max-budget"] == "5.1"


async def test_key_and_parallel_limit_say_no_rate_that_is_always_used_up(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(make_limit(), rate(max_parallel_requests=1)))
    assert (await gateway.ask()).headers["ratelimit"].startswith('"1h";')


async def test_requests_of_a_minute_that_are_in_flight_wait_for_the_next_minute(
    gateway: Gateway, provider: Provider
) -> None:
    provider.behave(Behaviour(delay_s=0.3))
    gateway.keys.add(make_scope(rate(rpm_limit=1)))
    first, second = await asyncio.gather(gateway.ask(), gateway.ask())
    refused = first if first.status == 429 else second
    assert refused.error["budget"]["reason"] == "in_flight"
    assert "Limit resets at" in refused.error["message"]
    assert LimitUnit.REQUESTS.value == refused.headers["rate_limit_type"]
