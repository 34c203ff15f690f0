"""The counter store for the gateway's event loop: each operation is one script call."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from budgets.gate.protocol import (
    SCRIPTS,
    Command,
    Names,
    admission_of,
    admit_command,
    extend_command,
    forget_command,
    seed_command,
    settle_command,
)
from budgets.gate.wire import StoreDown, StoreError, Wire
from budgets.rules.admission import Admission, Claim, Posting


class Asking(NamedTuple):
    """What a call asks of the windows of one root."""

    root: str
    record: bytes
    claims: Sequence[Claim]


@dataclass(frozen=True, slots=True)
class Settling:
    """What one call does to its counters; the hold comes out whether it cost anything or not."""

    root: str
    call_id: str
    birth_ms: int
    transaction: int
    postings: tuple[Posting, ...]


class AsyncGate:
    """Admits and settles calls. Raises StoreDown where the store cannot be reached."""

    def __init__(self, wire: Wire, names: Names) -> None:
        self.names = names
        self._wire = wire

    async def admit(self, root: str, *, call_id: str, record: bytes, claims: Sequence[Claim], now_ms: int) -> Admission:
        """Holds the claims in all windows, or touches none (see admit.lua)."""
        command = admit_command(self.names, root, call_id=call_id, record=record, claims=claims, now_ms=now_ms)
        return admission_of(cast(list[int], await self._run(command)))

    async def admit_each(
        self, askings: Sequence[Asking], *, call_id: str, now_ms: int, note: Sequence[str] = ()
    ) -> list[Admission | StoreDown | StoreError]:
        """Admits a call to several roots in one round trip, each for itself; `note` are roots to remember before.

        What went wrong with one of them is its answer. Raises StoreDown where nothing was sent.
        """
        commands = [
            admit_command(
                self.names, asked.root, call_id=call_id, record=asked.record, claims=asked.claims, now_ms=now_ms
            )
            for asked in askings
        ]
        noting = [_note_command(self.names, note, now_ms=now_ms)] if note else []
        replies = await self._wire.pipeline([*noting, *commands])
        failures = [error for reply in replies[: len(noting)] if (error := reply.exception()) is not None]
        asked = zip(commands, replies[len(noting) :], strict=True)
        answers = [await self._admission(command, reply) for command, reply in asked]
        # A hold that nobody would look for is as bad as none: perhaps it is there, and it has to come out again.
        return answers if not failures else [StoreDown(str(failures[0]), perhaps_done=True)] * len(answers)

    async def _admission(self, command: Command, reply: "asyncio.Future[object]") -> Admission | StoreDown | StoreError:
        error = reply.exception()
        try:
            if isinstance(error, StoreError):  # perhaps it does not know the script
                return admission_of(cast(list[int], await self._run(command)))
        except (StoreDown, StoreError) as again:
            return again
        if isinstance(error, StoreDown):
            return error
        return admission_of(cast(list[int], reply.result()))

    async def settle(self, calls: Sequence[Settling], *, now_ms: int) -> list[StoreError | None]:
        """Replaces the hold of each call by its cost, all in one write; None where that was done, now or before.

        Raises StoreDown where the store did not answer for one of them: then all can be settled again.
        """
        commands = [
            settle_command(
                self.names,
                call.root,
                call_id=call.call_id,
                postings=call.postings,
                birth_ms=call.birth_ms,
                transaction=call.transaction,
                now_ms=now_ms,
            )
            for call in calls
        ]
        replies = await self._wire.pipeline(commands)
        errors = [reply.exception() for reply in replies]
        return [await self._mended(command, error) for command, error in zip(commands, errors, strict=True)]

    async def _mended(self, command: Command, error: BaseException | None) -> StoreError | None:
        if isinstance(error, StoreError):
            try:
                await self._run(command)
            except StoreError as again:
                return again
        elif error is not None:
            raise error
        return None

    async def extend(self, root: str, *, call_ids: Sequence[str], now_ms: int) -> list[int]:
        """Keeps the holds of running calls alive; says of each whether it is still open."""
        return cast(list[int], await self._run(extend_command(self.names, root, call_ids=call_ids, now_ms=now_ms)))

    async def forget(self, claim: Claim) -> None:
        """Makes the claim's window unknown if it was counted for an older limit; before the ledger is read."""
        await self._run(forget_command(claim.counter, since_ms=claim.since_ms))

    async def seed(self, claim: Claim, *, spent: int, snapshot: str) -> None:
        """Makes the claim's window known from the ledger's sum."""
        await self._run(seed_command(claim, spent=spent, snapshot=snapshot))

    async def note_root(self, root: str, *, now_ms: int) -> None:
        """Remembers that the root has open holds, for the tasks."""
        await self._wire.execute(*_note_command(self.names, [root], now_ms=now_ms))

    async def spill(self, payload: bytes) -> None:
        """Appends an entry that the database could not take to the stream that a task drains."""
        await self._wire.execute("XADD", self.names.spill, "*", "entry", payload)

    async def ping(self) -> None:
        """Raises StoreDown where the store does not answer."""
        await self._wire.execute("PING")

    async def _run(self, command: Command) -> object:
        try:
            return await self._wire.execute(*command)
        except StoreError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self._wire.execute("EVAL", SCRIPTS[cast(str, command[1])].source, *command[2:])


def _note_command(names: Names, roots: Sequence[str], *, now_ms: int) -> Command:
    command: Command = ["ZADD", names.roots, "GT"]
    for root in roots:
        command += (now_ms, root)
    return command
