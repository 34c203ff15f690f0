"""The servers of the tests, and the fixture for Valkey; how they are shared stands in tests/services.py."""

import os
import uuid
from collections.abc import Iterator

import pytest
import redis
from django.conf import LazySettings

from tests import services

pytest_plugins = ["tests.provider.fixtures", "tests.system"]

services.provide()  # at import: before pytest-django reads the settings, before other conftests import models


def pytest_unconfigure() -> None:
    services.stop()


@pytest.fixture
def valkey(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A client on the test's own, empty database; `settings.REDIS_PREFIX` is a prefix that only this test uses.

    Child processes that the test starts get the same address and prefix from the environment.
    """
    prefix = f"bgtest-{uuid.uuid4().hex[:12]}"
    settings.REDIS_PREFIX = prefix
    monkeypatch.setenv("BUDGETGATE_REDIS_PREFIX", prefix)
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        if os.environ.get(services.OWN_VALKEY):
            client.flushdb()
        yield client
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)
