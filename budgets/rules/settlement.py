"""What becomes of an admitted call: its entry for the ledger and its postings to the counters.

The same value travels three ways: into the settler's queue, into the spill while the database is down, and (with the
hold as its cost) into the hold's own record, from which a call is charged whose gateway died.
"""

from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import orjson

from budgets.rules.admission import Posting
from budgets.rules.calls import admitted_ms_of
from budgets.rules.limits import LimitUnit


@dataclass(slots=True)
class Entry:
    """One row of the ledger. Tokens: input includes cached and written ones, output includes reasoning.

    Not frozen, because that doubles the making, and each call makes two.
    """

    id: str
    kind: str
    finished_ms: int
    key_id: str
    team_id: str | None
    user_id: str | None
    customer_id: str | None
    run_id: str | None
    tags: tuple[str, ...]
    model: str
    provider: str
    upstream_model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nanousd: int
    hold_nanousd: int
    price_source: str
    is_estimated: bool
    is_unpriced: bool
    is_streamed: bool
    http_status: int
    first_byte_ms: int | None

    @property
    def admitted_ms(self) -> int:
        return admitted_ms_of(self.id)


@dataclass(slots=True)
class HeldWindow:
    """A window that admitted the call: its counter and what the call holds there. Not frozen, for the same reason."""

    counter: str
    unit: LimitUnit
    hold: int
    expires_ms: int


@dataclass(slots=True)
class HeldGroup:
    """The windows of one root that admitted the call. `birth_ms` is the store's birth mark there at the admission."""

    root: str
    birth_ms: int
    windows: tuple[HeldWindow, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """An entry and the windows that it is charged to, by root."""

    entry: Entry
    groups: tuple[HeldGroup, ...]


def postings_of(windows: tuple[HeldWindow, ...], *, cost_nanousd: int, tokens: int) -> tuple[Posting, ...]:
    """What a finished call puts into each of its windows, by the window's unit."""
    costs = {LimitUnit.USD: cost_nanousd, LimitUnit.TOKENS: tokens, LimitUnit.REQUESTS: 1, LimitUnit.PARALLEL: 0}
    return tuple(Posting(window.counter, window.hold, costs[window.unit], window.expires_ms) for window in windows)


def release_of(windows: tuple[HeldWindow, ...]) -> tuple[Posting, ...]:
    """What a call puts into its windows that the provider never answered: nothing but the hold taken out."""
    return tuple(Posting(window.counter, window.hold, 0, window.expires_ms) for window in windows)


def encode(settlement: Settlement) -> bytes:
    """A settlement as JSON."""
    return orjson.dumps(settlement)


def decode(payload: bytes) -> Settlement:
    """The settlement that `encode` wrote. Raises ValueError where the text is not one."""
    try:
        data: dict[str, Any] = orjson.loads(payload)
        entry = Entry(**{**data["entry"], "tags": _texts(data["entry"]["tags"])})
        groups = tuple(_group(**group) for group in data["groups"])
        _check_fields(entry)
        admitted_ms_of(entry.id)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a settlement: {error}") from error
    return Settlement(entry, groups)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r} is no list of texts")
    return tuple(value)


def _group(*, root: str, birth_ms: int, windows: list[dict[str, Any]]) -> HeldGroup:
    held = tuple(HeldWindow(**{**window, "unit": LimitUnit(window["unit"])}) for window in windows)
    group = HeldGroup(root, birth_ms, held)
    _check_fields(group)
    for window in held:
        _check_fields(window)
    return group


_KINDS = {
    part: {
        name: (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
        for name, hint in get_type_hints(part).items()
    }
    for part in (Entry, HeldGroup, HeldWindow)
}


def _check_fields(part: Entry | HeldGroup | HeldWindow) -> None:
    """Raises TypeError where a field is not of its declared type, or a number is negative: one bad payload in the spill
    must be found when it is read, not in the database transaction that writes a whole batch."""
    for name, kinds in _KINDS[type(part)].items():
        value = getattr(part, name)
        if type(value) not in kinds or (type(value) is int and value < 0):
            raise TypeError(f"{name} is {value!r}")
