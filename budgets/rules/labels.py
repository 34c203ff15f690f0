"""What a call may say of itself: who its customer is, its tags, and the run of an agent that it belongs to. Pure.

Ids and tags become parts of counter names and columns of the ledger, so each has one bounded form everywhere.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from budgets.rules.limits import Enforcement, Limit, LimitUnit
from budgets.rules.money import MoneyError, nanousd_from_usd
from budgets.rules.scopes import RUN, CountedLimit, Scope, ScopeLimits, run_scope_id
from budgets.rules.windows import LIFETIME, Calendar

NAME_LENGTH_MAX = 128
TAGS_MAX = 20
SHOWN_LENGTH_MAX = 100

RUN_ALLOWED = (
    "allowed is `<id>; max=0.50; enforcement=strict`, the id of 1 to 128 visible ASCII characters without "
    "; , / \\ { }, max in USD, enforcement standard or strict, both optional"
)
_RUN_ID = re.compile(r"[!-~]{1,128}")
_RUN_ID_NOT = frozenset(";,/\\{}")
_CUSTOMER_NOT = frozenset(" {}")


class LabelError(ValueError):
    """A label that cannot be taken. `field` is the name of the header or the field of the body."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an agent. A `maximum` of None counts only; in nano-dollars."""

    id: str
    maximum: int | None = None
    enforcement: Enforcement = Enforcement.STANDARD


def customer_id_of(text: str) -> str:
    """The id of a customer in the form that counters, ledger and API know: itself, or the digest of what is too long
    or has a space, a brace or a character that is not printable."""
    if len(text) <= NAME_LENGTH_MAX and text.isprintable() and _CUSTOMER_NOT.isdisjoint(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def checked_tags(texts: Iterable[object], *, field: str) -> tuple[str, ...]:
    """The tags in their order, each once. Raises LabelError."""
    tags: dict[str, None] = {}
    for text in texts:
        if not isinstance(text, str) or not 1 <= len(text) <= NAME_LENGTH_MAX or not is_tag(text):
            shown = repr(text)[:SHOWN_LENGTH_MAX]
            message = (
                f"{field}: {shown} is no tag; allowed are texts of 1 to 128 characters, without control characters"
            )
            raise LabelError(message, field=field)
        tags[text] = None
    if len(tags) > TAGS_MAX:
        raise LabelError(f"{field}: {len(tags)} tags; allowed are at most {TAGS_MAX}", field=field)
    return tuple(tags)


def is_tag(text: str) -> bool:
    """Whether a text of allowed length has no control characters."""
    return text.isprintable() or not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text)


def parse_run(text: str, *, field: str) -> Run:
    """The run that a header names. Raises LabelError."""
    run_id, *rest = (part.strip() for part in text.split(";"))
    given: dict[str, str] = {}
    for part in rest:
        name, _, value = (each.strip() for each in part.partition("="))
        if name not in ("max", "enforcement") or name in given or not value:
            raise _bad_run(text, field=field)
        given[name] = value
    if _RUN_ID.fullmatch(run_id) is None or not _RUN_ID_NOT.isdisjoint(run_id):
        raise _bad_run(text, field=field)
    if "enforcement" in given and ("max" not in given or given["enforcement"] not in list(Enforcement)):
        raise _bad_run(text, field=field)
    try:
        maximum = nanousd_from_usd(given["max"]) if "max" in given else None
    except MoneyError as error:
        raise LabelError(f"{field}: max: {error}", field=field) from None
    return Run(run_id, maximum, Enforcement(given.get("enforcement", Enforcement.STANDARD)))


def _bad_run(text: str, *, field: str) -> LabelError:
    return LabelError(f"{field}: {text[:SHOWN_LENGTH_MAX]!r} is not allowed; {RUN_ALLOWED}", field=field)


def limits_of_run(run: Run, *, key_id: str) -> ScopeLimits:
    """The one limit of a run, for its whole life: it counts all that the ledger has of it."""
    limit = Limit(unit=LimitUnit.USD, period=LIFETIME, maximum=run.maximum, enforcement=run.enforcement)
    return ScopeLimits(Scope(RUN, run_scope_id(run.id, key_id=key_id)), Calendar(), (CountedLimit(limit, 0),))
