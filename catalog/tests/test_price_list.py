"""The installed price list as it is: every card is checked against the list's own calculation of the same usage."""

from datetime import UTC, datetime
from decimal import Decimal
from math import ceil

import pytest
from genai_prices import data
from genai_prices import types as genai

from catalog.price_list import ListedModel, chat_models, listed_model
from catalog.pricing import PriceCard, Usage, at_service_tier, cost_nanousd

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PRICED = [
    (provider.id, model)
    for provider in data.providers
    if provider.id in {"openai", "anthropic", "mistral", "google"}
    for model in provider.models
    if (found := listed_model(model.id, provider=provider.id, now=NOW)) and found.card and found.model == model.id
]
USAGES = [
    Usage(input_tokens=12_345, output_tokens=6_789),
    Usage(input_tokens=150_001, output_tokens=77, cache_read_tokens=100_003),
    Usage(input_tokens=272_001, output_tokens=1, cache_read_tokens=1, cache_write_tokens=200_000),
]


def card_of(name: str, *, provider: str = "openai", now: datetime = NOW) -> PriceCard:
    found = listed_model(name, provider=provider, now=now)
    assert found is not None
    assert found.card is not None
    return found.card


@pytest.mark.parametrize("usage", USAGES, ids=["short", "cached", "long"])
@pytest.mark.parametrize("service_tier", ["", "default", "priority", "flex"])
def test_cards_agree_with_the_lists_own_calculation(usage: Usage, service_tier: str) -> None:
    assert len(PRICED) > 150
    for provider, model in PRICED:
        card = at_service_tier(card_of(model.id, provider=provider), service_tier=service_tier)
        theirs = model.get_prices(NOW, {"service_tier": service_tier}).calc_price(
            genai.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
            )
        )
        assert cost_nanousd(card, usage) == ceil(theirs["total_price"] * 10**9), f"{provider}/{model.id}"


def test_gpt_4o_has_the_published_prices() -> None:
    card = card_of("gpt-4o-2024-08-06")
    assert (card.rates.input, card.rates.cache_read, card.rates.output) == (
        2_500_000_000,
        1_250_000_000,
        10_000_000_000,
    )
    assert card.source.startswith("genai-prices ")
    assert card.source.endswith(" openai/gpt-4o")


def test_prices_are_those_of_the_day() -> None:
    assert card_of("o3", now=datetime(2025, 6, 9, tzinfo=UTC)).rates.input == 10_000_000_000
    assert card_of("o3", now=datetime(2025, 6, 10, tzinfo=UTC)).rates.input == 2_000_000_000


def test_unknown_model_and_provider_are_not_listed() -> None:
    assert listed_model("gpt-4o-foo", provider="openai", now=NOW) is None
    assert listed_model("gpt-4o", provider="nobody", now=NOW) is None
    assert chat_models("nobody") == []


def test_price_that_a_nano_cannot_hold_makes_the_model_unpriced(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_prices(monkeypatch, input_mtok=Decimal("0.0416666666667"), output_mtok=Decimal(1))
    assert found.card is None
    assert found.unpriced_because == (
        "input_mtok is 0.0416666666667 USD; a card holds amounts from 0 with at most 9 decimals"
    )


def test_price_of_an_unknown_kind_makes_the_model_unpriced(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_prices(monkeypatch, input_mtok=Decimal(1), output_mtok=Decimal(1), input_video_mtok=Decimal(9))
    assert found.card is None
    assert "not metered: input_video_mtok" in found.unpriced_because


def test_price_that_changes_within_a_day_makes_the_model_unpriced() -> None:
    found = listed_model("deepseek-chat", provider="deepseek", now=NOW)
    assert found is not None
    assert found.unpriced_because == "its price changes with the hour of the day"


def test_price_per_request_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = with_prices(monkeypatch, input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal("5.000001"))
    assert found.card is not None
    assert found.card.request_nanousd == 5_000_001


def test_chat_models_leave_out_what_does_not_chat() -> None:
    names = chat_models("openai")
    assert {"gpt-4o", "gpt-4o-mini", "o3"} <= set(names)
    assert not {"whisper-1", "text-embedding-3-small", "gpt-image-1", "gpt-realtime", "davinci-002"} & set(names)
    assert all(card_of(name) for name in names)


def with_prices(monkeypatch: pytest.MonkeyPatch, **prices: Decimal) -> ListedModel:
    """The entry of a made-up provider with one model and these prices."""
    model = genai.ModelInfo(id="made-up", match=genai.ClauseEquals("made-up"), prices=genai.ModelPrice(**prices))
    provider = genai.Provider(id="somebody", name="Somebody", api_pattern="x", models=[model])
    monkeypatch.setattr(data, "providers", [provider])
    found = listed_model("made-up", provider="somebody", now=NOW)
    assert found is not None
    return found
