"""How the provider of the tests should answer a call. Times are seconds, sizes bytes, counts LLM tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Ending(StrEnum):
    """How far an answer comes. All but WHOLE and UNFINISHED stop after `pieces` pieces of the body."""

    WHOLE = "whole"
    UNFINISHED = "unfinished"  # the stream ends well as HTTP, but without usage and [DONE]
    CUT = "cut"  # the connection is closed in the middle of the body
    RESET = "reset"  # the connection is reset (RST) in the middle of the body
    HANG = "hang"  # nothing more comes, the connection stays open
    RESET_BEFORE_HEADERS = "reset_before_headers"
    HANG_BEFORE_HEADERS = "hang_before_headers"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The default is a whole, quick, correct answer of twelve output tokens."""

    status: int = 200
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    delay_s: float = 0.0  # before the headers
    piece_delay_s: float = 0.0  # between pieces of the body
    ending: Ending = Ending.WHOLE
    pieces: int = 3

    prompt_tokens: int | None = None  # None: counted from the text
    output_tokens: int = 12  # including reasoning; the request's own bound cuts it
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    service_tier: str = "default"
    with_usage: bool = True  # False: no usage at all, where the API promises one
    usage: object = None  # sent in place of the computed one, also when it makes no sense

    body: bytes | None = None  # sent in place of the computed one, whole: invalid JSON, broken events
    split_bytes: int | None = None  # size of a piece; None: one event, or the whole JSON, is a piece
    newline: bytes = b"\n"  # of server-sent events, which may also end in \r\n
    padding_bytes: int = 0  # an unknown field in JSON and in the first event makes the answer big
    gzip: bool = False  # compress, if the request accepts it
