"""Texts of keys and lives of keys."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from budgets.rules.windows import DurationError
from keys.parsing import (
    KeyTextError,
    check_custom_key,
    expiry_of,
    hash_key,
    key_name_of,
    make_key,
    token_hash_of,
)

NOW = datetime(2027, 1, 31, 12, 30, 15, 123456, tzinfo=UTC)


def test_made_keys_are_random_url_safe_and_pass_the_check() -> None:
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    for text in made:
        assert re.fullmatch(r"sk-[A-Za-z0-9_-]{22,}", text)
        check_custom_key(text)


def test_the_hash_is_plain_sha256_in_hex() -> None:
    assert hash_key("sk-1234567890123456") == hashlib.sha256(b"sk-1234567890123456").hexdigest()


def test_a_hash_stands_for_itself_and_a_text_for_its_hash() -> None:
    digest = hash_key("sk-1234567890123456")
    assert token_hash_of(digest) == digest
    assert token_hash_of("sk-1234567890123456") == digest
    assert token_hash_of(digest.upper()) != digest


def test_the_name_shows_the_last_four_characters() -> None:
    assert key_name_of("sk-G579-324GWtPjInGTt_4Eg") == "sk-..._4Eg"


@pytest.mark.parametrize("text", ["sk-" + "a" * 13, "sk-" + "~!/" * 5, "sk-" + "a" * 253])
def test_custom_keys_of_16_to_256_printable_characters_are_taken(text: str) -> None:
    check_custom_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pk-" + "a" * 20,
        "SK-" + "a" * 20,
        "sk-" + "a" * 12,
        "sk-" + "a" * 254,
        "sk-with a space in it",
        "sk-" + "ä" * 20,
        "sk-" + "a" * 20 + "\n",
        "sk-" + "a" * 20 + "\x7f",
    ],
)
def test_other_custom_keys_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(KeyTextError) as refused:
        check_custom_key(text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize(
    ("duration", "life"),
    [
        ("30s", timedelta(seconds=30)),
        ("45m", timedelta(minutes=45)),
        ("1h", timedelta(hours=1)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("monthly", timedelta(days=30)),
    ],
)
def test_a_life_is_exactly_as_long_as_it_says(duration: str, life: timedelta) -> None:
    assert expiry_of(duration, now=NOW) == NOW + life


@pytest.mark.parametrize(
    ("duration", "end"),
    [("1mo", (2027, 2, 28)), ("2mo", (2027, 3, 31)), ("12mo", (2028, 1, 31)), ("13mo", (2028, 2, 29))],
)
def test_a_life_of_months_ends_on_the_same_day_or_the_last_of_a_shorter_month(
    duration: str, end: tuple[int, int, int]
) -> None:
    assert expiry_of(duration, now=NOW) == NOW.replace(year=end[0], month=end[1], day=end[2])


@pytest.mark.parametrize("duration", [None, "-1"])
def test_no_life_and_minus_one_are_for_ever(duration: str | None) -> None:
    assert expiry_of(duration, now=NOW) is None


@pytest.mark.parametrize("duration", ["zz", "0d", "-2", "1.5h", "3661d", "121mo", "1y"])
def test_other_lives_are_refused(duration: str) -> None:
    with pytest.raises(DurationError, match="never"):
        expiry_of(duration, now=NOW)
