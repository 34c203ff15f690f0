"""Rate-limit fields are valid structured fields (RFC 9651), whatever the limit."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.limits import LimitUnit
from budgets.rules.money import AMOUNT_MAX
from proxy.ratelimit import rate_limit_fields
from proxy.tests.factories import make_active, make_limit

NOW = 1_800_000_000_000
ITEM = re.compile(r'"[!#-\[\]-~ ]*"(;[a-z]+=(-?[0-9]{1,15}|"[a-z-]+"))*')


def test_dollars_are_whole_micro_dollars() -> None:
    active = make_active(make_limit(10**10, duration="1h"), now_ms=NOW)
    assert rate_limit_fields(active, room=1_234_567_999, now_ms=NOW + 1) == (
        ("ratelimit-policy", '"1h";q=10000000;qu="micro-usd";w=3600'),
        ("ratelimit", '"1h";r=1234567;t=3600'),
    )


@pytest.mark.parametrize(("unit", "name"), [(LimitUnit.TOKENS, "tokens"), (LimitUnit.REQUESTS, "requests")])
def test_tokens_and_requests_are_counted_as_they_are(unit: LimitUnit, name: str) -> None:
    active = make_active(make_limit(50, unit=unit, duration="1d"), now_ms=NOW)
    policy, left = rate_limit_fields(active, room=7, now_ms=NOW)
    assert policy == ("ratelimit-policy", f'"1d";q=50;qu="{name}";w=86400')
    assert left == ("ratelimit", '"1d";r=7;t=57600')


def test_limit_without_an_end_has_no_window() -> None:
    active = make_active(make_limit(10**9, duration=None), now_ms=NOW)
    policy, left = rate_limit_fields(active, room=0, now_ms=NOW)
    assert policy == ("ratelimit-policy", '"lifetime";q=1000000;qu="micro-usd"')
    assert left == ("ratelimit", '"lifetime";r=0')


@pytest.mark.parametrize(("later_ms", "left_s"), [(0, 3600), (1, 3600), (1000, 3599), (3_599_999, 1), (3_700_000, 0)])
def test_seconds_to_the_reset_are_rounded_up(later_ms: int, left_s: int) -> None:
    active = make_active(make_limit(duration="1h"), now_ms=NOW)
    assert rate_limit_fields(active, room=0, now_ms=NOW + later_ms)[1][1] == f'"1h";r=0;t={left_s}'


@given(
    st.integers(0, AMOUNT_MAX),
    st.integers(0, AMOUNT_MAX),
    st.sampled_from(LimitUnit),
    st.sampled_from(["1s", "1h", "120mo", "monthly", "Daily", None]),
)
def test_fields_are_valid_for_every_limit(maximum: int, room: int, unit: LimitUnit, duration: str | None) -> None:
    limit = make_limit(maximum, unit=unit, duration=duration)
    for _, value in rate_limit_fields(make_active(limit, now_ms=NOW), room=room, now_ms=NOW):
        assert ITEM.fullmatch(value), value
