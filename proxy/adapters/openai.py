"""OpenAI's dialect, which most providers speak: what is sent to them, and what of their answer is passed on.

The client's bytes go through. Only what must change is changed: the model's name, `stream_options.include_usage`, and
the output bound where a strict limit needs one. What is missing is put in front, so that most bodies are never written
anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from catalog.routing import ResolvedRoute

PATH = "/chat/completions"
PASSED_HEADERS = frozenset({"content-type", "content-encoding", "retry-after", "cache-control"})
PASSED_PREFIXES = ("openai-", "x-ratelimit-", "anthropic-")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body for the provider. `usage_added`: the client did not ask for the usage chunk that we need."""

    body: bytes
    usage_added: bool


def outgoing(payload: Mapping[str, object], *, body: bytes, route: ResolvedRoute, output_bound: int | None) -> Outgoing:
    """The client's body with as few changes as the route and the meter need."""
    changes: dict[str, object] = {}
    if payload["model"] != route.upstream_model:
        changes["model"] = route.upstream_model
    usage_added = False
    if payload.get("stream"):
        options = payload.get("stream_options")
        options = dict(options) if isinstance(options, dict) else {}
        if options.get("include_usage") is not True:
            changes["stream_options"] = {**options, "include_usage": True}
            usage_added = True
    if output_bound is not None:
        changes[_bound_name(route)] = output_bound
    return Outgoing(_changed(payload, body=body, changes=changes), usage_added)


def _bound_name(route: ResolvedRoute) -> str:
    """OpenAI's newer models refuse `max_tokens`; other servers may not know its successor."""
    return "max_completion_tokens" if route.provider == "openai" else "max_tokens"


def _changed(payload: Mapping[str, object], *, body: bytes, changes: dict[str, object]) -> bytes:
    if not changes:
        return body
    if any(name in payload for name in changes):
        return orjson.dumps({**payload, **changes})
    rest = body.lstrip()[1:]
    return orjson.dumps(changes)[:-1] + b"," + rest


def request_headers(route: ResolvedRoute, *, call_id: str, stream: bool) -> dict[str, str]:
    """Our own headers to the provider; none of the client's, least of all its key."""
    return {
        "authorization": f"Bearer {route.api_key}",
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "budgetgate",
        "x-client-request-id": call_id,
    }


def passed_on(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The provider's headers that mean something to its client."""
    return [(name, value) for name, value in headers if name in PASSED_HEADERS or name.startswith(PASSED_PREFIXES)]
