"""The request body: parsed once, its shape checked, and made to mean one thing to everybody who reads it.

Parsers differ: of a name given twice some take the last value and some the first, and some do not care about capitals.
What is checked and priced here must be what the provider obeys.
"""

import re

import orjson

from proxy.errors import ApiError, bad_request

DECISIVE = frozenset({"model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "service_tier"})
"""Fields that decide what a call may cost, or how it is metered."""

_NAMES = re.compile(b'"(?:%s)"' % b"|".join(name.encode() for name in sorted({*DECISIVE, "include_usage"})))
# A letter or an underscore written as an escape: nobody needs to, and it hides a name from a look at the bytes.
_HIDDEN_LETTER = re.compile(rb"\\u00(?:5f|6[1-9a-f]|7[0-9a])", re.IGNORECASE)


def payload_of(body: bytes) -> tuple[dict[str, object], bytes] | ApiError:
    """The body as an object, and as bytes that every parser reads alike: the client's own in nearly all calls."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return bad_request(f"The request body is not JSON: {error}")
    if not isinstance(payload, dict):
        return bad_request("The request body is not a JSON object.")
    if not isinstance(payload.get("model"), str):
        return bad_request("model is missing or is no text; it names the model to call.", param="model")
    if not isinstance(payload.get("stream", False), bool | None):
        return bad_request("stream is neither true nor false.", param="stream")
    disguised = _disguised(payload)
    if disguised is not None:
        return bad_request(f"{disguised[:50]!r} is no field; allowed is {disguised.casefold()}.", param=disguised[:50])
    return payload, orjson.dumps(payload) if _is_ambiguous(body) else body


def _disguised(payload: dict[str, object]) -> str | None:
    """A field that some parsers take for a decisive one, because they do not care about capitals."""
    names = "".join(payload)
    if names.isascii() and names.islower():
        return None
    return next((name for name in payload if name not in DECISIVE and name.casefold() in DECISIVE), None)


def _is_ambiguous(body: bytes) -> bool:
    """Whether a decisive name may be there twice. Sometimes it is nested, and the body is written anew for nothing."""
    if b"\\" in body and _HIDDEN_LETTER.search(body):
        return True
    names = _NAMES.findall(body)
    return len(names) != len(set(names))
