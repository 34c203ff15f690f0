"""The management API as a client sees it, a clock that stands still, and a ledger that says what a test wants."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from budgets.actors import Actor
from budgets.rules.limits import LimitUnit
from budgets.usage import SpendQuery, SpendReading
from tests.services import MASTER_KEY

NOW = datetime(2037, 11, 23, 13, 6, 59, 126000, tzinfo=UTC)

_spent: dict[tuple[str, LimitUnit, int], int] = {}


def read_spends(queries: Sequence[SpendQuery]) -> SpendReading:
    """A ledger for tests: the spend of a scope in a window by the window's start, as given to `ledger_says`."""
    sums = [_spent.get((query.scope.id, query.unit, query.window.start_ms), 0) for query in queries]
    return SpendReading(tuple(sums), "1:1:")


def use_told_ledger(settings: LazySettings) -> None:
    """Makes the settings name `read_spends`, which knows of nothing yet."""
    _spent.clear()
    settings.SPEND_READER = "tests.api.read_spends"


def ledger_says(scope_id: object, *, spent: int, start_ms: int = 0, unit: LimitUnit = LimitUnit.USD) -> None:
    """Lets the ledger say what a scope spent in the window that starts then; without one, in its lifetime."""
    _spent[(str(scope_id), unit, start_ms)] = spent


def pass_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every caller reach every view: what is tested is the rule for each object. The table of who may call which
    address is tested in tests/test_permissions.py."""
    monkeypatch.setattr("budgetgate.permissions.MatrixPermission.has_permission", lambda *_: True)


def stop_clock(monkeypatch: pytest.MonkeyPatch, *, at: datetime = NOW) -> None:
    """Lets views see this instant."""
    monkeypatch.setattr(timezone, "now", lambda: at)


class Api:
    """Calls with a key, the master key if none is given."""

    def __init__(self, key: str = MASTER_KEY) -> None:
        self._client: Client = Client(headers={"Authorization": f"Bearer {key}"})

    def send(self, path: str, body: object = None, *, method: str = "POST") -> Any:
        """The raw answer. A text is sent as it is, anything else as JSON."""
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        return self._client.generic(method, path, data, content_type="application/json")

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """The answer to a call that must succeed, with numbers as Decimal."""
        return answer_of(self.send(path, body))

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """The same for a GET."""
        return answer_of(self._client.get(path, query))

    def get_list(self, path: str) -> list[dict[str, Any]]:
        """The answer to a GET that is a bare list."""
        return cast(list[dict[str, Any]], answer_of(self.send(path, method="GET")))

    def send_list(self, path: str, body: object) -> list[dict[str, Any]]:
        """The same for a POST."""
        return cast(list[dict[str, Any]], answer_of(self.send(path, body)))

    def refusal(self, path: str, body: object, *, status: int = 400) -> dict[str, Any]:
        """The error of a call that must be refused."""
        return error_of(self.send(path, body), status=status)


def answer_of(response: Any) -> dict[str, Any]:
    """The JSON of a good answer, with numbers as Decimal."""
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = json.loads(response.content, parse_float=Decimal)
    return answer


def error_of(response: Any, *, status: int) -> dict[str, Any]:
    """The four fields of an error, checked for their shape."""
    assert response.status_code == status, response.content
    body = json.loads(response.content)
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == str(status)
    return error


class ActorApi(Api):
    """Calls as a certain actor, whoever the presented key says that one is."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self._client = APIClient()
        self._client.force_authenticate(user=actor)  # type: ignore[arg-type]
