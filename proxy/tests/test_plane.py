"""A call from its request to its entry: every refusal has its status and shape, and no hold is left behind."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import LazySettings

from budgets.rules.limits import LimitUnit
from proxy.tests.factories import MODEL, make_body, make_card, make_limit, make_route, make_scope, strict
from proxy.tests.gateway import (
    KEY,
    MASTER_KEY,
    Gateway,
    assert_charged,
    assert_nothing_happened,
    running_gateway,
)
from tests.provider.behaviour import Behaviour
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token


# --- calls that work ----------------------------------------------------------------------------------


async def test_json_call_is_passed_on_and_charged_exactly(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=7))
    answer = await gateway.ask()
    assert answer.status == 200
    assert answer.json["usage"]["completion_tokens"] == 7
    assert answer.headers["x-budgetgate-response-cost"] == "0.0001542"
    assert answer.headers["content-type"] == "application/json"
    await assert_charged(gateway, valkey, cost=1000 * INPUT + 7 * OUTPUT)
    entry = (await gateway.settled())[0]
    assert (entry.kind, entry.is_estimated, entry.is_streamed, entry.http_status) == ("call", False, False, 200)
    assert (entry.input_tokens, entry.output_tokens, entry.model) == (1000, 7, MODEL)
    assert entry.first_byte_ms is not None
    assert 0 <= entry.first_byte_ms < 5000
    assert provider.calls[0].body == make_body()


async def test_stream_is_passed_on_and_charged_exactly(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=7))
    answer = await gateway.ask(make_body(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert "x-budgetgate-response-cost" not in answer.headers
    assert "content-length" not in answer.headers
    assert answer.body.count(b"data: ") == 1 + 7 + 1 + 1
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"prompt_tokens"' not in answer.body
    await assert_charged(gateway, valkey, cost=1000 * INPUT + 7 * OUTPUT)
    assert (await gateway.settled())[0].is_streamed


async def test_chunks_of_a_stream_are_passed_on_as_they_come(gateway: Gateway, provider: Provider) -> None:
    provider.behave(Behaviour(output_tokens=3, piece_delay_s=0.1))
    loop, arrivals = asyncio.get_running_loop(), []

    async def note(message: Any) -> None:
        arrivals.append(loop.time())

    await gateway.ask(make_body(stream=True), on_send=note)
    pauses = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert max(pauses) < 0.4
    assert arrivals[-1] - arrivals[0] > 0.4


async def test_client_that_asked_for_usage_gets_it(gateway: Gateway, provider: Provider) -> None:
    answer = await gateway.ask(make_body(stream=True, stream_options={"include_usage": True}))
    assert b'"prompt_tokens"' in answer.body


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
async def test_pieces_of_any_size_give_the_same_charge(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, newline: bytes
) -> None:
    provider.behave(Behaviour(prompt_tokens=10, output_tokens=3, split_bytes=7, newline=newline))
    answer = await gateway.ask(make_body(stream=True))
    assert answer.body.count(b"yes ") == 3
    await assert_charged(gateway, valkey, cost=10 * INPUT + 3 * OUTPUT)


async def test_json_answer_to_a_stream_request_is_charged_as_json(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()
    provider.behave(Behaviour(body=body, headers={"content-type": "application/json"}))
    answer = await gateway.ask(make_body(stream=True))
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "application/json"
    await assert_charged(gateway, valkey, cost=3 * INPUT + 2 * OUTPUT)


@pytest.mark.parametrize("body", [b"", b"not json", b"{}", b'{"usage": {"prompt_tokens": -1}}', b"\xff\x00"])
async def test_answer_that_makes_no_sense_is_passed_on_and_charged_by_its_size(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, body: bytes
) -> None:
    provider.behave(Behaviour(body=body))
    answer = await gateway.ask()
    assert (answer.status, answer.body) == (200, body)
    await assert_charged(gateway, valkey, cost=-(-len(make_body()) // 4) * INPUT + -(-len(body) // 4) * OUTPUT)
    assert (await gateway.settled())[0].is_estimated


async def test_cost_is_reckoned_at_the_tier_that_the_answer_names(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    card = make_card(service_tiers=(("flex", make_card(input=75_000_000, output=300_000_000)),))
    gateway.plane.routes.by_name[MODEL] = make_route(  # type: ignore[attr-defined]
        base_url=provider.base_url, api_key=provider.api_key, card=card
    )
    provider.behave(Behaviour(prompt_tokens=10, output_tokens=2, service_tier="flex"))
    await gateway.ask(make_body(service_tier="flex"))
    await assert_charged(gateway, valkey, cost=(10 * INPUT + 2 * OUTPUT) // 2)


@pytest.mark.parametrize(("asked", "factor"), [("priority", 2), ("flex", 1), (None, 1)])
async def test_answer_without_a_tier_costs_the_dearer_of_the_asked_and_the_standard_one(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, asked: str | None, factor: int
) -> None:
    tiers = (("priority", make_card(input=300_000_000, output=1_200_000_000)), ("flex", make_card(input=1, output=1)))
    gateway.plane.routes.by_name[MODEL] = make_route(  # type: ignore[attr-defined]
        base_url=provider.base_url, api_key=provider.api_key, card=make_card(service_tiers=tiers)
    )
    provider.behave(Behaviour(prompt_tokens=10, output_tokens=2, service_tier=""))
    await gateway.ask(make_body(service_tier=asked))
    await assert_charged(gateway, valkey, cost=factor * (10 * INPUT + 2 * OUTPUT))


async def test_model_without_a_price_is_free_where_the_operator_wants_it(
    valkey: redis.Redis, settings: LazySettings, provider: Provider, tmp_path: Path
) -> None:
    route = make_route(base_url=provider.base_url, api_key=provider.api_key, card=None)
    async with running_gateway(
        prefix=settings.REDIS_PREFIX, journal=tmp_path, routes=[route], admit_unpriced=True
    ) as gateway:
        assert (await gateway.ask()).status == 200
        await assert_charged(gateway, valkey, cost=0)
        assert (await gateway.settled())[0].is_unpriced


async def test_demo_model_is_charged_like_any_other(
    valkey: redis.Redis, settings: LazySettings, tmp_path: Path
) -> None:
    route = make_route(model="demo", provider="demo", upstream_model="demo")
    async with running_gateway(prefix=settings.REDIS_PREFIX, journal=tmp_path, routes=[route]) as gateway:
        usage = (await gateway.ask(make_body(model="demo"))).json["usage"]
        assert b"[DONE]" in (await gateway.ask(make_body(model="demo", stream=True))).body
        first, second = await gateway.settled()
        assert first.cost_nanousd == usage["prompt_tokens"] * INPUT + usage["completion_tokens"] * OUTPUT
        assert second.cost_nanousd == first.cost_nanousd


# --- refused before the provider ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "kind", "param"),
    [
        ({}, 401, "auth_error", None),
        ({"authorization": "Bearer "}, 401, "auth_error", None),
        ({"authorization": "Bearer hello"}, 401, "auth_error", "key"),
        ({"authorization": "Basic c2s6"}, 401, "auth_error", "key"),
        ({"authorization": "Bearer sk-unknown"}, 401, "token_not_found_in_db", "key"),
        ({"authorization": "Bearer sk-\xff\xfe"}, 401, "token_not_found_in_db", "key"),
        ({"x-api-key": "sk-unknown"}, 401, "token_not_found_in_db", "key"),
        ({"authorization": f"Bearer {MASTER_KEY}"}, 403, "auth_error", "key"),
    ],
)
async def test_callers_without_a_good_key_are_refused(
    gateway: Gateway,
    valkey: redis.Redis,
    headers: dict[str, str],
    status: int,
    kind: str,
    param: str | None,
) -> None:
    answer = await gateway.ask(key=None, headers=headers)
    assert (answer.status, answer.error["type"], answer.error["param"]) == (status, kind, param)
    await assert_nothing_happened(gateway, valkey)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"authorization": KEY},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-litellm-api-key": f"Bearer {KEY}"},
    ],
)
async def test_key_may_come_in_the_headers_that_clients_use(gateway: Gateway, headers: dict[str, str]) -> None:
    assert (await gateway.ask(key=None, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("fields", "status", "kind", "param"),
    [
        ({"blocked": True}, 401, "auth_error", "key"),
        ({"team_id": "t1", "team_blocked": True}, 401, "auth_error", "team_id"),
        ({"expires_ms": 1_600_000_000_000}, 401, "expired_key", "key"),
        ({"models": frozenset({"other"})}, 403, "key_model_access_denied", "model"),
        ({"team_id": "t1", "team_models": frozenset({"other"})}, 403, "team_model_access_denied", "model"),
    ],
)
async def test_keys_that_may_not_are_refused(
    gateway: Gateway, valkey: redis.Redis, fields: dict[str, Any], status: int, kind: str, param: str
) -> None:
    gateway.keys.add(**fields)
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"], answer.error["param"]) == (status, kind, param)
    await assert_nothing_happened(gateway, valkey)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (make_body(model="nope"), "model"),
        (make_body(model="x" * 5000), "model"),
        (make_body(model="unpriced"), "model"),
        (b"not json", None),
        (b"", None),
        (b"[1]", None),
        (b"{}", "model"),
        (make_body(stream="yes"), "stream"),
        (b'{"model":"gpt-4o-mini","x":' + b"[" * 4000 + b"]" * 4000 + b"}", None),
        (b'{"model":"gpt-4o-mini","x":"\xff"}', None),
        (b'{"model":"gpt-4o-mini","temperature":NaN}', None),
        (make_body(n=0), "n"),
        (make_body(max_tokens="many"), "max_tokens"),
        (make_body(Max_Tokens=3), "Max_Tokens"),
    ],
)
async def test_bad_input_is_400_and_says_where(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, body: bytes, param: str | None
) -> None:
    gateway.plane.routes.by_name["unpriced"] = make_route(model="unpriced", card=None)  # type: ignore[attr-defined]
    answer = await gateway.ask(body)
    assert (answer.status, answer.error["type"], answer.error["param"]) == (400, "invalid_request_error", param)
    assert len(answer.body) < 1000
    assert provider.calls == []
    await assert_nothing_happened(gateway, valkey)


async def test_full_window_refuses_and_holds_nothing(gateway: Gateway, valkey: redis.Redis, provider: Provider) -> None:
    gateway.keys.add(make_scope(make_limit(0), make_limit(10**10, duration="30d")))
    answer = await gateway.ask()
    assert answer.status == 429
    assert answer.error["type"] == "budget_exceeded"
    assert answer.error["message"] == "ExceededBudget: Key over 1h budget. Spend=$0.0000, Limit=$0.00"
    assert answer.error["budget"]["reason"] == "exhausted"
    assert provider.calls == []
    await assert_nothing_happened(gateway, valkey)


async def test_refusals_in_an_empty_store_note_their_root_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    async def note(root: str, *, now_ms: int) -> None:
        noted.append(root)

    monkeypatch.setattr(gateway.plane.gate, "note_root", note)
    gateway.keys.add(make_scope(make_limit(0)))
    for _ in range(3):
        assert (await gateway.ask()).status == 429
        await asyncio.sleep(0.002)  # another millisecond
    assert len(noted) == 1


async def test_strict_limit_says_what_would_fit_and_what_it_says_fits(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(strict(1_000_000)))
    refused = await gateway.ask(make_body(max_tokens=5000))
    assert refused.error["budget"]["reason"] == "request_too_large"
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    fits = refused.error["budget"]["output_tokens_max"]
    assert (await gateway.ask(make_body(max_tokens=fits))).status == 200


async def test_strict_limit_bounds_an_answer_that_the_client_did_not_bound(
    gateway: Gateway, provider: Provider
) -> None:
    gateway.keys.add(make_scope(strict(10**9)))
    await gateway.ask(make_body(n=2))
    await gateway.ask(make_body(max_tokens=5))
    await gateway.ask(make_body(max_output_tokens=5))
    sent = [call.payload for call in provider.calls]
    assert [payload.get("max_completion_tokens") for payload in sent] == [1000, None, 1000]
    assert sent[1]["max_tokens"] == 5


async def test_standard_limit_leaves_the_answer_unbounded(gateway: Gateway, provider: Provider) -> None:
    await gateway.ask()
    assert "max_completion_tokens" not in provider.calls[0].payload


async def test_limits_of_requests_and_tokens_count_them(gateway: Gateway, provider: Provider) -> None:
    requests = make_limit(2, unit=LimitUnit.REQUESTS, duration="30d")
    tokens = make_limit(10**6, unit=LimitUnit.TOKENS)
    gateway.keys.add(make_scope(requests, tokens))
    provider.behave(Behaviour(prompt_tokens=100, output_tokens=20))
    assert [(await gateway.ask()).status for _ in range(3)] == [200, 200, 429]
    await gateway.settled()
    assert (await gateway.ask()).error["message"] == (
        "ExceededBudget: Key over 30d budget. Spend=2 requests, Limit=2 requests"
    )
