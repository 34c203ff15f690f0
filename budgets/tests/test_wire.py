"""The wire gives every command its own reply, and says an outage at once."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import LazySettings

from budgets.gate import wire as wire_module
from budgets.gate.wire import StoreDown, StoreError, Wire
from tests.stores import OwnValkey

PATIENCE_S = 5.0


@pytest.fixture
async def wire(valkey: redis.Redis, settings: LazySettings) -> AsyncIterator[Wire]:
    async with opened(settings.REDIS_URL) as wire:
        yield wire


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    try:
        yield wire
    finally:
        await wire.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is tried again without a pause."""
    monkeypatch.setattr(wire_module, "RECONNECT_AFTER_S", 0.0)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server that is no store; gives its address."""
    writers = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def never_answers(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def soon(command: Awaitable[object]) -> object:
    """The outcome of a command that must not hang."""
    return await asyncio.wait_for(command, PATIENCE_S)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0)


async def test_a_thousand_concurrent_commands_get_their_own_replies(wire: Wire) -> None:
    echoes = await soon(asyncio.gather(*(wire.execute("ECHO", number) for number in range(1000))))
    assert echoes == [b"%d" % number for number in range(1000)]


async def test_all_commands_share_one_connection(wire: Wire) -> None:
    ids = await soon(asyncio.gather(*(wire.execute("CLIENT", "ID") for _ in range(100))))
    assert isinstance(ids, list)
    assert len(set(ids)) == 1


async def test_parts_travel_as_they_are(wire: Wire, valkey: redis.Redis, settings: LazySettings) -> None:
    key = f"{settings.REDIS_PREFIX}:parts"
    value = bytes(range(256)) * 1000
    assert await wire.execute("SET", key, value) == b"OK"
    assert await wire.execute("GET", key) == value == valkey.get(key)
    assert await wire.execute("ECHO", "ünï") == "ünï".encode()
    assert await wire.execute("ECHO", 2**53 - 1) == b"9007199254740991"
    assert await wire.execute("GET", f"{key}:none") is None
    assert await wire.execute("EVAL", "return {1, {'a', 2}, false}", 0) == [1, [b"a", 2], None]


async def test_error_is_raised_for_its_command_only(wire: Wire) -> None:
    outcomes = await asyncio.gather(
        wire.execute("ECHO", "before"),
        wire.execute("NONSENSE"),
        wire.execute("INCR", 1, 2),
        wire.execute("ECHO", "after"),
        return_exceptions=True,
    )
    assert (outcomes[0], outcomes[3]) == (b"before", b"after")
    assert isinstance(outcomes[1], StoreError)
    assert isinstance(outcomes[2], StoreError)
    assert "NONSENSE" in str(outcomes[1])


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Valkey is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Errors writing to the AOF file",
        "BUSY Valkey is busy running a script.",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down",
        "NOREPLICAS Not enough good replicas to write.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    ],
)
async def test_store_that_cannot_work_now_is_down(wire: Wire, error: str) -> None:
    with pytest.raises(StoreDown) as caught:
        await wire.execute("EVAL", "return redis.error_reply(ARGV[1])", 0, error)
    assert not caught.value.perhaps_done
    assert await wire.execute("ECHO", "next") == b"next"


@pytest.mark.parametrize(
    "error", ["WRONGTYPE Operation against a key", "ERR value is not an integer", "BUSYKEY exists"]
)
async def test_other_errors_of_the_store_are_defects(wire: Wire, error: str) -> None:
    with pytest.raises(StoreError):
        await wire.execute("EVAL", "return redis.error_reply(ARGV[1])", 0, error)


async def test_cancelled_waiter_does_not_shift_replies(wire: Wire) -> None:
    await wire.execute("PING")
    tasks = [asyncio.create_task(soon(wire.execute("ECHO", number))) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [b"1", b"3", b"5", b"7", b"9"]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert await wire.execute("ECHO", "next") == b"next"


async def test_waiters_cancelled_while_connecting_leave_a_working_wire(valkey: redis.Redis, wire: Wire) -> None:
    task = asyncio.create_task(wire.execute("PING"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    number = await soon(wire.execute("CLIENT", "ID"))
    await until(lambda: wire._connecting is None or wire._connecting.done())
    valkey.client_kill_filter(_id=str(number))
    await until(lambda: wire._link is None or wire._link.transport is None)
    assert await soon(wire.execute("ECHO", "again")) == b"again"


async def test_connection_that_outlived_all_its_waiters_is_not_taken_for_a_live_one(at_once: None) -> None:
    connections = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await reader.read(65536):
            writer.write(b"+PONG\r\n")

    async with served(answers) as url, opened(url) as wire:
        waiter = asyncio.create_task(wire.execute("PING"))
        await until(lambda: wire._connecting is not None)
        waiter.cancel()
        await until(lambda: wire._link is not None and bool(connections))
        connections[0].close()
        await until(lambda: wire._link is None or wire._link.transport is None)
        assert await soon(wire.execute("PING")) == b"PONG"


async def test_killed_connection_fails_open_commands_and_the_next_one_reconnects(
    wire: Wire, valkey: redis.Redis, settings: LazySettings
) -> None:
    number = await wire.execute("CLIENT", "ID")
    waiting = [
        asyncio.create_task(soon(wire.execute("BLPOP", f"{settings.REDIS_PREFIX}:nothing", 0))),
        asyncio.create_task(soon(wire.execute("PING"))),
    ]
    await asyncio.sleep(0.01)
    assert valkey.client_kill_filter(_id=str(number)) == 1
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreDown, StoreDown]
    assert await soon(wire.execute("ECHO", "again")) == b"again"
    assert await wire.execute("CLIENT", "ID") != number


async def test_stopped_store_is_down_at_once_and_back_after_its_restart(own_valkey: OwnValkey, at_once: None) -> None:
    async with opened(own_valkey.url) as wire:
        assert await soon(wire.execute("PING")) == b"PONG"
        own_valkey.stop()
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreDown):
                await soon(wire.execute("PING"))
        assert time.monotonic() - began < 1
        own_valkey.start()
        assert await soon(wire.execute("PING")) == b"PONG"


async def test_down_store_is_not_asked_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "RECONNECT_AFTER_S", 3600.0)
    connections = []

    async def closes_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    async with served(closes_at_once) as url, opened(url.replace("//", "//:secret@")) as wire:
        for _ in range(10):
            with pytest.raises(StoreDown):
                await soon(wire.execute("PING"))
        assert len(connections) == 1


async def test_store_that_closes_every_connection_is_down(at_once: None) -> None:
    async def closes_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with served(closes_at_once) as url, opened(url) as wire:
        for _ in range(20):
            with pytest.raises(StoreDown):
                await soon(wire.execute("PING"))


async def test_connection_lost_between_connecting_and_sending_is_an_outage(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = wire._connect

    async def connect_and_lose() -> object:
        link = await connect()
        link.abort()
        await until(lambda: link.transport is None)
        return link

    monkeypatch.setattr(wire, "_connect", connect_and_lose)
    with pytest.raises(StoreDown):
        await soon(wire.execute("PING"))


async def test_store_that_never_answers_is_down_after_the_reply_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "REPLY_TIMEOUT_S", 0.2)
    async with served(never_answers) as url, opened(url) as wire:
        began = time.monotonic()
        outcomes = await soon(asyncio.gather(*(wire.execute("PING") for _ in range(3)), return_exceptions=True))
        assert isinstance(outcomes, list)
        assert [type(outcome) for outcome in outcomes] == [StoreDown] * 3
        assert 0.2 <= time.monotonic() - began < 2


async def test_store_that_never_answers_the_login_is_down_and_the_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_module, "CONNECT_TIMEOUT_S", 0.1)
    ended = asyncio.Event()

    async def waits_for_the_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                pass
        finally:
            ended.set()

    async with served(waits_for_the_end) as url, opened(url.replace("//", "//:secret@")) as wire:
        with pytest.raises(StoreDown):
            await soon(wire.execute("PING"))
        await soon(ended.wait())


@pytest.mark.filterwarnings("ignore")  # the loop reports the broken protocol; what matters is what the caller sees
async def test_store_that_speaks_another_language_is_down(at_once: None) -> None:
    async def speaks_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with served(speaks_http) as url, opened(url) as wire:
        for _ in range(3):
            with pytest.raises(StoreDown):
                await soon(wire.execute("PING"))


async def test_wrong_password_is_an_outage_and_leaves_no_connection_behind(
    own_valkey: OwnValkey, at_once: None
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        before = len(client.client_list())
        async with opened(own_valkey.url.replace(own_valkey.password, "wrong")) as wire:
            for _ in range(5):
                with pytest.raises(StoreDown, match="WRONGPASS"):
                    await soon(wire.execute("PING"))
            gc.collect()
            assert len(client.client_list()) == before


async def test_database_that_the_store_does_not_have_is_an_outage(own_valkey: OwnValkey) -> None:
    async with opened(own_valkey.url[:-1] + "9999") as wire:
        with pytest.raises(StoreDown, match="out of range"):
            await soon(wire.execute("PING"))


@pytest.mark.parametrize("database", ["/7", "?db=7", "/7/", "/3?db=7"])
async def test_database_of_the_url_is_the_one_that_redis_py_takes(own_valkey: OwnValkey, database: str) -> None:
    url = own_valkey.url.removesuffix("/0") + database
    async with opened(url) as wire:
        await soon(wire.execute("SET", "where", "here"))
    with redis.Redis.from_url(url) as client:
        assert client.get("where") == b"here"
    with redis.Redis.from_url(own_valkey.url.removesuffix("/0"), db=7) as client:
        assert client.get("where") == b"here"


@pytest.mark.parametrize("query", ["", "?db=0", "?db=7"])
async def test_unix_sockets_are_addresses_too(own_valkey: OwnValkey, query: str) -> None:
    async with opened(own_valkey.socket_url + query) as wire:
        await soon(wire.execute("SET", "where", "here"))
    with redis.Redis.from_url(own_valkey.socket_url + query) as client:
        assert client.get("where") == b"here"
    async with opened(f"unix://{own_valkey.directory}/nothing.sock") as wire:
        with pytest.raises(StoreDown):
            await soon(wire.execute("PING"))


async def test_passwords_and_users_may_hold_any_character(own_valkey: OwnValkey) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.acl_setuser("so/me@body", enabled=True, passwords=["+p%:/@ß"], commands=["+@all"], keys=["*"])
    address = urlsplit(own_valkey.url)
    async with opened(f"redis://so%2Fme%40body:p%25%3A%2F%40%C3%9F@127.0.0.1:{address.port}") as wire:
        assert await soon(wire.execute("ACL", "WHOAMI")) == b"so/me@body"


async def test_closed_wire_fails_open_commands_and_connects_again_when_used(wire: Wire, settings: LazySettings) -> None:
    await wire.execute("PING")
    waiting = asyncio.create_task(soon(wire.execute("BLPOP", f"{settings.REDIS_PREFIX}:nothing", 0)))
    await asyncio.sleep(0.01)
    await wire.close()
    with pytest.raises(StoreDown):
        await waiting
    assert await soon(wire.execute("PING")) == b"PONG"


async def test_wire_that_is_closed_while_it_connects_stays_closed(settings: LazySettings, valkey: redis.Redis) -> None:
    wire = Wire(settings.REDIS_URL)
    waiting = asyncio.create_task(wire.execute("PING"))
    await until(lambda: wire._connecting is not None)
    await soon(wire.close())
    await asyncio.gather(waiting, return_exceptions=True)
    assert wire._link is None
