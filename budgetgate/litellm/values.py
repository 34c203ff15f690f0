"""Values as LiteLLM stores them (floats, zoneless times, JSON within JSON, NULL) as ours, and notes of what changed.

Pure. Nothing raises for a bad value: it is noted, and what comes nearest without being looser is taken.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from budgets.rules.money import AMOUNT_MAX, exact_usd

Row = Mapping[str, Any]

SHOWN_MAX = 120
_NANO_DOLLAR = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Note:
    """What of an object is not as it was there: the field, its value there, and what was done and why."""

    field: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value}: {self.why}"


@dataclass(slots=True)
class Notes:
    """The notes on one object, in the order in which they were taken."""

    taken: list[Note] = field(default_factory=list)

    def add(self, field: str, value: object, why: str) -> None:
        """Notes it, with a value cut to what a line can take."""
        text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        self.taken.append(Note(field, text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "...", why))


def decoded(value: object, *, field: str, notes: Notes) -> Any:
    """A JSON value. LiteLLM sometimes stores JSON as a text within JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value else None
    except ValueError:
        notes.add(field, value, "not brought: it is no JSON")
        return None


def mapping(row: Row, name: str, *, notes: Notes) -> dict[str, Any]:
    """An object, empty where there is none."""
    value = decoded(row.get(name), field=name, notes=notes)
    if isinstance(value, Mapping):
        return {str(key): entry for key, entry in value.items()}
    if value:
        notes.add(name, value, "not brought: it is no object")
    return {}


def names(row: Row, name: str, *, notes: Notes) -> list[str]:
    """A list of texts without repetitions, empty where there is none."""
    value = decoded(row.get(name), field=name, notes=notes)
    if isinstance(value, list):
        return list(dict.fromkeys(entry for entry in value if isinstance(entry, str) and entry))
    if value:
        notes.add(name, value, "not brought: it is no list of texts")
    return []


def texts_by_name(row: Row, name: str, *, notes: Notes) -> dict[str, str]:
    """An object of texts, such as aliases of models."""
    given = mapping(row, name, notes=notes)
    taken = {key: value for key, value in given.items() if isinstance(value, str) and value}
    for key in given.keys() - taken.keys():
        notes.add(f"{name}.{key}", given[key], "not brought: it is no text")
    return taken


def text(row: Row, name: str, *, limit: int, notes: Notes) -> str | None:
    """A text of at most `limit` characters; an empty one is none."""
    value = row.get(name)
    if not isinstance(value, str) or not value:
        return None
    if len(value) > limit:
        notes.add(name, value, f"cut to {limit} characters")
    return value[:limit]


def instant(value: object) -> datetime | None:
    """An aware instant. LiteLLM's columns have no zone and mean UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def rounded_nanousd(value: float | int | Decimal) -> tuple[int, bool]:
    """Nano-dollars of a finite amount, half a nano-dollar rounded up, and whether anything was rounded.

    A float stands for its shortest text: 0.1 is a tenth.
    """
    exact = Decimal(repr(value) if isinstance(value, float) else value)
    nanousd = int(exact.quantize(_NANO_DOLLAR, rounding=ROUND_HALF_UP).scaleb(9)) if abs(exact) < 10**15 else 10**24
    return nanousd, Decimal(nanousd).scaleb(-9) != exact


def number(value: object) -> float | int | Decimal | None:
    """A number, also where it is written as a text; None for anything else, NaN and infinity."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return None
    return value


def maximum_usd(value: object, *, field: str, notes: Notes) -> int | None:
    """The nano-dollars of a maximum; None where there is none."""
    if value is None or value == "":
        return None
    amount = number(value)
    if amount is None:
        notes.add(field, value, "not brought: no finite amount, which LiteLLM never enforces")
        return None
    nanousd, was_rounded = rounded_nanousd(amount)
    if nanousd < 0 or amount < 0:
        notes.add(field, value, "0 instead: below it LiteLLM refuses every call, and so does 0")
        return 0
    if nanousd > AMOUNT_MAX:
        notes.add(field, value, f"{exact_usd(AMOUNT_MAX)} instead, the most that one window counts")
        return AMOUNT_MAX
    if was_rounded:
        notes.add(field, value, f"{exact_usd(nanousd)} instead: amounts have nine decimals")
    return nanousd


def spent_usd(value: object) -> int:
    """The nano-dollars of a spend: at least nothing, at most what a window counts."""
    amount = number(value)
    return 0 if amount is None else min(max(rounded_nanousd(amount)[0], 0), AMOUNT_MAX)


def maximum_count(value: object, *, field: str, notes: Notes) -> int | None:
    """A maximum of tokens, requests or open calls; None where there is none."""
    if value is None or value == "":
        return None
    amount = number(value)
    if amount is None or amount != int(amount):
        notes.add(field, value, "not brought: no whole number")
        return None
    if not 0 <= amount <= AMOUNT_MAX:
        nearest = 0 if amount < 0 else AMOUNT_MAX
        notes.add(field, value, f"{nearest} instead, the nearest that is allowed")
        return nearest
    return int(amount)
