"""The gate of the event loop does what the gate of threads does, over one wire."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from django.conf import LazySettings

from budgets.gate.aio import Asking, AsyncGate, Settling
from budgets.gate.protocol import Names
from budgets.gate.sync import CounterReading, SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows, run_window
from budgets.gate.wire import StoreDown, StoreError, Wire
from budgets.rules import admission
from budgets.rules.admission import Admission, Claim, Posting, Reading, Status, Verdict
from budgets.rules.calls import new_call_id
from budgets.rules.labels import Run
from budgets.rules.limits import rate_limits
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits
from budgets.rules.settlement import postings_of
from budgets.rules.windows import Calendar

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


# --- several roots ------------------------------------------------------------------------------------


def claim_of(names: Names, root: str, *, now_ms: int, maximum: int = 20) -> Claim:
    counter = names.counter(root, kind="tag", scope_id="x", identity="usd/1h", start_ms=now_ms)
    return Claim(counter, maximum, 5, False, now_ms - HOUR_MS, 0, now_ms + HOUR_MS)


async def test_several_roots_are_asked_at_once_each_for_itself(
    gate: AsyncGate, sync_gate: SyncGate, names: Names, valkey: redis.Redis, now_ms: int
) -> None:
    claims = {
        root: claim_of(names, root, now_ms=now_ms, maximum=maximum)
        for root, maximum in (("tag:a", 20), ("tag:b", 3), ("tag:c", 20))
    }
    for root in ("tag:a", "tag:b"):
        sync_gate.seed(claims[root], spent=4, snapshot="5:5:")
    askings = [Asking(root, root.encode(), [claim]) for root, claim in claims.items()]
    answers = await gate.admit_each(askings, call_id="call", now_ms=now_ms, note=["tag:a", "tag:c"])
    assert [answer.status for answer in answers if isinstance(answer, Admission)] == [
        Status.ADMITTED,
        Status.REFUSED,
        Status.UNKNOWN,
    ]
    assert [reading.held for reading in sync_gate.read([claim.counter for claim in claims.values()])] == [5, 0, 0]
    assert sync_gate.expired_holds("tag:a", now_ms=now_ms + HOUR_MS, most=9) == {"call": b"tag:a"}
    assert sync_gate.noted_roots() == ["tag:a", "tag:c"]


async def test_script_that_the_store_has_forgotten_is_sent_again_to_each_root(
    gate: AsyncGate, names: Names, valkey: redis.Redis, now_ms: int
) -> None:
    valkey.script_flush()
    askings = [Asking(root, b"", [claim_of(names, root, now_ms=now_ms)]) for root in ("tag:a", "tag:b")]
    answers = await gate.admit_each(askings, call_id="call", now_ms=now_ms)
    assert [answer.status for answer in answers if isinstance(answer, Admission)] == [Status.UNKNOWN] * 2


async def test_error_of_one_root_is_its_answer(gate: AsyncGate, names: Names, valkey: redis.Redis, now_ms: int) -> None:
    valkey.set(names.birth("tag:a"), "no number")
    valkey.lpush(names.holds("tag:a"), "no sorted set")
    good, bad = claim_of(names, "tag:b", now_ms=now_ms), claim_of(names, "tag:a", now_ms=now_ms)
    valkey.set(bad.counter, "no hash")
    askings = [Asking("tag:a", b"", [bad]), Asking("tag:b", b"", [good])]
    first, second = await gate.admit_each(askings, call_id="call", now_ms=now_ms)
    assert isinstance(first, StoreError)
    assert isinstance(second, Admission)


async def test_root_that_cannot_be_remembered_admits_nobody(
    gate: AsyncGate, names: Names, valkey: redis.Redis, now_ms: int
) -> None:
    valkey.set(names.roots, "no sorted set")
    claim = claim_of(names, "tag:a", now_ms=now_ms)
    valkey.hset(claim.counter, mapping={"spent": 0, "since": 0})
    [answer] = await gate.admit_each([Asking("tag:a", b"", [claim])], call_id="c", now_ms=now_ms, note=["tag:a"])
    assert isinstance(answer, StoreDown)
    assert answer.perhaps_done


async def test_store_that_is_not_there_was_asked_nothing(names: Names, now_ms: int) -> None:
    gate = AsyncGate(Wire("redis://127.0.0.1:1/0"), names)
    with pytest.raises(StoreDown) as down:
        await gate.admit_each([Asking("tag:a", b"", [])], call_id="call", now_ms=now_ms)
    assert not down.value.perhaps_done


# --- open calls ---------------------------------------------------------------------------------------


def open_calls(names: Names, *, now_ms: int, maximum: int) -> ActiveWindow:
    [limit] = rate_limits({"max_parallel_requests": maximum})
    scope = ScopeLimits(Scope("key", "k1"), Calendar(), (CountedLimit(limit, now_ms - HOUR_MS),))
    [active] = active_windows([scope], names=names, root=ROOT, now_ms=now_ms)
    return active


async def test_open_calls_are_counted_by_their_holds_alone(
    gate: AsyncGate, sync_gate: SyncGate, names: Names, now_ms: int
) -> None:
    active, amounts, book = open_calls(names, now_ms=now_ms, maximum=2), Amounts(100, 10), admission.Book()
    claims, held = [active.claim(amounts)], (active.held(amounts),)
    assert held[0].hold == 1

    async def ask(call_id: str) -> Admission:
        nonlocal book
        book, expected = admission.admit(book, call_id, claims=claims, now_ms=now_ms)
        answer = await gate.admit(ROOT, call_id=call_id, record=b"", claims=claims, now_ms=now_ms)
        assert answer == expected
        return answer

    assert (await ask("a")).status is Status.UNKNOWN  # its window began in 1970
    await gate.seed(claims[0], spent=0, snapshot="5:5:")
    book = admission.seed(
        book, active.counter, spent=0, since_ms=active.since_ms, snapshot=admission.Snapshot(5, 5, frozenset())
    )
    assert [(await ask(call_id)).status for call_id in "abc"] == [Status.ADMITTED, Status.ADMITTED, Status.REFUSED]
    assert (await ask("c")).readings == (Reading(Verdict.IN_FLIGHT, 0, 2),)
    postings = postings_of(held, cost_nanousd=100, tokens=10)
    assert [(posting.hold, posting.cost) for posting in postings] == [(1, 0)]
    settling = Settling(ROOT, "a", birth_ms=now_ms, transaction=7, postings=postings)
    assert await gate.settle([settling, settling], now_ms=now_ms) == [None, None]
    for _ in range(2):
        book, _ = admission.settle(book, "a", postings=postings, birth_ms=now_ms, transaction=7, now_ms=now_ms)
    assert (await ask("c")).status is Status.ADMITTED
    assert sync_gate.read([active.counter])[0] == CounterReading(0, 2, active.since_ms)


async def test_counter_of_a_run_lives_a_day_from_its_last_use(
    gate: AsyncGate, names: Names, valkey: redis.Redis, now_ms: int
) -> None:
    active = run_window(Run("r1", 100), key_id="k1", names=names, root=ROOT, now_ms=now_ms)
    assert active.counter == f"{names.prefix}:{{{ROOT}}}:run:k1/r1:usd/lifetime:0"
    claim = active.claim(Amounts(10, 0))
    await gate.seed(claim, spent=0, snapshot="5:5:")
    valkey.pexpireat(active.counter, now_ms + HOUR_MS)
    await gate.admit(ROOT, call_id="a", record=b"", claims=[claim], now_ms=now_ms)
    assert abs(valkey.pexpiretime(active.counter) - now_ms - 24 * HOUR_MS) < 1000
