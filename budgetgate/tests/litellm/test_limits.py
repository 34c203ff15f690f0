"""What limits and durations of LiteLLM mean here."""

import pytest

from budgetgate.litellm.durations import read_duration
from budgetgate.litellm.limits import limits_of
from budgetgate.litellm.values import Notes, rounded_nanousd


@pytest.mark.parametrize(
    ("stored", "spelled", "is_noted"),
    [
        ("1h", "1h", False),
        ("30d", "30d", False),
        ("1mo", "1mo", False),
        ("Daily", "Daily", False),
        ("1hr", "1d", True),
        ("1month", "1d", True),
        ("1h30m", "1h", True),
        ("48h", "48h", True),
        ("14d", "14d", True),
        ("xx", None, True),
        ("", None, True),
        ("0s", None, True),
        ("1M", None, True),
        ("1y", None, True),
        ("99999d", None, True),
        (7, None, True),
    ],
)
def test_a_duration_is_what_litellm_makes_of_it(stored: object, spelled: str | None, is_noted: bool) -> None:
    read = read_duration(stored)
    assert (read.spelled, bool(read.why)) == (spelled, is_noted)


@pytest.mark.parametrize(
    ("amount", "nanousd", "was_rounded"),
    [
        (0.1, 100_000_000, False),
        (0.1 + 0.2, 300_000_000, True),
        (0.0000000005, 1, True),
        (0.0000000004, 0, True),
        (5, 5_000_000_000, False),
        (1e-7, 100, False),
    ],
)
def test_a_float_is_its_shortest_text_rounded_half_up(amount: float, nanousd: int, was_rounded: bool) -> None:
    assert rounded_nanousd(amount) == (nanousd, was_rounded)


def test_of_two_limits_of_one_period_the_lower_holds() -> None:
    notes = Notes()
    day, same = {"budget_duration": "1d", "max_budget": 9}, {"time_period": "24h", "budget_limit": 3}
    limits = limits_of({"max_budget": 5.0, "budget_duration": "24h", "budget_limits": [day, same]}, notes=notes)
    assert (limits.single, [limit.maximum for limit in limits.limits]) == (None, [3_000_000_000])
    assert len(notes.taken) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"budget_limits": "no json"},
        {"budget_limits": {"budget_duration": "1h"}},
        {"budget_limits": [7]},
        {"budget_limits": [{"budget_duration": "xx", "max_budget": 1}]},
        {"max_budget": float("inf")},
        {"max_budget": None, "budget_duration": "1d"},
        {"tpm_limit": 1.5},
        {"model_max_budget": [1]},
        {"model_max_budget": {"a*": 1}},
    ],
)
def test_what_limits_nothing_is_left_out_and_noted(row: dict[str, object]) -> None:
    notes = Notes()
    limits = limits_of(row, notes=notes)
    assert (limits.single, limits.limits, limits.rates, limits.model_max_budget) == (None, (), {}, {})
    assert len(notes.taken) == 1


def test_an_amount_that_cannot_be_counted_becomes_the_nearest_that_can() -> None:
    notes = Notes()
    limits = limits_of({"max_budget": 1e12, "soft_budget": -1.0, "rpm_limit": -5}, notes=notes)
    assert limits.single is not None
    assert (limits.single.maximum, limits.soft_budget_nanousd, dict(limits.rates)) == (2**53 - 1, 0, {"rpm_limit": 0})
    assert [note.field for note in notes.taken] == ["max_budget", "soft_budget", "rpm_limit"]
