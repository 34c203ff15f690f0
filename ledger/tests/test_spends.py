"""Sums of the ledger on the real PostgreSQL: the same as adding up entries one by one, for windows of every shape."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets.rules.admission import Snapshot
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope
from budgets.rules.settlement import Entry
from budgets.rules.windows import END_OF_TIME_MS, Window
from budgets.usage import SpendQuery
from ledger.posting import post_entries
from ledger.spends import _statement, read_spends
from ledger.tests.factories import HOUR_MS, KEY_ID, NOW_MS, make_entry, posted_entry

OTHER_KEY = "22222222-2222-4222-8222-222222222222"
SCOPES = [
    *(Scope("key", KEY_ID), Scope("key", OTHER_KEY), Scope("team", "a-team"), Scope("team", "b-team")),
    *(Scope("user", "u1"), Scope("member", "u1/a-team"), Scope("customer", "c1"), Scope("tag", "b")),
    *(Scope("run", f"{KEY_ID}/run/1"), Scope("key", KEY_ID, "demo"), Scope("team", "a-team", "other")),
]
NOON_MS = NOW_MS // HOUR_MS * HOUR_MS
QueryCount = Callable[[int], AbstractContextManager[object]]

# Instants close to the bounds of hours, where a sum would lose an entry or count it twice.
instants = st.builds(
    lambda hour, ms: NOON_MS + hour * HOUR_MS + ms,
    st.integers(-30, 30),
    st.sampled_from([-1000, -1, 0, 1, 999, 1000, HOUR_MS // 2]),
)
bounds = st.tuples(instants, instants).filter(lambda pair: pair[0] != pair[1]).map(sorted)
windows = bounds.map(lambda pair: Window(*pair)) | st.sampled_from(
    [
        Window(0, END_OF_TIME_MS),
        Window(NOON_MS - 240 * HOUR_MS, NOON_MS + 480 * HOUR_MS),
        Window(NOON_MS + 100 * HOUR_MS, NOON_MS + 101 * HOUR_MS),
        Window(NOON_MS, NOON_MS + HOUR_MS),
        Window(NOON_MS, NOON_MS + 1000),
    ]
)
queries = st.builds(SpendQuery, st.sampled_from(SCOPES), st.sampled_from(LimitUnit), windows)
entries = st.builds(
    make_entry,
    at_ms=instants,
    key_id=st.sampled_from([KEY_ID, OTHER_KEY]),
    team_id=st.sampled_from(["a-team", "b-team", None]),
    user_id=st.sampled_from(["u1", "u2", None]),
    customer_id=st.sampled_from(["c1", None]),
    run_id=st.sampled_from(["run/1", None]),
    tags=st.sampled_from([(), ("a",), ("a", "b")]),
    model=st.sampled_from(["demo", "other"]),
    cost_nanousd=st.integers(0, 2**50),
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
)


def scopes_of(entry: Entry) -> set[tuple[str, str | None]]:
    user, team = entry.user_id, entry.team_id
    scopes = {("key", entry.key_id), ("team", team), ("customer", entry.customer_id)}
    scopes |= {("tag", tag) for tag in entry.tags} | {("run", f"{entry.key_id}/{entry.run_id}")}
    return scopes | ({("user", user)} if team is None else {("member", f"{user}/{team}")})


def added_up(query: SpendQuery, posted: list[Entry]) -> int:
    inside = [
        entry
        for entry in posted
        if (query.scope.kind, query.scope.id) in scopes_of(entry)
        and query.scope.model in (None, entry.model)
        and query.window.start_ms <= entry.admitted_ms < query.window.end_ms
    ]
    if query.unit is LimitUnit.PARALLEL:
        return 0
    if query.unit is LimitUnit.USD:
        return sum(entry.cost_nanousd for entry in inside)
    if query.unit is LimitUnit.TOKENS:
        return sum(entry.input_tokens + entry.output_tokens for entry in inside)
    return len(inside)


@pytest.mark.django_db
@settings(max_examples=40, deadline=None)
@given(posted=st.lists(entries, max_size=30), asked=st.lists(queries, min_size=1, max_size=30))
def test_sum_is_what_adding_up_the_entries_gives(posted: list[Entry], asked: list[SpendQuery]) -> None:
    savepoint = transaction.savepoint()
    try:
        post_entries(posted)
        assert read_spends(asked).sums == tuple(added_up(query, posted) for query in asked)
    finally:
        transaction.savepoint_rollback(savepoint)


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2, 500])
def test_any_number_of_windows_is_one_question(count: int, django_assert_num_queries: QueryCount) -> None:
    posted_entry()
    asked = [
        SpendQuery(SCOPES[0], LimitUnit.REQUESTS, Window(NOON_MS - index, NOON_MS + HOUR_MS)) for index in range(count)
    ]
    with django_assert_num_queries(1):
        assert read_spends(asked).sums == (1,) * count


@pytest.mark.django_db
def test_no_window_is_no_question(django_assert_num_queries: QueryCount) -> None:
    with django_assert_num_queries(0):
        assert read_spends([]).sums == ()


@pytest.mark.django_db
def test_millisecond_of_the_end_belongs_to_the_next_window() -> None:
    for at_ms in (NOON_MS - 1, NOON_MS, NOON_MS + 4999, NOON_MS + 5000):
        posted_entry(at_ms=at_ms)
    window = Window(NOON_MS, NOON_MS + 5000)
    assert read_spends([SpendQuery(SCOPES[0], LimitUnit.REQUESTS, window)]).sums == (2,)


@pytest.mark.django_db
def test_every_millisecond_is_kept_apart_for_as_long_as_windows_last() -> None:
    latest = 253402300799 * 1000 - 10 * HOUR_MS
    far = [1, HOUR_MS - 1, 2**41 + 1, 2**42 - 1]
    for at_ms in far:
        posted_entry(at_ms=at_ms)
    asked = [SpendQuery(SCOPES[0], LimitUnit.REQUESTS, Window(at_ms, at_ms + 1)) for at_ms in far]
    asked.append(SpendQuery(SCOPES[0], LimitUnit.REQUESTS, Window(latest, END_OF_TIME_MS)))
    assert read_spends(asked).sums == (1, 1, 1, 1, 0)


@pytest.mark.django_db(transaction=True)
def test_snapshot_names_the_transactions_that_the_sum_did_not_see() -> None:
    first = post_entries([make_entry()])
    (before,) = [posted.transaction for posted in first.values()]
    reading = read_spends([SpendQuery(SCOPES[0], LimitUnit.REQUESTS, Window(0, END_OF_TIME_MS))])
    (after,) = [posted.transaction for posted in post_entries([make_entry()]).values()]
    xmin, xmax, open_ones = reading.snapshot.split(":")
    snapshot = Snapshot(int(xmin), int(xmax), frozenset(int(each) for each in open_ones.split(",") if each))
    assert snapshot.sees(before)
    assert not snapshot.sees(after)


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from plan_nodes(child)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "scope_id"), [("key", KEY_ID), ("team", "a-team")])
def test_long_window_reads_no_entry_of_its_whole_hours(kind: str, scope_id: str) -> None:
    post_entries([make_entry(at_ms=NOON_MS - index * 60_000, team_id="a-team") for index in range(4000)])
    start_ms, end_ms = NOON_MS - 60 * HOUR_MS, NOON_MS
    bounds_ms = [start_ms - HOUR_MS // 2, start_ms, end_ms, end_ms + HOUR_MS // 2]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ledger_entry")
        cursor.execute("ANALYZE ledger_rollup")
        cursor.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {_statement(frozenset({kind}))}",
            [[kind], [scope_id], [None], *([bound] for bound in bounds_ms)],
        )
        nodes = list(plan_nodes(cursor.fetchone()[0][0]["Plan"]))
    scans = [node for node in nodes if str(node.get("Relation Name", "")).startswith("ledger_entry")]
    assert scans
    rows = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)
    assert rows == 31  # those of the half hour before, and the one at the end of the last whole hour
    assert not [node for node in scans if node["Node Type"] == "Seq Scan" and node["Actual Loops"]]
