"""Commands go to one slot with amounts that can be counted; the gate of threads sends and reads them."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.crc import key_slot

from budgets.gate.protocol import (
    Command,
    Names,
    admit_command,
    expire_command,
    extend_command,
    forget_command,
    seed_command,
    settle_command,
)
from budgets.gate.sync import SyncGate
from budgets.rules.admission import Posting
from budgets.tests.claims import HOUR_MS, ROOT, admit, claim_on, counter_name


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
    below = amount if amount > 0 else -(2**53)  # an adjustment may take off as much as a counter can count
    for posting in (Posting("c", 1, below, now_ms), Posting("c", amount, 1, now_ms)):
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
    admit(gate, [], now_ms=now_ms)
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
