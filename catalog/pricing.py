"""Price cards, and what a call costs by them: exact integer arithmetic, the one place that prices tokens.

Prices are nano-USD (1e-9 USD) per million tokens, results are whole nano-USD. A cost is rounded up once per call,
never per token, so a call is at most one nano-dollar dearer than the provider's own sum. Pure: no Django, no clock,
no settings, no floats.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

TOKENS_PER_PRICE = 1_000_000
OUTPUT_TOKENS_UNLIMITED = 2**31 - 1
"""What `output_tokens_within` answers where output costs nothing; no model writes that much."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call used, as its provider reported it. `input_tokens` and `output_tokens` are totals.

    Cache reads, cache writes (of which some are kept for an hour) and audio are parts of the input; reasoning and
    audio are parts of the output. Providers that report the parts beside the total are normalised before.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0

    def __post_init__(self) -> None:
        # Spelled out: this runs for every call, and going through the fields costs more than pricing it.
        if (
            self.input_tokens < 0
            or self.output_tokens < 0
            or self.cache_read_tokens < 0
            or self.cache_write_tokens < 0
            or self.cache_write_1h_tokens < 0
            or self.reasoning_tokens < 0
            or self.input_audio_tokens < 0
            or self.output_audio_tokens < 0
        ):
            _refuse_negative(self)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices that hold together, all in nano-USD per million tokens (so the names carry no unit)."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    input_audio: int
    output_audio: int

    def __post_init__(self) -> None:
        _refuse_negative(self)

    @classmethod
    def of(
        cls,
        *,
        input: int,
        output: int,
        cache_read: int | None = None,
        cache_write: int | None = None,
        cache_write_1h: int | None = None,
        reasoning: int | None = None,
        input_audio: int | None = None,
        output_audio: int | None = None,
    ) -> Rates:
        """A kind of token without its own price costs what the kind that it is a part of costs."""
        write = _first(cache_write, input)
        return cls(
            input=input,
            output=output,
            cache_read=_first(cache_read, input),
            cache_write=write,
            cache_write_1h=_first(cache_write_1h, write),
            reasoning=_first(reasoning, output),
            input_audio=_first(input_audio, input),
            output_audio=_first(output_audio, output),
        )

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.input_audio)

    @property
    def dearest_output(self) -> int:
        return max(self.output, self.reasoning, self.output_audio)


@dataclass(frozen=True, slots=True)
class Tier:
    """Other prices for the whole call when its input has more than `above_input_tokens` tokens."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class PriceCard:
    """The prices of one model. `tiers` ascend; `service_tiers` are whole cards by the provider's name for the tier."""

    rates: Rates
    source: str
    tiers: tuple[Tier, ...] = ()
    request_nanousd: int = 0
    service_tiers: tuple[tuple[str, PriceCard], ...] = ()

    def __post_init__(self) -> None:
        starts = [tier.above_input_tokens for tier in self.tiers]
        if starts != sorted(set(starts)) or (starts and starts[0] < 0):
            raise ValueError(f"tiers of {self.source} start above {starts}; allowed are ascending numbers from 0")
        if self.request_nanousd < 0:
            raise ValueError(f"request_nanousd of {self.source} is {self.request_nanousd}; allowed is 0 or more")


def at_service_tier(card: PriceCard, *, service_tier: str) -> PriceCard:
    """The card of a service tier as requested, or as the answer names it; the standard card for any other name."""
    for name, variant in card.service_tiers:
        if name == service_tier:
            return variant
    return card


def cost_nanousd(card: PriceCard, usage: Usage) -> int:
    """What the call costs. Parts that claim more tokens than their total are cut to it, never added to it."""
    rates = _rates_at(card, usage.input_tokens)
    read = min(usage.cache_read_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    written_1h = min(usage.cache_write_1h_tokens, written)
    heard = min(usage.input_audio_tokens, usage.input_tokens - read - written)
    reasoned = min(usage.reasoning_tokens, usage.output_tokens)
    spoken = min(usage.output_audio_tokens, usage.output_tokens - reasoned)
    tokens_times_price = (
        (usage.input_tokens - read - written - heard) * rates.input
        + read * rates.cache_read
        + (written - written_1h) * rates.cache_write
        + written_1h * rates.cache_write_1h
        + heard * rates.input_audio
        + (usage.output_tokens - reasoned - spoken) * rates.output
        + reasoned * rates.reasoning
        + spoken * rates.output_audio
    )
    return card.request_nanousd + _per_token_rounded_up(tokens_times_price)


def bound_nanousd(card: PriceCard, *, input_tokens: int, output_tokens: int) -> int:
    """The most that a call within these tokens can cost, however the provider splits and prices them."""
    input_price, output_price = _dearest(card, input_tokens)
    return card.request_nanousd + _per_token_rounded_up(input_tokens * input_price + output_tokens * output_price)


def output_tokens_within(card: PriceCard, *, input_tokens: int, room_nanousd: int) -> int:
    """The largest output whose `bound_nanousd` fits in the room; 0 if not even the input fits."""
    input_price, output_price = _dearest(card, input_tokens)
    left = (room_nanousd - card.request_nanousd) * TOKENS_PER_PRICE - input_tokens * input_price
    if left < 0:
        return 0
    if output_price == 0:
        return OUTPUT_TOKENS_UNLIMITED
    return min(left // output_price, OUTPUT_TOKENS_UNLIMITED)


def _rates_at(card: PriceCard, input_tokens: int) -> Rates:
    """A tier reprices the whole call, not only the tokens above its start: so do the providers."""
    for tier in reversed(card.tiers):
        if input_tokens > tier.above_input_tokens:
            return tier.rates
    return card.rates


def _dearest(card: PriceCard, input_tokens: int) -> tuple[int, int]:
    """Over all tiers that an input of at most this size can reach: a lower tier is not always the cheaper one."""
    if not card.tiers:
        return card.rates.dearest_input, card.rates.dearest_output
    reachable = [card.rates, *(tier.rates for tier in card.tiers if input_tokens > tier.above_input_tokens)]
    return max(rates.dearest_input for rates in reachable), max(rates.dearest_output for rates in reachable)


def _per_token_rounded_up(tokens_times_price: int) -> int:
    return -(-tokens_times_price // TOKENS_PER_PRICE)


def _first(price: int | None, fallback: int) -> int:
    return fallback if price is None else price


def _refuse_negative(values: Usage | Rates) -> None:
    for field in fields(values):
        value = getattr(values, field.name)
        if value < 0:
            raise ValueError(f"{field.name} is {value}; allowed is 0 or more")
