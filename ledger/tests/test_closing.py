"""Closing windows on the real PostgreSQL and Valkey: one row for each ended window that was spent in, however late."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.test.utils import CaptureQueriesContext

from budgets.gate.store import sync_gate
from budgets.gate.sync import SyncGate
from budgets.models import WindowHistory
from budgets.rules.windows import Calendar, parse_period, window_at
from budgets.services import instant_of, ms_of
from keys.fields import KeyFields
from keys.models import Key
from keys.services import update_key
from ledger import closing
from ledger.closing import CLOSE_AFTER, close_expired_windows, finish_history
from ledger.posting import post_entries
from ledger.settling import post_and_settle
from ledger.tests.factories import (
    NOW,
    NOW_MS,
    admitted_call,
    at,
    at_once,
    limits,
    make_entry,
    posted_entry,
    saved_key,
    saved_team,
)
from teams.models import Team

QueryCount = Callable[[int], AbstractContextManager[object]]


@pytest.fixture
def gate(valkey: redis.Redis) -> SyncGate:
    return sync_gate()


def close(gate: SyncGate, at: datetime) -> int:
    """Closes what had ended at that instant."""
    return close_expired_windows(gate=gate, now=at + CLOSE_AFTER)


def spend(key: Key, *, at: datetime, cost: int = 100, **fields: Any) -> None:
    posted_entry(key_id=str(key.id), team_id=key.team_id, at_ms=ms_of(at), cost_nanousd=cost, **fields)


def history(**fields: Any) -> list[tuple[str, str, int]]:
    rows = WindowHistory.objects.filter(**fields).order_by("start_at", "budget_duration")
    return [(row.budget_duration, f"{row.start_at:%m-%d %H:%M:%S}", row.spent) for row in rows]


def resets(key: Key) -> list[str]:
    key.refresh_from_db()
    return [entry["reset_at"] for entry in key.budget_limits]


# --- the main case -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_each_window_gets_one_row_and_only_the_expired_ones_are_reset(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1), ("1h", 10)))
    spend(key, at=at("03-06 12:30:01"), cost=1)
    spend(key, at=at("03-06 12:30:06"), cost=2)
    assert resets(key) == ["2040-03-06T12:30:05Z", "2040-03-06T13:00:00Z"]
    close(gate, at("03-06 12:30:05"))
    assert resets(key) == ["2040-03-06T12:30:10Z", "2040-03-06T13:00:00Z"]
    assert history() == [("5s", "03-06 12:30:00", 1)]
    close(gate, at("03-06 12:30:10"))
    assert history() == [("5s", "03-06 12:30:00", 1), ("5s", "03-06 12:30:05", 2)]
    close(gate, at("03-06 13:00:00"))
    assert history(budget_duration="1h") == [("1h", "03-06 12:00:00", 3)]
    assert history(budget_duration="5s") == [("5s", "03-06 12:30:00", 1), ("5s", "03-06 12:30:05", 2)]
    assert resets(key) == ["2040-03-06T13:00:05Z", "2040-03-06T14:00:00Z"]


@pytest.mark.django_db
def test_row_says_what_was_closed(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    spend(key, at=NOW)
    close(gate, at("03-06 13:00:00"))
    row = WindowHistory.objects.get()
    assert (row.scope_kind, row.scope_id, row.identity, row.unit) == ("key", str(key.id), "usd/1h", "usd")
    assert (row.start_at, row.end_at) == (at("03-06 12:00"), at("03-06 13:00"))
    assert (row.maximum, row.spent, row.is_final) == (10 * 10**9, 100, True)
    assert row.closed_at == at("03-06 13:00") + CLOSE_AFTER


@pytest.mark.django_db
def test_window_is_closed_only_when_no_call_can_come_into_it_any_more(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    end = at("03-06 13:00")
    assert close_expired_windows(gate=gate, now=end + CLOSE_AFTER - timedelta(milliseconds=1)) == 0
    # Estimated before the end, admitted after it: the hold comes late, and the window is still open.
    call = admitted_call(gate, key, at_ms=ms_of(end) - 1)
    assert close_expired_windows(gate=gate, now=end + CLOSE_AFTER) == 1
    post_and_settle([call], gate=gate, now_ms=ms_of(end))
    finish_history(gate=gate, now=end + timedelta(minutes=1))
    assert history() == [("1h", "03-06 12:00:00", 100)]


@pytest.mark.django_db
def test_idle_windows_leave_no_row(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1), ("1h", 10)))
    assert close(gate, at("03-06 15:00")) == 1
    assert history() == []
    assert resets(key) == ["2040-03-06T15:00:05Z", "2040-03-06T16:00:00Z"]


@pytest.mark.django_db
def test_single_limit_is_closed_like_the_others(gate: SyncGate) -> None:
    key = saved_key(max_budget_nanousd=5 * 10**9, budget_duration="30d")
    spend(key, at=NOW)
    close(gate, at("04-01 00:00"))
    assert history() == [("30d", "03-01 00:00:00", 100)]
    key.refresh_from_db()
    assert key.budget_reset_at == key.next_reset_at == at("05-01 00:00")


@pytest.mark.django_db
def test_lifetime_budgets_are_never_due(gate: SyncGate) -> None:
    key = saved_key(max_budget_nanousd=5 * 10**9)
    spend(key, at=NOW)
    assert close(gate, at("12-31 00:00")) == 0
    assert history() == []


@pytest.mark.django_db
def test_windows_of_teams_hold_what_all_their_keys_spent(gate: SyncGate) -> None:
    team = saved_team(team_id="a-team", budget_limits=limits(("1h", 10)))
    for cost in (1, 2, 4):
        spend(saved_key(team_id="a-team"), at=NOW, cost=cost)
    assert close(gate, at("03-06 13:00")) == 1
    assert history(scope_kind="team", scope_id="a-team") == [("1h", "03-06 12:00:00", 7)]
    team.refresh_from_db()
    assert team.next_reset_at == at("03-06 14:00")


@pytest.mark.django_db
@pytest.mark.parametrize(("field", "spent"), [("max_tokens", 30), ("max_requests", 2)])
def test_tokens_and_requests_are_summed_in_their_unit(gate: SyncGate, field: str, spent: int) -> None:
    key = saved_key(budget_limits=limits(("1h", 1000), field=field))
    spend(key, at=NOW)
    spend(key, at=NOW)
    close(gate, at("03-06 13:00"))
    assert history() == [("1h", "03-06 12:00:00", spent)]


# --- late, twice, at once ----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("late", [timedelta(hours=5), timedelta(days=9)])
def test_late_beat_closes_every_window_that_was_spent_in(gate: SyncGate, late: timedelta) -> None:
    key = saved_key(budget_limits=limits(("1h", 10), ("1m", 1), ("24h", 100)))
    instants = [NOW + late * part / 10 for part in range(10)]
    for instant in instants:
        spend(key, at=instant, cost=1)
    end = NOW + late + timedelta(minutes=1)
    close(gate, end)
    for duration in ("1h", "1m", "24h"):
        assert history(budget_duration=duration) == closed_by_hand(duration, instants, end=end)
    assert datetime.fromisoformat(resets(key)[1]) == end.replace(second=0) + timedelta(minutes=1)


def closed_by_hand(duration: str, instants: list[datetime], *, end: datetime, zone: str = "UTC") -> list[Any]:
    windows: dict[int, int] = {}
    for instant in instants:
        window = window_at(parse_period(duration), ms_of(instant), calendar=Calendar(zone))
        if window.end_ms <= ms_of(end):
            windows[window.start_ms] = windows.get(window.start_ms, 0) + 1
    return [(duration, f"{instant_of(start):%m-%d %H:%M:%S}", count) for start, count in sorted(windows.items())]


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(12))
def test_however_the_beat_comes_no_window_is_missed_and_none_counted_twice(gate: SyncGate, seed: int) -> None:
    dice = random.Random(seed)
    zone = dice.choice(["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"])
    durations = dice.sample(["7s", "1m", "45m", "1h", "5h", "25h", "24h", "7d", "30d"], 4)
    key = saved_key(budget_limits=limits(*((duration, 100) for duration in durations)), timezone=zone)
    instants: list[datetime] = []
    now = NOW
    for _ in range(8):
        gap = timedelta(milliseconds=dice.choice([900, 60_000, 3600_000, 86400_000]) * dice.random())
        for _ in range(dice.randrange(5)):
            instants.append(now + gap * dice.random())
            spend(key, at=instants[-1], cost=1)
        now += gap
        close(gate, now)
    for duration in durations:
        assert history(budget_duration=duration) == closed_by_hand(duration, instants, end=now, zone=zone)


@pytest.mark.django_db
def test_closing_twice_changes_nothing(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1), ("1h", 10)))
    spend(key, at=NOW)
    end = at("03-06 13:00")
    assert [close(gate, end), close(gate, end)] == [1, 0]
    once = list(WindowHistory.objects.values())
    Key.objects.update(next_reset_at=at("03-06 12:30:05"))  # as if the first run had died after its rows were written
    close(gate, end)
    assert list(WindowHistory.objects.values()) == once


@pytest.mark.django_db(transaction=True)
def test_tasks_that_close_at_once_write_each_row_once(gate: SyncGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "BATCH", 3)
    keys = [saved_key(budget_limits=limits(("5s", 1), ("1h", 10))) for _ in range(20)]
    for key in keys:
        spend(key, at=NOW)
    closed = at_once(*[lambda: close(sync_gate(), at("03-06 13:00"))] * 2)
    assert sum(closed) == 20
    assert WindowHistory.objects.count() == 40
    assert not Key.objects.filter(next_reset_at__lte=at("03-06 13:00")).exists()


@pytest.mark.django_db
def test_more_rows_than_one_batch_are_closed_in_one_run(gate: SyncGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "BATCH", 4)
    for _ in range(10):
        spend(saved_key(budget_limits=limits(("1h", 10))), at=NOW)
    assert close(gate, at("03-06 13:00")) == 10
    assert WindowHistory.objects.count() == 10


@pytest.mark.django_db
def test_key_that_was_busy_for_days_is_closed_part_by_part(gate: SyncGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A beat that was down, and many windows: no transaction looks at more than some thousand of them."""
    monkeypatch.setattr(closing, "WINDOWS_MAX", 100)
    key, other = (saved_key(budget_limits=limits(("1m", 1), ("24h", 10))) for _ in range(2))
    instants = [NOW + timedelta(minutes=minute) for minute in range(0, 3 * 1440, 7)]
    post_entries([make_entry(key_id=str(key.id), at_ms=ms_of(instant), cost_nanousd=1) for instant in instants])
    spend(other, at=at("03-06 23:00"))
    end = at("03-09 13:00")
    with CaptureQueriesContext(connection) as queries:
        close(gate, end)
    for duration in ("1m", "24h"):
        by_hand = closed_by_hand(duration, instants, end=end)
        assert history(scope_id=str(key.id), budget_duration=duration) == by_hand
    assert history(scope_id=str(other.id)) == [("24h", "03-06 00:00:00", 100), ("1m", "03-06 23:00:00", 100)]
    assert not Key.objects.filter(next_reset_at__lte=end).exists()
    assert 50 < len(queries) < 1000


@pytest.mark.django_db
def test_idle_key_with_the_shortest_windows_is_closed_at_once_after_a_week(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1s", 1)))
    with CaptureQueriesContext(connection) as queries:
        close(gate, NOW + timedelta(days=7))
    assert len(queries) < 32
    assert resets(key) == ["2040-03-13T12:30:01Z"]


# --- open calls --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_window_with_an_open_call_is_finished_when_the_call_is_settled(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1)))
    spend(key, at=NOW, cost=1)
    call = admitted_call(gate, key, at_ms=NOW_MS + 1000, cost=100)
    close(gate, NOW + timedelta(seconds=5))
    row = WindowHistory.objects.get()
    assert (row.spent, row.is_final) == (1, False)
    finish_history(gate=gate, now=NOW + timedelta(seconds=20))
    row.refresh_from_db()
    assert (row.spent, row.is_final) == (1, False)
    post_and_settle([call], gate=gate, now_ms=NOW_MS + 30_000)
    assert finish_history(gate=gate, now=NOW + timedelta(seconds=40)) == 1
    row.refresh_from_db()
    assert (row.spent, row.is_final) == (101, True)


@pytest.mark.django_db
def test_open_call_that_cost_nothing_leaves_no_row_in_the_end(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1)))
    call = admitted_call(gate, key, cost=0)
    close(gate, NOW + timedelta(seconds=5))
    assert len(history()) == 1
    post_and_settle([call], gate=gate, now_ms=NOW_MS + 1000)
    finish_history(gate=gate, now=NOW + timedelta(minutes=1))
    assert history() == []


@pytest.mark.django_db
def test_window_is_final_at_last_even_if_its_hold_never_goes(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1)))
    spend(key, at=NOW)
    admitted_call(gate, key)
    close(gate, NOW + timedelta(seconds=5))
    finish_history(gate=gate, now=NOW + closing.FINAL_AFTER + timedelta(minutes=1))
    assert WindowHistory.objects.get().is_final


@pytest.mark.django_db
def test_calls_that_stay_open_do_not_keep_later_windows_unfinished(
    gate: SyncGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "BATCH", 2)
    for _ in range(5):
        admitted_call(gate, saved_key(budget_limits=limits(("5s", 1))))
    key = saved_key(budget_limits=limits(("5s", 1)))
    call = admitted_call(gate, key)
    close(gate, NOW + timedelta(seconds=5))
    assert WindowHistory.objects.filter(is_final=False).count() == 6
    post_and_settle([call], gate=gate, now_ms=NOW_MS + 1000)
    assert finish_history(gate=gate, now=NOW + timedelta(minutes=1)) == 1
    assert history(is_final=True) == [("5s", "03-06 12:30:00", 100)]


@pytest.mark.django_db(transaction=True)
def test_windows_that_are_finished_while_calls_are_settled_end_with_all_of_them(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("5s", 1)))
    calls = [admitted_call(gate, key) for _ in range(60)]
    close(gate, NOW + timedelta(seconds=5))

    def settle(some: slice) -> None:
        for call in calls[some]:
            post_and_settle([call], gate=sync_gate(), now_ms=NOW_MS + 1000)

    def finish() -> None:
        for _ in range(20):
            finish_history(gate=sync_gate(), now=NOW + timedelta(minutes=1))

    at_once(lambda: settle(slice(0, 30)), lambda: settle(slice(30, 60)), finish, finish)
    finish_history(gate=gate, now=NOW + timedelta(minutes=2))
    row = WindowHistory.objects.get()
    assert (row.spent, row.is_final) == (6000, True)


# --- limits that change, and limits that cannot be read -----------------------------------------------


def changed(key: Key, now: datetime, **fields: Any) -> None:
    update_key(key.token_hash, KeyFields(**fields), now=now)  # type: ignore[typeddict-item]


@pytest.mark.django_db
def test_window_that_ended_before_its_limit_was_changed_is_still_closed(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    spend(key, at=NOW)
    changed(key, at("03-06 13:00:03"), budget_limits=limits(("1h", 20)))
    close(gate, at("03-06 13:00:10"))
    assert history() == [("1h", "03-06 12:00:00", 100)]
    assert resets(key) == ["2040-03-06T14:00:00Z"]


@pytest.mark.django_db
def test_limit_that_was_added_has_no_windows_from_before(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    spend(key, at=at("03-06 12:58:30"), cost=1)
    spend(key, at=at("03-06 13:01:10"), cost=2)
    changed(key, at("03-06 13:01:30"), budget_limits=limits(("1h", 10), ("1m", 1)))
    close(gate, at("03-06 13:05"))
    assert history() == [("1h", "03-06 12:00:00", 1), ("1m", "03-06 13:01:00", 2)]


@pytest.mark.django_db
def test_key_whose_limits_were_cleared_is_due_no_more(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    changed(key, at("03-06 13:00:03"), budget_limits=None)
    assert close(gate, at("03-06 14:00")) == 0
    assert history() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "broken",
    [
        {"budget_limits": [{"budget_duration": "1h"}]},
        {"budget_limits": [{"budget_duration": "never", "max_budget": "1"}]},
        {"budget_limits": ["1h"]},
        {"budget_limits": {"budget_duration": "1h"}},
        {"budget_limits": 5},
        {"timezone": "Mars/Olympus"},
        {"max_budget_nanousd": 5, "counted_since": {}},
    ],
)
def test_limits_that_cannot_be_read_are_reported_and_stop_nobody(
    gate: SyncGate, caplog: pytest.LogCaptureFixture, broken: dict[str, Any]
) -> None:
    bad = saved_key(budget_limits=limits(("1h", 10)))
    Key.objects.filter(id=bad.id).update(**broken)
    good = saved_key(budget_limits=limits(("1h", 10)))
    spend(good, at=NOW)
    close(gate, at("03-06 13:00"))
    assert history() == [("1h", "03-06 12:00:00", 100)]
    assert str(bad.id) in caplog.text
    bad.refresh_from_db()
    assert bad.next_reset_at == at("03-06 14:00")
    for name, value in broken.items():
        assert getattr(bad, name) == value


# --- cost --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nothing_due_is_one_small_question_for_each_kind_and_one_for_history(gate: SyncGate) -> None:
    saved_key(budget_limits=limits(("1h", 10)))
    saved_team(budget_limits=limits(("1h", 10)))
    with CaptureQueriesContext(connection) as queries:
        assert close(gate, NOW) == 0
    asked = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert len(asked) == 7
    assert len(queries) == 21  # each between a savepoint and its release


@pytest.mark.django_db
def test_number_of_questions_does_not_grow_with_the_keys_of_a_batch(gate: SyncGate) -> None:
    def questions(keys: int) -> int:
        for _ in range(keys):
            spend(saved_key(budget_limits=limits(("1h", 10), ("24h", 50))), at=NOW)
        with CaptureQueriesContext(connection) as queries:
            assert close(gate, at("03-06 13:00")) == keys
        return len(queries)

    assert questions(2) == questions(60) < 32


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Key, Team])
def test_due_rows_are_found_in_the_index(model: type[Key] | type[Team]) -> None:
    made = [Key(token_hash=f"{n:064}", key_name="sk", rooted_at=NOW, **moments(n)) for n in range(3000)]
    teams = [Team(team_id=f"team-{n}", **moments(n)) for n in range(3000)]
    model._default_manager.bulk_create(made if model is Key else teams)  # type: ignore[arg-type]
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {model._meta.db_table}")
    due = model._default_manager.select_for_update(skip_locked=True).filter(next_reset_at__lte=NOW)
    plan = due.order_by("next_reset_at")[: closing.BATCH].explain()
    assert "_next_reset" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


def moments(number: int) -> dict[str, Any]:
    return {"created_at": NOW, "updated_at": NOW, "next_reset_at": NOW + timedelta(minutes=number - 10)}
