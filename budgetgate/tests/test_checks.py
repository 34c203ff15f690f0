"""Each check refuses what would do harm, and is silent otherwise."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import LazySettings
from django.core.checks import run_checks

from budgetgate import embedded
from budgetgate.checks import (
    check_body_limit,
    check_master_key,
    check_secret_keys,
    check_store_never_evicts,
    check_time_zone,
)
from budgetgate.processes import child_options
from tests.services import SECRET_KEY


def test_no_check_complains_about_the_settings_of_the_tests(valkey: redis.Redis) -> None:
    assert run_checks(databases=["default"]) == []


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_unknown_time_zone_is_an_error(settings: LazySettings, zone: str) -> None:
    settings.TIME_ZONE_OF_WINDOWS = zone
    assert [message.id for message in check_time_zone(None)] == ["budgetgate.E001"]


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("", []),
        ("sk-0123456789abc", []),
        ("sk-0123456789ab", ["budgetgate.E002"]),
        ("pk-0123456789abcdef", ["budgetgate.E002"]),
    ],
)
def test_master_key_is_long_and_begins_with_sk(settings: LazySettings, key: str, ids: list[str]) -> None:
    settings.MASTER_KEY = key
    assert [message.id for message in check_master_key(None)] == ids


def test_body_limit_that_fits_no_call_is_an_error(settings: LazySettings) -> None:
    settings.BODY_BYTES_MAX = 1023
    assert [message.id for message in check_body_limit(None)] == ["budgetgate.E003"]


@pytest.mark.parametrize(
    ("keys", "wrong"), [((), 0), ((SECRET_KEY,), 0), ((SECRET_KEY, "sk-not-a-key"), 2), ((SECRET_KEY[:-4],), 1)]
)
def test_malformed_secret_key_is_an_error_that_does_not_repeat_it(
    settings: LazySettings, keys: tuple[str, ...], wrong: int
) -> None:
    settings.SECRET_KEYS = keys
    messages = check_secret_keys(None)
    assert [message.id for message in messages] == (["budgetgate.E005"] if wrong else [])
    assert all(f"number {wrong} is not one" in message.msg for message in messages)
    assert not any(key in message.msg for message in messages for key in keys)


@pytest.fixture
def evicting(tmp_path: Path, settings: LazySettings) -> Iterator[None]:
    """A Valkey of its own: the policy of the shared one is everybody's."""
    server = embedded.valkey(tmp_path, durable=False)
    command = (*server.command, "--maxmemory-policy", "allkeys-lru")
    process = subprocess.Popen(command, **child_options(user=None, death_signal=server.stop_signal))
    embedded.wait_until_ready(server, process, timeout_s=10)
    settings.REDIS_URL = server.url
    yield
    process.terminate()
    process.wait()


@pytest.mark.usefixtures("evicting")
def test_store_that_evicts_is_an_error() -> None:
    assert [message.id for message in check_store_never_evicts(None, ["default"])] == ["budgetgate.E004"]
    assert check_store_never_evicts(None) == []  # not asked unless databases are


def test_store_out_of_reach_is_no_finding(settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert check_store_never_evicts(None, ["default"]) == []
