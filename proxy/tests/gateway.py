"""A data plane in this process: the real entry, gate, settler and HTTP client over a ledger and keys in memory."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from budgets.gate.aio import AsyncGate
from budgets.gate.protocol import Names
from budgets.gate.windows import ActiveWindow
from budgets.gate.wire import Wire
from budgets.rules.limits import Limit, LimitUnit
from budgets.rules.scopes import CUSTOMER, RUN, TAG, GuestProfile, KeyProfile, Scope, ScopeLimits
from budgets.rules.settlement import Entry
from catalog.routing import ResolvedRoute
from proxy.cache import DatabaseDown
from proxy.calls import now_ms
from proxy.entry import Message, ProxyEntry
from proxy.plane import DataPlane, PlaneSettings
from proxy.profiles import GuestCache, ProfileCache
from proxy.settler import LedgerDown, LedgerRefused, Settler
from proxy.tests.factories import make_body, make_limit, make_profile, make_route, make_scope
from proxy.upstream import Upstream

KEY = "sk-key-of-the-tests"
MASTER_KEY = "sk-master-of-the-tests"
BODY_BYTES_MAX = 10_000
CHAT = "/v1/chat/completions"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Posted:
    transaction: int
    cost_nanousd: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SpendReading:
    sums: tuple[int, ...]
    snapshot: str


@dataclass(slots=True)
class Ledger:
    """Entries by id, in memory; the first of an id stays, as in the real one."""

    entries: dict[str, Entry] = field(default_factory=dict)
    posted: dict[str, Posted] = field(default_factory=dict)
    is_down: bool = False
    refuses: frozenset[str] = frozenset()
    posts: int = 0
    reads: list[int] = field(default_factory=list)

    async def post(self, entries: Sequence[Entry]) -> Mapping[str, Posted]:
        await asyncio.sleep(0)
        if self.is_down:
            raise LedgerDown("the database is down")
        if not self.refuses.isdisjoint(entry.id for entry in entries):
            raise LedgerRefused("the database refuses")
        self.posts += 1
        for entry in entries:
            if entry.id not in self.entries:
                self.entries[entry.id] = entry
                tokens = entry.input_tokens + entry.output_tokens
                self.posted[entry.id] = Posted(self.posts, entry.cost_nanousd, tokens)
        return {entry.id: self.posted[entry.id] for entry in entries}

    async def read_spends(self, windows: Sequence[ActiveWindow]) -> SpendReading:
        self.reads.append(len(windows))
        await asyncio.sleep(0.01)
        if self.is_down:
            raise DatabaseDown("the database is down")
        sums = tuple(self._sum(active) for active in windows)
        return SpendReading(sums, f"{self.posts + 1}:{self.posts + 1}:")

    def _sum(self, active: ActiveWindow) -> int:
        """In dollars, of all time: the windows of these tests are as long as the tests."""
        entries = [entry for entry in self.entries.values() if _concerns(active.scope, entry)]
        units = {LimitUnit.USD: sum(entry.cost_nanousd for entry in entries), LimitUnit.REQUESTS: len(entries)}
        return units.get(active.limit.unit, 0)

    @property
    def spent(self) -> int:
        return sum(entry.cost_nanousd for entry in self.entries.values())


def _concerns(scope: Scope, entry: Entry) -> bool:
    """Keys and teams have one each."""
    ids: dict[str, set[str | None]] = {
        CUSTOMER: {entry.customer_id},
        TAG: set(entry.tags),
        RUN: {f"{entry.key_id}/{entry.run_id}"},
    }
    return scope.id in ids.get(scope.kind, {scope.id}) and scope.model in (None, entry.model)


@dataclass(slots=True)
class Guests:
    """Customers and tags by kind and id."""

    profiles: dict[tuple[str, str], GuestProfile] = field(default_factory=dict)
    is_down: bool = False
    loads: list[str] = field(default_factory=list)

    async def load(self, kind: str, guest_id: str) -> GuestProfile | None:
        self.loads.append(guest_id)
        await asyncio.sleep(0)
        if self.is_down:
            raise DatabaseDown("the database is down")
        return self.profiles.get((kind, guest_id))

    def add(self, kind: str, guest_id: str, *limits: Limit, **fields: Any) -> None:
        by_model = fields.pop("by_model", {})
        scope = make_scope(*limits, kind=kind, scope_id=guest_id, by_model=by_model)
        self.profiles[kind, guest_id] = GuestProfile(scope, **fields)


@dataclass(slots=True)
class Keys:
    """Profiles by key."""

    profiles: dict[str, KeyProfile] = field(default_factory=dict)
    is_down: bool = False
    loads: int = 0

    async def load(self, token_hash: str) -> KeyProfile | None:
        self.loads += 1
        await asyncio.sleep(0)
        if self.is_down:
            raise DatabaseDown("the database is down")
        return self.profiles.get(token_hash)

    def add(self, *scopes: ScopeLimits, key: str = KEY, **fields: Any) -> None:
        token_hash = hash_of(key)
        self.profiles[token_hash] = make_profile(
            *(scopes or (make_scope(make_limit()),)), token_hash=token_hash, **fields
        )


@dataclass(slots=True)
class Routes:
    """The routes of the tests, by their models' names."""

    by_name: dict[str, ResolvedRoute]

    def resolve(self, model: str) -> ResolvedRoute | None:
        return self.by_name.get(model)

    def names(self) -> list[str]:
        return list(self.by_name)


@dataclass(slots=True)
class Gateway:
    """The parts, and what a test asks of them."""

    entry: ProxyEntry
    plane: DataPlane
    settler: Settler
    ledger: Ledger
    keys: Keys
    guests: Guests
    wire: Wire
    names: Names
    journal: Path

    async def ask(self, body: bytes | None = None, **options: Any) -> "Answer":
        client = Client(body=make_body() if body is None else body, **options)
        await client.run(self.entry)
        return client.answer

    async def settled(self) -> list[Entry]:
        """The ledger's entries once all that has ended is settled."""
        await self.entry.drain(timeout_s=5)
        async with asyncio.timeout(5):
            await self.settler.settled()
        return list(self.ledger.entries.values())


@dataclass(slots=True)
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        data: Json = json.loads(self.body)
        return data

    @property
    def error(self) -> Json:
        assert set(self.json) == {"error"}
        error: Json = self.json["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        assert error["code"] == str(self.status)
        assert self.headers["content-type"] == "application/json"
        assert int(self.headers["content-length"]) == len(self.body)
        return error


class Client:
    """One request of an ASGI server on behalf of a client, who may hang up."""

    def __init__(
        self,
        *,
        body: bytes = b"",
        pieces: Iterable[bytes] | None = None,
        key: str | None = KEY,
        method: str = "POST",
        path: str = CHAT,
        query: bytes = b"",
        headers: Mapping[str, str] | None = None,
        on_send: Callable[[Message], Awaitable[None]] | None = None,
    ) -> None:
        named = {"authorization": f"Bearer {key}"} if key is not None else {}
        self.scope: Json = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in (named | dict(headers or {})).items()
            ],
        }
        parts = [body] if pieces is None else list(pieces)
        self._messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]
        self._gone = asyncio.Event()
        self._on_send = on_send
        self.sent: list[Message] = []

    async def run(self, app: ProxyEntry) -> None:
        await app(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)
        if self._on_send is not None:
            await self._on_send(message)

    def hang_up(self, *, after: int = 0) -> None:
        """Also in the middle of its own request, `after` so many pieces."""
        self._messages = self._messages[:after]
        self._gone.set()

    @property
    def answer(self) -> Answer:
        start = self.sent[0]
        headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in self.sent[1:]))

    @property
    def is_finished(self) -> bool:
        """The last body message has come."""
        return bool(self.sent) and self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body")


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def make_settings(**fields: Any) -> PlaneSettings:
    values: Json = {
        "master_key_hash": hash_of(MASTER_KEY),
        "output_tokens_default": 1000,
        "admit_while_store_down": False,
        "admit_unpriced": False,
        "demo_chunk_delay_s": 0.0,
    }
    return PlaneSettings(**values | fields)


@asynccontextmanager
async def running_gateway(
    *, prefix: str, journal: Path, routes: Iterable[ResolvedRoute] = (), redis_url: str = "", **settings: Any
) -> AsyncIterator[Gateway]:
    """Started, with one key that may spend 10 USD an hour; stopped and closed at the end."""
    names, ledger, keys, guests = Names(prefix), Ledger(), Keys(), Guests()
    keys.add()
    wire = Wire(redis_url or os.environ["REDIS_URL"])
    gate = AsyncGate(wire, names)
    settler = Settler(gate=gate, post=ledger.post, journal=journal, now_ms=now_ms)
    upstream = Upstream()
    plane = DataPlane(
        settings=make_settings(**settings),
        gate=gate,
        profiles=ProfileCache(keys.load, names=names),
        guests=GuestCache(guests.load, names=names),
        routes=Routes({route.model: route for route in routes} or {"gpt-4o-mini": make_route()}),
        read_spends=ledger.read_spends,
        settler=settler,
        upstream=upstream,
    )
    settler.start()
    entry = ProxyEntry(plane, body_bytes_max=BODY_BYTES_MAX)
    try:
        yield Gateway(entry, plane, settler, ledger, keys, guests, wire, names, journal)
    finally:
        await entry.drain(timeout_s=0)
        await settler.stop()
        await upstream.close()
        await wire.close()


def counters(store: redis.Redis, names: Names) -> dict[str, dict[str, int]]:
    """Spent and held of every window that the store knows, by counter."""
    found: dict[str, dict[str, int]] = {}
    for key in store.scan_iter(f"{names.prefix}:{{*", count=1000):
        if store.type(key) == b"hash":
            values: dict[bytes, bytes] = store.hgetall(key)  # type: ignore[assignment]
            found[key.decode()] = {name: int(values.get(name.encode(), b"0")) for name in ("spent", "held")}
    return found


def open_holds(store: redis.Redis, names: Names) -> int:
    return sum(int(store.zcard(key)) for key in store.scan_iter(f"{names.prefix}:{{*}}:holds", count=1000))


async def assert_nothing_happened(gateway: Gateway, store: redis.Redis) -> None:
    assert await gateway.settled() == []
    assert open_holds(store, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    assert all(counter == {"spent": 0, "held": 0} for counter in counters(store, gateway.names).values())


async def assert_charged(gateway: Gateway, store: redis.Redis, *, cost: int) -> None:
    entries = await gateway.settled()
    assert [entry.cost_nanousd for entry in entries] == [cost]
    assert open_holds(store, gateway.names) == 0
    assert gateway.settler.open_calls == 0
    found = counters(store, gateway.names)
    assert found
    assert all(counter == {"spent": cost, "held": 0} for counter in found.values())
