"""Estimates: the most that a chat completion can cost, from its body and the route's price card alone.

Pure. Tokens of text are bounded by bytes: no tokenizer makes more tokens than bytes. What is not in the body (an image
by its address) is bounded by a constant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from budgets.rules.money import AMOUNT_MAX
from catalog.pricing import PriceCard, at_service_tier, bound_nanousd, output_tokens_within
from catalog.routing import ResolvedRoute

MEDIA_PART_TOKENS_MAX = 40_000
"""More than any known model makes of one picture, recording or file that the body only names."""

OUTPUT_BOUNDS = ("max_completion_tokens", "max_tokens")
"""Of chat completions. Another API's name (`max_output_tokens`) is ignored by providers and bounds nothing."""

# As a field, not as the part's type: each part has it once. Some servers also take films and sound by address.
_MEDIA_PART = re.compile(rb'"(?:image_url|input_audio|file|video_url|audio_url)"\s*:')
TOKENS_MAX = 10_000_000
CHOICES_MAX = 128


class EstimateError(ValueError):
    """A field that bounds the call's cost has no usable value."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Estimate:
    """Upper bounds of one call. `output_tokens` is over all choices; `bound_given` says the client set it."""

    input_tokens: int
    output_tokens: int
    choices: int
    cost_nanousd: int
    bound_given: bool

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def estimate_chat(
    payload: Mapping[str, object], *, body: bytes, route: ResolvedRoute, output_tokens_default: int
) -> Estimate:
    """The bounds of a chat completion. Raises EstimateError naming a field that makes no sense."""
    choices = _whole(payload, "n", minimum=1, maximum=CHOICES_MAX) if payload.get("n") is not None else 1
    given = [
        _whole(payload, name, minimum=0, maximum=TOKENS_MAX) for name in OUTPUT_BOUNDS if payload.get(name) is not None
    ]
    output_tokens = max(given) if given else min(output_tokens_default, route.output_tokens_max or TOKENS_MAX)
    input_tokens = len(body) + MEDIA_PART_TOKENS_MAX * len(_MEDIA_PART.findall(body))
    cost = _dearest(payload, route.card, input_tokens=input_tokens, output_tokens=output_tokens * choices)
    return Estimate(input_tokens, output_tokens * choices, choices, min(cost, AMOUNT_MAX), bool(given))


def estimate_tokens(*, card: PriceCard | None, input_tokens: int, output_tokens: int) -> Estimate:
    """The bounds of one call whose tokens are given, at the standard price."""
    cost = _dearest({}, card, input_tokens=input_tokens, output_tokens=output_tokens)
    return Estimate(input_tokens, output_tokens, 1, min(cost, AMOUNT_MAX), bound_given=True)


def _dearest(payload: Mapping[str, object], card: PriceCard | None, *, input_tokens: int, output_tokens: int) -> int:
    """At the price of the tier that was asked for, or the standard one, whichever is dearer: the provider chooses."""
    if card is None:
        return 0
    bound = bound_nanousd(card, input_tokens=input_tokens, output_tokens=output_tokens)
    asked = payload.get("service_tier")
    if not isinstance(asked, str):
        return bound
    tier = at_service_tier(card, service_tier=asked)
    return max(bound, bound_nanousd(tier, input_tokens=input_tokens, output_tokens=output_tokens))


def output_bound_within(
    estimate: Estimate, *, payload: Mapping[str, object], card: PriceCard | None, room_nanousd: int
) -> int | None:
    """The largest output bound of each choice that would fit in the room; None where the price is unknown."""
    if card is None:
        return None
    tier = at_service_tier(card, service_tier=str(payload.get("service_tier")))
    totals = (
        output_tokens_within(each, input_tokens=estimate.input_tokens, room_nanousd=room_nanousd)
        for each in (card, tier)
    )
    return min(totals) // estimate.choices


def _whole(payload: Mapping[str, object], name: str, *, minimum: int, maximum: int) -> int:
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        message = f"{name} is {repr(value)[:100]}; allowed is a whole number from {minimum} to {maximum}"
        raise EstimateError(message, field=name)
    return value
