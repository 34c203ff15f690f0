"""Values and answers for the tests of the data plane: every field has a value that works, a test names its own."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from budgets.gate.protocol import Names, counter_expires_ms
from budgets.gate.windows import ActiveWindow
from budgets.rules.admission import Reading, Verdict
from budgets.rules.limits import Enforcement, Limit, LimitUnit
from budgets.rules.scopes import CountedLimit, KeyProfile, Scope, ScopeLimits
from budgets.rules.windows import LIFETIME, Calendar, parse_period
from catalog.pricing import PriceCard, Rates
from catalog.routing import ResolvedRoute

NAMES = Names("bgtest")
MODEL = "gpt-4o-mini"


def make_limit(maximum: int | None = 10**10, *, duration: str | None = "1h", **fields: Any) -> Limit:
    """Nano-dollars for an hour; a duration of None is a lifetime."""
    period = LIFETIME if duration is None else parse_period(duration)
    values: dict[str, Any] = {"unit": LimitUnit.USD, "spelled": duration or ""} | fields
    return Limit(period=period, maximum=maximum, **values)


def strict(maximum: int, *, duration: str = "1h", **fields: Any) -> Limit:
    return make_limit(maximum, duration=duration, enforcement=Enforcement.STRICT, **fields)


def make_scope(
    *limits: Limit,
    kind: str = "key",
    scope_id: str = "k1",
    since_ms: int = 0,
    by_model: Mapping[str, Sequence[Limit]] | None = None,
) -> ScopeLimits:
    counted = tuple(CountedLimit(limit, since_ms) for limit in limits)
    of_models = {
        model: tuple(CountedLimit(limit, since_ms) for limit in some) for model, some in (by_model or {}).items()
    }
    return ScopeLimits(Scope(kind, scope_id), Calendar(), counted, of_models)


def make_profile(*scopes: ScopeLimits, **fields: Any) -> KeyProfile:
    values: dict[str, Any] = {
        "key_id": "0198f000-0000-7000-8000-000000000001",
        "token_hash": "0" * 64,
        "alias": None,
        "team_id": None,
        "blocked": False,
        "team_blocked": False,
        "expires_ms": None,
        "models": None,
        "team_models": None,
    }
    return KeyProfile(scopes=scopes, **values | fields)


def make_card(*, input: int = 150_000_000, output: int = 600_000_000, **fields: Any) -> PriceCard:
    """Nano-USD per million tokens: gpt-4o-mini's."""
    rates = {name: fields.pop(name) for name in list(fields) if name in Rates.__slots__}
    values: dict[str, Any] = {"source": "test"} | fields
    return PriceCard(rates=Rates.of(input=input, output=output, **rates), **values)


def make_route(**fields: Any) -> ResolvedRoute:
    values: dict[str, Any] = {
        "model": MODEL,
        "provider": "openai",
        "upstream_model": MODEL,
        "base_url": "http://127.0.0.1:1/v1",
        "api_key": "sk-provider-of-the-tests",
        "card": make_card(),
        "output_tokens_max": None,
        "connect_timeout_s": 2.0,
        "read_timeout_s": 2.0,
    }
    return ResolvedRoute(**values | fields)


def make_active(limit: Limit | None = None, *, now_ms: int = 1_800_000_000_000, kind: str = "key") -> ActiveWindow:
    limit = limit or make_limit()
    window = limit.window_at(now_ms, calendar=Calendar())
    expires_ms = counter_expires_ms(window, now_ms=now_ms)
    return ActiveWindow(Scope(kind, "k1"), limit, 0, window, "counter", expires_ms, window.end_ms)


def make_reading(verdict: Verdict = Verdict.ROOM, *, spent: int = 0, held: int = 0) -> Reading:
    return Reading(verdict, spent, held)


def make_payload(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]} | fields


def make_body(**fields: Any) -> bytes:
    return json.dumps(make_payload(**fields)).encode()


def make_usage(prompt: Any = 10, completion: Any = 5, **fields: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion} | fields


def make_chunk(content: str | None = "yes ", **fields: Any) -> dict[str, Any]:
    """A stream's chunk; without content it has no choices, as the one with the usage."""
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}, "finish_reason": None}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": choices} | fields


def make_event(data: dict[str, Any] | str, *, newline: bytes = b"\n") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return b"data: " + text.encode() + newline * 2


def make_stream(*chunks: dict[str, Any], newline: bytes = b"\n", done: bool = True) -> bytes:
    ending = make_event("[DONE]", newline=newline) if done else b""
    return b"".join(make_event(chunk, newline=newline) for chunk in chunks) + ending
