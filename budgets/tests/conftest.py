"""A gate on the test's own store; async tests run on uvloop, as the gateway does, and on asyncio's event loop."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import redis
import uvloop
from django.conf import LazySettings

from budgets.gate.protocol import Names
from budgets.gate.sync import SyncGate
from tests.stores import OwnValkey


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def own_valkey() -> Iterator[OwnValkey]:
    with OwnValkey() as store:
        yield store


@pytest.fixture
def names(settings: LazySettings) -> Names:
    return Names(settings.REDIS_PREFIX)


@pytest.fixture
def gate(valkey: redis.Redis, names: Names) -> SyncGate:
    return SyncGate(valkey, names)


@pytest.fixture
def now_ms() -> int:
    """The store's own clock decides when keys expire, so instants are near the present."""
    return int(time.time() * 1000)
