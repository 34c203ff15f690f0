"""Reconciliation on the real PostgreSQL and Valkey: the wrong is mended, the right is left, under any traffic.

With real commits: a transaction that has posted and then reads a snapshot is nothing that a gateway or a task ever is.
"""

from datetime import timedelta

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.gate.store import sync_gate
from budgets.gate.sync import SyncGate
from keys.models import Key
from ledger import reconcile
from ledger.posting import post_entries
from ledger.reconcile import repair_counters
from ledger.settling import post_and_settle
from ledger.tests.factories import (
    NOW,
    NOW_MS,
    admitted_call,
    at_once,
    differences,
    limits,
    saved_key,
    saved_team,
    windows_of,
)


@pytest.fixture
def gate(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> SyncGate:
    monkeypatch.setattr(reconcile, "LOOK_AGAIN_S", 0)
    return sync_gate()


def used_key(gate: SyncGate, *, team_id: str | None = None) -> Key:
    key = saved_key(team_id=team_id, budget_limits=limits(("1h", 10), ("30d", 500)))
    post_and_settle([admitted_call(gate, key)], gate=gate, now_ms=NOW_MS)
    return key


def counters(key: Key) -> list[str]:
    return [active.counter for active in windows_of(key)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [-100, -1, 1, 10**12])
def test_wrong_counter_is_mended(
    gate: SyncGate, valkey: redis.Redis, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    key = used_key(gate)
    valkey.hincrby(counters(key)[1], "spent", error)
    assert repair_counters(gate=gate, now=NOW) == 1
    assert differences(gate, windows_of(key)) == [0, 0, 0]
    assert f"was wrong by {error}:" in caplog.text
    assert repair_counters(gate=gate, now=NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_counter_of_a_team_is_mended(gate: SyncGate, valkey: redis.Redis) -> None:
    team = saved_team(budget_limits=limits(("1h", 10)))
    key = used_key(gate, team_id=team.team_id)
    used_key(gate, team_id=team.team_id)
    valkey.hincrby(counters(key)[3], "spent", 7)
    assert repair_counters(gate=gate, now=NOW) == 1
    assert differences(gate, windows_of(key)) == [0, 0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_right_counters_are_left_alone(gate: SyncGate, valkey: redis.Redis) -> None:
    key = used_key(gate)
    before = [valkey.hgetall(counter) for counter in counters(key)]
    assert repair_counters(gate=gate, now=NOW) == 0
    assert [valkey.hgetall(counter) for counter in counters(key)] == before


@pytest.mark.django_db(transaction=True)
def test_unknown_counters_stay_unknown(gate: SyncGate, valkey: redis.Redis) -> None:
    key = used_key(gate)
    valkey.delete(*counters(key))
    assert repair_counters(gate=gate, now=NOW) == 0
    assert differences(gate, windows_of(key)) == [None, None, None]


@pytest.mark.django_db(transaction=True)
def test_holds_survive_the_mending_and_settle_exactly(gate: SyncGate, valkey: redis.Redis) -> None:
    key = used_key(gate)
    call = admitted_call(gate, key)
    for counter in counters(key):
        valkey.hincrby(counter, "spent", 5)
    assert repair_counters(gate=gate, now=NOW) == 3
    assert [reading.held for reading in gate.read(counters(key))] == [200, 200, 200]
    post_and_settle([call], gate=gate, now_ms=NOW_MS)
    assert [(reading.spent, reading.held) for reading in gate.read(counters(key))] == [(200, 0)] * 3


@pytest.mark.django_db(transaction=True)
def test_call_between_its_posting_and_its_settlement_is_no_difference_once_it_is_settled(
    gate: SyncGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = used_key(gate)
    call = admitted_call(gate, key)
    post_entries([call.entry])
    monkeypatch.setattr("time.sleep", lambda _: post_and_settle([call], gate=gate, now_ms=NOW_MS))
    assert repair_counters(gate=gate, now=NOW) == 0
    assert "was wrong" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_call_that_is_settled_after_a_mending_counts_once(gate: SyncGate) -> None:
    """Settled so late that the counter looks wrong: the mending takes its cost in, and the settlement not again."""
    key = used_key(gate)
    call = admitted_call(gate, key)
    post_entries([call.entry])
    assert repair_counters(gate=gate, now=NOW) == 3
    assert [reading.spent for reading in gate.read(counters(key))] == [200, 200, 200]
    post_and_settle([call], gate=gate, now_ms=NOW_MS)
    assert [(reading.spent, reading.held) for reading in gate.read(counters(key))] == [(200, 0)] * 3


@pytest.mark.django_db(transaction=True)
def test_busy_counter_is_mended_exactly_while_calls_go_on(gate: SyncGate, valkey: redis.Redis) -> None:
    team = saved_team(budget_limits=limits(("1h", 1000)))
    keys = [used_key(gate, team_id=team.team_id) for _ in range(3)]

    def call(key: Key) -> None:
        for _ in range(30):
            post_and_settle([admitted_call(sync_gate(), key)], gate=sync_gate(), now_ms=NOW_MS)

    def repair() -> None:
        for _ in range(10):
            for key in keys:
                for active in windows_of(key):
                    if valkey.hexists(active.counter, "spent"):
                        reconcile.mend(active, gate=sync_gate())
            repair_counters(gate=sync_gate(), now=NOW)

    at_once(*(lambda key=key: call(key) for key in keys), repair)
    repair_counters(gate=gate, now=NOW)
    for key in keys:
        assert [d for d in differences(gate, windows_of(key)) if d] == []
        assert [reading.held for reading in gate.read(counters(key))] == [0] * 4


@pytest.mark.django_db(transaction=True)
def test_keys_that_were_not_used_lately_are_not_looked_at(gate: SyncGate, valkey: redis.Redis) -> None:
    key = used_key(gate)
    valkey.hincrby(counters(key)[1], "spent", 5)
    assert repair_counters(gate=gate, now=NOW + timedelta(hours=3)) == 0
    assert repair_counters(gate=gate, now=NOW) == 1


@pytest.mark.django_db(transaction=True)
def test_key_that_cannot_be_read_is_reported_and_stops_nobody(
    gate: SyncGate, valkey: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = used_key(gate), used_key(gate)
    wrong = counters(good)[1]
    valkey.hincrby(wrong, "spent", 5)
    Key.objects.filter(id=bad.id).update(budget_limits=["1h"])
    assert repair_counters(gate=gate, now=NOW) == 1
    assert str(bad.id) in caplog.text
    assert differences(gate, windows_of(good)) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_deleted_key_is_no_error(gate: SyncGate) -> None:
    used_key(gate).delete()
    assert repair_counters(gate=gate, now=NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_nothing_used_is_one_question(gate: SyncGate) -> None:
    saved_key(budget_limits=limits(("1h", 10)))
    with CaptureQueriesContext(connection) as queries:
        assert repair_counters(gate=gate, now=NOW) == 0
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
def test_number_of_questions_does_not_grow_with_the_keys_of_a_batch(gate: SyncGate) -> None:
    def questions(keys: int) -> int:
        for _ in range(keys):
            used_key(gate)
        with CaptureQueriesContext(connection) as queries:
            repair_counters(gate=gate, now=NOW)
        return len(queries)

    assert questions(2) == questions(40) == 4


@pytest.mark.django_db(transaction=True)
def test_more_keys_than_one_run_can_look_at_take_turns(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "SCOPES_MAX", 3)
    keys = [used_key(gate) for _ in range(8)]
    for key in keys:
        valkey.hincrby(counters(key)[1], "spent", 5)
    mended = [repair_counters(gate=gate, now=NOW + timedelta(minutes=minute)) for minute in range(8)]
    assert sum(mended) == 8
    assert max(mended) == 3
