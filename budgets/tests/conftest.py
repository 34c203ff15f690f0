"""Async tests run on both event loops: the gateway on uvloop where there is one, tasks and others on asyncio's."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.stores import OwnValkey


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def own_valkey() -> Iterator[OwnValkey]:
    with OwnValkey() as store:
        yield store
