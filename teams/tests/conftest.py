"""Every test of teams has its own counter store, a ledger that knows nothing yet, and a clock that stands still."""

import pytest
import redis
from django.conf import LazySettings

from tests.api import Api, pass_the_table, stop_clock, use_told_ledger


@pytest.fixture(autouse=True)
def _surroundings(valkey: redis.Redis, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    use_told_ledger(settings)
    stop_clock(monkeypatch)
    pass_the_table(monkeypatch)


@pytest.fixture
def api(db: None) -> Api:
    return Api()
