"""The Lua scripts do what budgets.rules.admission says, on a real store, whatever comes in whatever order."""

import time
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from budgets.gate.protocol import HOLD_LIFE_MS, Names
from budgets.gate.sync import SyncGate
from budgets.rules import admission
from budgets.rules.admission import MARGIN_MS, Admission, Book, Claim, Counter, Posting, Reading, Snapshot, Status
from budgets.rules.money import AMOUNT_MAX
from budgets.tests.claims import HOUR_MS, PREFIXES, ROOT, claim_on, counter_name, snapshot_text


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


COUNTERS = 4
CALLS = [f"call{number}" for number in range(6)]
amounts = st.one_of(
    st.integers(0, 5), st.integers(0, 13), st.integers(10**14, 10**16 // 2), st.integers(AMOUNT_MAX - 3, AMOUNT_MAX)
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
