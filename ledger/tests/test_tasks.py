"""The clockwork's tasks, as Celery calls them: by name, without an argument, at their schedules."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import current_app

from budgetgate.celery import EVERY_S, app
from ledger import closing, reconcile, recovery, tasks
from ledger.tests.factories import saved_key

NAMES = ["ledger.close_windows", "ledger.recover", "ledger.repair_counters"]


@pytest.fixture(autouse=True)
def own_data_directory(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def test_every_schedule_names_a_task_that_exists() -> None:
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled == set(EVERY_S)
    assert scheduled <= set(app.tasks)
    assert set(NAMES) <= scheduled


def test_every_task_of_the_ledger_is_scheduled_and_has_a_time_limit() -> None:
    app.loader.import_default_modules()
    assert {name for name in app.tasks if name.startswith("ledger.")} == set(NAMES)
    assert 0 < app.conf.task_soft_time_limit < app.conf.task_time_limit


@pytest.mark.parametrize("name", NAMES)
def test_run_that_waited_longer_than_its_period_is_dropped(name: str) -> None:
    entry = app.conf.beat_schedule[name]
    assert entry["options"]["expires"] == entry["schedule"] > 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_task_runs_without_an_argument_and_has_nothing_to_do(name: str, valkey: redis.Redis) -> None:
    saved_key()
    app.loader.import_default_modules()
    for _ in range(2):
        result = current_app.tasks[name].apply()
        assert result.successful(), result.traceback
        assert result.result == 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_task_with_nothing_to_do_says_nothing(name: str, valkey: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ledger"):
        app.tasks[name].apply()
    assert [record for record in caplog.records if record.name.startswith("ledger")] == []


@pytest.mark.django_db
def test_task_fails_aloud_when_the_store_is_down(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_store() -> None:
        raise redis.ConnectionError("nobody answers")

    monkeypatch.setattr(tasks, "sync_gate", no_store)
    for name in NAMES:
        assert isinstance(app.tasks[name].apply().result, redis.ConnectionError)


@pytest.mark.django_db
def test_entries_that_wait_come_before_holds(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str) -> Callable[..., int]:
        def run(*_: object, **__: object) -> int:
            order.append(name)
            return 1

        return run

    for name in ("drain_stream", "drain_journals", "charge_expired_holds"):
        monkeypatch.setattr(recovery, name, noted(name))
    assert tasks.recover() == 3
    assert order == ["drain_stream", "drain_journals", "charge_expired_holds"]


@pytest.mark.django_db
def test_tasks_answer_what_their_service_did(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "close_expired_windows", lambda **_: 7)
    monkeypatch.setattr(reconcile, "repair_counters", lambda **_: 8)
    assert app.tasks["ledger.close_windows"].apply().result == 7
    assert app.tasks["ledger.repair_counters"].apply().result == 8
