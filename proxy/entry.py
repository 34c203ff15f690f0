"""The ASGI entry of the LLM routes: reads the body, runs middleware and view, sends the answer. Nothing else.

Django's own handler costs three times as much as all of this (docs/architecture.md). When a client hangs up in the
middle of a stream, the stream is read on to its end without him, for a while: the provider's last event says what it
cost.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from io import BytesIO
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from proxy.errors import bad_request, body_too_large, internal_error, not_found
from proxy.labels import LABEL_HEADERS
from proxy.middleware import BudgetMiddleware, GetResponse
from proxy.plane import DataPlane
from proxy.views import ChatCompletionsView, EventStreamResponse, ModelsView, response_of

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

READ_ON_S = 120.0
READ_HEADERS = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-litellm-api-key",
        b"content-type",
        *(name.encode() for name in LABEL_HEADERS),
    }
)

VIEWS = {
    "/chat/completions": ChatCompletionsView,
    "/v1/chat/completions": ChatCompletionsView,
    "/models": ModelsView,
    "/v1/models": ModelsView,
}


class ClientGone(Exception):
    """The client hung up before the whole request had come."""


class ProxyEntry:
    """An ASGI application for the paths in VIEWS."""

    def __init__(self, plane: DataPlane, *, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._handlers = {
            path: BudgetMiddleware(cast(GetResponse, view.as_view()), plane=plane) for path, view in VIEWS.items()
        }
        self._reading_on: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read_body(scope, receive)
        except ClientGone:
            return
        response = await self._answer(scope, body)
        if isinstance(response, EventStreamResponse):
            await self._send_stream(response, receive=receive, send=send)
        else:
            content = cast(HttpResponse, response).content
            with contextlib.suppress(OSError):  # the client is gone
                await send(_start_of(response, length=len(content)))
                await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, body: bytes | None) -> HttpResponseBase:
        if body is None:
            return response_of(body_too_large(self._body_bytes_max))
        handler = self._handlers.get(scope["path"])
        if handler is None:
            return response_of(not_found(scope["path"]))
        try:
            request = ASGIRequest(_with_few_headers(scope), BytesIO(body))
        except UnicodeDecodeError:
            return response_of(bad_request("The query of the address is not UTF-8."))
        request._body = body
        try:
            return await handler(request)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            return response_of(internal_error())

    async def drain(self, *, timeout_s: float) -> None:
        """Waits for streams that are read on without their clients; what is left is charged for what came so far."""
        if self._reading_on:
            _, left = await asyncio.wait(self._reading_on, timeout=timeout_s)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None where it is larger than allowed; what is announced as too large is not read at all."""
        for name, value in scope["headers"]:
            # What is no number is the server's to refuse; the bytes that come are counted anyway.
            if name == b"content-length" and value[:18].isdigit() and int(value[:18]) > self._body_bytes_max:
                return None
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body = cast(bytes, message.get("body", b""))
            return None if len(body) > self._body_bytes_max else body
        return await self._read_parts(message, receive)

    async def _read_parts(self, message: Message, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._body_bytes_max:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()

    async def _send_stream(self, response: EventStreamResponse, *, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_wait_until_gone(receive))
        is_sent = False
        try:
            await send(_start_of(response))
            async for chunk in response.events:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            is_sent = True
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            logger.debug("the client of a stream is gone")
        finally:
            gone.cancel()
            if not is_sent:
                # Whatever happened, also to this task: only a stream that is read to its end, or closed, is charged.
                self._read_on(response.events)

    def _read_on(self, events: AsyncGenerator[bytes, None]) -> None:
        task = asyncio.create_task(_read_to_end(events))
        self._reading_on.add(task)
        task.add_done_callback(self._reading_on.discard)


def _with_few_headers(scope: Scope) -> Scope:
    """SDKs send a dozen headers that nobody here reads; Django would turn each into an entry of META."""
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] in READ_HEADERS]}


async def _wait_until_gone(receive: Receive) -> None:
    with contextlib.suppress(OSError):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _read_to_end(events: AsyncGenerator[bytes, None]) -> None:
    """Ends the stream either way: at its end, or by closing it, which charges the call for what came so far."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_ON_S):
                async for _ in events:
                    pass
    except Exception:
        logger.exception("a stream could not be read on")
    finally:
        await events.aclose()


def _start_of(response: HttpResponseBase, *, length: int | None = None) -> Message:
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
