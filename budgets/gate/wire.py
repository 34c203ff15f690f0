"""One connection to the counter store for an event loop: commands out, replies in, nothing in between.

redis-py costs 62 to 130 us of CPU for the two commands of a call, this 22 (docs/dependencies.md): commands of one loop
tick leave in one write, replies are parsed by hiredis. It knows no commands and never retries: a lost connection fails
every open command with StoreDown, because nobody can know whether the store ran it.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

REPLY_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
RECONNECT_AFTER_S = 0.5

Part = str | int | bytes

# hiredis declares a tuple of one.
_pack = cast(Callable[[tuple[Part, ...]], bytes], hiredis.pack_command)


# What a store answers that starts, fails over, or can write nothing; the same command will pass later.
_OUTAGES = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM ",
    "READONLY",
    "TRYAGAIN",
)


class StoreDown(Exception):
    """The counter store cannot be reached, or did not answer in time. It is an outage, never a refusal.

    `perhaps_done`: the command was sent, and only its answer may have been lost.
    """

    def __init__(self, message: str, *, perhaps_done: bool = False) -> None:
        super().__init__(message)
        self.perhaps_done = perhaps_done


class StoreError(Exception):
    """The counter store answered with an error that is a defect."""


def _error_of(reply: hiredis.ReplyError) -> StoreDown | StoreError:
    text = str(reply)
    return StoreDown(text) if text.startswith(_OUTAGES) else StoreError(text)


class _Link(asyncio.Protocol):
    """The protocol of one socket: replies belong to commands in their order."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.waiting: deque[tuple[asyncio.Future[object], float]] = deque()
        self.unsent: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, not its class.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            future, _ = self.waiting.popleft()
            if future.done():
                continue
            if isinstance(reply, hiredis.ReplyError):
                future.set_exception(_error_of(reply))
            else:
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        while self.waiting:
            future, _ = self.waiting.popleft()
            if not future.done():
                future.set_exception(StoreDown("the connection to the counter store was lost", perhaps_done=True))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def send(self, packed: bytes, *, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[object]":
        if self.transport is None:  # lost since it was connected: nobody would ever answer
            raise StoreDown("the connection to the counter store was lost")
        future: asyncio.Future[object] = loop.create_future()
        self.waiting.append((future, loop.time()))
        if not self.unsent:
            loop.call_soon(self._flush)
        self.unsent.append(packed)
        return future

    def _flush(self) -> None:
        if self.transport is not None:
            self.transport.write(b"".join(self.unsent))
        self.unsent.clear()


class Wire:
    """Commands to the store at `url` (redis://, rediss://, unix://), over one connection that is renewed when lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None
        self._failed_at = float("-inf")
        self._watch: asyncio.Task[None] | None = None

    async def execute(self, *parts: Part) -> object:
        """The store's reply to one command. Raises StoreDown or StoreError."""
        link = self._link
        if link is None or link.transport is None:
            link = await self._connected()
        return await link.send(_pack(parts), loop=asyncio.get_running_loop())

    async def pipeline(self, commands: Sequence[Sequence[Part]]) -> "list[asyncio.Future[object]]":
        """Sends all commands in one write; each future has its reply, or its StoreDown or StoreError."""
        link = self._link
        if link is None or link.transport is None:
            link = await self._connected()
        loop = asyncio.get_running_loop()
        futures = [link.send(_pack(tuple(parts)), loop=loop) for parts in commands]
        if futures:
            await asyncio.wait(futures)
        return futures

    async def close(self) -> None:
        """Ends the connection; open commands fail with StoreDown."""
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._watch is not None:
            self._watch.cancel()
        if self._link is not None and self._link.transport is not None:
            self._link.transport.close()
        self._link = None

    async def _connected(self) -> _Link:
        if self._connecting is None or self._connecting.done():  # done: nobody waited for its end, it may be lost again
            if time.monotonic() < self._failed_at + RECONNECT_AFTER_S:
                raise StoreDown("the counter store cannot be reached")
            self._connecting = asyncio.create_task(self._connect())
        connecting = self._connecting
        try:
            return await asyncio.shield(connecting)
        finally:
            if connecting.done() and self._connecting is connecting:
                self._connecting = None

    async def _connect(self) -> _Link:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                link = await self._open()
        except (OSError, TimeoutError, StoreError, StoreDown) as error:
            self._failed_at = time.monotonic()
            raise StoreDown(f"the counter store cannot be reached: {error}") from error
        self._link = link
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._abort_when_silent())
        return link

    async def _open(self) -> _Link:
        """A connection that is logged in and on its database. The URL means what it means to redis-py, which the tasks
        use: the same counters."""
        url = urlsplit(self._url)
        options = {name: values[0] for name, values in parse_qs(url.query).items()}
        loop = asyncio.get_running_loop()
        if url.scheme == "unix":
            database = options.get("db", "0")
            _, link = await loop.create_unix_connection(_Link, unquote(url.path))
        else:
            database = options.get("db") or url.path.strip("/") or "0"
            context = ssl.create_default_context() if url.scheme == "rediss" else None
            _, link = await loop.create_connection(_Link, url.hostname or "localhost", url.port or 6379, ssl=context)
        try:
            if url.password:
                login: tuple[Part, ...] = (unquote(url.username or "default"), unquote(url.password))
                await link.send(_pack(("AUTH", *login)), loop=loop)
            if database != "0":
                await link.send(_pack(("SELECT", database)), loop=loop)
        except BaseException:
            link.abort()
            raise
        return link

    async def _abort_when_silent(self) -> None:
        """One timer for all commands, instead of one for each: a store that stopped answering loses its connection.

        Where this process itself stood still, the answers may be there and unread: they get another round.
        """
        loop = asyncio.get_running_loop()
        looked_at = loop.time()
        while True:
            await asyncio.sleep(REPLY_TIMEOUT_S / 4)
            stood_still = loop.time() - looked_at > REPLY_TIMEOUT_S
            looked_at = loop.time()
            link = self._link
            if stood_still or link is None or not link.waiting:
                continue
            if link.waiting[0][1] < looked_at - REPLY_TIMEOUT_S:
                link.abort()
