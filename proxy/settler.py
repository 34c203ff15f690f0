"""The settler: finished calls go into the ledger and then into the counters, in batches, while no client waits.

First one database transaction for the batch, then one pipeline of settlements. Where the database is down, entries go
to the store's stream, where that is down too into a journal file; a task brings both home. Until a call is settled its
hold is kept alive, so a budget is never freed by an outage.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from budgets.gate.aio import AsyncGate, Settling
from budgets.gate.wire import StoreDown, StoreError
from budgets.rules.settlement import Entry, HeldWindow, Settlement, encode, postings_of, release_of

logger = logging.getLogger(__name__)

BATCH_MAX = 500
COUNTED_MAX = 100_000
GATHER_S = 0.1
RETRY_S = 1.0
EXTEND_S = 30.0
CALLS_OF_ONE_EXTEND = 500


class Posted(Protocol):
    """What the ledger holds for a call: the transaction that wrote it, its cost and its tokens."""

    @property
    def transaction(self) -> int: ...
    @property
    def cost_nanousd(self) -> int: ...
    @property
    def tokens(self) -> int: ...


Post = Callable[[Sequence[Entry]], Awaitable[Mapping[str, Posted]]]


class LedgerDown(Exception):
    """The database cannot take entries now."""


class LedgerRefused(Exception):
    """The database will never take one of these entries: a defect."""


class Settler:
    """Takes finished calls without waiting; `post` writes entries to the ledger and raises LedgerDown."""

    def __init__(self, *, gate: AsyncGate, post: Post, journal: Path, now_ms: Callable[[], int]) -> None:
        self._gate = gate
        self._post = post
        self._journal = journal
        self._now_ms = now_ms
        self._charges: list[Settlement] = []
        self._counted: list[Settling] = []
        self._open: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to settle, and to keep the holds of running calls alive."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._extend_for_ever())]

    async def stop(self) -> None:
        """Settles what is there, once; what cannot be settled now is recovered from its hold, or from a journal."""
        self._stopping = True
        self._wake.set()
        await self._tasks[0]
        self._tasks[1].cancel()
        await asyncio.wait(self._tasks)
        if self._charges:
            self._write_journal(self._charges)

    def opened(self, call_id: str, *, root: str) -> None:
        """A call was admitted to a root: its hold has to be kept alive until it is settled."""
        self._open[call_id, root] = None

    def closed(self, call_id: str, *, root: str) -> None:
        """Somebody else has taken a call's hold out."""
        self._open.pop((call_id, root), None)

    def charge(self, settlement: Settlement) -> None:
        """A call has ended and cost something."""
        self._charges.append(settlement)
        self._wake.set()
        self._idle.clear()

    def release(self, call_id: str, *, root: str, birth_ms: int, windows: tuple[HeldWindow, ...]) -> None:
        """A call has ended before the provider did anything: its hold comes out and nothing goes in."""
        self._counted.append(Settling(root, call_id, birth_ms, 0, release_of(windows)))
        self._wake.set()
        self._idle.clear()

    async def settled(self) -> None:
        """Waits until everything that has ended is settled."""
        await self._idle.wait()

    @property
    def open_calls(self) -> int:
        return len({call_id for call_id, _ in self._open})

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._stopping:
                await asyncio.sleep(GATHER_S)
            try:
                await self._settle_all()
            except Exception:
                logger.exception("settling failed; trying again")
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            if self._stopping:
                return
            if self._counted:
                asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)
            elif not self._charges:
                self._idle.set()

    async def _settle_all(self) -> None:
        try:
            while self._charges:
                await self._post_batch()
            while self._counted:
                await self._count_batch()
        except StoreDown:
            logger.warning("%d calls wait for the counter store", len(self._counted))
            self._shed()

    def _shed(self) -> None:
        """An outage may be long: of the calls that wait, the ledger has those that cost something. A task settles them
        when their holds expire. Only here is it known of the others that they cost nothing."""
        if len(self._counted) > COUNTED_MAX:
            for settling in self._counted:
                if settling.transaction:
                    self._open.pop((settling.call_id, settling.root), None)
            self._counted = [settling for settling in self._counted if not settling.transaction]
            logger.warning("of them %d are left, the others to the task that settles expired holds", len(self._counted))

    async def _post_batch(self) -> None:
        batch = self._charges[:BATCH_MAX]
        try:
            await self._post_some(batch)
        except LedgerRefused:
            for settlement in batch:
                await self._post_or_reject(settlement)
        del self._charges[: len(batch)]

    async def _post_some(self, batch: Sequence[Settlement]) -> None:
        try:
            posted = await self._post([settlement.entry for settlement in batch])
        except LedgerDown:
            await self._spill(batch)
        else:
            for settlement in batch:
                self._counted += _counted(settlement, posted[settlement.entry.id])

    async def _post_or_reject(self, settlement: Settlement) -> None:
        """One entry that the ledger refuses must not hold up the others."""
        try:
            await self._post_some([settlement])
        except LedgerRefused:
            logger.exception("the ledger refuses call %s; it is kept in a journal file", settlement.entry.id)
            self._write_journal([settlement], suffix=".rejected")

    async def _spill(self, batch: Sequence[Settlement]) -> None:
        """The holds stay until a task has posted the entries; whoever does releases them."""
        logger.warning("the database is down: %d entries go to the spill", len(batch))
        for index, settlement in enumerate(batch):
            try:
                await self._gate.spill(encode(settlement))
            except (StoreDown, StoreError):
                self._write_journal(batch[index:])
                return

    def _write_journal(self, settlements: Sequence[Settlement], *, suffix: str = ".closed") -> None:
        """Synced to disk before anybody relies on it, and closed at once, so that a task may take it."""
        self._journal.mkdir(parents=True, exist_ok=True)
        path = self._journal / f"{settlements[0].entry.id}.open"
        with path.open("wb") as file:
            file.write(b"\n".join(encode(settlement) for settlement in settlements))
            file.flush()
            os.fsync(file.fileno())
        path.rename(path.with_suffix(suffix))

    async def _count_batch(self) -> None:
        """An error of the store for one call must not stop the others: its hold is recovered by a task."""
        batch = self._counted[:BATCH_MAX]
        outcomes = await self._gate.settle(batch, now_ms=self._now_ms())
        for settling, error in zip(batch, outcomes, strict=True):
            self._open.pop((settling.call_id, settling.root), None)
            if error is not None:
                logger.error("call %s could not be settled: %s", settling.call_id, error)
        del self._counted[: len(batch)]

    async def _extend_for_ever(self) -> None:
        """While the store is down it is tried every second: the tasks must not find running calls expired after it."""
        wait_s = EXTEND_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.extend_holds()
            except StoreDown as error:
                logger.warning("holds could not be extended: %s", error)
                wait_s = min(RETRY_S, EXTEND_S)
            else:
                wait_s = EXTEND_S

    async def extend_holds(self) -> None:
        """Keeps every open call's hold alive, and forgets calls that a task has settled meanwhile."""
        roots: dict[str, list[str]] = {}
        for call_id, root in self._open:
            roots.setdefault(root, []).append(call_id)
        for root, call_ids in roots.items():
            for start in range(0, len(call_ids), CALLS_OF_ONE_EXTEND):
                await self._extend(root, call_ids=call_ids[start : start + CALLS_OF_ONE_EXTEND])

    async def _extend(self, root: str, *, call_ids: Sequence[str]) -> None:
        try:
            alive = await self._gate.extend(root, call_ids=call_ids, now_ms=self._now_ms())
        except StoreError:
            logger.exception("holds of %s could not be extended", root)
            return
        for call_id in (call_id for call_id, is_open in zip(call_ids, alive, strict=True) if not is_open):
            self._open.pop((call_id, root), None)


def _counted(settlement: Settlement, posted: Posted) -> Iterator[Settling]:
    for group in settlement.groups:
        postings = postings_of(group.windows, cost_nanousd=posted.cost_nanousd, tokens=posted.tokens)
        yield Settling(group.root, settlement.entry.id, group.birth_ms, posted.transaction, postings)
