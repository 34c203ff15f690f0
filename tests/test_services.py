"""The servers of the tests are real, empty, and this test's own."""

import os

import pytest
import redis
from django.conf import LazySettings
from django.core.cache import cache
from django.db import connection

from teams.models import User


@pytest.mark.django_db
def test_database_is_postgresql_with_the_tables_of_the_apps() -> None:
    User.objects.create_user("somebody")
    assert User.objects.count() == 1
    assert connection.vendor == "postgresql"
    assert connection.settings_dict["NAME"].startswith("test_")


@pytest.mark.parametrize("_turn", [1, 2])
def test_valkey_is_empty_at_the_start_of_each_test(valkey: redis.Redis, settings: LazySettings, _turn: int) -> None:
    key = f"{settings.REDIS_PREFIX}:seen"
    assert valkey.incr(key) == 1
    assert valkey.dbsize() == 1


def test_valkey_is_where_settings_and_child_processes_look(valkey: redis.Redis, settings: LazySettings) -> None:
    cache.set("word", "said")
    assert len(list(valkey.scan_iter("*word"))) == 1
    assert os.environ["REDIS_URL"] == settings.REDIS_URL
    assert os.environ["BUDGETGATE_REDIS_PREFIX"] == settings.REDIS_PREFIX


def test_valkey_never_evicts(valkey: redis.Redis) -> None:
    assert valkey.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
