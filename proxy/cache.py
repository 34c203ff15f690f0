"""Records of the database that this process keeps for seconds, and how fresh they must be to be used.

A change on the management side drops a record at once (budgetgate/plane.py listens); age is only the safety net. A
record that is too old is read again before it is used, so that a new limit misses no call for longer than admission's
margin. While the database is down, what is known goes on being used.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)

FRESH_MS = 5_000
USABLE_MS = 8_000
OUTAGE_MS = 3600_000
LOADS_MAX = 1_000
"""Records that are read at the same time: made-up names must not queue up without end before the database."""

RETRY_MS = 1_000
"""How often a database that is down is asked again."""

DOWN_MS = 15_000
"""How long a failed reading says that the database is down: longer than a reading takes to fail."""


class DatabaseDown(Exception):
    """The database does not answer, and what is known is not enough."""


class Loaded(Protocol):
    """A record with the instant at which its reading began."""

    @property
    def loaded_ms(self) -> int: ...


RecordT = TypeVar("RecordT", bound=Loaded)
ValueT = TypeVar("ValueT")
Read = Callable[[str, int], Awaitable[RecordT | None]]


class FreshCache(Generic[RecordT]):
    """Records by name. `read` asks the database, off the event loop, and raises DatabaseDown; None is no such record.

    `what` names a record in the log; `known_max` and `unknown_max` bound what is kept.
    """

    def __init__(self, read: Read[RecordT], *, what: str, known_max: int, unknown_max: int) -> None:
        self._read_record = read
        self._what = what
        self._known_max = known_max
        self._unknown_max = unknown_max
        self._known: OrderedDict[str, RecordT] = OrderedDict()
        self._unknown: OrderedDict[str, int] = OrderedDict()
        self._loading: dict[str, asyncio.Task[RecordT | None]] = {}
        self._running: set[asyncio.Task[RecordT | None]] = set()
        self._generation = 0
        self._read_ms = 0
        self._failed_ms = -RETRY_MS

    def fresh(self, name: str, *, now_ms: int) -> RecordT | None:
        """The record where it can be used without asking anybody."""
        cached = self._known.get(name)
        return cached if cached is not None and now_ms - cached.loaded_ms < FRESH_MS else None

    async def get(self, name: str, *, now_ms: int) -> RecordT | None:
        """The record, or None where there is none. Raises DatabaseDown."""
        cached = self._known.get(name)
        if cached is None:
            if self._unknown.get(name, 0) > now_ms - FRESH_MS:
                return None
            return await asyncio.shield(self._reload(name, now_ms=now_ms))
        age_ms = now_ms - cached.loaded_ms
        if age_ms < FRESH_MS:
            return cached
        if age_ms < OUTAGE_MS and now_ms < self._failed_ms + RETRY_MS:
            return cached
        try:
            reload = self._reload(name, now_ms=now_ms)
            if age_ms < USABLE_MS or (age_ms < OUTAGE_MS and self._is_down(now_ms)):
                return cached
            return await asyncio.shield(reload)
        except DatabaseDown:
            if age_ms < OUTAGE_MS:
                return cached
            raise

    def _is_down(self, now_ms: int) -> bool:
        """Whether the last reading failed, not long ago: nobody waits for the next one, which may take its time."""
        return self._read_ms < self._failed_ms and now_ms < self._failed_ms + DOWN_MS

    def drop(self, name: str) -> None:
        """Forgets one record, also one that is being read at this moment."""
        self._generation += 1
        self._known.pop(name, None)
        self._unknown.pop(name, None)
        self._loading.pop(name, None)

    def drop_where(self, concerns: Callable[[RecordT], bool]) -> None:
        """Forgets every record that a change concerns, and what is being read at this moment."""
        for name in [name for name, cached in self._known.items() if concerns(cached)]:
            del self._known[name]
        self._generation += 1
        self._loading.clear()

    def clear(self) -> None:
        """Forgets everything: messages about changes may have been missed."""
        self._generation += 1
        self._known.clear()
        self._unknown.clear()
        self._loading.clear()

    def _reload(self, name: str, *, now_ms: int) -> "asyncio.Task[RecordT | None]":
        """One reading for all who ask at the same time. A later change starts another: this one may miss it."""
        task = self._loading.get(name)
        if task is None:
            if len(self._running) >= LOADS_MAX:
                raise DatabaseDown(f"{LOADS_MAX} {self._what}s are being read already")
            task = asyncio.create_task(self._read(name, now_ms=now_ms))
            self._loading[name] = task
            self._running.add(task)
            task.add_done_callback(lambda done: self._finished(name, done))
        return task

    def _finished(self, name: str, task: "asyncio.Task[RecordT | None]") -> None:
        self._running.discard(task)
        if self._loading.get(name) is task:
            del self._loading[name]
        if not task.cancelled():
            self._note_failure(task.exception())

    def _note_failure(self, error: BaseException | None) -> None:
        """Once per reading, however many calls waited for it, or none."""
        if isinstance(error, DatabaseDown):
            logger.warning("a %s could not be read, the database is down: %s", self._what, error)
        elif error is not None:
            logger.error("a %s could not be read", self._what, exc_info=error)

    async def _read(self, name: str, *, now_ms: int) -> RecordT | None:
        generation = self._generation
        try:
            record = await self._read_record(name, now_ms)
        except DatabaseDown:
            self._failed_ms = max(self._failed_ms, now_ms)
            raise
        self._read_ms = max(self._read_ms, now_ms)
        # Read before a change was announced: good for the call that asked, not for the next one.
        if generation == self._generation:
            self._remember(name, record, now_ms=now_ms)
        return record

    def _remember(self, name: str, record: RecordT | None, *, now_ms: int) -> None:
        if record is None:
            self._known.pop(name, None)
            _put(self._unknown, name, now_ms, most=self._unknown_max)
        else:
            self._unknown.pop(name, None)
            _put(self._known, name, record, most=self._known_max)


def _put(table: "OrderedDict[str, ValueT]", name: str, value: ValueT, *, most: int) -> None:
    table[name] = value
    table.move_to_end(name)
    if len(table) > most:
        table.popitem(last=False)
