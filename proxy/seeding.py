"""Seeding: windows that the store does not know are made known from the ledger, once for all calls that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from budgets.gate.aio import AsyncGate
from budgets.gate.windows import ActiveWindow, Amounts
from budgets.rules.admission import Reading, Verdict


class SpendSum(Protocol):
    """What the ledger says was spent in windows, and the snapshot it was read in."""

    @property
    def sums(self) -> tuple[int, ...]: ...
    @property
    def snapshot(self) -> str: ...


ReadSpends = Callable[[Sequence[ActiveWindow]], Awaitable[SpendSum]]


class Seeder:
    """Asks the ledger through `read_spends`, which raises DatabaseDown."""

    def __init__(self, gate: AsyncGate, *, read_spends: ReadSpends) -> None:
        self._gate = gate
        self._read_spends = read_spends
        self._running: dict[str, asyncio.Task[None]] = {}

    async def seed(self, windows: tuple[ActiveWindow, ...], *, readings: tuple[Reading, ...]) -> None:
        """Asks the ledger for windows that the store does not know; calls that come meanwhile share the answer."""
        unknown = [
            active for active, reading in zip(windows, readings, strict=True) if reading.verdict is Verdict.UNKNOWN
        ]
        mine = [active for active in unknown if active.counter not in self._running]
        if mine:
            task = asyncio.create_task(self._from_ledger(mine))
            for active in mine:
                self._running[active.counter] = task
            task.add_done_callback(lambda _: [self._running.pop(active.counter, None) for active in mine])
        waiting = {self._running[active.counter] for active in unknown if active.counter in self._running}
        await asyncio.gather(*(asyncio.shield(task) for task in waiting))

    async def _from_ledger(self, windows: list[ActiveWindow]) -> None:
        claims = [active.claim(Amounts(0, 0)) for active in windows]
        # Before the ledger is read: costs that are settled from here on wait in the counter for the seed.
        await asyncio.gather(*(self._gate.forget(claim) for claim in claims))
        reading = await self._read_spends(windows)
        await asyncio.gather(
            *(
                self._gate.seed(claim, spent=spent, snapshot=reading.snapshot)
                for claim, spent in zip(claims, reading.sums, strict=True)
            )
        )
