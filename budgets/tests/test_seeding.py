"""A settled cost enters each counter exactly once, in whatever order postings commit and settle and seeds are made."""

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets.gate.protocol import Names
from budgets.gate.sync import CounterReading, SyncGate
from budgets.rules.admission import Posting, Snapshot
from budgets.tests.claims import EMPTY, HOUR_MS, PREFIXES, ROOT, admit, claim_on, counter_name, snapshot_text


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
            admit(gate, [], now_ms=now_ms, call_id=f"{self.counter}{number}")
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
            admit(gate, [older._replace(start_ms=now_ms + HOUR_MS)], now_ms=now_ms)
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
    admit(gate, [claim], now_ms=now_ms)
    assert not gate.forget(claim.counter, since_ms=0, spent=99)
    assert gate.forget(claim.counter, since_ms=0, spent=100)
    assert gate.read([claim.counter]) == [CounterReading(None, 4, -1)]
    assert not gate.forget(claim.counter, since_ms=0, spent=100)
    gate.seed(claim, spent=90, snapshot="1:1:")
    assert gate.read([claim.counter]) == [CounterReading(90, 4, 0)]
