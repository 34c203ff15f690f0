"""An estimate is never below what the call can cost; a bound that makes no sense is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.money import AMOUNT_MAX
from catalog.pricing import bound_nanousd
from catalog.routing import ResolvedRoute
from proxy.estimate import (
    CHOICES_MAX,
    MEDIA_PART_TOKENS_MAX,
    TOKENS_MAX,
    Estimate,
    EstimateError,
    estimate_chat,
    output_bound_within,
)
from proxy.tests.factories import make_body, make_card, make_payload, make_route

DEFAULT = 4096


def estimate(**fields: Any) -> Estimate:
    """Of a body with these fields; `route` is where it goes."""
    route: ResolvedRoute = fields.pop("route", None) or make_route()
    return estimate_chat(make_payload(**fields), body=make_body(**fields), route=route, output_tokens_default=DEFAULT)


def test_input_is_bounded_by_bytes_and_output_by_the_default() -> None:
    made = estimate()
    size = len(make_body())
    assert made == Estimate(size, DEFAULT, 1, size * 150 + DEFAULT * 600, bound_given=False)
    assert made.tokens == size + DEFAULT


@pytest.mark.parametrize(("most", "output_tokens"), [(None, DEFAULT), (100, 100), (10**6, DEFAULT)])
def test_model_that_writes_less_lowers_the_default(most: int | None, output_tokens: int) -> None:
    assert estimate(route=make_route(output_tokens_max=most)).output_tokens == output_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("bound", [0, 1, 50_000, TOKENS_MAX])
def test_client_s_bound_is_taken(name: str, bound: int) -> None:
    made = estimate(**{name: bound})
    assert (made.output_tokens, made.bound_given) == (bound, True)


def test_of_two_bounds_the_larger_counts() -> None:
    assert estimate(max_tokens=5, max_completion_tokens=9).output_tokens == 9
    assert estimate(max_tokens=9, max_completion_tokens=5).output_tokens == 9
    assert estimate(max_tokens=9, max_completion_tokens=None).output_tokens == 9


@pytest.mark.parametrize("name", ["max_output_tokens", "max_new_tokens", "num_predict", "best_of"])
def test_names_that_chat_completions_do_not_know_bound_nothing(name: str) -> None:
    made = estimate(**{name: 1})
    assert (made.output_tokens, made.bound_given) == (DEFAULT, False)


def test_every_choice_may_be_as_long_as_the_bound() -> None:
    made = estimate(n=3, max_tokens=7)
    assert (made.choices, made.output_tokens) == (3, 21)
    assert estimate(n=None).choices == 1


@pytest.mark.parametrize("value", ["5", 5.0, True, False, -1, TOKENS_MAX + 1, [], {}, 1e30])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_bound_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(EstimateError, match=f"{name} is .*allowed is a whole number from 0 to {TOKENS_MAX}") as caught:
        estimate(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize("value", ["5", 2.0, True, 0, -1, CHOICES_MAX + 1, []])
def test_number_of_choices_that_makes_no_sense_is_named(value: object) -> None:
    with pytest.raises(EstimateError, match=r"n is .*allowed is a whole number from 1 to 128") as caught:
        estimate(n=value)
    assert caught.value.field == "n"


def test_wrong_value_is_repeated_in_part_only() -> None:
    with pytest.raises(EstimateError) as caught:
        estimate(max_tokens="9" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "audio_url", "audio_url": {"url": "https://example.org/a.mp3"}},
    ],
)
def test_media_that_the_body_only_names_are_held_for(part: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [part]}]
    assert estimate(messages=messages).input_tokens == MEDIA_PART_TOKENS_MAX + len(make_body(messages=messages))


def test_tools_count_with_their_bytes() -> None:
    tools = [{"type": "function", "function": {"name": f"f{number}", "parameters": {}}} for number in range(100)]
    assert estimate(tools=tools).input_tokens == len(make_body(tools=tools))


@pytest.mark.parametrize(
    ("asked", "tier"), [("priority", "priority"), ("flex", ""), ("auto", ""), (None, ""), (7, ""), ("", "")]
)
def test_dearer_of_the_asked_and_the_standard_tier_is_held(asked: object, tier: str) -> None:
    card = make_card(
        service_tiers=(
            ("priority", make_card(input=300_000_000, output=1_200_000_000)),
            ("flex", make_card(input=75_000_000, output=300_000_000)),
        )
    )
    made = estimate(route=make_route(card=card), service_tier=asked)
    dearest = dict(card.service_tiers).get(tier, card)
    assert made.cost_nanousd == bound_nanousd(dearest, input_tokens=made.input_tokens, output_tokens=made.output_tokens)


def test_model_without_a_price_costs_nothing_and_still_counts_tokens() -> None:
    made = estimate(route=make_route(card=None))
    assert made.cost_nanousd == 0
    assert made.tokens > DEFAULT


def test_estimate_stays_below_what_a_counter_can_hold() -> None:
    card = make_card(input=10**15, output=10**15)
    assert estimate(route=make_route(card=card), max_tokens=TOKENS_MAX, n=CHOICES_MAX).cost_nanousd == AMOUNT_MAX


TIERS = make_card(service_tiers=(("priority", make_card(input=300_000_000, output=1_200_000_000)),))


@given(st.integers(0, 10**9), st.integers(1, 5), st.sampled_from(["priority", "default", None]))
def test_bound_that_is_said_to_fit_does(room: int, choices: int, tier: str | None) -> None:
    route = make_route(card=TIERS)
    made = estimate(route=route, n=choices, service_tier=tier)
    fits = output_bound_within(made, payload=make_payload(service_tier=tier), card=TIERS, room_nanousd=room)
    assert fits is not None
    card = dict(TIERS.service_tiers).get(tier or "", TIERS)

    def cost(bound: int) -> int:
        return bound_nanousd(card, input_tokens=made.input_tokens, output_tokens=bound * choices)

    assert fits == 0 or cost(fits) <= room
    assert cost(fits + 1) > room


def test_no_bound_is_named_where_the_price_is_unknown() -> None:
    assert output_bound_within(estimate(), payload=make_payload(), card=None, room_nanousd=10**9) is None
