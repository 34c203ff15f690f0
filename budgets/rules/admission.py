"""Admission, settlement and seeding of counters: the specification of the scripts in budgets/gate/lua.

Claims, readings and postings are named tuples, made several times for every call: a frozen dataclass costs five times
as much. Pure: a book of counters in, a new book and an answer out. A test drives both with the same operations; where
they differ, this page is right. Amounts are integers (nano-dollars, tokens or requests), instants milliseconds since
1970.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

MARGIN_MS = 10_000
"""How long after a limit or the store began a window must begin to be counted from its first call: clocks of gateways
may differ, and a gateway may go on for some seconds with what it knew of a key."""


class Verdict(IntEnum):
    """What one window says to a call."""

    ROOM = 0
    EXHAUSTED = 1
    IN_FLIGHT = 2
    TOO_LARGE = 3
    UNKNOWN = 4


class Status(IntEnum):
    """What all windows together say."""

    REFUSED = 0
    ADMITTED = 1
    UNKNOWN = 2
    ADMITTED_BEFORE = 3


class Claim(NamedTuple):
    """What a call asks of one window. A `maximum` of None counts only; `since_ms` is when its limit began to count."""

    counter: str
    maximum: int | None
    amount: int
    strict: bool
    start_ms: int
    since_ms: int
    expires_ms: int


class Reading(NamedTuple):
    """One window at an admission, before the call's own hold."""

    verdict: Verdict
    spent: int
    held: int


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a call: its status, the store's birth mark, and a reading for each claim."""

    status: Status
    birth_ms: int
    readings: tuple[Reading, ...]


class Posting(NamedTuple):
    """What a settlement puts into one window: the hold to take out, the cost to put in."""

    counter: str
    hold: int
    cost: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which database transactions a reading of the ledger saw (PostgreSQL's pg_current_snapshot)."""

    xmin: int
    xmax: int
    open: frozenset[int] = frozenset()

    def sees(self, posting: int) -> bool:
        return posting < self.xmin or (posting < self.xmax and posting not in self.open)


@dataclass(frozen=True, slots=True)
class Counter:
    """One window's counter. `spent` None is unknown; `since_ms` -1 is unknown after it was known."""

    spent: int | None = None
    held: int = 0
    since_ms: int | None = None
    snapshot: Snapshot | None = None
    pending: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Book:
    """The counters and open holds of one root, and when the store was last empty."""

    birth_ms: int | None = None
    counters: Mapping[str, Counter] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()
    settled_without_hold: frozenset[str] = frozenset()


def verdict_of(claim: Claim, *, spent: int, held: int) -> Verdict:
    """Whether a known window has room for the claim, and if not, why."""
    if claim.maximum is None:
        return Verdict.ROOM
    room = spent + held + claim.amount <= claim.maximum if claim.strict else spent + held < claim.maximum
    if room:
        return Verdict.ROOM
    if spent >= claim.maximum:
        return Verdict.EXHAUSTED
    if claim.strict and claim.amount > claim.maximum:
        return Verdict.TOO_LARGE
    if claim.strict and spent + claim.amount > claim.maximum:
        return Verdict.EXHAUSTED
    return Verdict.IN_FLIGHT


def admit(book: Book, call_id: str, *, claims: Sequence[Claim], now_ms: int) -> tuple[Book, Admission]:
    """All or nothing: the hold enters every window, or no window changes."""
    birth_ms = now_ms if book.birth_ms is None else book.birth_ms
    readings = tuple(_read(book.counters.get(claim.counter), claim, birth_ms=birth_ms) for claim in claims)
    verdicts = {reading.verdict for reading in readings}
    if call_id in book.holds:
        return book, Admission(Status.ADMITTED_BEFORE, birth_ms, readings)
    if Verdict.UNKNOWN in verdicts:
        return book, Admission(Status.UNKNOWN, birth_ms, readings)
    if verdicts - {Verdict.ROOM}:
        return book, Admission(Status.REFUSED, birth_ms, readings)
    counters = dict(book.counters)
    for claim in claims:
        counter = counters.get(claim.counter, Counter(spent=0, since_ms=claim.since_ms))
        if counter.spent is None:
            counter = replace(counter, spent=0, since_ms=claim.since_ms)
        counters[claim.counter] = replace(counter, held=counter.held + claim.amount)
    after = replace(book, birth_ms=birth_ms, counters=counters, holds=book.holds | {call_id})
    return after, Admission(Status.ADMITTED, birth_ms, readings)


def _read(counter: Counter | None, claim: Claim, *, birth_ms: int) -> Reading:
    counter = counter or Counter()
    from_its_start = claim.start_ms > max(birth_ms, claim.since_ms) + MARGIN_MS
    if counter.spent is not None:
        assert counter.since_ms is not None, "a known counter has the instant since which it counts"
        if from_its_start or counter.since_ms >= claim.since_ms:
            verdict = verdict_of(claim, spent=counter.spent, held=counter.held)
            return Reading(verdict, counter.spent, counter.held)
    elif from_its_start and counter.since_ms is None:
        return Reading(verdict_of(claim, spent=0, held=counter.held), 0, counter.held)
    return Reading(Verdict.UNKNOWN, 0, counter.held)


def settle(
    book: Book, call_id: str, *, postings: Sequence[Posting], birth_ms: int, transaction: int, now_ms: int
) -> tuple[Book, bool]:
    """Takes the hold out and puts the cost in, once. Says whether this settlement was the one that did."""
    holding = call_id in book.holds
    if not holding and (book.birth_ms == birth_ms or call_id in book.settled_without_hold):
        return book, False
    counters = dict(book.counters)
    for posting in postings:
        if posting.expires_ms > now_ms:
            counter = counters.get(posting.counter, Counter())
            if holding:
                counter = replace(counter, held=max(counter.held - posting.hold, 0))
            counters[posting.counter] = _with_cost(counter, posting.cost, transaction=transaction)
    marks = book.settled_without_hold if holding else book.settled_without_hold | {call_id}
    return replace(book, counters=counters, holds=book.holds - {call_id}, settled_without_hold=marks), True


def _with_cost(counter: Counter, cost: int, *, transaction: int) -> Counter:
    if cost == 0:
        return counter
    if counter.spent is None:
        pending = {**counter.pending, transaction: counter.pending.get(transaction, 0) + cost}
        return replace(counter, pending=pending, since_ms=-1 if counter.since_ms is None else counter.since_ms)
    if counter.snapshot is not None and counter.snapshot.sees(transaction):
        return counter
    return replace(counter, spent=counter.spent + cost)


def forget(book: Book, name: str, *, since_ms: int, spent: int | None = None) -> Book:
    """Makes a counter of an older limit, or one that was seen to be wrong, unknown again."""
    counter = book.counters.get(name, Counter())
    if counter.spent is None or counter.since_ms is None:
        return book
    if counter.since_ms >= since_ms and counter.spent != spent:
        return book
    forgotten = replace(counter, spent=None, snapshot=None, since_ms=-1)
    return replace(book, counters={**book.counters, name: forgotten})


def seed(book: Book, name: str, *, spent: int, since_ms: int, snapshot: Snapshot) -> Book:
    """Makes a counter known from the ledger's sum, with the pending costs that the reading did not see.

    A known counter is left alone, also one of an older limit: costs may have entered it that the sum does not have.
    It has to be forgotten, and the ledger read, again.
    """
    counter = book.counters.get(name, Counter())
    if counter.spent is not None:
        return book
    unseen = sum(cost for transaction, cost in counter.pending.items() if not snapshot.sees(transaction))
    known = Counter(spent=spent + unseen, held=counter.held, since_ms=since_ms, snapshot=snapshot)
    return replace(book, counters={**book.counters, name: known})
