"""Recovery on the real PostgreSQL and Valkey: every call is charged, and charged once, whoever dies in between.

With real commits: a transaction that has posted and then reads a snapshot is nothing that a gateway or a task ever is.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from budgets.gate import protocol
from budgets.gate.store import sync_gate
from budgets.gate.sync import SyncGate
from budgets.rules.settlement import Settlement, encode
from keys.models import Key
from ledger import recovery, tasks
from ledger.models import Entry, Rollup
from ledger.posting import post_entries
from ledger.settling import post_and_settle
from ledger.tests.factories import (
    NOW_MS,
    admitted_call,
    at_once,
    differences,
    limits,
    make_entry,
    saved_key,
    saved_team,
    windows_of,
)

LATER_MS = NOW_MS + protocol.HOLD_LIFE_MS + 1
UNREADABLE = b'{"entry": "of another version"}'


@pytest.fixture
def gate(valkey: redis.Redis) -> SyncGate:
    return sync_gate()


def make_key() -> Key:
    return saved_key(budget_limits=limits(("1h", 10), ("30d", 500)))


def held_of(gate: SyncGate, key: Key) -> list[int]:
    return [reading.held for reading in gate.read([active.counter for active in windows_of(key)])]


def spent_of(gate: SyncGate, key: Key) -> list[int | None]:
    return [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])]


def spill(valkey: redis.Redis, gate: SyncGate, payloads: Sequence[bytes]) -> None:
    for payload in payloads:
        valkey.xadd(gate.names.spill, {"entry": payload})


def refused(call: Settlement) -> Settlement:
    """A settlement that can be read, and that the database will never take."""
    return replace(call, entry=replace(call.entry, model="m" * 257))


# --- expired holds -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_call_whose_gateway_is_gone_is_charged_its_estimate_as_unsettled(gate: SyncGate) -> None:
    key = make_key()
    call = admitted_call(gate, key, hold=200, cost=100)
    assert recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS) == 1
    row = Entry.objects.get()
    assert (str(row.id), row.kind, row.cost_nanousd, row.is_estimated) == (call.entry.id, "unsettled", 200, True)
    assert spent_of(gate, key) == [200, 200, 200]
    assert held_of(gate, key) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_hold_is_charged_no_second_time(gate: SyncGate) -> None:
    key = make_key()
    call = admitted_call(gate, key)
    for _ in range(3):
        recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS)
    post_and_settle([call], gate=gate, now_ms=LATER_MS)  # the gateway was only asleep
    assert Entry.objects.get().kind == "unsettled"
    assert spent_of(gate, key) == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_call_that_the_ledger_has_is_settled_with_the_cost_there(gate: SyncGate) -> None:
    key = make_key()
    call = admitted_call(gate, key, hold=200, cost=70)
    post_entries([call.entry])
    recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS)
    assert Entry.objects.get().kind == "call"
    assert spent_of(gate, key) == [70, 70, 70]
    assert held_of(gate, key) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_hold_that_is_kept_alive_is_left(gate: SyncGate) -> None:
    key = make_key()
    call = admitted_call(gate, key)
    gate.extend(call.groups[0].root, call_ids=[call.entry.id], now_ms=LATER_MS)
    assert recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS) == 0
    assert held_of(gate, key) == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_tasks_that_run_at_once_charge_each_hold_once(gate: SyncGate) -> None:
    team = saved_team(budget_limits=limits(("1h", 10)))
    keys = [saved_key(team_id=team.team_id, budget_limits=limits(("1h", 10))) for _ in range(3)]
    for key in keys:
        for _ in range(10):
            admitted_call(gate, key)
    at_once(*[lambda: recovery.charge_expired_holds(gate=sync_gate(), now_ms=LATER_MS)] * 4)
    assert Entry.objects.count() == 30
    for key in keys:
        assert spent_of(gate, key) == [2000, 2000, 6000]  # its hour, all its time, its team's hour
        assert held_of(gate, key) == [0, 0, 0]
        assert differences(gate, windows_of(key)) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_more_holds_than_one_batch_are_charged_run_by_run(gate: SyncGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "BATCH", 4)
    key = make_key()
    for _ in range(10):
        admitted_call(gate, key)
    charged = [recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS) for _ in range(4)]
    assert charged == [4, 4, 2, 0]
    assert spent_of(gate, key) == [2000, 2000, 2000]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("broken", ["unreadable", "refused"])
def test_bad_record_is_kept_and_holds_up_nobody(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(recovery, "BATCH", 2)
    key, other = make_key(), make_key()
    bad = [admitted_call(gate, key, at_ms=NOW_MS + index) for index in range(2)]
    for call in bad:
        record = UNREADABLE if broken == "unreadable" else encode(refused(call))
        valkey.set(gate.names.hold(call.groups[0].root, call.entry.id), record)
    admitted_call(gate, key, at_ms=NOW_MS + 2)
    admitted_call(gate, other)
    first, second = (recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS + 10) for _ in range(2))
    assert (first, second) == (1, 1)
    assert held_of(gate, other) == [0, 0, 0]
    assert held_of(gate, key) == [400, 400, 400]
    still_there = gate.expired_holds(bad[0].groups[0].root, now_ms=LATER_MS + 20 + protocol.HOLD_LIFE_MS, most=10)
    assert set(still_there) == {call.entry.id for call in bad}


@pytest.mark.django_db(transaction=True)
def test_hold_that_outlived_the_birth_mark_is_charged_all_the_same(gate: SyncGate, valkey: redis.Redis) -> None:
    key = make_key()
    call = admitted_call(gate, key)
    valkey.delete(gate.names.birth(call.groups[0].root))
    assert [recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS) for _ in range(2)] == [1, 0]
    assert spent_of(gate, key) == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_idle_roots_are_forgotten_unless_they_hold_something(gate: SyncGate, valkey: redis.Redis) -> None:
    idle, holding, busy = (make_key() for _ in range(3))
    post_and_settle([admitted_call(gate, idle)], gate=gate, now_ms=NOW_MS)
    call = admitted_call(gate, holding)
    much_later_ms = NOW_MS + recovery.ROOT_IDLE_MS + 2000
    gate.extend(call.groups[0].root, call_ids=[call.entry.id], now_ms=much_later_ms)
    post_and_settle([admitted_call(gate, busy, at_ms=NOW_MS + 5000)], gate=gate, now_ms=NOW_MS)
    recovery.charge_expired_holds(gate=gate, now_ms=much_later_ms)
    assert set(gate.noted_roots()) == {f"key:{holding.id}", f"key:{busy.id}"}


@pytest.mark.django_db(transaction=True)
def test_looking_for_lost_holds_takes_few_round_trips_however_many_roots_there_are(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    send = redis.connection.AbstractConnection.send_packed_command

    def counted(self: Any, command: Any, *options: Any, **more: Any) -> None:
        sent.append(command)
        send(self, command, *options, **more)

    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counted)

    def round_trips(roots: int) -> int:
        valkey.zadd(gate.names.roots, {f"key:{index}": NOW_MS for index in range(roots)})
        sent.clear()
        recovery.charge_expired_holds(gate=gate, now_ms=NOW_MS)
        return len(sent)

    round_trips(1)  # connects
    assert round_trips(10) == round_trips(900)


# --- the stream --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_entries_that_waited_in_the_stream_are_posted_and_settled(gate: SyncGate, valkey: redis.Redis) -> None:
    key = make_key()
    calls = [admitted_call(gate, key, cost=index) for index in range(1, 6)]
    spill(valkey, gate, [encode(call) for call in calls])
    assert recovery.drain_stream(gate=gate, now_ms=NOW_MS) == 5
    assert recovery.drain_stream(gate=gate, now_ms=NOW_MS) == 0
    assert Entry.objects.filter(kind="call").count() == 5
    assert spent_of(gate, key) == [15, 15, 15]
    assert held_of(gate, key) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_stream_longer_than_a_batch_is_drained_in_one_run(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "BATCH", 4)
    key = make_key()
    spill(valkey, gate, [encode(admitted_call(gate, key)) for _ in range(11)])
    assert recovery.drain_stream(gate=gate, now_ms=NOW_MS) == 11
    assert valkey.xlen(gate.names.spill) == 0


@pytest.mark.django_db(transaction=True)
def test_stream_is_charged_once_although_the_task_died_before_it_deleted(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key()
    spill(valkey, gate, [encode(admitted_call(gate, key)) for _ in range(3)])

    def die(self: SyncGate, message_ids: Sequence[bytes]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SyncGate, "unspill", die)
        with pytest.raises(KeyboardInterrupt):
            recovery.drain_stream(gate=gate, now_ms=NOW_MS)
    assert recovery.drain_stream(gate=gate, now_ms=NOW_MS) == 3
    assert Entry.objects.count() == 3
    assert spent_of(gate, key) == [300, 300, 300]


@pytest.mark.django_db(transaction=True)
def test_tasks_that_drain_at_once_charge_each_entry_once(gate: SyncGate, valkey: redis.Redis, tmp_path: Path) -> None:
    key = make_key()
    spill(valkey, gate, [encode(admitted_call(gate, key)) for _ in range(50)])
    journalled = [encode(admitted_call(gate, key)) for _ in range(50)]
    for index in range(10):
        (tmp_path / f"{index}.closed").write_bytes(b"\n".join(journalled[index * 5 : index * 5 + 5]))

    def drain() -> None:
        recovery.drain_stream(gate=sync_gate(), now_ms=NOW_MS)
        recovery.drain_journals(tmp_path, gate=sync_gate(), now_ms=NOW_MS)

    at_once(*[drain] * 4)
    assert Entry.objects.count() == 100
    assert spent_of(gate, key) == [10_000, 10_000, 10_000]
    assert held_of(gate, key) == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_what_the_stream_holds_and_nobody_can_take_stays_and_holds_up_nobody(
    gate: SyncGate, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recovery, "BATCH", 2)
    key = make_key()
    good, bad = admitted_call(gate, key), admitted_call(gate, key)
    spill(valkey, gate, [UNREADABLE, UNREADABLE, encode(refused(bad)), encode(good)])
    assert [recovery.drain_stream(gate=gate, now_ms=NOW_MS) for _ in range(2)] == [1, 0]
    assert str(Entry.objects.get().id) == good.entry.id
    assert valkey.xlen(gate.names.spill) == 3
    assert "cannot be read" in caplog.text
    assert f"the ledger refuses call {bad.entry.id}" in caplog.text


# --- journals ----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_closed_journals_are_posted_and_removed_and_open_ones_left(gate: SyncGate, tmp_path: Path) -> None:
    key = make_key()
    calls = [admitted_call(gate, key) for _ in range(4)]
    (tmp_path / "a.closed").write_bytes(b"\n".join(encode(call) for call in calls[:2]))
    (tmp_path / "b.closed").write_bytes(encode(calls[2]) + b"\n")
    (tmp_path / "c.open").write_bytes(encode(calls[3]))
    assert recovery.drain_journals(tmp_path, gate=gate, now_ms=NOW_MS) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.open"]
    assert Entry.objects.count() == 3
    assert spent_of(gate, key) == [300, 300, 300]
    assert held_of(gate, key) == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_journal_whose_removal_failed_is_charged_once(gate: SyncGate, tmp_path: Path) -> None:
    key = make_key()
    journal = encode(admitted_call(gate, key))
    for _ in range(2):
        (tmp_path / "a.closed").write_bytes(journal)
        recovery.drain_journals(tmp_path, gate=gate, now_ms=NOW_MS)
    assert Entry.objects.count() == 1
    assert spent_of(gate, key) == [100, 100, 100]


@pytest.mark.django_db(transaction=True)
def test_lines_that_nobody_can_take_are_kept_beside_the_journal(gate: SyncGate, tmp_path: Path) -> None:
    key = make_key()
    good, bad = admitted_call(gate, key), refused(admitted_call(gate, key))
    (tmp_path / "a.closed").write_bytes(b"\n".join([UNREADABLE, encode(good), encode(bad)]))
    assert recovery.drain_journals(tmp_path, gate=gate, now_ms=NOW_MS) == 1
    assert str(Entry.objects.get().id) == good.entry.id
    assert [path.name for path in tmp_path.iterdir()] == ["a.rejected"]
    assert (tmp_path / "a.rejected").read_bytes().splitlines() == [UNREADABLE, encode(bad)]


@pytest.mark.django_db(transaction=True)
def test_no_journal_directory_is_no_error(gate: SyncGate, tmp_path: Path) -> None:
    assert recovery.drain_journals(tmp_path / "none", gate=gate, now_ms=NOW_MS) == 0


# --- all together ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_entries_that_wait_are_posted_before_their_holds_are_charged(
    gate: SyncGate, valkey: redis.Redis, settings: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """All three calls began two minutes ago; two of them have left their real cost behind."""
    settings.DATA_DIR = tmp_path  # type: ignore[attr-defined]
    key = make_key()
    spilled, journalled, lost = (
        admitted_call(gate, key, at_ms=int(time.time() * 1000) - 120_000, cost=cost, hold=1000) for cost in (1, 2, 4)
    )
    spill(valkey, gate, [encode(spilled)])
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "a.closed").write_bytes(encode(journalled))
    assert tasks.recover() == 3
    kinds = {str(row.id): (row.kind, row.cost_nanousd) for row in Entry.objects.all()}
    assert kinds == {
        spilled.entry.id: ("call", 1),
        journalled.entry.id: ("call", 2),
        lost.entry.id: ("unsettled", 1000),
    }
    assert Rollup.objects.get().cost_nanousd == 1003


@pytest.mark.django_db(transaction=True)
def test_call_of_a_store_that_was_emptied_is_recovered_from_its_journal_once(
    gate: SyncGate, valkey: redis.Redis, tmp_path: Path
) -> None:
    key = make_key()
    call = admitted_call(gate, key)
    for name in valkey.scan_iter(f"{gate.names.prefix}*"):
        valkey.delete(name)
    after = admitted_call(gate, key, at_ms=NOW_MS + 1000)
    for _ in range(2):
        (tmp_path / "a.closed").write_bytes(encode(call))
        recovery.drain_journals(tmp_path, gate=gate, now_ms=NOW_MS + 2000)
    post_and_settle([after], gate=gate, now_ms=NOW_MS + 3000)
    assert differences(gate, windows_of(key)) == [0, 0, 0]
    assert spent_of(gate, key) == [200, 200, 200]


@pytest.mark.django_db(transaction=True)
def test_call_with_an_entry_of_no_key_that_still_exists_is_charged(gate: SyncGate) -> None:
    key = make_key()
    admitted_call(gate, key)
    key.delete()
    assert recovery.charge_expired_holds(gate=gate, now_ms=LATER_MS) == 1
    assert Entry.objects.get().cost_nanousd == make_entry(cost_nanousd=200).cost_nanousd
