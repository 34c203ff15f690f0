"""What the entries of `budget_limits` mean, and how wrong ones are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.limits import (
    LIMITS_MAX,
    MAXIMUM_FIELDS,
    Enforcement,
    Limit,
    LimitError,
    LimitUnit,
    check_distinct,
    entry_json,
    parse_limits,
    single_limit,
)
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.windows import LIFETIME, Calendar, Period, Window

durations = st.one_of(
    st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 120), st.sampled_from(["s", "m", "h", "d", "w", "mo"])),
    st.sampled_from(["hourly", "daily", "weekly", "monthly", "Daily"]),
)
maxima = st.one_of(st.integers(0, AMOUNT_MAX), st.integers(0, 10**4))


def limit(duration: str = "1h", maximum: object = "10", field: str = "max_budget") -> dict[str, object]:
    return {"budget_duration": duration, field: maximum}


def refused(entries: object) -> LimitError:
    with pytest.raises(LimitError) as refusal:
        parse_limits(entries)
    return refusal.value


def test_entries_become_limits_in_their_order() -> None:
    parsed = parse_limits(
        [
            {"budget_duration": "1h", "max_budget": "10.50", "reset_at": "whatever"},
            {"budget_duration": "monthly", "max_tokens": 5, "max_budget": None, "enforcement": "strict"},
            {"budget_duration": "7d", "max_requests": 0, "enforcement": None},
        ]
    )
    assert parsed == (
        Limit(LimitUnit.USD, Period(1, "h"), 10_500_000_000, Enforcement.STANDARD, "1h"),
        Limit(LimitUnit.TOKENS, Period(1, "mo"), 5, Enforcement.STRICT, "monthly"),
        Limit(LimitUnit.REQUESTS, Period(1, "w"), 0, Enforcement.STANDARD, "7d"),
    )
    assert [str(each) for each in parsed] == ["1h", "monthly", "7d"]
    assert [each.identity for each in parsed] == ["usd/1h", "tokens/1mo", "requests/1w"]


def test_no_entries_are_no_limits() -> None:
    assert parse_limits([]) == ()
    assert parse_limits(()) == ()


@pytest.mark.parametrize("entries", [None, "1h", b"1h", 5, {"budget_duration": "1h"}, True, {1, 2}])
def test_what_is_no_list_is_refused_and_named(entries: object) -> None:
    error = refused(entries)
    assert error.field == "budget_limits"
    assert repr(entries) in str(error)


@pytest.mark.parametrize(
    ("entry", "field", "named"),
    [
        ("1h", "", "'1h' is not an object"),
        (None, "", "None is not an object"),
        (["1h"], "", "['1h'] is not an object"),
        ({"max_budget": 1}, ".budget_duration", "budget_duration is needed"),
        ({"max_budget": 1, "budget_duration": None}, ".budget_duration", "None is not a duration"),
        ({"max_budget": 1, "budget_duration": "1hr"}, ".budget_duration", "'1hr' is not a duration"),
        ({"max_budget": 1, "budget_duration": "3661d"}, ".budget_duration", "'3661d' is too long"),
        ({"budget_duration": "1h"}, ".max_budget", "given is none"),
        ({"budget_duration": "1h", "max_budget": None}, ".max_budget", "given is none"),
        (limit() | {"max_tokens": 1}, ".max_tokens", "given is max_budget and max_tokens"),
        (limit() | {"max_requests": 0}, ".max_requests", "given is max_budget and max_requests"),
        (limit(maximum="ten"), ".max_budget", "'ten' is not a number"),
        (limit(maximum=True), ".max_budget", "True is not a number"),
        (limit(maximum=-1), ".max_budget", "-1 is out of range"),
        (limit(maximum="0.0000000001"), ".max_budget", "more than 9 decimals"),
        (limit(maximum=9_007_200), ".max_budget", "9007200 is out of range"),
        (limit(maximum=float("nan")), ".max_budget", "NaN is not a finite"),
        (limit(maximum="5", field="max_tokens"), ".max_tokens", "'5' is not allowed"),
        (limit(maximum=5.0, field="max_tokens"), ".max_tokens", "5.0 is not allowed"),
        (limit(maximum=True, field="max_requests"), ".max_requests", "True is not allowed"),
        (limit(maximum=-1, field="max_requests"), ".max_requests", "-1 is not allowed"),
        (limit(maximum=AMOUNT_MAX + 1, field="max_tokens"), ".max_tokens", f"{AMOUNT_MAX + 1} is not allowed"),
        (limit() | {"enforcement": "lax"}, ".enforcement", "'lax' is not allowed"),
        (limit() | {"enforcement": ["strict"]}, ".enforcement", "['strict'] is not allowed"),
        (limit() | {"enforcement": "STRICT"}, ".enforcement", "'STRICT' is not allowed"),
        (limit() | {"max_budgets": 1}, ".max_budgets", "unknown field; allowed are budget_duration, enforcement"),
        (limit() | {"counted_since": "x"}, ".counted_since", "unknown field"),
        (limit() | {3: 4}, ".3", "unknown field"),
    ],
)
def test_errors_say_where_and_what(entry: object, field: str, named: str) -> None:
    error = refused([limit("1d"), entry])
    assert error.field == f"budget_limits[1]{field}"
    assert named in str(error)


def test_twenty_entries_are_allowed_and_twenty_one_are_not() -> None:
    entries = [limit(f"{count}s") for count in range(1, LIMITS_MAX + 2)]
    assert LIMITS_MAX == 20
    assert len(parse_limits(entries[:20])) == 20
    error = refused(entries)
    assert (error.field, str(error)) == ("budget_limits", "21 entries; allowed are at most 20")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-10, 2**60), st.floats(), st.text(max_size=5), durations),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["budget_duration", "enforcement", "reset_at", *MAXIMUM_FIELDS]), st.text()),
            inner,
        ),
    ),
    max_leaves=8,
)


@given(st.one_of(json_values, st.lists(json_values)))
def test_any_json_is_limits_or_an_error_with_its_place(value: Any) -> None:
    try:
        parsed = parse_limits(value)
    except LimitError as error:
        assert error.field.startswith("budget_limits")  # noqa: PT017 - either outcome is right
        return
    assert len(parsed) == len(value)
    assert all(each.maximum is not None and 0 <= each.maximum <= AMOUNT_MAX for each in parsed)


@pytest.mark.parametrize(
    ("first", "second"),
    [("24h", "1d"), ("7d", "1w"), ("30d", "1mo"), ("720h", "monthly"), ("60m", "hourly"), ("1h", "1h"), ("2w", "14d")],
)
def test_two_spellings_of_one_period_are_refused_naming_both(first: str, second: str) -> None:
    limits = parse_limits([limit("5m"), limit(first), limit(second)])
    with pytest.raises(LimitError) as refusal:
        check_distinct(limits)
    assert refusal.value.field == "budget_limits[2].budget_duration"
    assert f"budget_limits[2] ({second})" in str(refusal.value)
    assert f"budget_limits[1] ({first})" in str(refusal.value)


def test_one_period_can_have_a_limit_in_each_unit() -> None:
    check_distinct(parse_limits([limit(field=field, maximum=5) for field in MAXIMUM_FIELDS]))


def test_the_single_limit_counts_among_the_others() -> None:
    single = single_limit(5, duration="24h")
    with pytest.raises(LimitError, match=r"budget_limits\[0\] \(1d\).*max_budget with budget_duration '24h'"):
        check_distinct(parse_limits([limit("1d")]), single=single)
    check_distinct(parse_limits([limit("1d", field="max_tokens", maximum=1)]), single=single)
    check_distinct(parse_limits([limit("1d")]), single=single_limit(5, duration=None))


def test_the_single_limit_without_a_duration_lasts_for_ever() -> None:
    assert single_limit(5, duration=None) == Limit(LimitUnit.USD, LIFETIME, 5)
    assert single_limit(5, duration="daily") == Limit(LimitUnit.USD, Period(1, "d"), 5, spelled="daily")
    assert single_limit(None, duration="daily") is None
    with pytest.raises(LimitError, match="'never' is not a duration") as refusal:
        single_limit(5, duration="never")
    assert refusal.value.field == "budget_duration"


@given(durations, st.sampled_from(sorted(MAXIMUM_FIELDS)), maxima, st.sampled_from(list(Enforcement)))
def test_a_limit_survives_being_stored(duration: str, field: str, maximum: int, enforcement: Enforcement) -> None:
    (period_of,) = parse_limits([limit(duration, 1, "max_tokens")])
    original = Limit(MAXIMUM_FIELDS[field], period_of.period, maximum, enforcement, duration)
    stored = entry_json(original)
    assert parse_limits([stored]) == (original,)
    assert "E" not in str(stored[field])
    assert ("enforcement" in stored) == (enforcement is not Enforcement.STANDARD)


def test_money_is_stored_as_plain_decimal_text() -> None:
    assert entry_json(Limit(LimitUnit.USD, Period(1, "h"), 1, spelled="1h")) == {
        "budget_duration": "1h",
        "max_budget": "0.000000001",
    }


def test_a_limit_has_the_windows_of_its_period() -> None:
    (hourly,) = parse_limits([limit("60m")])
    assert hourly.window_at(3_600_001, calendar=Calendar()) == Window(3_600_000, 7_200_000)
