"""The clockwork's tasks, as Celery calls them: by name and without an argument.

With real commits: a transaction that has posted and then reads a snapshot is nothing that a gateway or a task ever is.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Task

from ledger import closing, reconcile, recovery, tasks
from ledger.tests.factories import saved_key

TASKS = [tasks.close_windows, tasks.recover, tasks.repair_counters]


@pytest.fixture(autouse=True)
def own_data_directory(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_task_runs_without_an_argument_and_has_nothing_to_do(task: "Task[..., int]", valkey: redis.Redis) -> None:
    saved_key()
    for _ in range(2):
        result = task.apply()
        assert result.successful(), result.traceback
        assert result.result == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_task_with_nothing_to_do_says_nothing(
    task: "Task[..., int]", valkey: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ledger"):
        task.apply()
    assert [record for record in caplog.records if record.name.startswith("ledger")] == []


@pytest.mark.django_db(transaction=True)
def test_task_fails_aloud_when_the_store_is_down(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_store() -> None:
        raise redis.ConnectionError("nobody answers")

    monkeypatch.setattr(tasks, "sync_gate", no_store)
    for task in TASKS:
        assert isinstance(task.apply().result, redis.ConnectionError)


@pytest.mark.django_db(transaction=True)
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


@pytest.mark.django_db(transaction=True)
def test_tasks_answer_what_their_service_did(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "close_expired_windows", lambda **_: 7)
    monkeypatch.setattr(reconcile, "repair_counters", lambda **_: 8)
    assert tasks.close_windows.apply().result == 7
    assert tasks.repair_counters.apply().result == 8
