"""Text becomes nano-dollars exactly or not at all, and back."""

import sys
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.money import AMOUNT_MAX, USD_MAX, MoneyError, exact_usd, nanousd_from_usd, usd_from_nanousd, usd_text

amounts = st.one_of(
    st.integers(0, AMOUNT_MAX),
    st.integers(AMOUNT_MAX - 1000, AMOUNT_MAX),
    st.integers(0, 10**10),
)


@given(amounts)
def test_every_amount_survives_the_way_to_dollars_and_back(nanousd: int) -> None:
    usd = usd_from_nanousd(nanousd)
    assert usd * 10**9 == nanousd
    assert nanousd_from_usd(usd) == nanousd
    assert nanousd_from_usd(str(usd)) == nanousd
    assert nanousd_from_usd(exact_usd(nanousd)) == nanousd
    assert "E" not in exact_usd(nanousd)
    assert nanousd_from_usd(f"{nanousd}e-9") == nanousd


@given(amounts, st.integers(1, 200))
def test_trailing_zeros_change_nothing(nanousd: int, zeros: int) -> None:
    assert nanousd_from_usd(f"{usd_from_nanousd(nanousd):f}" + "0" * zeros) == nanousd


@given(amounts, st.integers(0, 200), st.integers(1, 9))
def test_more_than_nine_decimals_are_refused_however_far_behind_they_stand(
    nanousd: int, zeros: int, digit: int
) -> None:
    whole, part = divmod(min(nanousd, AMOUNT_MAX - 1), 10**9)
    with pytest.raises(MoneyError, match="more than 9 decimals"):
        nanousd_from_usd(f"{whole}.{part:09d}{'0' * zeros}{digit}")


@given(amounts, st.integers(1, 5))
def test_the_precision_of_the_surrounding_decimal_context_does_not_matter(nanousd: int, digits: int) -> None:
    with localcontext() as context:
        context.prec = digits
        assert nanousd_from_usd(usd_from_nanousd(nanousd)) == nanousd


@given(st.floats(min_value=0, max_value=float(USD_MAX)))
def test_a_float_means_its_shortest_text(value: float) -> None:
    try:
        nanousd = nanousd_from_usd(value)
    except MoneyError:
        assert Decimal(repr(value)) * 10**9 % 1 != 0
    else:
        assert Decimal(nanousd).scaleb(-9) == Decimal(repr(value))


@given(st.integers(0, 10**15 - 1))
def test_a_float_of_up_to_fifteen_digits_is_exact(nanousd: int) -> None:
    assert nanousd_from_usd(nanousd / 10**9) == nanousd


@pytest.mark.parametrize(
    ("value", "nanousd"),
    [
        ("1e-9", 1),
        ("1E-9", 1),
        (1e-9, 1),
        (0.1, 100_000_000),
        ("10", 10 * 10**9),
        (10, 10 * 10**9),
        ("+5.50", 5_500_000_000),
        (" 5 ", 5_000_000_000),
        ("9e6", 9_000_000 * 10**9),
        ("0E+400", 0),
        ("0e-400", 0),
        ("-0", 0),
        (-0.0, 0),
        (".5", 500_000_000),
        ("9007199.254740991", AMOUNT_MAX),
    ],
)
def test_spellings_of_an_amount(value: object, nanousd: int) -> None:
    assert nanousd_from_usd(value) == nanousd


@pytest.mark.parametrize(
    "value",
    [
        "9007199.254740992",
        9007199.254740992,
        9_007_200,
        "1E+400",
        1e300,
        10**400,
        "-1",
        -1,
        "-0.000000001",
        -1e-9,
        "-1e-2000000",
        Decimal("1e999999"),
    ],
)
def test_amounts_out_of_range_are_refused(value: object) -> None:
    with pytest.raises(MoneyError, match=r"out of range; allowed is 0 to 9007199\.254740991 USD"):
        nanousd_from_usd(value)


def test_a_number_that_python_will_not_print_is_refused_like_any_other() -> None:
    with pytest.raises(MoneyError, match="out of range"):
        nanousd_from_usd(10 ** (sys.get_int_max_str_digits() + 1))


@pytest.mark.parametrize("value", ["NaN", "sNaN", "inf", "-Infinity", float("nan"), float("inf"), Decimal("sNaN123")])
def test_amounts_that_are_not_finite_are_refused(value: object) -> None:
    with pytest.raises(MoneyError, match="not a finite amount"):
        nanousd_from_usd(value)


@pytest.mark.parametrize(
    "value", ["0.0000000001", "1e-10", 1e-10, "1e-2000000", "5e-324", Decimal("1e-999999"), 5e-324]
)
def test_amounts_below_a_nano_dollar_are_refused_not_rounded_to_nothing(value: object) -> None:
    with pytest.raises(MoneyError, match="more than 9 decimals"):
        nanousd_from_usd(value)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        None,
        "",
        " ",
        "ten",
        "$10",
        "10 USD",
        "1,5",
        "1.2.3",
        "0x10",
        "1_5",
        "١٢",
        "1\x00",
        b"10",
        [10],
        {},
        1j,
    ],
)
def test_what_is_no_number_is_refused_and_named(value: object) -> None:
    with pytest.raises(MoneyError, match="is not a number; allowed is 0 to") as refusal:
        nanousd_from_usd(value)
    assert repr(value) in str(refusal.value)


@given(st.one_of(st.text(), st.text("0123456789.eE+-_ nNaAiIfF"), st.decimals(), st.floats(), st.integers()))
def test_every_value_is_exact_or_refused(value: str | Decimal | float) -> None:
    try:
        nanousd = nanousd_from_usd(value)
    except MoneyError:
        return
    assert 0 <= nanousd <= AMOUNT_MAX
    assert Decimal(nanousd).scaleb(-9) == Decimal(repr(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [(10 * 10**9, "10.0"), (220_000, "0.00022"), (0, "0.0"), (1_500_000_000, "1.5"), (-1_500_000_000, "-1.5")],
)
def test_dollars_have_no_trailing_zeros_but_one_decimal(nanousd: int, text: str) -> None:
    assert str(usd_from_nanousd(nanousd)) == text


@pytest.mark.parametrize(
    ("nanousd", "places", "text"),
    [
        (10 * 10**9, 2, "$10.00"),
        (-300_000_000, 4, "-$0.3000"),
        (4_999_999, 2, "$0.00"),
        (5_000_000, 2, "$0.01"),
        (-5_000_000, 2, "-$0.01"),
        (-4_999_999, 2, "$0.00"),
        (999_999_999, 8, "$1.00000000"),
        (999_999_999, 9, "$0.999999999"),
        (1_499_999_999, 0, "$1"),
        (1_500_000_000, 0, "$2"),
        (-5 * 10**9, 0, "-$5"),
        (AMOUNT_MAX, 9, "$9007199.254740991"),
        (10**18 + 1, 9, "$1000000000.000000001"),
    ],
)
def test_dollars_for_people(nanousd: int, places: int, text: str) -> None:
    assert usd_text(nanousd, places=places) == text


@given(st.integers(-(10**20), 10**20), st.integers(0, 9))
def test_dollars_for_people_are_at_most_half_a_unit_away(nanousd: int, places: int) -> None:
    text = usd_text(nanousd, places=places)
    shown = int(text.replace("$", "").replace(".", "")) * 10 ** (9 - places)
    assert 2 * abs(shown - nanousd) <= 10 ** (9 - places)
    assert not text.startswith("-") or shown < 0
