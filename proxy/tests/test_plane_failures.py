"""A call on bad days: provider, store and database fail, callers go away, and no hold is left behind."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import LazySettings

from budgets.gate.wire import StoreDown, StoreError
from proxy.admitting import SEED_TRIES
from proxy.tests.factories import MODEL, make_body, make_limit, make_route, make_scope
from proxy.tests.gateway import (
    CHAT,
    KEY,
    Gateway,
    assert_charged,
    assert_nothing_happened,
    counters,
    hash_of,
    open_holds,
    running_gateway,
)
from tests.provider.behaviour import Behaviour, Ending
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token

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
    assert len(gateway.ledger.reads) == SEED_TRIES


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


async def test_call_is_good_even_if_an_emptied_store_cannot_be_told_where_to_look(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.ask()
    await gateway.settled()
    for key in valkey.scan_iter(f"{gateway.names.prefix}:*"):
        valkey.delete(key)
    with monkeypatch.context() as patched:
        patched.setattr(gateway.plane.gate, "note_root", fail_to_note)
        assert (await gateway.ask()).status == 200
    assert len(await gateway.settled()) == 2
    assert open_holds(valkey, gateway.names) == 0
    assert valkey.zcard(gateway.names.roots) == 0
    assert (await gateway.ask()).status == 200
    assert valkey.zcard(gateway.names.roots) == 1
    await gateway.settled()


async def fail_to_note(root: str, *, now_ms: int) -> None:
    raise StoreDown("gone", perhaps_done=False)


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
