"""A call from its request to its entry: every refusal has its status and shape, and no hold is left behind."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import LazySettings

from budgets.gate.wire import StoreError
from budgets.rules.limits import LimitUnit
from proxy import plane as plane_module
from proxy.tests.factories import MODEL, make_body, make_card, make_limit, make_route, make_scope, strict
from proxy.tests.gateway import CHAT, KEY, MASTER_KEY, Gateway, counters, hash_of, open_holds, running_gateway
from tests.provider.behaviour import Behaviour, Ending
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token


async def assert_nothing_happened(gateway: Gateway, store: redis.Redis) -> None:
    assert await gateway.settled() == []
    assert open_holds(store, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    assert all(counter == {"spent": 0, "held": 0} for counter in counters(store, gateway.names).values())


async def assert_charged(gateway: Gateway, store: redis.Redis, *, cost: int) -> None:
    entries = await gateway.settled()
    assert [entry.cost_nanousd for entry in entries] == [cost]
    assert open_holds(store, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    found = counters(store, gateway.names)
    assert found
    assert all(counter == {"spent": cost, "held": 0} for counter in found.values())


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


# --- the provider fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_of_the_provider_are_passed_on_and_cost_nothing(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, status: int, stream: bool
) -> None:
    provider.behave(Behaviour(status=status, retry_after_s=7))
    answer = await gateway.ask(make_body(stream=stream))
    assert answer.status == status
    assert answer.json["error"]["message"]
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["content-type"] == "application/json"
    assert "x-budgetgate-response-cost" not in answer.headers
    await assert_nothing_happened(gateway, valkey)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("ending", "status", "kind"),
    [
        (Ending.RESET_BEFORE_HEADERS, 502, "upstream_unreachable"),
        (Ending.HANG_BEFORE_HEADERS, 504, "upstream_timeout"),
    ],
)
async def test_provider_that_answers_nothing_costs_nothing(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, stream: bool, ending: Ending, status: int, kind: str
) -> None:
    impatient(gateway, provider)
    provider.behave(Behaviour(ending=ending))
    answer = await gateway.ask(make_body(stream=stream))
    assert (answer.status, answer.error["type"]) == (status, kind)
    await assert_nothing_happened(gateway, valkey)


async def test_provider_that_is_not_there_costs_nothing(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.plane.routes.by_name[MODEL] = make_route()  # type: ignore[attr-defined]
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"]) == (502, "upstream_unreachable")
    await assert_nothing_happened(gateway, valkey)


@pytest.mark.parametrize(("ending", "status"), [(Ending.CUT, 502), (Ending.RESET, 502), (Ending.HANG, 504)])
async def test_json_answer_that_breaks_off_costs_what_the_request_does(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, ending: Ending, status: int
) -> None:
    impatient(gateway, provider)
    provider.behave(Behaviour(ending=ending, pieces=1))
    answer = await gateway.ask()
    assert answer.status == status
    await assert_charged(gateway, valkey, cost=-(-len(make_body()) // 4) * INPUT)
    entry = (await gateway.settled())[0]
    assert (entry.is_estimated, entry.http_status) == (True, status)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(Ending.CUT, "upstream_unreachable"), (Ending.RESET, "upstream_unreachable"), (Ending.HANG, "upstream_timeout")],
)
async def test_stream_that_breaks_off_ends_with_an_error_event_and_costs_what_came(
    gateway: Gateway, valkey: redis.Redis, provider: Provider, ending: Ending, kind: str
) -> None:
    impatient(gateway, provider)
    provider.behave(Behaviour(ending=ending, pieces=4, piece_delay_s=0.05))
    body = make_body(stream=True)
    answer = await gateway.ask(body)
    assert answer.status == 200
    *events, last = answer.body.removesuffix(b"\n\n").split(b"\n\n")
    assert len(events) == 4
    assert json.loads(last.removeprefix(b"data: "))["error"]["type"] == kind
    await assert_charged(gateway, valkey, cost=-(-len(body) // 4) * INPUT + 3 * OUTPUT)
    assert (await gateway.settled())[0].is_estimated


async def test_stream_that_ends_without_usage_is_estimated(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    provider.behave(Behaviour(ending=Ending.UNFINISHED, output_tokens=6))
    body = make_body(stream=True)
    answer = await gateway.ask(body)
    assert b"error" not in answer.body
    await assert_charged(gateway, valkey, cost=-(-len(body) // 4) * INPUT + 6 * OUTPUT)


def impatient(gateway: Gateway, provider: Provider) -> None:
    """The route gives its provider a quarter of a second."""
    route = make_route(base_url=provider.base_url, api_key=provider.api_key, read_timeout_s=0.25)
    gateway.plane.routes.by_name[MODEL] = route  # type: ignore[attr-defined]


# --- the store or the database is down ----------------------------------------------------------------


async def test_store_that_is_down_refuses_with_503(settings: LazySettings, tmp_path: Path, provider: Provider) -> None:
    async with running_gateway(prefix="bgtest", journal=tmp_path, redis_url="redis://127.0.0.1:1/0") as gateway:
        answer = await gateway.ask()
        assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert provider.calls == []
        assert await gateway.settled() == []
        assert gateway.settler.open_calls == 0


async def test_store_that_is_down_lets_calls_pass_where_the_operator_wants_it(
    tmp_path: Path, provider: Provider
) -> None:
    route = make_route(base_url=provider.base_url, api_key=provider.api_key)
    async with running_gateway(
        prefix="bgtest",
        journal=tmp_path,
        routes=[route],
        redis_url="redis://127.0.0.1:1/0",
        admit_while_store_down=True,
    ) as gateway:
        answer = await gateway.ask()
        assert answer.status == 200
        assert "x-budgetgate-remaining" not in answer.headers
        assert "ratelimit" not in answer.headers
        await asyncio.sleep(0.2)
        assert len(gateway.ledger.entries) == 1


async def test_error_of_the_store_is_an_outage_to_the_client_and_a_defect_in_the_log(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise StoreError("WRONGTYPE")

    monkeypatch.setattr(gateway.plane.gate, "admit", broken)
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
    assert "WRONGTYPE" in caplog.text
    assert await gateway.settled() == []


async def test_database_that_is_down_stops_unknown_keys_and_no_known_ones(gateway: Gateway) -> None:
    assert (await gateway.ask()).status == 200
    gateway.ledger.is_down = gateway.keys.is_down = True
    answer = await gateway.ask(key="sk-another")
    assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert (await gateway.ask()).status == 200


async def test_window_that_cannot_be_read_refuses_with_503(gateway: Gateway, valkey: redis.Redis) -> None:
    gateway.ledger.is_down = True
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"]) == (503, "service_unavailable")
    await assert_nothing_happened(gateway, valkey)


async def test_unknown_windows_are_read_once_for_many_calls(gateway: Gateway) -> None:
    gateway.keys.add(make_scope(make_limit(duration="1h"), make_limit(duration="30d")))
    answers = await asyncio.gather(*(gateway.ask() for _ in range(40)))
    assert {answer.status for answer in answers} == {200}
    assert gateway.ledger.reads == [2]


async def test_window_that_stays_unknown_refuses_after_some_tries(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seed(*args: object, **kwargs: object) -> None:
        """Says it did, and did not."""

    monkeypatch.setattr(gateway.plane.gate, "seed", seed)
    assert (await gateway.ask()).status == 503
    assert len(gateway.ledger.reads) == plane_module.SEED_TRIES


async def test_emptied_store_is_filled_from_the_ledger(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=7))
    await gateway.ask()
    await gateway.settled()
    for key in valkey.scan_iter(f"{gateway.names.prefix}:*"):
        valkey.delete(key)
    await gateway.ask()
    await gateway.settled()
    assert [counter["spent"] for counter in counters(valkey, gateway.names).values()] == [gateway.ledger.spent]


# --- races and ends -----------------------------------------------------------------------------------


async def test_standard_limit_is_passed_by_the_last_call_only(gateway: Gateway, provider: Provider) -> None:
    gateway.keys.add(make_scope(make_limit(1)))
    answers = await asyncio.gather(*(gateway.ask() for _ in range(30)))
    assert sorted(answer.status for answer in answers) == [200] + [429] * 29
    assert len(await gateway.settled()) == 1


async def test_call_that_is_cancelled_while_it_is_admitted_leaves_no_hold(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.ask()
    admit, admitted = gateway.plane.gate.admit, asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> None:
        await admit(*args, **kwargs)
        admitted.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(gateway.plane.gate, "admit", slow)
    task = asyncio.create_task(gateway.ask())
    await admitted.wait()
    assert open_holds(valkey, gateway.names) >= 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await gateway.settled()) == 1
    assert open_holds(valkey, gateway.names) == 0


async def test_call_that_is_cancelled_while_the_provider_thinks_is_released(
    gateway: Gateway, valkey: redis.Redis, provider: Provider
) -> None:
    provider.behave(Behaviour(delay_s=5))
    task = asyncio.create_task(gateway.ask())
    await asyncio.to_thread(provider.wait_until, lambda calls: len(calls) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_nothing_happened(gateway, valkey)


async def test_unforeseen_failure_is_a_500_that_holds_nothing(
    gateway: Gateway, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(gateway.plane.upstream, "send", broken)
    answer = await gateway.ask(make_body(messages="the secret prompt"))
    assert (answer.status, answer.error["type"]) == (500, "internal_server_error")
    assert "unforeseen" in caplog.text
    assert "secret" not in caplog.text
    assert KEY not in caplog.text
    assert hash_of(KEY) not in caplog.text
    await assert_nothing_happened(gateway, valkey)


async def test_failure_of_the_middleware_is_a_500_in_the_error_shape(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(gateway.plane, "authenticate", broken)
    answer = await gateway.ask()
    assert (answer.status, answer.error["type"]) == (500, "internal_server_error")
    assert f"POST {CHAT} failed" in caplog.text
