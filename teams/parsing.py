"""Which texts may be the id of a team. Pure."""

import re
from uuid import uuid4

TEAM_ID_PATTERN = "^[A-Za-z0-9._:@+-]{1,128}$"

_GRAMMAR = re.compile(r"[A-Za-z0-9._:@+-]{1,128}")


class TeamIdError(ValueError):
    """The text cannot be the id of a team; the message names it and says what is allowed."""


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
