"""The way to a provider: which connections are used again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from catalog.routing import ResolvedRoute
from proxy import upstream as upstream_module
from proxy.upstream import Upstream

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class CountingServer:
    """Answers every request with an empty object and counts the connections that they came over."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.readuntil(b"\r\n\r\n{}"):
            writer.write(ANSWER)
            await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[CountingServer]:
    counting = CountingServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await counting.serve(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            tasks.discard(task)
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        counting.port = listening.sockets[0].getsockname()[1]
        yield counting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ask(upstream: Upstream, server: CountingServer) -> None:
    route = ResolvedRoute(
        model="m",
        provider="p",
        upstream_model="m",
        base_url=f"http://127.0.0.1:{server.port}",
        api_key="k",
        card=None,
        output_tokens_max=None,
        connect_timeout_s=5,
        read_timeout_s=5,
    )
    answer = await upstream.send(route, path="/x", body=b"{}", headers={}, stream=False)
    assert await answer.read() == b"{}"


async def test_connection_is_used_again_while_it_is_fresh(server: CountingServer) -> None:
    upstream = Upstream()
    for _ in range(3):
        await ask(upstream, server)
    await upstream.close()
    assert server.connections == 1


async def test_connection_that_idled_is_not_used_again(server: CountingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "IDLE_PLAIN_S", 0.05)
    upstream = Upstream()
    await ask(upstream, server)
    await asyncio.sleep(0.2)  # the pool's own clock cannot be told the time
    await ask(upstream, server)
    await upstream.close()
    assert server.connections == 2
