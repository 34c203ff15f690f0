"""The gateway of a test: on its own corner of the real Valkey, in front of the real provider of the tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from django.conf import LazySettings

from proxy.tests.factories import make_route
from proxy.tests.gateway import Gateway, running_gateway
from tests.provider.server import Provider


@pytest.fixture
async def gateway(
    valkey: redis.Redis, settings: LazySettings, provider: Provider, tmp_path: Path
) -> AsyncIterator[Gateway]:
    route = make_route(base_url=provider.base_url, api_key=provider.api_key)
    async with running_gateway(
        prefix=settings.REDIS_PREFIX, journal=tmp_path / "journal", routes=[route], redis_url=settings.REDIS_URL
    ) as running:
        yield running
