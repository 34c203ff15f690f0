"""The way to the providers: one request out, one answer back, as bytes.

A seam: the rest of the data plane knows `Answer` and `Upstream`, not the HTTP client. pyreqwest was measured at a
twentieth of httpx's CPU per call (docs/dependencies.md). Redirects are not followed: a provider has no reason to send
us elsewhere.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Protocol

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BodyDecodeError, PyreqwestError, ReadError, ReadTimeoutError, RequestTimeoutError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from catalog.routing import ResolvedRoute

Headers = list[tuple[str, str]]

IDLE_PLAIN_S = 4.0
"""How long an idle connection is used again. Uvicorn and Node, which serve most local models, close theirs after 5 s: a
call that meets the closing one is lost (25 of 1,800 in a trial, none with this)."""

IDLE_TLS_S = 50.0
"""Public providers stand behind balancers that keep connections for a minute and more; a new one costs a handshake."""

BODY_ERRORS = (BodyDecodeError, ReadError, ReadTimeoutError)
"""What pyreqwest raises once the head of an answer is there."""


class UpstreamError(Exception):
    """There is no whole answer. `begun` says that a part of one came, so that the provider has done some work."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


class UpstreamTimeout(UpstreamError):
    """The provider did not answer, or stopped answering, within the route's timeouts."""


class UpstreamBroken(UpstreamError):
    """The provider could not be reached, or broke off its answer."""


class Answer(Protocol):
    """What a provider answered. Header names are lower-case. Reading raises UpstreamTimeout or UpstreamBroken."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The whole body."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        ...

    async def close(self) -> None:
        """Hangs up; safe to call twice."""
        ...


class WholeAnswer:
    """An answer that is here already."""

    def __init__(self, response: Response, body: bytes) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def close(self) -> None:
        """Nothing is open."""


class StreamedAnswer:
    """An answer whose body is still coming."""

    def __init__(self, request: StreamRequest, response: Response) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._request: StreamRequest | None = request
        self._response = response

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        reader = self._response.body_reader
        try:
            while (chunk := await reader.read_chunk()) is not None:
                yield bytes(chunk)
        except PyreqwestError as error:
            raise _upstream_error(error, begun=True) from error

    async def close(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            await request.__aexit__(None, None, None)


class Upstream:
    """HTTP clients to providers, one for each set of timeouts: the pool belongs to the client."""

    def __init__(self) -> None:
        self._clients: dict[tuple[float, float, float], Client] = {}

    async def send(
        self, route: ResolvedRoute, *, path: str, body: bytes, headers: Mapping[str, str], stream: bool
    ) -> Answer:
        """Posts a body to a route. Raises UpstreamTimeout or UpstreamBroken where no answer came."""
        request = self._client(route).post(route.base_url.rstrip("/") + path).headers(dict(headers)).body_bytes(body)
        try:
            return await (_streamed(request) if stream else _whole(request))
        except PyreqwestError as error:
            raise _upstream_error(error, begun=isinstance(error, BODY_ERRORS)) from error

    async def close(self) -> None:
        """Closes every client."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _client(self, route: ResolvedRoute) -> Client:
        idle_s = IDLE_TLS_S if route.base_url.startswith("https:") else IDLE_PLAIN_S
        timeouts = (route.connect_timeout_s, route.read_timeout_s, idle_s)
        client = self._clients.get(timeouts)
        if client is None:
            client = (
                ClientBuilder()
                .connect_timeout(timedelta(seconds=timeouts[0]))
                .read_timeout(timedelta(seconds=timeouts[1]))
                .pool_idle_timeout(timedelta(seconds=timeouts[2]))
                .follow_redirects(False)
                .gzip(False)
                .brotli(False)
                .zstd(False)
                .deflate(False)
                .build()
            )
            self._clients[timeouts] = client
        return client


async def _whole(request: RequestBuilder) -> Answer:
    response = await request.build().send()
    return WholeAnswer(response, bytes(await response.bytes()))


async def _streamed(request: RequestBuilder) -> Answer:
    # Without the limit it would wait for 64 KiB, or the end, before it gave out the first chunk.
    streamed = request.streamed_read_buffer_limit(0).build_streamed()
    return StreamedAnswer(streamed, await streamed.__aenter__())


def _upstream_error(error: PyreqwestError, *, begun: bool) -> UpstreamError:
    kind = UpstreamTimeout if isinstance(error, RequestTimeoutError) else UpstreamBroken
    return kind(str(error), begun=begun)


def _headers(response: Response) -> Headers:
    """Names are lower-case already: the client keeps them as HTTP/2 has them."""
    return list(response.headers.items())
