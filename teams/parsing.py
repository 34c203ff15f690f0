"""Which texts may be the id of a team, a user or a customer, and the name of a tag. Pure.

All of them go into key names of the counter store, where braces mean something; ids of teams and users also into paths.
"""

import re
from uuid import uuid4

from budgets.actors import SYSTEM

TEAM_ID_PATTERN = "^[A-Za-z0-9._:@+-]{1,128}$"

_GRAMMAR = re.compile(r"[A-Za-z0-9._:@+-]{1,128}")
_USER_GRAMMAR = re.compile(r"[A-Za-z0-9._:@+|-]{1,128}")
_EMAIL = re.compile(r"[^@\s<>,;]{1,64}@[^@\s<>,;]{1,189}")
GUEST_LENGTH_MAX = 128


class TeamIdError(ValueError):
    """The text cannot be such an id; the message names it and says what is allowed."""


def make_team_id() -> str:
    """A fresh random id."""
    return str(uuid4())


def is_team_id(text: str) -> bool:
    """Whether a text may be the id of a team."""
    return _GRAMMAR.fullmatch(text) is not None


def check_team_id(text: str) -> None:
    """Raises TeamIdError: the id goes into key names of the counter store, where braces and spaces mean something."""
    if not is_team_id(text):
        raise TeamIdError(f"{text!r} is not allowed; allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + -")


def is_user_id(text: str) -> bool:
    """Whether a text may be the id of a user. The bar stands in ids of identity providers."""
    return _USER_GRAMMAR.fullmatch(text) is not None


def check_user_id(text: str) -> None:
    """Raises TeamIdError."""
    if not is_user_id(text):
        raise TeamIdError(f"{text!r} is not allowed; allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + | -")


def check_new_user_id(text: str) -> None:
    """The same for a user who is to be made: audits call commands and tasks by a name that nobody else may have."""
    check_user_id(text)
    if text.lower() == SYSTEM.name:
        raise TeamIdError(f"{text!r} is not allowed; audits call the gateway itself so, allowed is another name")


def is_guest_name(text: str, *, without: str = "") -> bool:
    """Whether a customer or a tag may have that name; `without` are more characters that it has not."""
    is_name = 1 <= len(text) <= GUEST_LENGTH_MAX and text.isprintable() and text == text.strip()
    return is_name and not any(character in text for character in "{}" + without)


def check_guest_name(text: str, *, without: str = "") -> None:
    """Raises TeamIdError."""
    if not is_guest_name(text, without=without):
        forbidden = "{}" + without
        message = (
            f"{text[:GUEST_LENGTH_MAX]!r} is not allowed; allowed are 1 to {GUEST_LENGTH_MAX} printable characters"
        )
        raise TeamIdError(f"{message} but {' '.join(forbidden)}, and no space around them")


def is_email(text: str) -> bool:
    """Whether a text looks like an address; whether somebody reads there only a message can tell."""
    return _EMAIL.fullmatch(text) is not None
