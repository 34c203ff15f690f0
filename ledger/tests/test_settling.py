"""Settling and seeding on the real PostgreSQL and Valkey: whatever happens in between, counter and ledger agree.

With real commits: a transaction that has posted and then reads a snapshot is nothing that a gateway or a task ever is.
"""

import random
from collections.abc import Callable

import pytest
import redis

from budgets.gate.store import sync_gate
from budgets.gate.sync import SyncGate
from budgets.services import instant_of
from keys.services import update_key
from ledger.models import Entry
from ledger.posting import post_entries
from ledger.settling import post_and_settle
from ledger.tests.factories import (
    NOW_MS,
    admitted_call,
    at_once,
    differences,
    limits,
    saved_key,
    saved_team,
    seed,
    windows_of,
)


@pytest.fixture
def gate(valkey: redis.Redis) -> SyncGate:
    return sync_gate()


def flush(valkey: redis.Redis, gate: SyncGate) -> None:
    for name in valkey.scan_iter(f"{gate.names.prefix}*", count=1000):
        valkey.delete(name)


@pytest.mark.django_db(transaction=True)
def test_cost_goes_into_every_window_of_the_call_in_its_unit(gate: SyncGate) -> None:
    team = saved_team(budget_limits=limits(("1h", 100), field="max_requests"))
    own = (*limits(("1h", 10)), *limits(("24h", 10**6), field="max_tokens"))
    key = saved_key(team_id=team.team_id, budget_limits=own)
    for cost in (7, 8):
        assert post_and_settle([admitted_call(gate, key, cost=cost)], gate=gate, now_ms=NOW_MS) == set()
    readings = gate.read([active.counter for active in windows_of(key)])
    assert [reading.spent for reading in readings] == [15, 30, 15, 2]
    assert [reading.held for reading in readings] == [0, 0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_settling_again_changes_nothing(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    calls = [admitted_call(gate, key) for _ in range(3)]
    for _ in range(3):
        post_and_settle(calls, gate=gate, now_ms=NOW_MS)
    assert [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])] == [300, 300]


@pytest.mark.django_db(transaction=True)
def test_emptied_store_is_seeded_with_what_the_ledger_has(gate: SyncGate, valkey: redis.Redis) -> None:
    key = saved_key(budget_limits=limits(("1h", 10), ("30d", 500)))
    post_and_settle([admitted_call(gate, key, cost=cost) for cost in (1, 2, 4)], gate=gate, now_ms=NOW_MS)
    flush(valkey, gate)
    assert differences(gate, windows_of(key)) == [None, None, None]
    call = admitted_call(gate, key, cost=8, at_ms=NOW_MS + 1000)
    assert differences(gate, windows_of(key)) == [0, 0, 0]
    post_and_settle([call], gate=gate, now_ms=NOW_MS + 2000)
    assert [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])] == [15, 15, 15]


@pytest.mark.django_db(transaction=True)
def test_call_that_was_open_when_the_store_was_emptied_counts_once(gate: SyncGate, valkey: redis.Redis) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    before, posted = admitted_call(gate, key, cost=1), admitted_call(gate, key, cost=2)
    post_entries([posted.entry])
    flush(valkey, gate)
    after = admitted_call(gate, key, cost=4, at_ms=NOW_MS + 1000)
    for call in (before, posted, after, before, posted, after):
        post_and_settle([call], gate=gate, now_ms=NOW_MS + 2000)
    assert differences(gate, windows_of(key)) == [0, 0]
    assert [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])] == [7, 7]


@pytest.mark.django_db(transaction=True)
def test_late_settlement_counts_in_the_window_that_admitted_the_call(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 10)))
    call = admitted_call(gate, key, at_ms=NOW_MS + 4999)
    post_and_settle([call], gate=gate, now_ms=NOW_MS + 60_000)
    (then, _), (now, _) = (windows_of(key, at_ms=NOW_MS + after) for after in (4999, 60_000))
    assert [reading.spent for reading in gate.read([then.counter, now.counter])] == [100, None]
    assert differences(gate, [then]) == [0]


@pytest.mark.django_db(transaction=True)
def test_limit_that_is_added_later_counts_what_its_window_has_already_spent(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    post_and_settle([admitted_call(gate, key, cost=5)], gate=gate, now_ms=NOW_MS)
    update_key(key.token_hash, {"budget_limits": limits(("1h", 10), ("24h", 10))}, now=instant_of(NOW_MS))
    admitted_call(gate, key, at_ms=NOW_MS + 1000)
    assert differences(gate, windows_of(key)) == [0, 0, 0]
    assert [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])] == [5, 5, 5]


@pytest.mark.django_db(transaction=True)
def test_refused_entry_is_named_and_the_others_are_settled(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    calls = [admitted_call(gate, key) for _ in range(3)]
    bad = admitted_call(gate, key, model="m" * 257)
    assert post_and_settle([*calls, bad], gate=gate, now_ms=NOW_MS) == {bad.entry.id}
    assert Entry.objects.count() == 3
    readings = gate.read([active.counter for active in windows_of(key)])
    assert [(reading.spent, reading.held) for reading in readings] == [(300, 200), (300, 200)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("empties", [False, True])
def test_counters_equal_the_ledger_whatever_runs_at_once(gate: SyncGate, valkey: redis.Redis, empties: bool) -> None:
    """Calls of four gateways, each settled twice, while windows are forgotten, seeded, and the store is emptied."""
    team = saved_team(budget_limits=limits(("1h", 1000), ("30d", 1000)))
    keys = [saved_key(team_id=team.team_id, budget_limits=limits(("1h", 1000))) for _ in range(2)]

    def calls(seed_of_dice: int) -> None:
        dice, own = random.Random(seed_of_dice), sync_gate()
        for _ in range(25):
            call = admitted_call(own, dice.choice(keys), cost=dice.randrange(1, 1000))
            if dice.random() < 0.3:
                post_entries([call.entry])
            for _ in range(dice.randrange(1, 3)):
                post_and_settle([call], gate=own, now_ms=NOW_MS)

    def seeds() -> None:
        own = sync_gate()
        for _ in range(40):
            for active in windows_of(keys[0]):
                (reading,) = own.read([active.counter])
                own.forget(active.counter, since_ms=0, spent=reading.spent)
            seed(own, windows_of(keys[0]))

    def empty() -> None:
        for _ in range(5 if empties else 0):
            flush(valkey, gate)

    works: list[Callable[[], None]] = [lambda seed_of_dice=number: calls(seed_of_dice) for number in range(4)]  # type: ignore[misc]
    at_once(*works, seeds, empty)
    assert Entry.objects.count() == 100
    for key in keys:
        seed(gate, windows_of(key))
        assert differences(gate, windows_of(key)) == [0] * 4
    if not empties:
        assert [reading.held for reading in gate.read([active.counter for active in windows_of(keys[0])])] == [0] * 4


@pytest.mark.django_db(transaction=True)
def test_nothing_to_settle_is_no_error(gate: SyncGate) -> None:
    assert post_and_settle([], gate=gate, now_ms=NOW_MS) == set()
