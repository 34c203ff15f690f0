"""The bytes of OpenAI's chat completions API: answers, events, usage, errors.

Written from OpenAI's documentation and recorded answers, without help from the gateway's own code: it is what the
gateway is measured against. Counts are LLM tokens; text has one token for every four bytes begun.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.provider.behaviour import Behaviour, Ending

CREATED = 1_700_000_000
BYTES_PER_TOKEN = 4
WORD = "yes "  # one token


@dataclass(frozen=True, slots=True)
class Event:
    """Some bytes of the body; what the client then has: output tokens, and the usage if they carry it."""

    data: bytes
    output_tokens: int = 0
    usage: object = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What this call will use."""

    call_id: str
    payload: Mapping[str, Any]
    behaviour: Behaviour

    @property
    def choices(self) -> int:
        return int(self.payload.get("n") or 1)

    @property
    def wants_usage(self) -> bool:
        return bool((self.payload.get("stream_options") or {}).get("include_usage"))

    @property
    def tokens_of_a_choice(self) -> int:
        bounds = [self.payload.get("max_completion_tokens"), self.payload.get("max_tokens")]
        return min([self.behaviour.output_tokens, *(int(bound) for bound in bounds if bound is not None)])

    @property
    def words_of_a_choice(self) -> int:
        return max(0, self.tokens_of_a_choice - self.behaviour.reasoning_tokens)

    @property
    def finish_reason(self) -> str:
        return "length" if self.tokens_of_a_choice < self.behaviour.output_tokens else "stop"


def count_tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def prompt_tokens(payload: Mapping[str, Any]) -> int:
    """Three tokens open the answer and three frame each message, beside its text."""
    texts = [_text_of(message) for message in payload.get("messages", [])]
    return 3 + sum(3 + count_tokens(text) for text in texts)


def usage(plan: Plan) -> dict[str, Any]:
    behaviour = plan.behaviour
    asked = prompt_tokens(plan.payload) if behaviour.prompt_tokens is None else behaviour.prompt_tokens
    written = plan.tokens_of_a_choice * plan.choices
    details = {"cached_tokens": behaviour.cached_tokens, "audio_tokens": behaviour.input_audio_tokens}
    if behaviour.cache_write_tokens:
        details["cache_write_tokens"] = behaviour.cache_write_tokens
    return {
        "prompt_tokens": asked,
        "completion_tokens": written,
        "total_tokens": asked + written,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": min(behaviour.reasoning_tokens, plan.tokens_of_a_choice) * plan.choices,
            "audio_tokens": behaviour.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(plan: Plan) -> Event:
    """OpenAI indents its JSON by two spaces."""
    message: dict[str, object] = {
        "role": "assistant",
        "content": WORD * plan.words_of_a_choice,
        "refusal": None,
        "annotations": [],
    }
    choice = {"message": message, "logprobs": None, "finish_reason": plan.finish_reason}
    reported = _reported(plan)
    body = {
        "id": plan.call_id,
        "object": "chat.completion",
        "created": CREATED,
        "model": plan.payload["model"],
        "choices": [{"index": index} | choice for index in range(plan.choices)],
        **({"usage": reported} if reported is not None else {}),
        "service_tier": plan.behaviour.service_tier,
        "system_fingerprint": "fp_provider0000",
        **_padding(plan),
    }
    written = plan.tokens_of_a_choice * plan.choices
    return Event(json.dumps(body, indent=2, ensure_ascii=False).encode(), written, reported)


def events(plan: Plan) -> Iterator[Event]:
    """Role, words, finish of every choice; usage where asked for; [DONE]."""
    for index in range(plan.choices):
        role = {"role": "assistant", "content": "", "refusal": None}
        yield _event(plan, choices=[_delta(index, role)], extra=_padding(plan) if index == 0 else {})
    hidden = plan.tokens_of_a_choice - plan.words_of_a_choice
    for number in range(plan.words_of_a_choice):
        for index in range(plan.choices):
            tokens = 1 if number else 1 + hidden  # reasoning was generated before the first word
            yield _event(plan, choices=[_delta(index, {"content": WORD})], output_tokens=tokens)
    if plan.behaviour.ending is Ending.UNFINISHED:
        return
    for index in range(plan.choices):
        yield _event(plan, choices=[_delta(index, {}, finish_reason=plan.finish_reason)])
    reported = _reported(plan)
    if plan.wants_usage and reported is not None:
        yield _event(plan, choices=[], reported=reported)
    yield Event(b"data: [DONE]" + plan.behaviour.newline * 2)


def error(message: str, *, type: str, param: str | None = None, code: str | None = None) -> Event:
    body = {"error": {"message": message, "type": type, "param": param, "code": code}}
    return Event(json.dumps(body, indent=4).encode() + b"\n")


def error_of_status(status: int, *, model: str) -> Event:
    """What OpenAI says with the statuses that callers see most."""
    if status == 429:
        message = f"Rate limit reached for {model} in organization org-provider on requests per min (RPM): Limit 500."
        return error(message, type="requests", code="rate_limit_exceeded")
    if status >= 500:
        message = "The server had an error while processing your request. Sorry about that!"
        return error(message, type="server_error")
    return error("Something is wrong with this request.", type="invalid_request_error")


def _reported(plan: Plan) -> object:
    if not plan.behaviour.with_usage:
        return None
    return usage(plan) if plan.behaviour.usage is None else plan.behaviour.usage


def _delta(index: int, delta: Mapping[str, object], *, finish_reason: str | None = None) -> dict[str, object]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(
    plan: Plan,
    *,
    choices: list[dict[str, object]],
    output_tokens: int = 0,
    reported: object = None,
    extra: Mapping[str, object] | None = None,
) -> Event:
    chunk = {
        "id": plan.call_id,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": plan.payload["model"],
        "service_tier": plan.behaviour.service_tier,
        "system_fingerprint": "fp_provider0000",
        "choices": choices,
        **({"usage": reported} if plan.wants_usage else {}),
        "obfuscation": "Xq3",
        **(extra or {}),
    }
    data = json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()
    return Event(b"data: " + data + plan.behaviour.newline * 2, output_tokens, reported)


def _padding(plan: Plan) -> dict[str, str]:
    size = plan.behaviour.padding_bytes
    return {"padding": "p" * size} if size else {}


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
