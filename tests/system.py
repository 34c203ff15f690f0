"""The whole system for end-to-end tests: `manage.py up` in front of the mock provider, and the two kinds of client.

Amounts are nano-dollars, read as exact decimals: a float would hide the last digits.
"""

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import psycopg
import pytest

from tests.provider.server import Provider
from tests.up import Up, running

NANO = 10**9
SETTLED_S = 10.0


@dataclass(frozen=True, slots=True)
class System:
    """A running BudgetGate: its management API, its ledger, and OpenAI clients for its keys."""

    up: Up
    master_key: str
    database_url: str
    clients: contextlib.ExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.up.port}"

    def post(self, path: str, body: object) -> dict[str, Any]:
        """A management call that must succeed."""
        return self._read(httpx.post(self.url + path, json=body, headers=self._headers(), trust_env=False))

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return self._read(httpx.get(self.url + path, params=parameters, headers=self._headers(), trust_env=False))

    def client(self, key: str) -> openai.OpenAI:
        """The real OpenAI SDK; it does not retry, so that each call is one. Closed with the system."""
        return self.clients.enter_context(openai.OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0))

    def usage(self, key: str) -> dict[str, dict[str, Any]]:
        """The key's windows by duration, amounts in nano-dollars."""
        return _nano(self.get("/key/info", key=key)["info"]["budget_limits_usage"])

    def team_usage(self, team_id: str) -> dict[str, dict[str, Any]]:
        return _nano(self.get("/team/info", team_id=team_id)["team_info"]["budget_limits_usage"])

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the ledger's database."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query, parameters).fetchall()

    def spent(self, key: str) -> int:
        """The sum of the key's entries, in nano-dollars."""
        query = "SELECT COALESCE(sum(cost_nanousd), 0) FROM ledger_entry WHERE key_id = %s"
        return int(self.rows(query, self.key_id(key))[0][0])

    def key_id(self, key: str) -> str:
        token = self.get("/key/info", key=key)["info"].get("token") or _hash(key)
        return str(self.rows("SELECT id FROM keys_key WHERE token_hash = %s", token)[0][0])

    def entries(self, key: str) -> int:
        return int(self.rows("SELECT count(*) FROM ledger_entry WHERE key_id = %s", self.key_id(key))[0][0])

    def wait_until_settled(self, key: str) -> None:
        """Until no call of the key holds anything any more."""
        wait_until(lambda: all(window["held"] == 0 for window in self.usage(key).values()))

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.master_key}"}

    @staticmethod
    def _read(response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = json.loads(response.content, parse_float=Decimal)
        return answer


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _nano(usage: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    amounts = ("current_spend", "held", "remaining", "max_budget")
    return {
        duration: {name: _exact(value) if name in amounts else value for name, value in window.items()}
        for duration, window in usage.items()
    }


def _exact(value: Any) -> int:
    nano = Decimal(value) * NANO
    assert nano == int(nano), f"{value} is no whole number of nano-dollars"
    return int(nano)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = SETTLED_S) -> None:
    """Fails where the condition has not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@contextlib.contextmanager
def running_system(directory: Path, *, provider: Provider) -> Iterator[System]:
    """A start in front of the provider, ended at the latest here."""
    with running(directory, OPENAI_API_KEY=provider.api_key, OPENAI_BASE_URL=provider.base_url) as up:
        local = up.local()
        with contextlib.ExitStack() as clients:
            yield System(up, local["BUDGETGATE_MASTER_KEY"], local["DATABASE_URL"], clients)


@pytest.fixture(scope="session")
def system(provider_server: Provider) -> Iterator[System]:
    """One system for all tests of the group; each test makes its own keys and teams."""
    with (
        tempfile.TemporaryDirectory(prefix="budgetgate-system-") as parent,
        running_system(Path(parent) / "var", provider=provider_server) as started,
    ):
        yield started
