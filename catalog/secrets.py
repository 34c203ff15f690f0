"""Providers' keys at rest: sealed with Fernet (AES-128-CBC and HMAC-SHA256), opened only to build the route table.

BUDGETGATE_SECRET_KEYS seals with its first key and opens with any, so that a key can be replaced while both are known.
What is opened is a `Secret`, which no repr and no text shows. Nothing here logs, and no message repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

_SENDABLE = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A key in the clear. `text` must be asked for by name."""

    text: str = field(repr=False)


class LostSecretError(ValueError):
    """No key of the settings opens a sealed secret: its key was removed too early, or belongs to another gateway."""


class NoSecretKeyError(ValueError):
    """Nothing can be sealed, because the settings have no usable key."""


def is_sendable(text: str) -> bool:
    """Whether a header can carry a key."""
    return _SENDABLE.fullmatch(text) is not None


def make_secret_key() -> str:
    """A fresh key."""
    return Fernet.generate_key().decode()


def malformed_keys(keys: Sequence[str]) -> list[int]:
    """The places, counted from 1, of what is not a key. The keys themselves must not be shown."""
    return [place for place, key in enumerate(keys, start=1) if _fernet(key) is None]


def seal(secret: Secret) -> str:
    """A text for the database. Raises NoSecretKeyError."""
    usable = _usable(settings.SECRET_KEYS)
    if not usable:
        raise NoSecretKeyError("no secret can be kept: BUDGETGATE_SECRET_KEYS is empty")
    return usable[0].encrypt(secret.text.encode()).decode()


def unseal(sealed: str) -> Secret:
    """What `seal` was given. Raises LostSecretError."""
    for fernet in _usable(settings.SECRET_KEYS):
        if (text := _opened(sealed, fernet=fernet)) is not None:
            return Secret(text)
    raise LostSecretError("no key of BUDGETGATE_SECRET_KEYS opens it")


def sealed_with_first_key(sealed: str) -> bool:
    """Whether a rotation can leave a sealed secret as it is."""
    return any(_opened(sealed, fernet=first) is not None for first in _usable(settings.SECRET_KEYS)[:1])


def _opened(sealed: str, *, fernet: Fernet) -> str | None:
    try:
        return fernet.decrypt(sealed).decode()
    except (InvalidToken, ValueError):  # ValueError: a text that Fernet never wrote
        return None


@lru_cache(maxsize=8)
def _usable(keys: tuple[str, ...]) -> tuple[Fernet, ...]:
    """Malformed keys are left out here; a system check refuses to start with one."""
    return tuple(fernet for key in keys if (fernet := _fernet(key)))


def _fernet(key: str) -> Fernet | None:
    try:
        return Fernet(key)
    except ValueError:  # not 32 bytes, not base64, not ASCII
        return None
