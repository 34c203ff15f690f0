"""Waiting gives up with one line; a missing database is created; the admin keeps a changed password."""

import psycopg
import pytest
from django.conf import LazySettings
from django.db import connection

from budgetgate import preparation
from teams.models import User


@pytest.fixture
def said() -> list[str]:
    return []


def _admin() -> User:
    return User.objects.get(username="admin")


@pytest.mark.django_db
def test_admin_is_created_and_keeps_a_changed_password() -> None:
    preparation.ensure_admin("first", overwrite=False)
    assert _admin().is_superuser
    preparation.ensure_admin("second", overwrite=False)
    assert _admin().check_password("first")


@pytest.mark.django_db
def test_admin_gets_a_password_that_the_environment_gives() -> None:
    preparation.ensure_admin("first", overwrite=False)
    preparation.ensure_admin("second", overwrite=True)
    assert _admin().check_password("second")


@pytest.mark.django_db
def test_without_any_password_there_is_no_admin() -> None:
    preparation.ensure_admin("", overwrite=True)
    assert not User.objects.exists()


@pytest.mark.django_db
def test_missing_database_is_created(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    name = f"{connection.settings_dict['NAME']}_missing"
    monkeypatch.setitem(connection.settings_dict, "NAME", name)
    preparation.wait_for_database(wait_s=0, say=said.append)
    parameters = connection.get_connection_params()
    assert parameters["dbname"] == name
    psycopg.connect(**parameters).close()
    with psycopg.connect(**parameters | {"dbname": "postgres"}, autocommit=True) as server:
        server.execute(f'DROP DATABASE "{name}"')
    assert said == []


def test_database_out_of_reach_is_said_once_and_named(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", 1)
    with pytest.raises(
        preparation.NotReadyError, match=r"^the database 127.0.0.1:1/\w+ \(DATABASE_URL\) cannot be used: .*refused"
    ):
        preparation.wait_for_database(wait_s=1.2, say=said.append)
    assert len(said) == 1


def test_store_out_of_reach_is_named(settings: LazySettings, said: list[str]) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(preparation.NotReadyError, match=r"^Valkey at 127.0.0.1:1 \(REDIS_URL\) cannot be used"):
        preparation.wait_for_store(wait_s=0, say=said.append)
