"""What the health pages ask: the database, the counter store, the worker, the providers. Every question ends in time.

They use connections of their own: a pool that hangs must not make a probe hang.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psycopg
import redis
from django.conf import settings
from django.db import connection

from budgetgate.store import client_for
from budgets.gate.store import names
from catalog.route_rules import DEMO_PROVIDER
from catalog.routing import ResolvedRoute

TIMEOUT_S = 2
BEAT_LATE_S = 35.0
"""Three beats and a little: a worker that is busy for a moment is not absent."""
PROVIDER_TIMEOUT = httpx.Timeout(5.0, connect=2.0)
PROVIDERS_AT_ONCE = 20
NO_LISTING = (404, 405)


@dataclass(frozen=True, slots=True)
class Database:
    """Whether the database answers, and its version."""

    error: str | None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Store:
    """Whether the counter store answers, and what it knows of worker and ledger; ages are seconds."""

    error: str | None
    version: str = ""
    beat_age_s: float | None = None
    entries_waiting: int | None = None
    ledger_lag_s: float | None = None

    @property
    def worker_is_late(self) -> bool:
        return self.beat_age_s is None or self.beat_age_s > BEAT_LATE_S


def probe_database() -> Database:
    """Opens a connection and asks one question."""
    parameters = connection.get_connection_params() | {
        "connect_timeout": TIMEOUT_S,
        "tcp_user_timeout": TIMEOUT_S * 1000,
        "options": f"-c statement_timeout={TIMEOUT_S * 1000}",
    }
    try:
        with psycopg.connect(**parameters) as opened:
            opened.execute("SELECT 1")
            major, minor = divmod(opened.info.server_version, 10_000)
            return Database(None, version=f"{major}.{minor}")
    except psycopg.Error as error:
        return Database(_line(error))


def probe_store(*, now_ms: int) -> Store:
    """One round trip: whether it answers, the last beat of a worker, and the entries that wait for the database."""
    try:
        with client_for(settings.REDIS_URL) as client, client.pipeline(transaction=False) as asked:
            asked.get(names().beat).xlen(names().spill).xrange(names().spill, count=1).info("server")
            beat, waiting, oldest, server = asked.execute()
    except redis.RedisError as error:
        return Store(_line(error))
    return Store(
        error=None,
        version=str(server.get("valkey_version") or server.get("redis_version", "")),
        beat_age_s=None if beat is None else _age_s(int(beat), now_ms=now_ms),
        entries_waiting=int(waiting),
        ledger_lag_s=_age_s(int(oldest[0][0].partition(b"-")[0]), now_ms=now_ms) if oldest else 0.0,
    )


def _age_s(at_ms: int, *, now_ms: int) -> float:
    return max(now_ms - at_ms, 0) / 1000


def probe() -> tuple[Database, Store]:
    """Both at once, so that two outages take no longer than one."""
    with ThreadPoolExecutor(1) as thread:
        store = thread.submit(probe_store, now_ms=clock_ms())
        return probe_database(), store.result()


def clock_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def provider_errors(routes: Sequence[ResolvedRoute]) -> list[str | None]:
    """Why the provider of each route cannot be called; None where it can. Each account is asked once."""
    accounts = list(dict.fromkeys(map(_account, routes)))
    with ThreadPoolExecutor(PROVIDERS_AT_ONCE) as threads, httpx.Client(timeout=PROVIDER_TIMEOUT) as client:
        errors = dict(zip(accounts, threads.map(lambda account: _ask(client, account), accounts), strict=True))
    return [errors[_account(route)] for route in routes]


def _account(route: ResolvedRoute) -> tuple[str, str, str]:
    return route.provider, route.base_url, route.api_key


def _ask(client: httpx.Client, account: tuple[str, str, str]) -> str | None:
    """Asks for the listing of models, which costs nothing; a server without one is there all the same."""
    provider, base_url, api_key = account
    if provider == DEMO_PROVIDER:
        return None
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    if provider == "anthropic":
        headers |= {"x-api-key": api_key, "anthropic-version": "2023-06-01"}
    try:
        with client.stream("GET", base_url.rstrip("/") + "/models", headers=headers) as answer:
            is_there = answer.is_success or answer.status_code in NO_LISTING
            return None if is_there else f"GET /models answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return f"GET /models failed: {type(error).__name__}"


def _line(error: Exception) -> str:
    """The first line of a message; the rest are hints."""
    return (str(error) or type(error).__name__).strip().partition("\n")[0]
