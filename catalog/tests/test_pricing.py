"""Prices checked by hand and, for everything that must hold for all cards and all usages, by hypothesis."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import (
    OUTPUT_TOKENS_UNLIMITED,
    PriceCard,
    Rates,
    Tier,
    Usage,
    at_service_tier,
    bound_nanousd,
    cost_nanousd,
    output_tokens_within,
)

USD = 10**9
GPT_4O = PriceCard(
    rates=Rates.of(input=2_500_000_000, output=10 * USD, cache_read=1_250_000_000), source="openai/gpt-4o"
)

prices = st.integers(min_value=0, max_value=10**15)
tokens = st.integers(min_value=0, max_value=3_000_000)
all_rates = st.builds(Rates, *[prices] * 8)


@st.composite
def cards(draw: st.DrawFn) -> PriceCard:
    starts = sorted(draw(st.sets(tokens, max_size=3)))
    tiers = tuple(Tier(above_input_tokens=start, rates=draw(all_rates)) for start in starts)
    return PriceCard(rates=draw(all_rates), source="drawn", tiers=tiers, request_nanousd=draw(prices))


usages = st.builds(Usage, *[tokens] * 8)


def test_gpt_4o_by_hand() -> None:
    # 1,000 x 2.50 USD/M + 500 x 10 USD/M = 0.0025 + 0.0050 USD
    assert cost_nanousd(GPT_4O, Usage(input_tokens=1000, output_tokens=500)) == 7_500_000
    # 600 of the 1,000 were read from the cache: 400 x 2.50 + 600 x 1.25 = 0.00100 + 0.00075 USD
    assert cost_nanousd(GPT_4O, Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=600)) == 6_750_000
    # reasoning is output and costs the same
    assert cost_nanousd(GPT_4O, Usage(input_tokens=0, output_tokens=500, reasoning_tokens=499)) == 5_000_000


def test_audio_has_its_own_price() -> None:
    card = PriceCard(
        rates=Rates.of(input=2_500_000_000, output=10 * USD, input_audio=32 * USD, output_audio=64 * USD), source="x"
    )
    usage = Usage(input_tokens=100, input_audio_tokens=40, output_tokens=50, output_audio_tokens=30)
    # 60 x 2.50 + 40 x 32 + 20 x 10 + 30 x 64 = 150 + 1,280 + 200 + 1,920 USD/M
    assert cost_nanousd(card, usage) == 3_550_000


def test_cache_writes_kept_for_an_hour_have_their_own_price() -> None:
    card = PriceCard(
        rates=Rates.of(input=4 * USD, output=20 * USD, cache_write=5 * USD, cache_write_1h=8 * USD), source="x"
    )
    # 10 plain x 4 + 60 written x 5 + 30 written for an hour x 8 = 40 + 300 + 240 USD/M
    assert cost_nanousd(card, Usage(input_tokens=100, cache_write_tokens=90, cache_write_1h_tokens=30)) == 580_000


def test_a_long_prompt_reprices_the_whole_call() -> None:
    long = Tier(above_input_tokens=200_000, rates=Rates.of(input=6 * USD, output=22_500_000_000))
    card = PriceCard(rates=Rates.of(input=3 * USD, output=15 * USD), source="x", tiers=(long,))
    assert cost_nanousd(card, Usage(input_tokens=200_000, output_tokens=1000)) == 615_000_000
    assert cost_nanousd(card, Usage(input_tokens=200_001, output_tokens=1000)) == 1_222_506_000


def test_service_tier_has_its_own_card() -> None:
    priority = PriceCard(rates=Rates.of(input=5 * USD, output=20 * USD), source="x priority")
    card = PriceCard(rates=GPT_4O.rates, source="x", service_tiers=(("priority", priority),))
    assert at_service_tier(card, service_tier="priority") is priority
    assert at_service_tier(card, service_tier="auto") is card


def test_fractions_of_a_nano_dollar_round_up_once_per_call() -> None:
    card = PriceCard(rates=Rates.of(input=1, output=1), source="x")
    assert cost_nanousd(card, Usage(input_tokens=1, output_tokens=1)) == 1
    assert cost_nanousd(card, Usage(input_tokens=500_000, output_tokens=500_000)) == 1
    assert cost_nanousd(card, Usage(input_tokens=500_000, output_tokens=500_001)) == 2
    assert cost_nanousd(card, Usage()) == 0


@given(rates=all_rates, usage=usages, request=prices)
def test_cost_is_the_exact_sum_rounded_up(rates: Rates, usage: Usage, request: int) -> None:
    card = PriceCard(rates=rates, source="x", request_nanousd=request)
    read = min(usage.cache_read_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    hour = min(usage.cache_write_1h_tokens, written)
    heard = min(usage.input_audio_tokens, usage.input_tokens - read - written)
    reasoned = min(usage.reasoning_tokens, usage.output_tokens)
    spoken = min(usage.output_audio_tokens, usage.output_tokens - reasoned)
    parts = [
        (usage.input_tokens - read - written - heard, rates.input),
        (read, rates.cache_read),
        (written - hour, rates.cache_write),
        (hour, rates.cache_write_1h),
        (heard, rates.input_audio),
        (usage.output_tokens - reasoned - spoken, rates.output),
        (reasoned, rates.reasoning),
        (spoken, rates.output_audio),
    ]
    assert all(count >= 0 for count, _ in parts)
    exact = request + sum(Fraction(count * price, 1_000_000) for count, price in parts)
    assert 0 <= cost_nanousd(card, usage) - exact < 1


@given(card=cards(), usage=usages, more_input=tokens, more_output=tokens)
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    card: PriceCard, usage: Usage, more_input: int, more_output: int
) -> None:
    bound = bound_nanousd(
        card, input_tokens=usage.input_tokens + more_input, output_tokens=usage.output_tokens + more_output
    )
    assert cost_nanousd(card, usage) <= bound


@given(card=cards(), input_tokens=tokens, output_tokens=tokens, more_input=tokens, more_output=tokens)
def test_bound_grows_with_its_tokens(
    card: PriceCard, input_tokens: int, output_tokens: int, more_input: int, more_output: int
) -> None:
    less = bound_nanousd(card, input_tokens=input_tokens, output_tokens=output_tokens)
    assert less <= bound_nanousd(card, input_tokens=input_tokens + more_input, output_tokens=output_tokens)
    assert less <= bound_nanousd(card, input_tokens=input_tokens, output_tokens=output_tokens + more_output)


@given(card=cards(), input_tokens=tokens, output_tokens=tokens, more=tokens)
def test_cost_grows_with_output(card: PriceCard, input_tokens: int, output_tokens: int, more: int) -> None:
    less = cost_nanousd(card, Usage(input_tokens=input_tokens, output_tokens=output_tokens))
    assert less <= cost_nanousd(card, Usage(input_tokens=input_tokens, output_tokens=output_tokens + more))


@given(card=cards(), input_tokens=tokens, room=st.integers(min_value=0, max_value=2**53))
def test_output_tokens_within_is_the_inverse_of_the_bound(card: PriceCard, input_tokens: int, room: int) -> None:
    largest = output_tokens_within(card, input_tokens=input_tokens, room_nanousd=room)
    if bound_nanousd(card, input_tokens=input_tokens, output_tokens=0) > room:
        assert largest == 0
        return
    assert bound_nanousd(card, input_tokens=input_tokens, output_tokens=largest) <= room
    if largest < OUTPUT_TOKENS_UNLIMITED:
        assert bound_nanousd(card, input_tokens=input_tokens, output_tokens=largest + 1) > room


@given(card=cards(), input_tokens=tokens, output_tokens=tokens)
def test_the_room_of_a_bound_holds_its_own_output(card: PriceCard, input_tokens: int, output_tokens: int) -> None:
    room = bound_nanousd(card, input_tokens=input_tokens, output_tokens=output_tokens)
    assert output_tokens_within(card, input_tokens=input_tokens, room_nanousd=room) >= output_tokens


def test_free_output_is_unlimited_and_no_room_is_zero() -> None:
    free = PriceCard(rates=Rates.of(input=0, output=0), source="x")
    assert output_tokens_within(free, input_tokens=10, room_nanousd=0) == OUTPUT_TOKENS_UNLIMITED
    assert output_tokens_within(GPT_4O, input_tokens=1000, room_nanousd=2_499_999) == 0
    assert output_tokens_within(GPT_4O, input_tokens=1000, room_nanousd=2_510_000) == 1


def test_wrong_cards_and_usages_are_refused() -> None:
    with pytest.raises(ValueError, match="output_tokens is -1"):
        Usage(output_tokens=-1)
    with pytest.raises(ValueError, match="cache_read is -5"):
        Rates.of(input=1, output=1, cache_read=-5)
    tier = Tier(above_input_tokens=5, rates=GPT_4O.rates)
    with pytest.raises(ValueError, match="ascending"):
        PriceCard(rates=GPT_4O.rates, source="x", tiers=(tier, tier))
    with pytest.raises(ValueError, match="request_nanousd of x is -1"):
        PriceCard(rates=GPT_4O.rates, source="x", request_nanousd=-1)
