"""The built-in `demo` model: answers OpenAI chat completions without any provider, so that a newcomer sees all of it.

Never calls anything and knows no Django. Speaks the wire format exactly, including streams and usage, so that the
rest of the gateway meters it like a real provider. Tokens are words and marks, counted the same way every time.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

ANSWER_TOKENS_MAX = 1024
CHOICES_MAX = 16
ECHO_CHARS_MAX = 200
# A token is a run of up to six letters or digits with the space before it, or a single mark.
_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")

Json = dict[str, object]


class _RefusedError(ValueError):
    """The request is not one that the API takes; becomes a 400 in OpenAI's shape."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class _Ask:
    """What of the request matters here, checked."""

    model: str
    last_words: str
    prompt_tokens: int
    output_tokens_max: int
    choices: int
    stream: bool
    include_usage: bool


@dataclass(slots=True)
class DemoAnswer:
    """Looks like an answer of a provider to whoever forwards it: read it whole, or chunk by chunk."""

    status: int
    headers: list[tuple[str, str]]
    pieces: list[bytes]
    chunk_delay_s: float
    closed: bool = field(default=False, init=False)

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if number and self.chunk_delay_s:
                await asyncio.sleep(self.chunk_delay_s)
            if self.closed:
                return
            yield piece

    async def close(self) -> None:
        """Ends `chunks` before its next piece, as hanging up ends a provider's generation."""
        self.closed = True


async def demo_answer(payload: Mapping[str, object], *, chunk_delay_s: float) -> DemoAnswer:
    """The answer to the body of a chat completion; a stream pauses `chunk_delay_s` between its chunks."""
    try:
        ask = _read(payload)
    except _RefusedError as refused:
        return _json_answer(400, _error(refused))
    tokens, finish_reason = _answer_tokens(ask)
    head = {"id": f"chatcmpl-demo{uuid.uuid4().hex[:24]}", "created": int(time.time()), "model": ask.model}
    if not ask.stream:
        return _json_answer(200, _completion(ask, head=head, tokens=tokens, finish_reason=finish_reason))
    events = [_event(chunk) for chunk in _chunks(ask, head=head, tokens=tokens, finish_reason=finish_reason)]
    headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
    return DemoAnswer(200, headers, [*events, b"data: [DONE]\n\n"], chunk_delay_s)


def count_tokens(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


# --- reading the request ----------------------------------------------------------------------------


def _read(payload: Mapping[str, object]) -> _Ask:
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise _RefusedError("messages is missing or empty; allowed is a list of messages", param="messages")
    texts = [_text_of(message.get("content")) for message in messages]
    from_user = [text for text, message in zip(texts, messages, strict=True) if message.get("role") == "user"]
    options = payload.get("stream_options")
    return _Ask(
        model=str(payload.get("model", "demo")),
        last_words=from_user[-1] if from_user else "",
        # Four tokens frame each message and three open the answer, as OpenAI counts chat prompts.
        prompt_tokens=3 + sum(4 + count_tokens(text) for text in texts),
        output_tokens_max=_output_tokens_max(payload),
        choices=_whole_number(payload, "n", default=1, maximum=CHOICES_MAX),
        stream=payload.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _text_of(content: object) -> str:
    """A message's text: a string, or the text parts of a list; images and sound are not understood."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return " ".join(text for text in texts if isinstance(text, str))


def _output_tokens_max(payload: Mapping[str, object]) -> int:
    newer = _whole_number(payload, "max_completion_tokens", default=ANSWER_TOKENS_MAX)
    older = _whole_number(payload, "max_tokens", default=ANSWER_TOKENS_MAX)
    return min(newer, older, ANSWER_TOKENS_MAX)


def _whole_number(payload: Mapping[str, object], name: str, *, default: int, maximum: int | None = None) -> int:
    value = payload.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (maximum and value > maximum):
        allowed = f"from 1 to {maximum}" if maximum else "of at least 1"
        raise _RefusedError(f"{name} is {value!r}; allowed is a whole number {allowed}", param=name)
    return value


# --- writing the answer -----------------------------------------------------------------------------


def _answer_tokens(ask: _Ask) -> tuple[list[str], str]:
    said = " ".join(ask.last_words.split())
    if len(said) > ECHO_CHARS_MAX:
        said = said[:ECHO_CHARS_MAX].rstrip() + "..."
    heard = f'You said: "{said}". ' if said else ""
    text = (
        f"Hello! {heard}I am the demo model that comes with this gateway. I know very little, but this call was "
        "counted, priced and charged to your budgets like any other."
    )
    tokens = _TOKEN.findall(text)
    cut = tokens[: ask.output_tokens_max]
    return cut, "stop" if len(cut) == len(tokens) else "length"


def _usage(ask: _Ask, *, tokens: list[str]) -> Json:
    written = len(tokens) * ask.choices
    return {
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": ask.prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _completion(ask: _Ask, *, head: Mapping[str, object], tokens: list[str], finish_reason: str) -> Json:
    message: Json = {"role": "assistant", "content": "".join(tokens), "refusal": None, "annotations": []}
    return {
        **head,
        "object": "chat.completion",
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}
            for index in range(ask.choices)
        ],
        "usage": _usage(ask, tokens=tokens),
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _chunks(ask: _Ask, *, head: Mapping[str, object], tokens: list[str], finish_reason: str) -> Iterator[Json]:
    """Role, words, finish; then usage in a chunk without choices. Where usage is asked for, the others say null."""
    common: Json = {**head, "object": "chat.completion.chunk", "service_tier": "default", "system_fingerprint": None}
    unsaid: Json = {"usage": None} if ask.include_usage else {}
    opening: Json = {"role": "assistant", "content": "", "refusal": None}
    words: list[Json] = [{"content": token} for token in tokens]
    for delta in [opening, *words, {}]:
        for index in range(ask.choices):
            choice = {
                "index": index,
                "delta": delta,
                "logprobs": None,
                "finish_reason": None if delta else finish_reason,
            }
            yield common | {"choices": [choice]} | unsaid
    if ask.include_usage:
        yield common | {"choices": [], "usage": _usage(ask, tokens=tokens)}


def _event(chunk: Json) -> bytes:
    return b"data: " + _compact(chunk) + b"\n\n"


def _json_answer(status: int, body: Json) -> DemoAnswer:
    return DemoAnswer(status, [("content-type", "application/json")], [_compact(body)], 0.0)


def _error(refused: _RefusedError) -> Json:
    named = {"param": refused.param, "code": "invalid_value"}
    return {"error": {"message": str(refused), "type": "invalid_request_error", **named}}


def _compact(body: Json) -> bytes:
    """UTF-8; half a surrogate pair, which JSON can carry and UTF-8 cannot, comes back as a question mark."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
