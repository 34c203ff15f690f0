"""What a change of a key does to its limits and counters, also when two changes meet."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import QuerySet
from pytest_django import DjangoCaptureOnCommitCallbacks

from budgets.errors import InputError
from budgets.rules.limits import Limit, parse_limits
from budgets.services import text_of
from keys import deletion, services
from keys.deletion import delete_keys
from keys.fields import KeyFields, apply_fields
from keys.models import Key
from keys.services import create_key, update_key
from teams.models import Team
from teams.services import create_team
from tests.api import NOW

LATER = NOW + timedelta(minutes=10)


def limits(*durations: str, usd: int = 10) -> tuple[Limit, ...]:
    return parse_limits([{"budget_duration": duration, "max_budget": usd} for duration in durations])


def counted_since(key: Key) -> dict[str, str]:
    key.refresh_from_db()
    return {name.removeprefix("usd/"): since for name, since in key.counted_since.items()}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What gateways are told."""
    subjects: list[str] = []
    for module in (services, deletion):
        monkeypatch.setattr(module, "publish", lambda *told: subjects.extend(told))
    return subjects


@pytest.mark.django_db
def test_a_limit_of_the_same_period_keeps_counting_and_a_new_one_starts() -> None:
    key = create_key({"budget_limits": limits("1h", "30d")}, now=NOW).key
    update_key(key.token_hash, {"budget_limits": limits("1h", "1d", "1mo", usd=99)}, now=LATER)
    assert counted_since(key) == {"1h": text_of(NOW), "1d": text_of(LATER), "1mo": text_of(NOW)}
    assert [entry["max_budget"] for entry in key.budget_limits] == ["99.0"] * 3
    assert key.updated_at == LATER


@pytest.mark.django_db
def test_a_change_of_something_else_leaves_the_limits_as_they_are() -> None:
    key = create_key({"budget_limits": limits("1h"), "max_budget_nanousd": 5}, now=NOW).key
    before = (key.budget_limits, key.counted_since, key.next_reset_at)
    update_key(key.token_hash, {"key_alias": "renamed", "blocked": True}, now=LATER)
    key.refresh_from_db()
    assert (key.budget_limits, key.counted_since, key.next_reset_at) == before
    assert (key.key_alias, key.blocked) == ("renamed", True)


@pytest.mark.django_db
@pytest.mark.parametrize("nothing", [None, ()])
def test_nothing_clears_the_limits_and_leaves_the_single_one(nothing: tuple[Limit, ...] | None) -> None:
    key = create_key({"budget_limits": limits("1h"), "max_budget_nanousd": 5, "budget_duration": "1d"}, now=NOW).key
    update_key(key.token_hash, {"budget_limits": nothing}, now=LATER)
    key.refresh_from_db()
    assert key.budget_limits == []
    assert (key.max_budget_nanousd, key.budget_duration) == (5, "1d")
    update_key(key.token_hash, {"budget_duration": None}, now=LATER)
    key.refresh_from_db()
    assert (key.max_budget_nanousd, key.budget_reset_at, key.next_reset_at) == (5, None, None)
    update_key(key.token_hash, {"max_budget_nanousd": None}, now=LATER)
    key.refresh_from_db()
    assert (key.max_budget_nanousd, key.counted_since) == (None, {})


@pytest.mark.django_db
def test_a_key_that_moves_to_another_team_counts_anew_there() -> None:
    create_team({}, team_id="t1", now=NOW)
    key = create_key({"budget_limits": limits("1h")}, now=NOW).key
    update_key(key.token_hash, {"team_id": None}, now=LATER)
    assert counted_since(key) == {"1h": text_of(NOW)}
    update_key(key.token_hash, {"team_id": "t1"}, now=LATER)
    assert counted_since(key) == {"1h": text_of(LATER)}
    assert key.rooted_at == LATER
    update_key(key.token_hash, {"team_id": "t1"}, now=LATER + timedelta(hours=1))
    assert key.rooted_at == LATER


@pytest.mark.django_db
def test_another_calendar_counts_anew() -> None:
    key = create_key({"budget_limits": limits("1d")}, now=NOW).key
    update_key(key.token_hash, {"timezone": "Europe/Berlin"}, now=LATER)
    assert counted_since(key) == {"1d": text_of(LATER)}
    assert key.budget_limits[0]["reset_at"] == "2037-11-23T23:00:00Z"


@pytest.mark.django_db
def test_a_key_keeps_the_zone_it_was_made_with(settings: Any) -> None:
    settings.TIME_ZONE_OF_WINDOWS = "Europe/Berlin"
    key = create_key({}, now=NOW).key
    settings.TIME_ZONE_OF_WINDOWS = "UTC"
    update_key(key.token_hash, {"budget_limits": limits("1d")}, now=LATER)
    key.refresh_from_db()
    assert key.timezone == "Europe/Berlin"


@pytest.mark.django_db
def test_an_expiry_is_counted_from_the_change_that_sets_it() -> None:
    key = create_key({"duration": "30d"}, now=NOW).key
    assert key.expires_at == NOW + timedelta(days=30)
    assert update_key(key.token_hash, {"duration": "1h"}, now=LATER).expires_at == LATER + timedelta(hours=1)
    assert update_key(key.token_hash, {}, now=LATER).expires_at == LATER + timedelta(hours=1)
    assert update_key(key.token_hash, {"duration": "-1"}, now=LATER).expires_at is None


@pytest.mark.django_db
def test_gateways_are_told_of_each_change_after_its_commit(
    published: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        key = create_key({}, now=NOW).key
        assert published == []
    with django_capture_on_commit_callbacks(execute=True):
        update_key(key.token_hash, {"blocked": True}, now=LATER)
    with django_capture_on_commit_callbacks(execute=True):
        delete_keys([key.token_hash, key.token_hash], field="keys", now=LATER)
    assert published == [f"key:{key.token_hash}"] * 3


@pytest.mark.django_db
def test_the_text_of_a_key_is_in_no_column_of_the_database() -> None:
    made, own = create_key({"key_alias": "a"}, now=NOW), create_key({}, text="sk-my-own-key-0123456789", now=NOW)
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows = " ".join(row for (row,) in cursor.fetchall())
            for created in (made, own):
                assert created.text.removeprefix("sk-") not in rows
    assert made.text not in repr(made)
    assert re.search(re.escape(made.text[-4:]), made.key.key_name)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Starts all calls at the same moment, each on a connection of its own; returns answers and errors."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        try:
            barrier.wait(timeout=10)
            return call()
        except InputError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.django_db(transaction=True)
def test_two_updates_of_one_key_at_once_are_both_kept() -> None:
    changes: list[KeyFields] = [{"budget_limits": limits("1h")}, {"max_budget_nanousd": 7}, {"key_alias": "renamed"}]
    for _ in range(5):
        key = create_key({}, now=NOW).key
        at_once(*[partial(update_key, key.token_hash, fields, now=LATER) for fields in changes])
        key.refresh_from_db()
        assert len(key.budget_limits) == 1
        assert (key.max_budget_nanousd, key.key_alias) == (7, "renamed")
        delete_keys([key.token_hash], field="keys", now=LATER)


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_one_of_two_updates_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: it would see a lost update."""
    key = create_key({}, now=NOW).key
    both_have_read = Barrier(2)

    def apply_late(key: Key, fields: KeyFields, *, now: datetime) -> None:
        both_have_read.wait(timeout=10)
        apply(key, fields, now=now)

    apply = apply_fields
    monkeypatch.setattr(services, "apply_fields", apply_late)
    monkeypatch.setattr(QuerySet, "select_for_update", lambda keys, **_: keys.all())
    at_once(
        partial(update_key, key.token_hash, {"max_budget_nanousd": 7}, now=LATER),
        partial(update_key, key.token_hash, {"key_alias": "renamed"}, now=LATER),
    )
    key.refresh_from_db()
    assert (key.max_budget_nanousd, key.key_alias) != (7, "renamed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("team_id", [None, "t1"])
def test_of_two_keys_made_at_once_with_one_alias_exactly_one_is(team_id: str | None) -> None:
    create_team({}, team_id="t1", now=NOW)
    make = [lambda: create_key({"key_alias": "twin", "team_id": team_id}, now=NOW)] * 4
    refused = [answer for answer in at_once(*make) if isinstance(answer, InputError)]
    assert [error.field for error in refused] == ["key_alias"] * 3
    assert Key.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_teams_made_at_once_with_one_id_exactly_one_is() -> None:
    answers = at_once(*[lambda: create_team({}, team_id="t1", now=NOW)] * 4)
    assert [answer.field for answer in answers if isinstance(answer, InputError)] == ["team_id"] * 3
    assert Team.objects.count() == 1
