"""Compiles the entries of genai-prices into price cards. Reads the list that is installed, never the network.

A price that nano-USD per million tokens cannot hold exactly, or a kind of price that a card has no place for, makes
the model unpriced, with the reason: nothing is rounded or left out silently. Prices are nano-USD per million tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version

from genai_prices import data
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from catalog.pricing import PriceCard, Rates, Tier

NANO = 10**9

# Keys of the price list by the field of `Rates` they fill.
RATE_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
}
REQUEST_KEY = "requests_kcount"
# Tools that the provider runs on request and bills beside the tokens; a chat completion's usage does not count them.
TOOL_KEYS = frozenset({"web_searches_kcount", "storage_searches_kcount", "code_executions_kcount"})

# What the list has for OpenAI beside chat models. It does not say which endpoint serves a model; the names do.
_NOT_CHAT = re.compile(
    r"image|realtime|transcri|translat|whisper|tts|embedding|moderation|live|instruct|computer-use|deep-research"
    r"|codex|gpt-oss|davinci|curie|^ada|^babbage|-pro$|^ft:|\.ft-|:extended|^gpt-3\.5-0301"
)


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model of the price list. Without a card, `unpriced_because` says why in words for an admin."""

    provider: str
    model: str
    card: PriceCard | None
    unpriced_because: str


class _NotExactError(ValueError):
    """The entry cannot become a card without losing something."""


def listed_model(name: str, *, provider: str, now: datetime) -> ListedModel | None:
    """The entry for a name of the provider's API (`gpt-4o-2024-08-06` finds `gpt-4o`) with the prices of `now`."""
    owner = _provider(provider)
    entry = owner.find_model(name) if owner else None
    if entry is None:
        return None
    try:
        card, reason = _card(entry, provider=provider, now=now), ""
    except _NotExactError as error:
        card, reason = None, str(error)
    return ListedModel(provider=provider, model=entry.id, card=card, unpriced_because=reason)


def provider_of(name: str, *, among: Iterable[str]) -> str | None:
    """The first of these providers that lists the name."""
    return next((each for each in among if (owner := _provider(each)) and owner.find_model(name)), None)


def context_window(name: str, *, provider: str) -> int | None:
    """Most tokens that a model takes in, as far as the list knows."""
    owner = _provider(provider)
    entry = owner.find_model(name) if owner else None
    return entry.context_window if entry else None


def chat_models(provider: str) -> list[str]:
    """Names of the provider's models that answer chat completions, as far as the list lets one know."""
    owner = _provider(provider)
    return [entry.id for entry in owner.models if _is_chat_model(entry)] if owner else []


def _provider(provider: str) -> Provider | None:
    return next((entry for entry in data.providers if entry.id == provider), None)


def _is_chat_model(entry: ModelInfo) -> bool:
    standard = entry.prices if isinstance(entry.prices, ModelPrice) else entry.prices[0].prices
    has_token_prices = standard.input_mtok is not None and standard.output_mtok is not None
    return has_token_prices and not _NOT_CHAT.search(entry.id)


def _card(entry: ModelInfo, *, provider: str, now: datetime) -> PriceCard:
    if isinstance(entry.prices, list) and any(map(_depends_on_the_hour, entry.prices)):
        raise _NotExactError("its price changes with the hour of the day")
    source = f"genai-prices {version('genai-prices')} {provider}/{entry.id}"
    standard = _flat_card(_price_values(entry.get_prices(now)), source=source)
    variants = (
        (name, _flat_card(_price_values(entry.get_prices(now, {"service_tier": name})), source=f"{source} {name}"))
        for name in _service_tiers(entry)
    )
    return replace(standard, service_tiers=tuple(pair for pair in variants if pair[1].rates != standard.rates))


def _depends_on_the_hour(price: ConditionalPrice) -> bool:
    return isinstance(price.constraint, TimeOfDateConstraint)


def _service_tiers(entry: ModelInfo) -> Iterator[str]:
    """Tiers chosen by `service_tier` in a request; batches and other offers do not pass through the gateway."""
    names = {
        variant.when["service_tier"] for variant in entry.price_variants or () if [*variant.when] == ["service_tier"]
    }
    yield from sorted(names)


def _price_values(prices: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {key: value for key, value in vars(prices).items() if value is not None and not key.startswith("_")}


def _flat_card(prices: Mapping[str, Decimal | TieredPrices], *, source: str) -> PriceCard:
    """One card for one set of prices; each price may have tiers of its own, the card has one ladder for all."""
    unknown = prices.keys() - RATE_KEYS.keys() - TOOL_KEYS - {REQUEST_KEY}
    if unknown:
        raise _NotExactError(f"it has prices of a kind that is not metered: {', '.join(sorted(unknown))}")
    starts = sorted(
        {tier.start for price in prices.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    )
    return PriceCard(
        rates=_rates(prices, input_tokens=0),
        source=source,
        tiers=tuple(Tier(above_input_tokens=at, rates=_rates(prices, input_tokens=at + 1)) for at in starts),
        request_nanousd=_request_nanousd(prices.get(REQUEST_KEY)),
    )


def _rates(prices: Mapping[str, Decimal | TieredPrices], *, input_tokens: int) -> Rates:
    values = {
        field: _nanousd(_at(prices[key], input_tokens=input_tokens), key=key)
        for key, field in RATE_KEYS.items()
        if key in prices
    }
    if "input" not in values or "output" not in values:
        raise _NotExactError("it has no price for input or output tokens")
    return Rates.of(**values)


def _at(price: Decimal | TieredPrices, *, input_tokens: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else price.base


def _request_nanousd(price: Decimal | TieredPrices | None) -> int:
    """The list prices a thousand requests."""
    if price is None:
        return 0
    if isinstance(price, TieredPrices):
        raise _NotExactError("its price per request has tiers")
    return _nanousd(price / 1000, key=REQUEST_KEY)


def _nanousd(usd: Decimal, *, key: str) -> int:
    nanousd = usd * NANO
    if not usd.is_finite() or usd < 0 or nanousd != nanousd.to_integral_value():
        raise _NotExactError(f"{key} is {usd} USD; a card holds amounts from 0 with at most 9 decimals")
    return int(nanousd)
