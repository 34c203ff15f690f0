"""The Lua scripts do what budgets.rules.admission says, on a real store; and what a budget needs of them."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.crc import key_slot

from budgets.gate.protocol import (
    COUNTER_GRACE_MS,
    HOLD_LIFE_MS,
    IDLE_LIFE_MS,
    MARK_LIFE_MS,
    Command,
    Names,
    admit_command,
    counter_expires_ms,
    expire_command,
    extend_command,
    forget_command,
    seed_command,
    settle_command,
)
from budgets.gate.sync import CounterReading, SyncGate
from budgets.rules import admission
from budgets.rules.admission import (
    MARGIN_MS,
    Admission,
    Book,
    Claim,
    Counter,
    Posting,
    Reading,
    Snapshot,
    Status,
    Verdict,
)
from budgets.rules.calls import new_call_id
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.windows import END_OF_TIME_MS, LIFETIME, Calendar, Window, window_at

ROOT = "team:t1"
HOUR_MS = 3600_000
PREFIXES = itertools.count()


@pytest.fixture
def names(settings: LazySettings) -> Names:
    return Names(settings.REDIS_PREFIX)


@pytest.fixture
def gate(valkey: Any, names: Names) -> SyncGate:
    return SyncGate(valkey, names)


@pytest.fixture
def now_ms() -> int:
    """The store's own clock decides when keys expire, so instants are near the present."""
    return int(time.time() * 1000)


def counter_name(names: Names, number: int = 0) -> str:
    return names.counter(ROOT, kind="key", scope_id="k1", identity=f"usd/{number}h", start_ms=0)


def claim_on(
    counter: str,
    *,
    now_ms: int,
    amount: int = 1,
    maximum: int | None = None,
    strict: bool = True,
    start_ms: int | None = None,
    since_ms: int = 0,
    expires_ms: int | None = None,
) -> Claim:
    """By default a claim on a window that began long after its limit did, but before the store's birth."""
    return Claim(
        counter=counter,
        maximum=maximum,
        amount=amount,
        strict=strict,
        start_ms=now_ms - HOUR_MS if start_ms is None else start_ms,
        since_ms=since_ms,
        expires_ms=now_ms + 6 * HOUR_MS if expires_ms is None else expires_ms,
    )


def snapshot_text(snapshot: Snapshot) -> str:
    return f"{snapshot.xmin}:{snapshot.xmax}:{','.join(str(each) for each in sorted(snapshot.open))}"


EMPTY = Snapshot(1, 1)


def snapshot_of(text: str) -> Snapshot:
    xmin, xmax, open_ids = text.split(":")
    return Snapshot(int(xmin), int(xmax), frozenset(int(each) for each in open_ids.split(",") if each))


def counter_of(fields: dict[bytes, bytes]) -> Counter:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    pending = {int(name[1:]): int(value) for name, value in text.items() if name[0] == "p"}
    assert set(text) - {f"p{each}" for each in pending} <= {"spent", "held", "since", "snap"}
    return Counter(
        spent=int(text["spent"]) if "spent" in text else None,
        held=int(text.get("held", 0)),
        since_ms=int(text["since"]) if "since" in text else None,
        snapshot=snapshot_of(text["snap"]) if "snap" in text else None,
        pending=pending,
    )


def state_of(client: Any, names: Names) -> Book:
    """Everything that the store knows of the root, as a book."""
    stem = f"{names.prefix}:{{{ROOT}}}:"
    counters, holds, marks, birth_ms, indexed = {}, set(), set(), None, set()
    for key in sorted(key.decode() for key in client.keys(f"{names.prefix}:*")):
        kind, _, rest = key.removeprefix(stem).partition(":")
        if kind == "hold":
            holds.add(rest)
        elif kind == "holds":
            indexed = {member.decode() for member in client.zrange(key, 0, -1)}
        elif kind == "birth":
            birth_ms = int(client.get(key))
        elif kind == "mark":
            marks.add(rest)
        else:
            counters[key] = counter_of(client.hgetall(key))
    assert holds == indexed
    return Book(birth_ms, counters, frozenset(holds), frozenset(marks))


def normal(book: Book) -> Book:
    """A counter of which nothing is known is the same as none."""
    return replace(book, counters={name: each for name, each in book.counters.items() if each != Counter()})


def as_replied(answer: Admission) -> Admission:
    """A reply of the store holds numbers above 2**53 only as nearly as a double does."""
    readings = tuple(Reading(each.verdict, int(float(each.spent)), int(float(each.held))) for each in answer.readings)
    return replace(answer, readings=readings)


# --- the scripts against their specification -----------------------------------------------------

COUNTERS = 4
CALLS = [f"call{number}" for number in range(6)]
amounts = st.one_of(
    st.integers(0, 5),
    st.integers(0, 13),
    st.integers(10**14, 10**16 // 2),
    st.integers(AMOUNT_MAX - 3, AMOUNT_MAX),
)
maxima = st.none() | st.integers(0, 12) | st.integers(10**15, 10**16 // 2) | st.integers(AMOUNT_MAX - 3, AMOUNT_MAX)
offsets = st.sampled_from([-HOUR_MS, -MARGIN_MS - 1, -MARGIN_MS, 0, MARGIN_MS, MARGIN_MS + 1, 2 * MARGIN_MS, HOUR_MS])
transactions = st.integers(1, 12)
snapshots = st.builds(
    lambda bounds, open_ids: Snapshot(min(bounds), max(bounds), frozenset(open_ids)),
    st.tuples(transactions, transactions),
    st.sets(transactions),
)


@st.composite
def claims_of_calls(draw: st.DrawFn) -> list[tuple[int, int | None, int, bool, int, int]]:
    """Number of the counter, maximum, amount, strict, start and since, the last two relative to the first instant."""
    numbers = draw(st.lists(st.integers(0, COUNTERS - 1), unique=True, max_size=COUNTERS))
    return [
        (number, draw(maxima), draw(amounts), draw(st.booleans()), draw(offsets), draw(offsets)) for number in numbers
    ]


class BothStores(RuleBasedStateMachine):
    """Does everything twice, in the book and in the store, and compares answers and states."""

    client: Any
    prefix: str

    @initialize()
    def begin(self) -> None:
        self.names = Names(f"{self.prefix}:{next(PREFIXES)}")
        self.gate = SyncGate(self.client, self.names)
        self.book = Book()
        self.first_ms = self.now_ms = int(time.time() * 1000)
        self.expiries: dict[str, int] = {}
        self.admitted: dict[str, tuple[list[Claim], int]] = {}

    def counter(self, number: int) -> str:
        return counter_name(self.names, number)

    def expires_ms(self, number: int) -> int:
        """Windows of different ends: the clock of the test passes some, the store's own clock none."""
        return self.first_ms + (number + 1) * HOUR_MS

    @rule(step_ms=st.sampled_from([1, MARGIN_MS, MARGIN_MS + 1, HOUR_MS]))
    def time_passes(self, step_ms: int) -> None:
        self.now_ms += step_ms

    @rule(call_id=st.sampled_from(CALLS), drawn=claims_of_calls())
    def admit(self, call_id: str, drawn: list[tuple[int, int | None, int, bool, int, int]]) -> None:
        claims = [
            Claim(
                counter=self.counter(number),
                maximum=maximum,
                amount=amount,
                strict=strict,
                start_ms=0 if number == 0 else self.first_ms + start,
                since_ms=self.first_ms + since,
                expires_ms=self.expires_ms(number),
            )
            for number, maximum, amount, strict, start, since in drawn
        ]
        self.book, expected = admission.admit(self.book, call_id, claims=claims, now_ms=self.now_ms)
        answer = self.gate.admit(ROOT, call_id=call_id, record=b"\x00{}", claims=claims, now_ms=self.now_ms)
        assert answer == as_replied(expected)
        if answer.status is Status.ADMITTED:
            self.admitted[call_id] = claims, answer.birth_ms
            self.expiries[call_id] = self.now_ms + HOLD_LIFE_MS

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), cost=amounts, transaction=transactions)
    def settle_as_admitted(self, data: st.DataObject, cost: int, transaction: int) -> None:
        """Also replays, releases (cost 0), costs above the hold, and settlements after the store was emptied."""
        call_id = data.draw(st.sampled_from(sorted(self.admitted)))
        claims, birth_ms = self.admitted[call_id]
        postings = [Posting(claim.counter, claim.amount, cost, claim.expires_ms) for claim in claims]
        self.settle(call_id, postings, birth_ms=birth_ms, transaction=transaction)

    @rule(
        call_id=st.sampled_from(CALLS),
        drawn=st.lists(st.tuples(st.integers(0, COUNTERS - 1), amounts, amounts), unique_by=lambda each: each[0]),
        is_of_this_birth=st.booleans(),
        transaction=transactions,
    )
    def settle_anything(
        self, call_id: str, drawn: list[tuple[int, int, int]], is_of_this_birth: bool, transaction: int
    ) -> None:
        postings = [Posting(self.counter(number), hold, cost, self.expires_ms(number)) for number, hold, cost in drawn]
        birth_ms = self.book.birth_ms if is_of_this_birth and self.book.birth_ms is not None else 5
        self.settle(call_id, postings, birth_ms=birth_ms, transaction=transaction)

    def settle(self, call_id: str, postings: list[Posting], *, birth_ms: int, transaction: int) -> None:
        self.book, expected = admission.settle(
            self.book, call_id, postings=postings, birth_ms=birth_ms, transaction=transaction, now_ms=self.now_ms
        )
        did = self.gate.settle(
            ROOT, call_id=call_id, postings=postings, birth_ms=birth_ms, transaction=transaction, now_ms=self.now_ms
        )
        assert did == expected
        self.expiries.pop(call_id, None)

    @rule(number=st.integers(0, COUNTERS - 1), since=offsets, data=st.data())
    def forget(self, number: int, since: int, data: st.DataObject) -> None:
        name, since_ms = self.counter(number), self.first_ms + since
        says = self.book.counters.get(name, Counter()).spent
        spent = data.draw(st.sampled_from([None, 0, says]))
        before, self.book = self.book, admission.forget(self.book, name, since_ms=since_ms, spent=spent)
        assert self.gate.forget(name, since_ms=since_ms, spent=spent) == (self.book is not before)

    @rule(number=st.integers(0, COUNTERS - 1), spent=amounts, since=offsets, snapshot=snapshots)
    def seed(self, number: int, spent: int, since: int, snapshot: Snapshot) -> None:
        name, since_ms = self.counter(number), self.first_ms + since
        claim = claim_on(name, now_ms=self.now_ms, since_ms=since_ms, expires_ms=self.expires_ms(number))
        self.book = admission.seed(self.book, name, spent=spent, since_ms=since_ms, snapshot=snapshot)
        says = self.gate.seed(claim, spent=spent, snapshot=snapshot_text(snapshot))
        assert says == int(float(self.book.counters[name].spent or 0))

    @rule(call_ids=st.lists(st.sampled_from(CALLS), unique=True))
    def extend(self, call_ids: list[str]) -> None:
        still_open = self.gate.extend(ROOT, call_ids=call_ids, now_ms=self.now_ms)
        assert still_open == [int(call_id in self.book.holds) for call_id in call_ids]
        for call_id in self.book.holds & set(call_ids):
            self.expiries[call_id] = max(self.expiries[call_id], self.now_ms + HOLD_LIFE_MS)

    @rule(later_ms=st.sampled_from([0, HOLD_LIFE_MS, HOUR_MS]))
    def look_for_expired_holds(self, later_ms: int) -> None:
        at_ms = self.now_ms + later_ms
        found = self.gate.expired_holds(ROOT, now_ms=at_ms, most=100)
        assert set(found) == {call_id for call_id, expires_ms in self.expiries.items() if expires_ms <= at_ms}
        assert [self.expiries[call_id] for call_id in found] == sorted(self.expiries[call_id] for call_id in found)
        assert set(found.values()) <= {b"\x00{}"}

    @rule()
    def the_store_is_emptied(self) -> None:
        for key in self.client.keys(f"{self.names.prefix}:*"):
            self.client.delete(key)
        self.book = Book()
        self.expiries = {}

    @invariant()
    def states_are_equal(self) -> None:
        if hasattr(self, "book"):
            assert normal(state_of(self.client, self.names)) == normal(self.book)
            assert set(self.expiries) == self.book.holds


def test_scripts_do_what_their_specification_says(valkey: Any, names: Names) -> None:
    machine = type("Machine", (BothStores,), {"client": valkey, "prefix": names.prefix})
    run_state_machine_as_test(machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


# --- admission -----------------------------------------------------------------------------------


def test_strict_window_for_twenty_admits_exactly_twenty_of_fifty(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, maximum=20)
    gate.seed(claim, spent=0, snapshot="1:1:")

    def call(_: int) -> Status:
        return gate.admit(ROOT, call_id=new_call_id(now_ms), record=b"", claims=[claim], now_ms=now_ms).status

    statuses = at_once(call)
    assert statuses.count(Status.ADMITTED) == 20
    assert statuses.count(Status.REFUSED) == 30
    assert gate.read([claim.counter]) == [CounterReading(0, 20, 0)]


def test_reading_then_writing_admits_all_fifty(valkey: Any, names: Names) -> None:
    """The negative control: what a gateway does that decides in its own process."""
    everybody_has_read = threading.Barrier(50)

    def call(_: int) -> Status:
        held = int(valkey.get(names.spill) or 0)
        everybody_has_read.wait(timeout=30)
        if held + 1 > 20:
            return Status.REFUSED
        valkey.incr(names.spill)
        return Status.ADMITTED

    assert at_once(call).count(Status.ADMITTED) == 50


def at_once(call: Callable[[int], Status]) -> list[Status]:
    start = threading.Barrier(50)

    def wait_and_call(number: int) -> Status:
        start.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(50) as pool:
        return list(pool.map(wait_and_call, range(50)))


def dump(client: Any, names: Names) -> dict[bytes, tuple[bytes, int]]:
    keys = client.keys(f"{names.prefix}:*")
    return {key: (client.dump(key), client.pexpiretime(key)) for key in keys}


@pytest.mark.parametrize(
    ("changed", "status", "verdict"),
    [
        ({"maximum": 10, "amount": 1}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 12, "amount": 3}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 12, "amount": 13}, Status.REFUSED, Verdict.TOO_LARGE),
        ({"maximum": 14, "amount": 2}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 12, "amount": 2}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 12, "amount": 12}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 13, "amount": 1, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 13, "amount": 5, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 13, "amount": 14, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 10, "amount": 0, "strict": False}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"since_ms": 1}, Status.UNKNOWN, Verdict.UNKNOWN),
    ],
)
def test_refused_call_changes_nothing(
    gate: SyncGate,
    valkey: Any,
    names: Names,
    now_ms: int,
    changed: dict[str, Any],
    status: Status,
    verdict: Verdict,
) -> None:
    free, full = (claim_on(counter_name(names, number), now_ms=now_ms, amount=3) for number in (1, 2))
    for claim in (free, full):
        gate.seed(claim, spent=10, snapshot="1:1:")
    assert _admit(gate, [free, full], now_ms=now_ms).status is Status.ADMITTED
    before = dump(valkey, names)
    answer = _admit(gate, [free, full._replace(**changed), free], now_ms=now_ms + 5)
    assert answer.status is status
    assert answer.readings[1] == Reading(verdict, 0 if verdict is Verdict.UNKNOWN else 10, 3)
    assert dump(valkey, names) == before


def test_refused_call_on_an_empty_store_writes_nothing(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    fresh = claim_on(counter_name(names), now_ms=now_ms, maximum=0, start_ms=now_ms + MARGIN_MS + 1)
    assert _admit(gate, [fresh], now_ms=now_ms).status is Status.REFUSED
    assert valkey.keys(f"{names.prefix}:*") == []


def test_call_admitted_before_holds_once(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=3, maximum=4)
    gate.seed(claim, spent=0, snapshot="1:1:")
    assert _admit(gate, [claim], now_ms=now_ms, call_id="c").status is Status.ADMITTED
    before = dump(valkey, names)
    again = _admit(gate, [claim], now_ms=now_ms + 7, call_id="c")
    assert again == Admission(Status.ADMITTED_BEFORE, now_ms, (Reading(Verdict.IN_FLIGHT, 0, 3),))
    assert dump(valkey, names) == before


def _admit(gate: SyncGate, claims: Sequence[Claim], *, now_ms: int, call_id: str | None = None) -> Admission:
    return gate.admit(ROOT, call_id=call_id or new_call_id(now_ms), record=b"r", claims=claims, now_ms=now_ms)


@pytest.mark.parametrize(("birth", "since"), [(0, -HOUR_MS), (-HOUR_MS, 0)])
@pytest.mark.parametrize(("after", "verdict"), [(MARGIN_MS + 1, Verdict.ROOM), (MARGIN_MS, Verdict.UNKNOWN)])
def test_missing_counter_is_zero_only_of_a_window_that_began_well_after_store_and_limit(
    gate: SyncGate, names: Names, now_ms: int, birth: int, since: int, after: int, verdict: Verdict
) -> None:
    _admit(gate, [], now_ms=now_ms + birth)
    claim = claim_on(counter_name(names), now_ms=now_ms, start_ms=now_ms + after, since_ms=now_ms + since)
    assert _admit(gate, [claim], now_ms=now_ms + after).readings[0].verdict is verdict


def test_amounts_of_sixteen_digits_stay_exact_to_the_unit(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, maximum=AMOUNT_MAX, amount=1_234_567_890_123_457)
    assert gate.seed(claim, spent=5_000_000_000_000_001, snapshot="1:1:") == 5_000_000_000_000_001
    assert _admit(gate, [claim], now_ms=now_ms, call_id="a").status is Status.ADMITTED
    assert _admit(gate, [claim._replace(amount=999_999_999_999_999)], now_ms=now_ms, call_id="b").readings == (
        Reading(Verdict.ROOM, 5_000_000_000_000_001, 1_234_567_890_123_457),
    )
    left = AMOUNT_MAX - 5_000_000_000_000_001 - 1_234_567_890_123_457 - 999_999_999_999_999
    assert _admit(gate, [claim._replace(amount=left + 1)], now_ms=now_ms).status is Status.REFUSED
    assert _admit(gate, [claim._replace(amount=left)], now_ms=now_ms, call_id="c").status is Status.ADMITTED
    assert gate.read([claim.counter])[0].held == AMOUNT_MAX - 5_000_000_000_000_001
    for call_id, hold in (("a", 1_234_567_890_123_457), ("b", 999_999_999_999_999)):
        posting = Posting(claim.counter, hold, hold - 1, claim.expires_ms)
        assert gate.settle(ROOT, call_id=call_id, postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert gate.read([claim.counter])[0] == CounterReading(
        5_000_000_000_000_001 + 1_234_567_890_123_456 + 999_999_999_999_998, left, 0
    )


# --- settlement ----------------------------------------------------------------------------------


def test_settle_replies_with_what_each_window_says_now(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    known, unknown = (claim_on(counter_name(names, number), now_ms=now_ms, amount=9) for number in (1, 2))
    gate.seed(known, spent=100, snapshot="1:1:")
    _admit(gate, [known], now_ms=now_ms, call_id="a")
    _admit(gate, [known], now_ms=now_ms, call_id="b")
    postings = [Posting(known.counter, 9, 7, known.expires_ms), Posting(unknown.counter, 0, 7, unknown.expires_ms)]
    command = settle_command(names, ROOT, call_id="a", postings=postings, birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert valkey.execute_command(*command) == [1, 107, 9, -1, 0]
    assert valkey.execute_command(*command) == [0, 107, 9, -1, 0]
    foreign = settle_command(names, ROOT, call_id="z", postings=postings, birth_ms=1, transaction=5, now_ms=now_ms)
    assert valkey.execute_command(*foreign) == [2, 114, 9, -1, 0]
    assert valkey.execute_command(*foreign) == [0, 114, 9, -1, 0]


def test_release_takes_the_hold_out_and_puts_nothing_in(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=9)
    gate.seed(claim, spent=100, snapshot="1:1:")
    _admit(gate, [claim], now_ms=now_ms, call_id="a")
    posting = Posting(claim.counter, 9, 0, claim.expires_ms)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=0, now_ms=now_ms)
    assert gate.read([claim.counter]) == [CounterReading(100, 0, 0)]


def test_hold_that_is_more_than_is_held_leaves_nothing_held(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=9)
    gate.seed(claim, spent=100, snapshot="1:1:")
    _admit(gate, [claim], now_ms=now_ms, call_id="a")
    posting = Posting(claim.counter, 10, 7, claim.expires_ms)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert gate.read([claim.counter]) == [CounterReading(107, 0, 0)]


def test_release_makes_no_counter_where_there_is_none(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    """It would have no expiry."""
    _admit(gate, [], now_ms=now_ms, call_id="a")
    posting = Posting(counter_name(names), 10, 0, now_ms + HOUR_MS)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=0, now_ms=now_ms)
    assert not valkey.exists(posting.counter)


def test_settlement_after_its_counter_expired_leaves_no_counter_behind(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms)
    gate.seed(claim, spent=0, snapshot="1:1:")
    _admit(gate, [claim], now_ms=now_ms, call_id="a")
    valkey.delete(claim.counter)
    posting = Posting(claim.counter, 1, 5, claim.expires_ms)
    late = claim.expires_ms
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=late)
    assert not valkey.exists(claim.counter)
    assert valkey.zcard(names.holds(ROOT)) == 0


# --- a cost enters once --------------------------------------------------------------------------


class Ledger:
    """As much of PostgreSQL as matters: transactions that begin and commit, and snapshots."""

    def __init__(self) -> None:
        self.next_id = 100
        self.open: set[int] = set()
        self.committed: dict[int, int] = {}

    def begin(self) -> int:
        self.next_id += 1
        self.open.add(self.next_id)
        return self.next_id

    def commit(self, transaction: int, cost: int) -> None:
        self.open.remove(transaction)
        self.committed[transaction] = cost

    def read(self) -> tuple[int, Snapshot]:
        xmax = max(self.committed, default=100) + 1
        still_open = frozenset(each for each in self.open if each < xmax)
        return sum(self.committed.values()), Snapshot(min(still_open, default=xmax), xmax, still_open)


class Play:
    """Postings and seeders whose steps can be taken in any order."""

    def __init__(self, gate: SyncGate, names: Names, *, now_ms: int, postings: int) -> None:
        self.gate, self.now_ms, self.ledger = gate, now_ms, Ledger()
        self.counter = counter_name(names, next(PREFIXES))
        for number in range(postings):
            _admit(gate, [], now_ms=now_ms, call_id=f"{self.counter}{number}")
        self.birth_ms = gate.birth_ms(ROOT) or 0

    def posting(self, number: int) -> Iterator[None]:
        cost = 10**number
        transaction = self.ledger.begin()
        yield
        self.ledger.commit(transaction, cost)
        yield
        posting = Posting(self.counter, 0, cost, self.now_ms + HOUR_MS)
        assert self.gate.settle(
            ROOT,
            call_id=f"{self.counter}{number}",
            postings=[posting],
            birth_ms=self.birth_ms,
            transaction=transaction,
            now_ms=self.now_ms,
        )
        yield

    def seeder(self, since_ms: int) -> Iterator[None]:
        self.gate.forget(self.counter, since_ms=since_ms)
        yield
        spent, snapshot = self.ledger.read()
        yield
        claim = claim_on(self.counter, now_ms=self.now_ms, since_ms=since_ms)
        self.gate.seed(claim, spent=spent, snapshot=snapshot_text(snapshot))
        yield

    def run(self, order: Sequence[int], actors: list[Iterator[None]]) -> int | None:
        for actor in order:
            next(actors[actor])
        return self.gate.read([self.counter])[0].spent


@cache
def orders_of_three_actors() -> list[tuple[int, ...]]:
    """Every order in which three actors can take their three steps each."""
    orders = sorted(set(itertools.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2])))
    assert len(orders) == 1680
    return orders


@pytest.mark.parametrize("state", ["missing", "older limit", "seeded for an older limit"])
def test_each_cost_enters_once_in_every_order_of_two_postings_and_a_seed(
    gate: SyncGate, names: Names, now_ms: int, state: str
) -> None:
    for order in orders_of_three_actors():
        play = Play(gate, names, now_ms=now_ms, postings=2)
        older = claim_on(play.counter, now_ms=now_ms, since_ms=1)
        if state == "older limit":
            _admit(gate, [older._replace(start_ms=now_ms + HOUR_MS)], now_ms=now_ms)
        elif state == "seeded for an older limit":
            gate.seed(older, spent=777, snapshot=snapshot_text(EMPTY))
        assert play.run(order, [play.posting(0), play.posting(1), play.seeder(2)]) == 11, order


@pytest.mark.parametrize("since", [(2, 2), (2, 3), (3, 2)])
def test_a_cost_enters_once_in_every_order_of_a_posting_and_two_seeds(
    gate: SyncGate, names: Names, now_ms: int, since: tuple[int, int]
) -> None:
    """Gateways may know different versions of a limit for some seconds: the older seed must not undo the newer."""
    for order in orders_of_three_actors():
        play = Play(gate, names, now_ms=now_ms, postings=1)
        spent = play.run(order, [play.posting(0), play.seeder(since[0]), play.seeder(since[1])])
        assert spent in (1, None), order
        assert play.run([0, 0, 0], [play.seeder(max(since))]) == 1, order


def test_costs_enter_once_in_any_order_of_many_postings_and_seeds(gate: SyncGate, names: Names, now_ms: int) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def play_in_any_order(data: st.DataObject) -> None:
        postings, seeders = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
        order = data.draw(st.permutations([actor for actor in range(postings + seeders) for _ in range(3)]))
        play = Play(gate, names, now_ms=now_ms, postings=postings)
        actors = [play.posting(number) for number in range(postings)] + [play.seeder(2) for _ in range(seeders)]
        assert play.run(order, actors) == int("1" * postings)

    play_in_any_order()


def test_seed_leaves_a_counter_alone_that_became_known_for_an_older_limit(
    gate: SyncGate, names: Names, now_ms: int
) -> None:
    """It was not unknown since the seed's ledger was read, so costs may have entered it that the seed does not know."""
    claim = claim_on(counter_name(names), now_ms=now_ms, since_ms=1)
    gate.seed(claim, spent=100, snapshot="1:1:")
    assert gate.seed(claim._replace(since_ms=2), spent=7, snapshot="1:1:") == 100
    assert gate.read([claim.counter]) == [CounterReading(100, 0, 1)]


@pytest.mark.parametrize("snapshot", ["", "5", "1:2", "a:b:c", ":1:"])
def test_malformed_snapshot_changes_nothing(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int, snapshot: str
) -> None:
    with pytest.raises(redis.ResponseError):
        gate.seed(claim_on(counter_name(names), now_ms=now_ms), spent=5, snapshot=snapshot)
    assert valkey.keys(f"{names.prefix}:*") == []


def test_counter_that_says_the_wrong_sum_is_forgotten_only_while_it_says_so(
    gate: SyncGate, names: Names, now_ms: int
) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=4)
    gate.seed(claim, spent=100, snapshot="1:1:")
    _admit(gate, [claim], now_ms=now_ms)
    assert not gate.forget(claim.counter, since_ms=0, spent=99)
    assert gate.forget(claim.counter, since_ms=0, spent=100)
    assert gate.read([claim.counter]) == [CounterReading(None, 4, -1)]
    assert not gate.forget(claim.counter, since_ms=0, spent=100)
    gate.seed(claim, spent=90, snapshot="1:1:")
    assert gate.read([claim.counter]) == [CounterReading(90, 4, 0)]


# --- lives of keys -------------------------------------------------------------------------------


def test_counters_expire_a_grace_after_their_window_ends(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    window = Window(now_ms - HOUR_MS, now_ms + HOUR_MS)
    expires_ms = counter_expires_ms(window, now_ms=now_ms)
    assert expires_ms == window.end_ms + COUNTER_GRACE_MS
    seeded, fresh, pending = (
        claim_on(counter_name(names, number), now_ms=now_ms, expires_ms=expires_ms) for number in (1, 2, 3)
    )
    fresh = fresh._replace(start_ms=now_ms + MARGIN_MS + 1)
    gate.seed(seeded, spent=0, snapshot="1:1:")
    assert _admit(gate, [seeded, fresh], now_ms=now_ms, call_id="a").status is Status.ADMITTED
    later = [claim._replace(expires_ms=expires_ms + HOUR_MS) for claim in (seeded, fresh)]
    assert _admit(gate, later, now_ms=now_ms).status is Status.ADMITTED
    posting = Posting(pending.counter, 0, 5, expires_ms)
    gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert {valkey.pexpiretime(claim.counter) for claim in (seeded, fresh, pending)} == {expires_ms}


def test_lifetime_counters_and_birth_marks_live_on_with_their_use(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    window = window_at(LIFETIME, now_ms, calendar=Calendar())
    assert window.end_ms == END_OF_TIME_MS
    claim = claim_on(counter_name(names), now_ms=now_ms, start_ms=window.start_ms, expires_ms=now_ms + HOUR_MS)
    gate.seed(claim, spent=0, snapshot="1:1:")
    _admit(gate, [claim], now_ms=now_ms)
    assert valkey.pttl(names.birth(ROOT)) > IDLE_LIFE_MS - HOUR_MS
    valkey.pexpire(names.birth(ROOT), HOUR_MS)
    used = claim._replace(expires_ms=counter_expires_ms(window, now_ms=now_ms))
    assert used.expires_ms == now_ms + IDLE_LIFE_MS
    assert _admit(gate, [used], now_ms=now_ms + 9).birth_ms == now_ms
    assert valkey.pexpiretime(claim.counter) == now_ms + IDLE_LIFE_MS
    assert valkey.pttl(names.birth(ROOT)) > IDLE_LIFE_MS - HOUR_MS
    assert gate.birth_ms(ROOT) == now_ms


def test_mark_of_a_call_settled_without_its_hold_expires(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    assert gate.settle(ROOT, call_id="a", postings=[], birth_ms=1, transaction=5, now_ms=now_ms)
    assert 0 < valkey.pttl(names.mark(ROOT, "a")) <= MARK_LIFE_MS


def test_holds_do_not_expire_by_themselves_but_are_found(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    for number in range(3):
        gate.admit(ROOT, call_id=f"c{number}", record=b"r%d" % number, claims=[], now_ms=now_ms + number)
    assert valkey.pttl(names.hold(ROOT, "c0")) == -1
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOLD_LIFE_MS - 1, most=5) == {}
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOLD_LIFE_MS + 1, most=5) == {"c0": b"r0", "c1": b"r1"}
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=2) == {"c0": b"r0", "c1": b"r1"}
    assert gate.extend(ROOT, call_ids=["c1", "gone", "c0"], now_ms=now_ms + HOUR_MS) == [1, 0, 1]
    assert list(gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=5)) == ["c2"]
    gate.extend(ROOT, call_ids=["c1"], now_ms=now_ms)
    assert list(gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=5)) == ["c2"]


# --- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["team:t1", "key:0198", "team:{odd}", "team:a}b", "team:"])
def test_all_keys_of_a_script_share_one_hash_slot(root: str, now_ms: int) -> None:
    names = Names("bg")
    counters = [
        names.counter(root, kind=kind, scope_id=scope_id, identity=identity, start_ms=now_ms)
        for kind, scope_id, identity in (("team", "t{1}", "usd/1h"), ("key", "k", "usd/1h"), ("key", "k", "tokens/1mo"))
    ]
    assert len(set(counters)) == 3
    claims = [claim_on(counter, now_ms=now_ms) for counter in counters]
    postings = [Posting(counter, 1, 1, now_ms) for counter in counters]
    commands: list[Command] = [
        admit_command(names, root, call_id="c", record=b"", claims=claims, now_ms=now_ms),
        settle_command(names, root, call_id="c", postings=postings, birth_ms=1, transaction=1, now_ms=now_ms),
        extend_command(names, root, call_ids=["c", "d{x}"], now_ms=now_ms),
        expire_command(names, root, now_ms=now_ms, most=1),
        seed_command(claims[0], spent=0, snapshot="1:1:"),
        forget_command(counters[0], since_ms=1),
    ]
    slots = set()
    for command in commands:
        count = command[2]
        assert isinstance(count, int)
        slots |= {key_slot(str(key).encode()) for key in command[3 : 3 + count]}
    assert len(slots) == 1


@pytest.mark.parametrize("amount", [-1, 2**53])
def test_encoder_refuses_amounts_that_the_store_cannot_count(amount: int, now_ms: int) -> None:
    names = Names("bg")
    claim = claim_on("c", now_ms=now_ms, amount=amount)
    with pytest.raises(AssertionError):
        admit_command(names, ROOT, call_id="c", record=b"", claims=[claim], now_ms=now_ms)
    for posting in (Posting("c", 1, amount, now_ms), Posting("c", amount, 1, now_ms)):
        with pytest.raises(AssertionError):
            settle_command(names, ROOT, call_id="c", postings=[posting], birth_ms=1, transaction=1, now_ms=now_ms)


def test_counter_is_seeded_up_to_the_most_that_it_can_count(now_ms: int) -> None:
    assert seed_command(claim_on("c", now_ms=now_ms), spent=2**53 + 7, snapshot="1:1:")[4] == 2**53 - 1


def test_scripts_that_the_store_has_lost_are_sent_again(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms)
    posting = Posting(claim.counter, 1, 1, claim.expires_ms)
    steps: list[Callable[[], object]] = [
        lambda: gate.forget(claim.counter, since_ms=0),
        lambda: gate.seed(claim, spent=0, snapshot="1:1:"),
        lambda: gate.admit(ROOT, call_id="a", record=b"r", claims=[claim], now_ms=now_ms).status.name,
        lambda: gate.extend(ROOT, call_ids=["a"], now_ms=now_ms),
        lambda: list(gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=1)),
        lambda: gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=1, now_ms=now_ms),
    ]
    answers = []
    for step in steps:
        valkey.script_flush()
        answers.append(step())
    assert answers == [False, 0, "ADMITTED", [1], ["a"], True]


def test_idle_roots_are_dropped_unless_they_hold_something(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    valkey.zadd(names.roots, {"team:idle": 100, ROOT: 150, "team:busy": 200})
    _admit(gate, [], now_ms=now_ms)
    gate.drop_idle_roots(before_ms=200)
    assert set(gate.noted_roots()) == {ROOT, "team:busy"}


def test_spilled_entries_are_read_and_dropped_oldest_first(gate: SyncGate, valkey: Any, names: Names) -> None:
    ids = [valkey.xadd(names.spill, {"entry": b"%d" % number}) for number in range(3)]
    assert gate.spilled(most=2) == [(ids[0], b"0"), (ids[1], b"1")]
    gate.unspill(ids[:2])
    gate.unspill([])
    assert gate.spilled(most=9) == [(ids[2], b"2")]


def test_changes_are_published(gate: SyncGate, valkey: Any, names: Names) -> None:
    with valkey.pubsub() as listener:
        listener.subscribe(names.changes)
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        gate.publish("team:a")
        assert listener.get_message(timeout=5)["data"] == b"team:a"
