"""The provider as a plain ASGI app: checks the request as OpenAI does, follows its behaviour, records every call.

Needs the transport of the connection in the scope (server.py puts it there) to cut and reset it. Never answers in
another way than its behaviour says, and never counts a token as sent before it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from tests.provider import wire
from tests.provider.behaviour import Behaviour, Ending
from tests.provider.recorder import Call, Recorder

API_KEY = "sk-provider-of-the-tests"
MODELS = ("gpt-4o", "gpt-4o-mini", "o3")
TRANSPORT = "provider.transport"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Piece = tuple[bytes, list[wire.Event]]


@dataclass(slots=True)
class Exchange:
    """One call being answered."""

    call: Call
    send: Send
    transport: asyncio.Transport
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, status: int, *, headers: dict[str, str]) -> None:
        self.call.status = status
        named = {"x-request-id": f"req_{self.call.number:08d}", "openai-version": "2020-10-01"} | headers
        encoded = [(name.encode(), value.encode()) for name, value in named.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, data: bytes, *, completes: Iterable[wire.Event] = (), last: bool) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})
        for event in completes:
            self.call.output_tokens += event.output_tokens
            self.call.usage = self.call.usage if event.usage is None else event.usage
        self.call.finished = last

    async def answer(self, status: int, event: wire.Event, *, headers: dict[str, str] | None = None) -> None:
        length = {"content-length": str(len(event.data))}
        await self.start(status, headers=JSON | length | (headers or {}))
        await self.write(event.data, completes=[event], last=True)

    async def pause(self, seconds: float) -> None:
        """Ends early when the client leaves."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.left.wait(), timeout=seconds)

    async def break_off(self, ending: Ending) -> None:
        """Returns when the connection is gone: ended here, or, in a hang, by the client."""
        if ending in (Ending.RESET, Ending.RESET_BEFORE_HEADERS):
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif ending is Ending.CUT:
            self.transport.close()
        await self.left.wait()
        self.call.hung_up = ending in (Ending.HANG, Ending.HANG_BEFORE_HEADERS)


def make_app(recorder: Recorder) -> App:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = await _body(receive)
        call = recorder.begin(method=scope["method"], path=scope["path"], headers=headers, body=body)
        exchange = Exchange(call, send, scope[TRANSPORT])
        watcher = asyncio.ensure_future(_watch(receive, exchange.left))
        try:
            await _answer(exchange, recorder)
        finally:
            watcher.cancel()
            recorder.end(call)

    return app


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _watch(receive: Receive, left: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left.set()


# --- what OpenAI checks -------------------------------------------------------------------------------


async def _answer(exchange: Exchange, recorder: Recorder) -> None:
    call = exchange.call
    refusal = _refused_headers(call) or _refused_request(call)
    if refusal:
        await exchange.answer(*refusal)
    elif call.method == "GET":
        await exchange.answer(200, _model_list())
    else:
        await _follow(exchange, recorder.behaviour_for(call))


def _refused_headers(call: Call) -> tuple[int, wire.Event] | None:
    key = call.headers.get("authorization", "").removeprefix("Bearer ")
    if key != API_KEY:
        if not key:
            return 401, wire.error("You didn't provide an API key.", type="invalid_request_error")
        message = f"Incorrect API key provided: {key[:5]}***. You can find your API key at https://platform.openai.com."
        return 401, wire.error(message, type="invalid_request_error", code="invalid_api_key")
    if (call.method, call.path) not in {("GET", "/v1/models"), ("POST", "/v1/chat/completions")}:
        message = f"Invalid URL ({call.method} {call.path})"
        return 404, wire.error(message, type="invalid_request_error")
    if call.headers.get("content-encoding", "identity") != "identity":
        return 415, wire.error("Unsupported content encoding.", type="invalid_request_error")
    return None


def _refused_request(call: Call) -> tuple[int, wire.Event] | None:
    """Also keeps the payload of a body that is right."""
    if call.method == "GET":
        return None
    try:
        payload = json.loads(call.body)
    except ValueError:
        message = "We could not parse the JSON body of your request."
        return 400, wire.error(message, type="invalid_request_error")
    if not isinstance(payload, dict) or not payload.get("model"):
        return 400, wire.error("you must provide a model parameter", type="invalid_request_error")
    if not isinstance(payload.get("messages"), list):
        message = "Missing required parameter: 'messages'."
        return 400, wire.error(
            message, type="invalid_request_error", param="messages", code="missing_required_parameter"
        )
    call.payload = payload
    return None


def _model_list() -> wire.Event:
    models = [{"id": name, "object": "model", "created": wire.CREATED, "owned_by": "system"} for name in MODELS]
    return wire.Event(json.dumps({"object": "list", "data": models}, indent=2).encode())


# --- what the behaviour says --------------------------------------------------------------------------


async def _follow(exchange: Exchange, behaviour: Behaviour) -> None:
    if behaviour.delay_s:
        await exchange.pause(behaviour.delay_s)
    if exchange.left.is_set():
        exchange.call.hung_up = True
    elif behaviour.ending in (Ending.RESET_BEFORE_HEADERS, Ending.HANG_BEFORE_HEADERS):
        await exchange.break_off(behaviour.ending)
    elif behaviour.status != 200:
        error = wire.error_of_status(behaviour.status, model=exchange.call.model)
        await exchange.answer(behaviour.status, error, headers=_retry_headers(behaviour) | {**behaviour.headers})
    else:
        await _send_answer(exchange, behaviour)


def _retry_headers(behaviour: Behaviour) -> dict[str, str]:
    if behaviour.retry_after_s is None:
        return {}
    seconds = behaviour.retry_after_s
    limits = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "0"}
    return limits | {"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)}


async def _send_answer(exchange: Exchange, behaviour: Behaviour) -> None:
    call = exchange.call
    plan = wire.Plan(call.id, call.payload, behaviour)
    streamed = call.payload.get("stream") is True
    events = list(wire.events(plan)) if streamed else [wire.completion(plan)]
    headers = dict(EVENTS if streamed else JSON)
    if behaviour.body is not None:
        events = [wire.Event(behaviour.body)]
    if behaviour.gzip and "gzip" in call.headers.get("accept-encoding", ""):
        events = [_compressed(events)]
        headers["content-encoding"] = "gzip"
    if not streamed:
        headers["content-length"] = str(sum(len(event.data) for event in events))
    await exchange.start(200, headers=headers | {**behaviour.headers})
    await _send_pieces(exchange, events, behaviour)


async def _send_pieces(exchange: Exchange, events: list[wire.Event], behaviour: Behaviour) -> None:
    breaks_off = behaviour.ending in (Ending.CUT, Ending.RESET, Ending.HANG)
    half = max(1, len(events[0].data) // 2) if breaks_off and len(events) == 1 else None
    pieces = list(_pieces(events, size=behaviour.split_bytes or half))
    stop_at = min(behaviour.pieces, len(pieces) - 1) if breaks_off else len(pieces)
    for number, (data, completes) in enumerate(pieces[:stop_at]):
        if number:
            await exchange.pause(behaviour.piece_delay_s)
        if exchange.left.is_set():
            exchange.call.hung_up = True
            return
        await exchange.write(data, completes=completes, last=number == len(pieces) - 1)
    if breaks_off:
        await exchange.break_off(behaviour.ending)


def _pieces(events: list[wire.Event], *, size: int | None) -> Iterator[Piece]:
    """The body in pieces of a size, each with the events that it completes; without a size, event by event."""
    if size is None:
        yield from ((event.data, [event]) for event in events)
        return
    body = b"".join(event.data for event in events)
    waiting = list(reversed(events))
    complete_at = len(waiting[-1].data)
    for start in range(0, len(body), size):
        completes = []
        while waiting and complete_at <= start + size:
            completes.append(waiting.pop())
            complete_at += len(waiting[-1].data) if waiting else 0
        yield body[start : start + size], completes


def _compressed(events: list[wire.Event]) -> wire.Event:
    reported = [event.usage for event in events if event.usage is not None]
    data = gzip.compress(b"".join(event.data for event in events))
    return wire.Event(data, sum(event.output_tokens for event in events), reported[-1] if reported else None)
