"""What a call would cost, or has cost by its usage, by the price card of its model. Nothing is sent or written."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from budgets.errors import InputError
from catalog.pricing import PriceCard, Usage, bound_nanousd, cost_nanousd
from catalog.table import RouteTable

TOKENS_MAX = 10**12


def cost_of_messages(model: str, messages: Sequence[Any]) -> int:
    """The most that the input can cost: no tokenizer makes more tokens than bytes. Output is not in it."""
    body = orjson.dumps(messages, default=str)
    return bound_nanousd(_card(model, field="model"), input_tokens=len(body), output_tokens=0)


def cost_of_response(response: Mapping[str, Any], *, model: str | None) -> int:
    """What an answer has cost by its own usage, exactly. `model` is used where the answer names none."""
    named = response.get("model") or model
    if not isinstance(named, str):
        raise InputError("completion_response.model: needed, the name of a model", field="completion_response.model")
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        message = "completion_response.usage: needed, an object with the tokens that the answer used"
        raise InputError(message, field="completion_response.usage")
    return cost_nanousd(_card(named, field="completion_response.model"), _usage(usage))


def _card(model: str, *, field: str) -> PriceCard:
    routes = RouteTable.from_settings()
    routes.reload()
    route = routes.resolve(model)
    if route is None:
        raise InputError(f"{field}: there is no model {model[:200]!r}; GET /v1/models lists them", field=field)
    if route.card is None:
        raise InputError(f"{field}: the price of {model[:200]!r} is not known", field=field)
    return route.card


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Of chat completions, or of messages: there the cached input comes beside the input."""
    if "prompt_tokens" in usage:
        read, reasoned = _detail(usage, "prompt_tokens", "cached"), _detail(usage, "completion_tokens", "reasoning")
        return Usage(
            input_tokens=_tokens(usage, "prompt_tokens"),
            output_tokens=_tokens(usage, "completion_tokens"),
            cache_read_tokens=read,
            reasoning_tokens=reasoned,
        )
    read, written = _tokens(usage, "cache_read_input_tokens"), _tokens(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=_tokens(usage, "input_tokens") + read + written,
        output_tokens=_tokens(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _detail(usage: Mapping[str, Any], total: str, part: str) -> int:
    details = usage.get(f"{total}_details")
    return _tokens(details, f"{part}_tokens") if isinstance(details, Mapping) else 0


def _tokens(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TOKENS_MAX:
        path = f"completion_response.usage.{name}"
        message = f"{path}: {str(value)[:100]!r} is not allowed; allowed is a whole number up to {TOKENS_MAX}"
        raise InputError(message, field=path)
    return value
