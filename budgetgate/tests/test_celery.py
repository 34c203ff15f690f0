"""Schedules: every one names a task that exists, and none of our tasks is left without one."""

import pytest

from budgetgate.celery import EVERY_S, app

NAMES = ["budgetgate.beat", "ledger.close_windows", "ledger.recover", "ledger.repair_counters"]


@pytest.fixture(autouse=True)
def found_tasks() -> None:
    """As a worker does when it starts."""
    app.loader.import_default_modules()


def test_every_schedule_names_a_task_that_exists() -> None:
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled == set(EVERY_S)
    assert scheduled <= set(app.tasks)


def test_every_task_of_ours_is_scheduled_and_has_a_time_limit() -> None:
    ours = {name for name in app.tasks if name.startswith(("budgetgate.", "ledger."))}
    assert ours == set(NAMES) <= set(EVERY_S)
    assert 0 < app.conf.task_soft_time_limit < app.conf.task_time_limit


@pytest.mark.parametrize("name", NAMES)
def test_run_that_waited_longer_than_its_period_is_dropped(name: str) -> None:
    entry = app.conf.beat_schedule[name]
    assert entry["options"]["expires"] == entry["schedule"] > 0
