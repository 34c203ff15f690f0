"""The entry reads no more than it may, and settles every stream once, whatever becomes of its client."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis

from proxy import entry as entry_module
from proxy.entry import Message
from proxy.tests.factories import make_body
from proxy.tests.gateway import BODY_BYTES_MAX, CHAT, MASTER_KEY, Client, Gateway, counters, open_holds
from tests.provider.behaviour import Behaviour, Ending
from tests.provider.server import Provider

INPUT, OUTPUT = 150, 600  # nano-USD per token


def body_of(size: int) -> bytes:
    return make_body(user="x" * (size - len(make_body(user=""))))


# --- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize(("size", "status"), [(BODY_BYTES_MAX, 200), (BODY_BYTES_MAX + 1, 413)])
async def test_body_may_be_as_large_as_the_limit(gateway: Gateway, size: int, status: int, pieces: int) -> None:
    body = body_of(size)
    length = -(-size // pieces)
    parts = [body[start : start + length] for start in range(0, size, length)]
    assert b"".join(parts) == body
    answer = await gateway.ask(pieces=parts)
    assert answer.status == status
    if status == 413:
        assert str(BODY_BYTES_MAX) in answer.error["message"]
        assert await gateway.settled() == []


async def test_body_that_is_announced_as_too_large_is_not_read(gateway: Gateway) -> None:
    client = Client(body=make_body(), headers={"content-length": str(BODY_BYTES_MAX + 1)})
    await client.run(gateway.entry)
    assert client.answer.status == 413
    assert (await client.receive())["type"] == "http.request"


@pytest.mark.parametrize("length", ["-5", "many", "", "1e3", "0x10", "1_0", " 12", "+3", "\xb2", "12,12"])
async def test_content_length_that_is_no_number_does_no_harm(gateway: Gateway, length: str) -> None:
    assert (await gateway.ask(headers={"content-length": length})).status == 200


@pytest.mark.parametrize("length", ["9" * 18, "9" * 5000])
async def test_content_length_of_any_size_is_too_large(gateway: Gateway, length: str) -> None:
    assert (await gateway.ask(headers={"content-length": length})).status == 413


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_client_that_leaves_before_its_body_ends_is_not_answered(
    gateway: Gateway, provider: Provider, after: int
) -> None:
    client = Client(pieces=[b'{"model":', b'"gpt-4o-mini",', b'"messages":[]}'])
    client.hang_up(after=after)
    await client.run(gateway.entry)
    assert client.sent == []
    assert provider.calls == []
    assert await gateway.settled() == []


# --- methods and addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "DISPATCH", "SETUP"])
@pytest.mark.parametrize("path", [CHAT, "/chat/completions"])
async def test_other_methods_are_405_in_the_error_shape(gateway: Gateway, method: str, path: str) -> None:
    answer = await gateway.ask(method=method, path=path)
    assert (answer.status, answer.error["type"]) == (405, "invalid_request_error")
    assert answer.headers["allow"] == "POST"
    assert await gateway.settled() == []


async def test_models_are_only_read(gateway: Gateway) -> None:
    answer = await gateway.ask(method="POST", path="/v1/models")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


async def test_models_are_those_of_the_key(gateway: Gateway) -> None:
    answer = await gateway.ask(b"", method="GET", path="/v1/models")
    assert [model["id"] for model in answer.json["data"]] == ["gpt-4o-mini"]
    gateway.keys.add(key="sk-other", models=frozenset({"other"}))
    assert (await gateway.ask(b"", method="GET", path="/models", key="sk-other")).json["data"] == []


async def test_models_ask_for_a_key(gateway: Gateway) -> None:
    assert (await gateway.ask(b"", method="GET", path="/v1/models", key=None)).status == 401


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
async def test_the_master_key_sees_all_models_and_makes_no_calls(gateway: Gateway, path: str) -> None:
    answer = await gateway.ask(b"", method="GET", path=path, key=MASTER_KEY)
    assert (answer.status, [model["id"] for model in answer.json["data"]]) == (200, ["gpt-4o-mini"])
    assert (await gateway.ask(method="POST", path=path, key=MASTER_KEY)).status == 405
    assert (await gateway.ask(key=MASTER_KEY)).status == 403


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/embeddings", "/v1", "/V1/models", "//v1/models"])
async def test_unknown_addresses_are_404_in_the_error_shape(gateway: Gateway, path: str) -> None:
    answer = await gateway.ask(path=path)
    assert (answer.status, answer.error["type"]) == (404, "not_found_error")


async def test_query_that_is_no_text_is_400(gateway: Gateway) -> None:
    answer = await gateway.ask(query=b"a=\xff")
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


# --- clients that leave -------------------------------------------------------------------------------


def after(count: int, act: Callable[[], Any]) -> Callable[[Message], Awaitable[None]]:
    """Acts when so many messages have been sent."""
    left = iter(range(count))

    async def on_send(message: Message) -> None:
        if next(left, None) == count - 1:
            act()

    return on_send


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


async def assert_charged_once(gateway: Gateway, store: redis.Redis, *, cost: int) -> None:
    assert [entry.cost_nanousd for entry in await gateway.settled()] == [cost]
    assert open_holds(store, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    assert [*counters(store, gateway.names).values()] == [{"spent": cost, "held": 0}]


@pytest.mark.parametrize("count", [1, 2, 4])
async def test_stream_is_read_on_without_its_client_and_charged_by_its_usage(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, count: int
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10, piece_delay_s=0.02))
    client = Client(body=make_body(stream=True))
    client._on_send = after(count, client.hang_up)
    await client.run(gateway.entry)
    assert not client.is_finished
    await assert_charged_once(gateway, valkey, cost=1000 * INPUT + 10 * OUTPUT)
    assert provider.wait_for_calls(1)[0].finished


async def test_client_that_left_before_the_provider_answered_is_charged_once(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10, delay_s=0.1, piece_delay_s=0.01))
    client = Client(body=make_body(stream=True))
    client.hang_up(after=1)
    await client.run(gateway.entry)
    assert not client.is_finished
    await assert_charged_once(gateway, valkey, cost=1000 * INPUT + 10 * OUTPUT)


@pytest.mark.parametrize("count", [1, 3])
async def test_stream_that_cannot_be_sent_is_read_on(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, count: int
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10))
    await gateway.ask(make_body(stream=True), on_send=after(count, raising(ConnectionResetError("gone"))))
    await assert_charged_once(gateway, valkey, cost=1000 * INPUT + 10 * OUTPUT)


async def test_json_answer_that_cannot_be_sent_is_charged(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10))
    await gateway.ask(on_send=after(1, raising(ConnectionResetError("gone"))))
    await assert_charged_once(gateway, valkey, cost=1000 * INPUT + 10 * OUTPUT)


async def test_reading_on_ends_after_a_while_and_charges_what_came(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_module, "READ_ON_S", 0.1)
    provider.behave(Behaviour(ending=Ending.HANG, pieces=4))
    body = make_body(stream=True)
    client = Client(body=body)
    client._on_send = after(2, client.hang_up)
    await client.run(gateway.entry)
    await assert_charged_once(gateway, valkey, cost=-(-len(body) // 4) * INPUT + 3 * OUTPUT)
    assert (await gateway.settled())[0].is_estimated
    assert provider.wait_for_calls(1)[0].hung_up


async def test_shutdown_charges_streams_that_are_still_read_on(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(ending=Ending.HANG, pieces=4))
    body = make_body(stream=True)
    client = Client(body=body)
    client._on_send = after(2, client.hang_up)
    await client.run(gateway.entry)
    await gateway.entry.drain(timeout_s=0.1)
    await assert_charged_once(gateway, valkey, cost=-(-len(body) // 4) * INPUT + 3 * OUTPUT)


@pytest.mark.parametrize("count", [1, 3])
async def test_stream_whose_task_is_cancelled_is_charged_once(
    gateway: Gateway, provider: Provider, valkey: redis.Redis, count: int
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10, piece_delay_s=0.05))
    reached = asyncio.Event()
    task = asyncio.create_task(gateway.ask(make_body(stream=True), on_send=after(count, reached.set)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    entries = await gateway.settled()
    assert len(entries) == 1
    assert open_holds(valkey, gateway.names) == 0
    assert [*counters(valkey, gateway.names).values()] == [{"spent": entries[0].cost_nanousd, "held": 0}]


async def test_stream_whose_sending_fails_for_another_reason_is_charged_too(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10))
    with pytest.raises(RuntimeError, match="a defect of the server"):
        await gateway.ask(make_body(stream=True), on_send=after(3, raising(RuntimeError("a defect of the server"))))
    await assert_charged_once(gateway, valkey, cost=1000 * INPUT + 10 * OUTPUT)


async def test_many_clients_that_come_and_go_are_each_charged_once(
    gateway: Gateway, provider: Provider, valkey: redis.Redis
) -> None:
    provider.behave(Behaviour(prompt_tokens=1000, output_tokens=10, piece_delay_s=0.005))

    async def come_and_go(number: int) -> None:
        client = Client(body=make_body(stream=True))
        client._on_send = after(1 + number % 14, client.hang_up)
        await client.run(gateway.entry)

    await asyncio.gather(*(come_and_go(number) for number in range(42)))
    entries = await gateway.settled()
    assert [entry.cost_nanousd for entry in entries] == [1000 * INPUT + 10 * OUTPUT] * 42
    assert open_holds(valkey, gateway.names) == 0


@pytest.fixture(autouse=True)
async def nothing_is_left_to_the_garbage_collector() -> AsyncIterator[None]:
    """Errors of tasks that nobody waits for, and streams that nobody closes, are told to the loop's handler."""
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert told == []
