"""Metering: what a call used, from the provider's own numbers, or from what went over the wire where it gave none.

Streams are looked at as bytes first; only an event that carries usage is parsed. Nothing is kept but the unfinished
event.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from catalog.pricing import Usage

TOKENS_MAX = 1_000_000_000
"""More than this in one call is no usage but a defect."""

EVENT_BYTES_MAX = 4 * 1024 * 1024
BYTES_PER_TOKEN = 4
"""Where a provider gave no usage: about what tokenizers make of English text."""

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_TEXT = re.compile(rb'"(?:content|reasoning_content|refusal|arguments|text)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_BOUNDARY = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a call used. `is_estimated` where the provider did not say; `service_tier` as the provider names it."""

    usage: Usage
    is_estimated: bool
    service_tier: str = ""


def usage_of(answer: Mapping[str, object]) -> Usage | None:
    """The usage of an OpenAI answer or stream chunk; None where it has none that makes sense."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = _details(usage, "prompt_tokens_details")
    completion = _details(usage, "completion_tokens_details")
    # Zero is an answer, silence is none: a usage without both totals would make the call free.
    if usage.get("prompt_tokens") is None or usage.get("completion_tokens") is None:
        return None
    try:
        return Usage(
            input_tokens=_count(usage, "prompt_tokens"),
            output_tokens=_count(usage, "completion_tokens"),
            cache_read_tokens=_count(prompt, "cached_tokens") if prompt else 0,
            cache_write_tokens=_count(prompt, "cache_write_tokens") if prompt else 0,
            reasoning_tokens=_count(completion, "reasoning_tokens") if completion else 0,
            input_audio_tokens=_count(prompt, "audio_tokens") if prompt else 0,
            output_audio_tokens=_count(completion, "audio_tokens") if completion else 0,
        )
    except ValueError:
        return None


def _details(usage: Mapping[str, object], name: str) -> Mapping[str, object]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _count(counts: Mapping[str, object], name: str) -> int:
    value = counts.get(name)
    if value is None:
        return 0
    if type(value) is int and 0 <= value <= TOKENS_MAX:
        return value
    raise ValueError(f"{name} is {value!r}")


def estimated(*, request_bytes: int, answer_bytes: int, pieces: int = 0) -> Measured:
    """Usage from what went over the wire; a piece of a stream is at least a token."""
    output_tokens = max(-(-answer_bytes // BYTES_PER_TOKEN), pieces)
    return Measured(Usage(-(-request_bytes // BYTES_PER_TOKEN), output_tokens), is_estimated=True)


def measure_json(body: bytes, *, request_bytes: int) -> Measured:
    """What a whole answer used."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    usage = usage_of(answer) if isinstance(answer, dict) else None
    if usage is None:
        return estimated(request_bytes=request_bytes, answer_bytes=len(body))
    return Measured(usage, is_estimated=False, service_tier=str(answer.get("service_tier") or ""))


class StreamMeter:
    """Follows a stream of server-sent events. `drop_usage` takes out the extra chunk that only we asked for."""

    def __init__(self, *, drop_usage: bool, request_bytes: int) -> None:
        self._drop_usage = drop_usage
        self._request_bytes = request_bytes
        self._rest = b""
        self._usage: Usage | None = None
        self._service_tier = ""
        self._text_bytes = 0
        self._pieces = 0

    def feed(self, chunk: bytes) -> bytes:
        """Takes what the provider sent and returns what the client gets of it now: whole events."""
        data = self._rest + chunk if self._rest else chunk
        end = _end_of_events(data)
        if end == 0 and len(data) > EVENT_BYTES_MAX:
            end = len(data)
        events, self._rest = data[:end], data[end:]
        return self._through(events) if events else b""

    def finish(self) -> bytes:
        """What is left of an unfinished last event."""
        rest, self._rest = self._rest, b""
        return self._through(rest) if rest else b""

    def measured(self) -> Measured:
        """What the stream used, by the provider's last word, or by what came of it."""
        if self._usage is not None:
            return Measured(self._usage, is_estimated=False, service_tier=self._service_tier)
        return estimated(request_bytes=self._request_bytes, answer_bytes=self._text_bytes, pieces=self._pieces)

    @property
    def has_usage(self) -> bool:
        return self._usage is not None

    def _through(self, events: bytes) -> bytes:
        for text in _TEXT.findall(events):
            if text:
                self._text_bytes += len(text)
                self._pieces += 1
        if _USAGE.search(events) is None:
            return events
        return b"".join(event for event in _BOUNDARY.split(events) if self._keep(event))

    def _keep(self, event: bytes) -> bool:
        chunk = _data_of(event) if _USAGE.search(event) else None
        if chunk is None or not isinstance(chunk.get("usage"), dict):
            return True
        usage = usage_of(chunk)
        if usage is not None:
            self._usage = usage
            self._service_tier = str(chunk.get("service_tier") or self._service_tier)
        # Also one that makes no sense: a client that did not ask for it may not bear a chunk without choices.
        return not (self._drop_usage and chunk.get("choices") == [])


def _end_of_events(data: bytes) -> int:
    """Where the last whole event ends; 0 if there is none."""
    plain = data.rfind(b"\n\n") + 2
    carriage = data.rfind(b"\r\n\r\n") + 4 if b"\r" in data else 0
    return max(plain if plain >= 2 else 0, carriage if carriage >= 4 else 0)


def _data_of(event: bytes) -> Mapping[str, object] | None:
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        data = orjson.loads(b"\n".join(lines))
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None
