"""What has ended is settled once, whatever is down: in the ledger, in the store's stream, or in a journal file."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from budgets.gate.aio import AsyncGate, Settling
from budgets.gate.wire import StoreDown, StoreError
from budgets.rules.calls import new_call_id
from budgets.rules.limits import LimitUnit
from budgets.rules.settlement import Entry, HeldGroup, HeldWindow, Settlement, decode
from proxy import settler as settler_module
from proxy.settler import Settler
from proxy.tests.gateway import Ledger

NOW = 1_800_000_000_000
ROOT = "key:k1"
WINDOW = HeldWindow("counter", LimitUnit.USD, 100, NOW + 3600_000)


@dataclass(slots=True)
class Store:
    """The gate's side of the settler, in memory."""

    is_down: bool = False
    defective: set[str] = field(default_factory=set)
    settled: list[Settling] = field(default_factory=list)
    spilled: list[Settlement] = field(default_factory=list)
    spills_max: int = 10**9
    extended: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    batches: list[int] = field(default_factory=list)

    async def settle(self, calls: Sequence[Settling], *, now_ms: int) -> list[StoreError | None]:
        await self._reply()
        self.batches.append(len(calls))
        self.settled += [call for call in calls if call.call_id not in self.defective]
        return [StoreError("WRONGTYPE") if call.call_id in self.defective else None for call in calls]

    async def spill(self, payload: bytes) -> None:
        await self._reply()
        if len(self.spilled) >= self.spills_max:
            raise StoreDown("down in the middle")
        self.spilled.append(decode(payload))

    async def extend(self, root: str, *, call_ids: Sequence[str], now_ms: int) -> list[int]:
        await self._reply()
        if root in self.defective:
            raise StoreError("WRONGTYPE")
        self.extended.append((root, tuple(call_ids)))
        return [int(call_id not in self.gone) for call_id in call_ids]

    async def _reply(self) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise StoreDown("down")


def make_settlement(*, cost: int = 42, call_id: str | None = None) -> Settlement:
    entry = Entry(
        id=call_id or new_call_id(NOW),
        kind="call",
        finished_ms=NOW,
        key_id="0198f000-0000-7000-8000-000000000001",
        team_id=None,
        user_id=None,
        customer_id=None,
        run_id=None,
        tags=(),
        model="gpt-4o-mini",
        provider="openai",
        upstream_model="gpt-4o-mini",
        input_tokens=10,
        output_tokens=5,
        cache_read_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost_nanousd=cost,
        hold_nanousd=100,
        price_source="test",
        is_estimated=False,
        is_unpriced=False,
        is_streamed=False,
        http_status=200,
        first_byte_ms=None,
    )
    return Settlement(entry, (HeldGroup(ROOT, NOW, (WINDOW,)),))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "not there yet" / "journal"


@pytest.fixture
async def settler(
    store: Store, ledger: Ledger, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Settler]:
    """Started, and quick."""
    monkeypatch.setattr(settler_module, "GATHER_S", 0.001)
    monkeypatch.setattr(settler_module, "RETRY_S", 0.01)
    settler = Settler(gate=cast(AsyncGate, store), post=ledger.post, journal=journal, now_ms=lambda: NOW)
    settler.start()
    yield settler
    await settler.stop()


def charge(settler: Settler, settlement: Settlement) -> str:
    settler.opened(settlement.entry.id, root=settlement.groups[0].root)
    settler.charge(settlement)
    return settlement.entry.id


def release(settler: Settler) -> str:
    call_id = new_call_id(NOW)
    settler.opened(call_id, root=ROOT)
    settler.release(call_id, root=ROOT, birth_ms=NOW, windows=(WINDOW,))
    return call_id


async def settled(settler: Settler) -> None:
    async with asyncio.timeout(5):
        await settler.settled()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.001)


def journals(directory: Path) -> list[tuple[str, list[Settlement]]]:
    """The suffix of each journal file and what is in it."""
    files = sorted(directory.iterdir()) if directory.exists() else []
    return [(file.suffix, [decode(line) for line in file.read_bytes().splitlines()]) for file in files]


async def test_calls_that_end_together_are_one_transaction(settler: Settler, ledger: Ledger, store: Store) -> None:
    ids = [charge(settler, make_settlement(cost=number)) for number in range(10)]
    await settled(settler)
    assert ledger.posts == 1
    assert list(ledger.entries) == [call.call_id for call in store.settled] == ids
    assert [call.postings[0].cost for call in store.settled] == list(range(10))
    assert {call.postings[0].hold for call in store.settled} == {100}
    assert {call.transaction for call in store.settled} == {1}
    assert settler.open_calls == 0


async def test_batches_have_a_bound(
    settler: Settler, ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler_module, "BATCH_MAX", 4)
    ids = [charge(settler, make_settlement()) for _ in range(10)]
    await settled(settler)
    assert ledger.posts == 3
    assert store.batches == [4, 4, 2]
    assert [call.call_id for call in store.settled] == ids


async def test_what_the_ledger_holds_is_what_counts(settler: Settler, ledger: Ledger, store: Store) -> None:
    settlement = make_settlement(cost=42)
    await ledger.post([make_settlement(cost=99, call_id=settlement.entry.id).entry])
    charge(settler, settlement)
    await settled(settler)
    assert store.settled[0].postings[0].cost == 99


async def test_released_call_leaves_no_entry(settler: Settler, ledger: Ledger, store: Store) -> None:
    call_id = release(settler)
    await settled(settler)
    assert ledger.entries == {}
    assert [(call.call_id, call.postings[0].cost, call.postings[0].hold) for call in store.settled] == [
        (call_id, 0, 100)
    ]
    assert settler.open_calls == 0


async def test_store_that_comes_back_gets_everything(settler: Settler, ledger: Ledger, store: Store) -> None:
    store.is_down = True
    ids = [charge(settler, make_settlement()), release(settler)]
    await until(lambda: len(ledger.entries) == 1)
    await asyncio.sleep(0.05)
    assert settler.open_calls == 2
    store.is_down = False
    await settled(settler)
    assert {call.call_id for call in store.settled} == set(ids)
    assert ledger.posts == 1
    assert settler.open_calls == 0


async def test_calls_that_wait_for_the_store_are_bounded_and_releases_are_kept(
    settler: Settler, ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler_module, "COUNTED_MAX", 20)
    store.is_down = True
    released = [release(settler) for _ in range(5)]
    for _ in range(50):
        charge(settler, make_settlement())
    await until(lambda: len(ledger.entries) == 50 and settler.open_calls == 5)
    store.is_down = False
    await settled(settler)
    assert [call.call_id for call in store.settled] == released


async def test_database_that_is_down_sends_entries_to_the_stream_and_keeps_the_holds(
    settler: Settler, ledger: Ledger, store: Store, journal: Path
) -> None:
    ledger.is_down = True
    settlements = [make_settlement() for _ in range(3)]
    for settlement in settlements:
        charge(settler, settlement)
    await settled(settler)
    assert store.spilled == settlements
    assert store.settled == []
    assert settler.open_calls == 3
    assert journals(journal) == []


@pytest.mark.parametrize("spills", [0, 2])
async def test_what_the_stream_does_not_take_goes_to_a_closed_journal(
    settler: Settler, ledger: Ledger, store: Store, journal: Path, monkeypatch: pytest.MonkeyPatch, spills: int
) -> None:
    ledger.is_down, store.spills_max = True, spills
    synced: list[int] = []
    monkeypatch.setattr("proxy.settler.os.fsync", synced.append)
    settlements = [make_settlement() for _ in range(5)]
    for settlement in settlements:
        charge(settler, settlement)
    await settled(settler)
    assert store.spilled == settlements[:spills]
    assert journals(journal) == [(".closed", settlements[spills:])]
    assert len(synced) == 1


async def test_journals_of_two_batches_do_not_meet(
    settler: Settler, ledger: Ledger, store: Store, journal: Path
) -> None:
    ledger.is_down = store.is_down = True
    settlements = [make_settlement() for _ in range(2)]
    for settlement in settlements:
        charge(settler, settlement)
        await settled(settler)
    found = journals(journal)
    assert [suffix for suffix, _ in found] == [".closed", ".closed"]
    assert {each.entry.id for _, inside in found for each in inside} == {each.entry.id for each in settlements}


async def test_entry_that_the_ledger_refuses_does_not_stop_the_others(
    settler: Settler, ledger: Ledger, store: Store, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settlements = [make_settlement() for _ in range(3)]
    ledger.refuses = frozenset({settlements[1].entry.id})
    for settlement in settlements:
        charge(settler, settlement)
    await settled(settler)
    assert list(ledger.entries) == [settlements[0].entry.id, settlements[2].entry.id]
    assert len(store.settled) == 2
    assert journals(journal) == [(".rejected", [settlements[1]])]
    assert settlements[1].entry.id in caplog.text


async def test_error_of_the_store_for_one_call_does_not_stop_the_others(
    settler: Settler, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [charge(settler, make_settlement()) for _ in range(3)]
    store.defective.add(ids[1])
    await settled(settler)
    assert [call.call_id for call in store.settled] == [ids[0], ids[2]]
    assert settler.open_calls == 0
    assert ids[1] in caplog.text


async def test_unforeseen_failure_is_tried_again(
    settler: Settler, ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([RuntimeError("unforeseen")])
    settle = Store.settle

    async def once(self: Store, *args: Any, **kwargs: Any) -> list[StoreError | None]:
        for failure in failures:
            raise failure
        return await settle(self, *args, **kwargs)

    monkeypatch.setattr(Store, "settle", once)
    call_id = charge(settler, make_settlement())
    await until(lambda: bool(store.settled))
    assert [call.call_id for call in store.settled] == [call_id]
    assert ledger.posts == 1
    assert "unforeseen" in caplog.text


async def test_stop_settles_what_has_ended_without_waiting(
    store: Store, ledger: Ledger, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settler = Settler(gate=cast(AsyncGate, store), post=ledger.post, journal=journal, now_ms=lambda: NOW)
    settler.start()
    ids = [charge(settler, make_settlement()), release(settler)]
    await settler.stop()
    assert {call.call_id for call in store.settled} == set(ids)
    assert len(ledger.entries) == 1


async def test_stop_of_a_settler_that_did_nothing_ends(store: Store, ledger: Ledger, journal: Path) -> None:
    settler = Settler(gate=cast(AsyncGate, store), post=ledger.post, journal=journal, now_ms=lambda: NOW)
    settler.start()
    async with asyncio.timeout(1):
        await settler.stop()


async def test_stop_during_an_outage_of_everything_leaves_a_journal(
    store: Store, ledger: Ledger, journal: Path
) -> None:
    settler = Settler(gate=cast(AsyncGate, store), post=ledger.post, journal=journal, now_ms=lambda: NOW)
    settler.start()
    ledger.is_down = store.is_down = True
    settlement = make_settlement()
    charge(settler, settlement)
    async with asyncio.timeout(2):
        await settler.stop()
    assert journals(journal) == [(".closed", [settlement])]


async def test_stop_after_an_unforeseen_failure_leaves_a_journal(
    store: Store, ledger: Ledger, journal: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(entries: Sequence[Entry]) -> dict[str, Any]:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(settler_module, "RETRY_S", 0.01)
    settler = Settler(gate=cast(AsyncGate, store), post=broken, journal=journal, now_ms=lambda: NOW)
    settler.start()
    settlement = make_settlement()
    charge(settler, settlement)
    await settler.stop()
    assert journals(journal) == [(".closed", [settlement])]


# --- keeping holds alive ------------------------------------------------------------------------------


async def test_open_calls_are_kept_alive_and_gone_ones_forgotten(settler: Settler, store: Store) -> None:
    for call_id, root in [("a", "key:k1"), ("b", "key:k2"), ("c", "key:k1")]:
        settler.opened(call_id, root=root)
    store.gone.add("a")
    await settler.extend_holds()
    assert store.extended == [("key:k1", ("a", "c")), ("key:k2", ("b",))]
    store.extended.clear()
    await settler.extend_holds()
    assert sorted(store.extended) == [("key:k1", ("c",)), ("key:k2", ("b",))]


async def test_many_calls_of_one_root_are_extended_in_parts(
    settler: Settler, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settler_module, "CALLS_OF_ONE_EXTEND", 4)
    for number in range(10):
        settler.opened(str(number), root=ROOT)
    await settler.extend_holds()
    assert [len(call_ids) for _, call_ids in store.extended] == [4, 4, 2]


async def test_root_that_cannot_be_extended_does_not_stop_the_others(
    settler: Settler, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    settler.opened("a", root="key:bad")
    settler.opened("b", root="key:good")
    store.defective.add("key:bad")
    await settler.extend_holds()
    assert store.extended == [("key:good", ("b",))]
    assert settler.open_calls == 2
    assert "key:bad" in caplog.text


async def test_holds_are_extended_for_ever_also_after_an_outage(
    settler: Settler, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settler_module, "EXTEND_S", 0.005)
    again = asyncio.create_task(settler._extend_for_ever())
    settler.opened("a", root=ROOT)
    store.is_down = True
    with caplog.at_level(logging.WARNING):
        await until(lambda: "could not be extended" in caplog.text)
    store.is_down = False
    await until(lambda: len(store.extended) >= 2)
    again.cancel()
    await asyncio.wait([again])
