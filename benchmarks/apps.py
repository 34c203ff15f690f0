"""Two ASGI applications to measure against: an empty answer, and a provider that answers at once."""

import json
from typing import Any

ANSWER = json.dumps(
    {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 120}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 120, "total_tokens": 220},
    }
).encode()


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """The least that an ASGI application can do: read the body, answer with a few bytes."""
    if scope["type"] == "http":
        await receive()
        await _answer(send, b"{}")


async def provider(scope: Any, receive: Any, send: Any) -> None:
    """A chat completion of about a kilobyte, whatever was asked."""
    if scope["type"] == "http":
        await receive()
        await _answer(send, ANSWER)


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
