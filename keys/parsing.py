"""Keys as texts: making them, hashing them, and when they expire. Pure; nothing here keeps or shows a key."""

import calendar
import hashlib
import re
import secrets
from datetime import datetime, timedelta

from budgets.rules.windows import SECONDS, WORDS, DurationError, parse_period

KEY_PREFIX = "sk-"
NEVER = "-1"
_CUSTOM = re.compile(r"sk-[\x21-\x7e]{13,253}")
_HASH = re.compile(r"[0-9a-f]{64}")


class KeyTextError(ValueError):
    """The text cannot be a key; the message says what is allowed, and does not repeat the text."""


def make_key() -> str:
    """A fresh key with 192 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(24)


def check_custom_key(text: str) -> None:
    """Raises KeyTextError where somebody's own key cannot be one."""
    if not text.startswith(KEY_PREFIX):
        raise KeyTextError("a key must start with sk-")
    if _CUSTOM.fullmatch(text) is None:
        raise KeyTextError("a key must have 16 to 256 printable ASCII characters and no spaces")


def hash_key(text: str) -> str:
    """What is stored of a key: SHA-256 in hex. A key is random and long, so that no slow hash is needed."""
    return hashlib.sha256(text.encode()).hexdigest()


def token_hash_of(presented: str) -> str:
    """The hash of a key that is presented as its text or as its hash already."""
    return presented if _HASH.fullmatch(presented) else hash_key(presented)


def key_name_of(text: str) -> str:
    """What people recognise a key by: its last four characters."""
    return f"sk-...{text[-4:]}"


def expiry_of(duration: str | None, *, now: datetime) -> datetime | None:
    """When a key that lives for `duration` from now expires; None and "-1" are never. Raises DurationError.

    Unlike a window it is not aligned: 30d are 30 times 24 hours, 1mo is the same time of day a month later.
    """
    if duration is None or duration == NEVER:
        return None
    text = WORDS.get(duration.lower(), duration)
    try:
        parse_period(text)
    except DurationError as error:
        raise DurationError(f'{error}, or "-1" for never') from None
    if text.endswith("mo"):
        return _months_later(now, months=int(text[:-2]))
    return now + timedelta(seconds=int(text[:-1]) * SECONDS[text[-1]])


def _months_later(now: datetime, *, months: int) -> datetime:
    years, month = divmod(now.month - 1 + months, 12)
    last_day = calendar.monthrange(now.year + years, month + 1)[1]
    return now.replace(year=now.year + years, month=month + 1, day=min(now.day, last_day))
