"""The gate of the event loop does what the gate of threads does, over one wire."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from django.conf import LazySettings

from budgets.gate.aio import AsyncGate, Settling
from budgets.gate.protocol import Names
from budgets.gate.sync import CounterReading, SyncGate
from budgets.gate.wire import StoreDown, StoreError, Wire
from budgets.rules.admission import Claim, Posting, Reading, Status, Verdict
from budgets.rules.calls import new_call_id

ROOT = "team:t1"
HOUR_MS = 3600_000


@pytest.fixture
async def gate(valkey: redis.Redis, names: Names, settings: LazySettings) -> AsyncIterator[AsyncGate]:
    wire = Wire(settings.REDIS_URL)
    yield AsyncGate(wire, names)
    await wire.close()


@pytest.fixture
def sync_gate(valkey: redis.Redis, names: Names) -> SyncGate:
    return SyncGate(valkey, names)


@pytest.fixture
def claim(names: Names, now_ms: int) -> Claim:
    counter = names.counter(ROOT, kind="key", scope_id="k1", identity="usd/1h", start_ms=now_ms)
    return Claim(counter, 20, 1, True, now_ms - HOUR_MS, 0, now_ms + HOUR_MS)


async def test_call_is_seeded_admitted_kept_alive_and_settled(
    gate: AsyncGate, sync_gate: SyncGate, claim: Claim, now_ms: int
) -> None:
    first = await gate.admit(ROOT, call_id="a", record=b"\x00r", claims=[claim], now_ms=now_ms)
    assert first.status is Status.UNKNOWN
    await gate.forget(claim)
    await gate.seed(claim, spent=18, snapshot="5:5:")
    admitted = await gate.admit(ROOT, call_id="a", record=b"\x00r", claims=[claim], now_ms=now_ms)
    assert (admitted.status, admitted.birth_ms) == (Status.ADMITTED, now_ms)
    assert admitted.readings == (Reading(Verdict.ROOM, 18, 0),)
    assert await gate.extend(ROOT, call_ids=["a", "b"], now_ms=now_ms + HOUR_MS) == [1, 0]
    assert sync_gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=9) == {}
    assert sync_gate.expired_holds(ROOT, now_ms=now_ms + 2 * HOUR_MS, most=9) == {"a": b"\x00r"}
    posting = Posting(claim.counter, 1, 2, claim.expires_ms)
    settling = Settling(ROOT, "a", birth_ms=now_ms, transaction=7, postings=(posting,))
    for _ in range(2):
        assert await gate.settle([settling, settling], now_ms=now_ms) == [None, None]
    assert sync_gate.read([claim.counter]) == [CounterReading(20, 0, 0)]
    refused = await gate.admit(ROOT, call_id="b", record=b"", claims=[claim], now_ms=now_ms)
    assert refused.status is Status.REFUSED
    assert refused.readings == (Reading(Verdict.EXHAUSTED, 20, 0),)


async def test_forgotten_counter_of_an_older_limit_waits_for_its_seed(
    gate: AsyncGate, sync_gate: SyncGate, claim: Claim
) -> None:
    await gate.seed(claim, spent=18, snapshot="5:5:")
    await gate.forget(claim)
    assert sync_gate.read([claim.counter])[0].spent == 18
    newer = Claim(claim.counter, 20, 1, True, claim.start_ms, 7, claim.expires_ms)
    await gate.forget(newer)
    assert sync_gate.read([claim.counter]) == [CounterReading(None, 0, -1)]


async def test_exactly_twenty_of_a_thousand_calls_in_flight_are_admitted(
    gate: AsyncGate, claim: Claim, now_ms: int
) -> None:
    await gate.seed(claim, spent=0, snapshot="5:5:")
    admissions = await asyncio.gather(
        *(
            gate.admit(ROOT, call_id=new_call_id(now_ms), record=b"r", claims=[claim], now_ms=now_ms)
            for _ in range(1000)
        )
    )
    assert [each.status for each in admissions].count(Status.ADMITTED) == 20


async def test_scripts_that_the_store_has_lost_are_sent_again(
    gate: AsyncGate, valkey: redis.Redis, claim: Claim, now_ms: int
) -> None:
    await gate.seed(claim, spent=0, snapshot="5:5:")
    valkey.script_flush()
    admissions = await asyncio.gather(
        *(gate.admit(ROOT, call_id=f"c{n}", record=b"r", claims=[claim], now_ms=now_ms) for n in range(30))
    )
    assert [each.status for each in admissions].count(Status.ADMITTED) == 20
    valkey.script_flush()
    await gate.extend(ROOT, call_ids=["c1"], now_ms=now_ms)
    await gate.forget(claim)


async def test_errors_of_the_store_are_not_mistaken_for_lost_scripts(
    gate: AsyncGate, valkey: redis.Redis, claim: Claim, now_ms: int
) -> None:
    valkey.set(claim.counter, "not a hash")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await gate.admit(ROOT, call_id="a", record=b"r", claims=[claim], now_ms=now_ms)
    await gate.ping()


async def test_roots_are_noted_by_their_latest_call(gate: AsyncGate, valkey: redis.Redis, names: Names) -> None:
    await gate.note_root(ROOT, now_ms=200)
    await gate.note_root(ROOT, now_ms=100)
    assert valkey.zscore(names.roots, ROOT) == 200


async def test_entries_are_spilled_in_their_order(gate: AsyncGate, sync_gate: SyncGate) -> None:
    for payload in (b"\x00first", b"second"):
        await gate.spill(payload)
    assert [payload for _, payload in sync_gate.spilled(most=9)] == [b"\x00first", b"second"]


async def test_store_that_cannot_be_reached_is_an_outage(names: Names, claim: Claim, now_ms: int) -> None:
    gate = AsyncGate(Wire("redis://127.0.0.1:1/0"), names)
    with pytest.raises(StoreDown):
        await gate.ping()
    with pytest.raises(StoreDown):
        await gate.admit(ROOT, call_id="a", record=b"r", claims=[claim], now_ms=now_ms)
