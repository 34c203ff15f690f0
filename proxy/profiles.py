"""What this process knows of keys: profiles and their open windows, kept for seconds.

A change on the management side drops a profile at once (budgetgate/plane.py listens); age is only the safety net. A
profile that is too old is read again before it is used, so that a new limit misses no call for longer than admission's
margin. While the database is down, known keys go on with what is known.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from budgets.gate.protocol import Names
from budgets.gate.windows import ActiveWindow, active_windows
from budgets.rules.scopes import KeyProfile

logger = logging.getLogger(__name__)

FRESH_MS = 5_000
USABLE_MS = 8_000
OUTAGE_MS = 3600_000
UNKNOWN_KEYS_MAX = 10_000
KEYS_MAX = 200_000
LOADS_MAX = 1_000
"""Keys that are read at the same time: made-up ones must not queue up without end before the database."""

RETRY_MS = 1_000
"""How often a database that is down is asked again."""

DOWN_MS = 15_000
"""How long a failed reading says that the database is down: longer than a reading takes to fail."""

ValueT = TypeVar("ValueT")
Load = Callable[[str], Awaitable[KeyProfile | None]]


class DatabaseDown(Exception):
    """The database does not answer, and what is known is not enough."""


class CachedKey:
    """A profile with the windows that are open now; they are worked out again when the first of them ends."""

    __slots__ = ("_names", "_until_ms", "_windows", "loaded_ms", "profile", "root")

    def __init__(self, profile: KeyProfile, *, names: Names, loaded_ms: int) -> None:
        self.profile = profile
        self.root = profile.root
        self.loaded_ms = loaded_ms
        self._names = names
        self._windows: tuple[ActiveWindow, ...] = ()
        self._until_ms = -1

    def windows(self, now_ms: int) -> tuple[ActiveWindow, ...]:
        """The open window of every limit of the key and its team."""
        if not now_ms < self._until_ms:
            profile = self.profile
            self._windows = active_windows(profile.scopes, names=self._names, root=self.root, now_ms=now_ms)
            self._until_ms = min((active.until_ms for active in self._windows), default=now_ms + FRESH_MS)
        return self._windows


class ProfileCache:
    """Profiles by token hash. `load` asks the database, off the event loop; it raises DatabaseDown where it is down."""

    def __init__(self, load: Load, *, names: Names) -> None:
        self._load = load
        self._names = names
        self._known: OrderedDict[str, CachedKey] = OrderedDict()
        self._unknown: OrderedDict[str, int] = OrderedDict()
        self._loading: dict[str, asyncio.Task[CachedKey | None]] = {}
        self._running: set[asyncio.Task[CachedKey | None]] = set()
        self._generation = 0
        self._read_ms = 0
        self._failed_ms = -RETRY_MS

    async def get(self, token_hash: str, *, now_ms: int) -> CachedKey | None:
        """The key, or None where there is none. Raises DatabaseDown."""
        cached = self._known.get(token_hash)
        if cached is None:
            if self._unknown.get(token_hash, 0) > now_ms - FRESH_MS:
                return None
            return await asyncio.shield(self._reload(token_hash, now_ms=now_ms))
        age_ms = now_ms - cached.loaded_ms
        if age_ms < FRESH_MS:
            return cached
        if age_ms < OUTAGE_MS and now_ms < self._failed_ms + RETRY_MS:
            return cached
        try:
            reload = self._reload(token_hash, now_ms=now_ms)
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

    def drop(self, token_hash: str) -> None:
        """Forgets one key, also one that is being read at this moment."""
        self._generation += 1
        self._known.pop(token_hash, None)
        self._unknown.pop(token_hash, None)
        self._loading.pop(token_hash, None)

    def drop_team(self, team_id: str) -> None:
        """Forgets every key of a team."""
        for token_hash in [key for key, cached in self._known.items() if cached.profile.team_id == team_id]:
            del self._known[token_hash]
        self._generation += 1
        self._loading.clear()

    def clear(self) -> None:
        """Forgets everything: messages about changes may have been missed."""
        self._generation += 1
        self._known.clear()
        self._unknown.clear()
        self._loading.clear()

    def _reload(self, token_hash: str, *, now_ms: int) -> "asyncio.Task[CachedKey | None]":
        """One reading for all who ask at the same time. A later change starts another: this one may miss it."""
        task = self._loading.get(token_hash)
        if task is None:
            if len(self._running) >= LOADS_MAX:
                raise DatabaseDown(f"{LOADS_MAX} keys are being read already")
            task = asyncio.create_task(self._read(token_hash, now_ms=now_ms))
            self._loading[token_hash] = task
            self._running.add(task)
            task.add_done_callback(lambda done: self._finished(token_hash, done))
        return task

    def _finished(self, token_hash: str, task: "asyncio.Task[CachedKey | None]") -> None:
        self._running.discard(task)
        if self._loading.get(token_hash) is task:
            del self._loading[token_hash]
        if not task.cancelled():
            _note_failure(task.exception())

    async def _read(self, token_hash: str, *, now_ms: int) -> CachedKey | None:
        generation = self._generation
        try:
            profile = await self._load(token_hash)
        except DatabaseDown:
            self._failed_ms = max(self._failed_ms, now_ms)
            raise
        self._read_ms = max(self._read_ms, now_ms)
        is_current = generation == self._generation
        # Read before a change was announced: good for the call that asked, not for the next one.
        if profile is None:
            if is_current:
                self._known.pop(token_hash, None)
                _remember(self._unknown, token_hash, now_ms, most=UNKNOWN_KEYS_MAX)
            return None
        cached = CachedKey(profile, names=self._names, loaded_ms=now_ms)
        if is_current:
            self._unknown.pop(token_hash, None)
            _remember(self._known, token_hash, cached, most=KEYS_MAX)
        return cached


def _remember(table: "OrderedDict[str, ValueT]", name: str, value: ValueT, *, most: int) -> None:
    table[name] = value
    table.move_to_end(name)
    if len(table) > most:
        table.popitem(last=False)


def _note_failure(error: BaseException | None) -> None:
    """Once per reading, however many calls waited for it, or none."""
    if isinstance(error, DatabaseDown):
        logger.warning("a key could not be read, the database is down: %s", error)
    elif error is not None:
        logger.error("a key could not be read", exc_info=error)
