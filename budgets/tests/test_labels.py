"""What a call may say of itself has one bounded form, or is refused with what is allowed."""

import hashlib

import pytest

from budgets.rules.labels import LabelError, Run, checked_tags, customer_id_of, limits_of_run, parse_run
from budgets.rules.limits import Enforcement, LimitUnit
from budgets.rules.windows import LIFETIME


@pytest.mark.parametrize("text", ["a", "anna@example.com", "sha256:abc", "a/b:c", "ü", "x" * 128])
def test_usual_ids_of_customers_stay_as_they_are(text: str) -> None:
    assert customer_id_of(text) == text


@pytest.mark.parametrize(
    "text", ["x" * 129, "a b", "{a}", "}", "a\n", "\0", "\x7f", "\u200b", "\u00a0", " ", "a" * 100_000]
)
def test_every_other_id_is_a_digest(text: str) -> None:
    assert customer_id_of(text) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert customer_id_of(customer_id_of(text)) == customer_id_of(text)


def test_tags_come_once_each_in_their_order() -> None:
    assert checked_tags(["b", "a", "b", "with space", "ü", "{x}"], field="t") == ("b", "a", "with space", "ü", "{x}")
    assert checked_tags([], field="t") == ()
    assert len(checked_tags([f"t{number % 20}" for number in range(50)], field="t")) == 20


@pytest.mark.parametrize("tag", ["", "x" * 129, "a\nb", "\0", "\x85", 5, None, ["a"], True])
def test_tags_that_are_none_are_refused(tag: object) -> None:
    with pytest.raises(LabelError, match="is no tag; allowed are texts of 1 to 128") as refused:
        checked_tags(["good", tag], field="x-litellm-tags")
    assert refused.value.field == "x-litellm-tags"


def test_more_than_twenty_tags_are_refused() -> None:
    with pytest.raises(LabelError, match="21 tags; allowed are at most 20"):
        checked_tags([str(number) for number in range(21)], field="t")


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("r1", Run("r1")),
        ("  r1  ", Run("r1")),
        ("r1; max=0.50", Run("r1", 500_000_000)),
        ("r1;max=0.000000001", Run("r1", 1)),
        ("r1; max = 0", Run("r1", 0)),
        ("a:b@c!; max=1; enforcement=strict", Run("a:b@c!", 10**9, Enforcement.STRICT)),
        ("r1; enforcement=standard; max=1", Run("r1", 10**9)),
        ("x" * 128, Run("x" * 128)),
    ],
)
def test_run_is_an_id_and_what_it_may_spend(text: str, run: Run) -> None:
    assert parse_run(text, field="h") == run


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";max=1",
        "x" * 129,
        "a b",
        "a,b",
        "a/b",
        "a\\b",
        "{a}",
        "ü",
        "a\x7f",
        "a; max",
        "a; max=",
        "a; max=1; max=2",
        "a; most=1",
        "a;",
        "a; enforcement=strict",
        "a; max=1; enforcement=shadow",
        "a; max=-1",
        "a; max=1e400",
        "a; max=NaN",
        "a; max=0.0000000001",
        "a; max=many",
        "a; max=10000000",
        'a; max="1"',
    ],
)
def test_run_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(LabelError) as refused:
        parse_run(text, field="x-budgetgate-run")
    assert refused.value.field == "x-budgetgate-run"
    assert str(refused.value).startswith("x-budgetgate-run: ")
    assert len(str(refused.value)) < 500


def test_run_has_one_limit_for_its_life_under_its_key() -> None:
    limits = limits_of_run(Run("r1", 5, Enforcement.STRICT), key_id="k1")
    assert (limits.scope.kind, limits.scope.id) == ("run", "k1/r1")
    [counted] = limits.limits
    assert (counted.limit.unit, counted.limit.period, counted.limit.maximum) == (LimitUnit.USD, LIFETIME, 5)
    assert counted.limit.enforcement is Enforcement.STRICT
