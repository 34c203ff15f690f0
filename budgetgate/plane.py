"""Puts the data plane together: gate, database work, routes, and the messages about changes.

Database work runs in a few threads of its own, never on the event loop. An outage of the database becomes DatabaseDown
or LedgerDown here; a stale connection is renewed and tried once more before it counts as one.
"""

import asyncio
import gc
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone
from redis.asyncio import Redis
from redis.exceptions import RedisError

from budgets.gate.aio import AsyncGate
from budgets.gate.store import names
from budgets.gate.windows import ActiveWindow
from budgets.gate.wire import Wire
from budgets.rules.scopes import GuestProfile, KeyProfile
from budgets.rules.settlement import Entry
from budgets.usage import SpendReading, query_of
from catalog.table import RouteTable
from keys.profiles import load_profile
from ledger.posting import Posted, post_entries
from ledger.spends import read_spends
from proxy.cache import DatabaseDown
from proxy.calls import now_ms
from proxy.plane import DataPlane, PlaneSettings
from proxy.profiles import GuestCache, ProfileCache
from proxy.settler import LedgerDown, LedgerRefused, Settler
from proxy.upstream import Upstream
from teams.scopes import load_guest

logger = logging.getLogger(__name__)

DATABASE_THREADS = 4
RELISTEN_S = 1.0
GARBAGE_OBJECTS = 20_000
RELOAD_ROUTES_S = 30.0

ResultT = TypeVar("ResultT")


class AssembledPlane:
    """The data plane of one process, with what has to be started and stopped around it."""

    def __init__(self) -> None:
        self._wire = Wire(settings.REDIS_URL)
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="database")
        self._routes = RouteTable.from_settings()
        self._tasks: list[asyncio.Task[None]] = []
        gate = AsyncGate(self._wire, names())
        self._profiles = ProfileCache(self._load_profile, names=names())
        self._guests = GuestCache(self._load_guest, names=names())
        self._settler = Settler(gate=gate, post=self._post, journal=settings.DATA_DIR / "journal", now_ms=now_ms)
        self._upstream = Upstream()
        self.plane = DataPlane(
            settings=_plane_settings(),
            gate=gate,
            profiles=self._profiles,
            guests=self._guests,
            routes=self._routes,
            read_spends=self._read_spends,
            settler=self._settler,
            upstream=self._upstream,
        )

    async def start(self) -> None:
        """Reads the routes and begins to settle and to listen."""
        await self._in_thread(self._routes.reload)
        _calm_the_collector()
        self._settler.start()
        self._tasks = [asyncio.create_task(self._listen_for_ever()), asyncio.create_task(self._reload_for_ever())]

    async def stop(self) -> None:
        """Settles what has ended and closes every connection."""
        for task in self._tasks:
            task.cancel()
        await self._settler.stop()
        await self._upstream.close()
        await self._wire.close()
        self._threads.shutdown()

    # --- what the data plane is given ---------------------------------------------------------------

    async def _load_profile(self, token_hash: str) -> KeyProfile | None:
        return await self._reading(lambda: load_profile(token_hash, now=timezone.now()))

    async def _load_guest(self, kind: str, guest_id: str) -> GuestProfile | None:
        return await self._reading(lambda: load_guest(kind, guest_id, now=timezone.now()))

    async def _read_spends(self, windows: Sequence[ActiveWindow]) -> SpendReading:
        return await self._reading(lambda: read_spends([query_of(active) for active in windows]))

    async def _post(self, entries: Sequence[Entry]) -> Mapping[str, Posted]:
        try:
            return await self._in_thread(lambda: post_entries(entries))
        except (OperationalError, InterfaceError) as error:
            raise LedgerDown(str(error)) from error
        except Error as error:
            raise LedgerRefused(str(error)) from error

    async def _reading(self, work: Callable[[], ResultT]) -> ResultT:
        try:
            return await self._in_thread(work)
        except (OperationalError, InterfaceError) as error:
            raise DatabaseDown(str(error)) from error

    async def _in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _with_connection, work)

    # --- changes ------------------------------------------------------------------------------------

    async def _listen_for_ever(self) -> None:
        """Messages about changes. After every gap all that is known is forgotten: some may have been missed."""
        while True:
            try:
                await self._listen()
            except RedisError as error:
                logger.warning("changes are not heard, the counter store is down: %s", error)
            await asyncio.sleep(RELISTEN_S)

    async def _listen(self) -> None:
        client: Redis = Redis.from_url(settings.REDIS_URL)
        async with client, client.pubsub() as channel:
            await channel.subscribe(names().changes)
            self._forget_all()
            async for message in channel.listen():
                if message["type"] == "message":
                    await self._changed(message["data"].decode())

    async def _changed(self, subject: str) -> None:
        kind, _, name = subject.partition(":")
        match kind:
            case "key":
                self._profiles.drop(name)
            case "team":
                self._profiles.drop_team(name)
            case "user":
                self._profiles.drop_user(name)
            case "customer" | "tag":
                self._guests.drop(subject)
            case "budget":  # any number of scopes may refer to a tier
                self._forget_all()
            case "routes":
                await self._reload_routes()

    def _forget_all(self) -> None:
        self._profiles.clear()
        self._guests.clear()

    async def _reload_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_ROUTES_S)
            await self._reload_routes()

    async def _reload_routes(self) -> None:
        try:
            await self._in_thread(self._routes.reload)
        except Error as error:
            logger.warning("routes could not be read, going on with the old ones: %s", error)


def _with_connection(work: Callable[[], ResultT]) -> ResultT:
    """Runs database work in a thread; a connection that died since its last use is renewed once."""
    close_old_connections()
    try:
        return work()
    except (OperationalError, InterfaceError):
        connection.close()
    return work()


def _calm_the_collector() -> None:
    """What is there now stays, and a call leaves no cycles: with Python's own thresholds a tenth of the CPU of a call
    goes into looking for garbage that is not there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 20, 20)


def _plane_settings() -> PlaneSettings:
    return PlaneSettings(
        master_key_hash=hashlib.sha256(settings.MASTER_KEY.encode()).hexdigest(),
        output_tokens_default=settings.OUTPUT_TOKENS_DEFAULT,
        admit_while_store_down=settings.STORE_DOWN == "open",
        admit_unpriced=settings.UNPRICED == "allow",
        demo_chunk_delay_s=settings.DEMO_CHUNK_DELAY_MS / 1000,
        budget_status=settings.BUDGET_STATUS,
    )
