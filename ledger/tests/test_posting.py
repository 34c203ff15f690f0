"""Posting on the real PostgreSQL: each call once, in the entries and in the rollups, whoever posts it and how often."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction

from budgets.services import instant_of
from ledger.models import Entry, Rollup, Usage
from ledger.posting import Posted, post_entries
from ledger.tests.factories import HOUR_MS, KEY_ID, NOW, NOW_MS, at, at_once, make_entry, posted_entry

LARGEST = 2**53 - 1


def rolled(**fields: str) -> tuple[int, int, int, int]:
    """Requests, input tokens, output tokens and cost of all rollups of a scope."""
    rows = Rollup.objects.filter(**fields).values_list("requests", "input_tokens", "output_tokens", "cost_nanousd")
    sums = [sum(column) for column in zip(*rows, strict=True)] or [0, 0, 0, 0]
    return sums[0], sums[1], sums[2], sums[3]


@pytest.mark.django_db
def test_entry_is_written_as_it_came() -> None:
    entry = make_entry(team_id="a-team", reasoning_tokens=3, first_byte_ms=12, is_streamed=True)
    post_entries([entry])
    row = Entry.objects.get()
    for name in ("kind", "team_id", "model", "input_tokens", "reasoning_tokens", "cost_nanousd", "is_streamed"):
        assert getattr(row, name) == getattr(entry, name)
    assert (str(row.id), str(row.key_id), row.first_byte_ms) == (entry.id, KEY_ID, 12)
    assert row.finished_at == NOW + timedelta(seconds=1)


@pytest.mark.django_db
@pytest.mark.parametrize("at_ms", [NOW_MS, NOW_MS + 1, NOW_MS + 999, 1, 2**42 - 1])
def test_entry_was_admitted_in_the_millisecond_of_its_id(at_ms: int) -> None:
    entry = posted_entry(at_ms=at_ms)
    assert entry.admitted_ms == at_ms
    assert Entry.objects.get().admitted_at == instant_of(at_ms)


@pytest.mark.django_db
def test_entries_and_rollups_are_one_statement(django_assert_num_queries: pytest.FixtureRequest) -> None:
    with django_assert_num_queries(3):  # type: ignore[operator]  # savepoint, statement, release
        post_entries([make_entry(team_id="a-team") for _ in range(50)])
    assert rolled(scope_kind="key", scope_id=KEY_ID) == (50, 500, 250, 5000)
    assert rolled(scope_kind="team", scope_id="a-team") == (50, 500, 250, 5000)


@pytest.mark.django_db
def test_rollups_are_by_the_hour_of_admission_and_by_model() -> None:
    before_noon = NOW_MS - 31 * 60_000
    post_entries(
        [
            make_entry(at_ms=before_noon, finished_ms=NOW_MS),
            make_entry(),
            make_entry(model="other"),
        ]
    )
    hours = Rollup.objects.order_by("hour_at", "model").values_list("hour_at", "model", "requests")
    assert list(hours) == [
        (at("03-06 11:00"), "demo", 1),
        (at("03-06 12:00"), "demo", 1),
        (at("03-06 12:00"), "other", 1),
    ]


@pytest.mark.django_db
def test_key_without_team_has_no_rollup_of_a_team() -> None:
    posted_entry()
    assert not Rollup.objects.filter(scope_kind="team").exists()


@pytest.mark.django_db
def test_both_entries_of_one_id_in_a_batch_are_told_the_cost_of_the_one_that_was_written() -> None:
    entry = make_entry()
    posted = post_entries([entry, replace(entry, cost_nanousd=999)])
    assert list(posted) == [entry.id]
    assert posted[entry.id].cost_nanousd == Entry.objects.get().cost_nanousd
    assert rolled(scope_kind="key")[0] == 1
    assert rolled(scope_kind="key")[3] == Entry.objects.get().cost_nanousd


@pytest.mark.django_db
def test_posting_again_changes_nothing_and_tells_what_the_ledger_holds() -> None:
    entry, other = make_entry(), make_entry(cost_nanousd=7)
    first = post_entries([entry])
    again = post_entries([other, replace(entry, cost_nanousd=999, input_tokens=1), other])
    assert again[entry.id] == first[entry.id]
    assert again[other.id].cost_nanousd == 7
    assert rolled(scope_kind="key") == (2, 20, 10, 107)


@pytest.mark.django_db
def test_late_real_cost_of_an_unsettled_call_leaves_its_estimate() -> None:
    unsettled = posted_entry(kind="unsettled", cost_nanousd=200)
    posted = post_entries([replace(unsettled, kind="call", cost_nanousd=100)])
    assert posted[unsettled.id].cost_nanousd == 200
    assert Entry.objects.get().kind == "unsettled"
    assert rolled(scope_kind="key")[3] == 200


@pytest.mark.django_db
def test_largest_amounts_are_exact() -> None:
    entries = [make_entry(cost_nanousd=LARGEST - index, hold_nanousd=LARGEST) for index in range(5)]
    posted = post_entries(entries)
    assert [posted[entry.id].cost_nanousd for entry in entries] == [LARGEST - index for index in range(5)]
    assert rolled(scope_kind="key")[3] == 5 * LARGEST - 10


@pytest.mark.django_db
def test_nothing_to_post_is_no_error() -> None:
    assert post_entries([]) == {}


@pytest.mark.django_db
def test_posting_names_the_transaction_that_wrote_the_entry() -> None:
    entry = make_entry()
    posted = post_entries([entry])[entry.id]
    assert posted == Posted(Entry.objects.get().posting, 100, 15)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        assert cursor.fetchone() == (posted.transaction,)


@pytest.mark.django_db
@pytest.mark.parametrize("statement", ["UPDATE ledger_entry SET cost_nanousd = 0", "DELETE FROM ledger_entry"])
def test_written_entries_can_be_neither_changed_nor_deleted(statement: str) -> None:
    posted_entry()
    refused = pytest.raises(ProgrammingError, match="entries of the ledger never change")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Entry.objects.get().cost_nanousd == 100


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"cost_nanousd": -1}, IntegrityError),
        ({"hold_nanousd": -1}, IntegrityError),
        ({"input_tokens": -1}, IntegrityError),
        ({"output_tokens": -1}, IntegrityError),
        ({"cache_read_tokens": -1}, IntegrityError),
        ({"cache_write_tokens": -1}, IntegrityError),
        ({"reasoning_tokens": -1}, IntegrityError),
        ({"kind": "gift"}, IntegrityError),
        ({"model": "m" * 257}, DataError),
        ({"model": "nul \0"}, DataError),
        ({"key_id": "no uuid"}, DataError),
        ({"http_status": 40_000}, DataError),
    ],
)
def test_batch_with_one_wrong_entry_writes_nothing(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        post_entries([make_entry(), make_entry(**fields), make_entry()])
    assert not Entry.objects.exists()
    assert not Rollup.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_call_posted_by_eight_threads_is_one_entry_and_all_are_told_its_cost() -> None:
    entry = make_entry(team_id="a-team")
    tries = [replace(entry, cost_nanousd=100 + index) for index in range(8)]
    answers = at_once(*(lambda one=one: post_entries([one]) for one in tries))
    row = Entry.objects.get()
    assert {answer[entry.id] for answer in answers} == {Posted(row.posting, row.cost_nanousd, 15)}
    assert rolled(scope_kind="key") == (1, 10, 5, row.cost_nanousd)
    assert rolled(scope_kind="team") == (1, 10, 5, row.cost_nanousd)


@pytest.mark.django_db(transaction=True)
def test_threads_that_post_the_same_calls_in_other_orders_do_not_lock_each_other_out() -> None:
    entries = [make_entry() for _ in range(4000)]

    def post(seed: int) -> None:
        for start in range(0, len(entries), 1000):
            post_entries(sorted(entries[start : start + 1000], key=lambda entry: entry.id, reverse=seed % 2 == 1))

    at_once(*(lambda seed=seed: post(seed) for seed in range(4)))
    assert Entry.objects.count() == 4000
    assert rolled(scope_kind="key") == (4000, 40_000, 20_000, 400_000)


@pytest.mark.django_db(transaction=True)
def test_eight_threads_on_the_same_keys_teams_and_hours_lose_nothing() -> None:
    key_ids = [str(UUID(int=index)) for index in range(5)]

    def post(seed: int) -> int:
        dice = random.Random(seed)
        total = 0
        for _ in range(10):
            batch = [
                make_entry(
                    at_ms=NOW_MS - dice.randrange(3) * HOUR_MS,
                    key_id=dice.choice(key_ids),
                    team_id=dice.choice(["a-team", "b-team", None]),
                    model=dice.choice(["demo", "other"]),
                    cost_nanousd=dice.randrange(10**6),
                )
                for _ in range(20)
            ]
            post_entries(batch)
            total += sum(entry.cost_nanousd for entry in batch)
        return total

    totals = at_once(*(lambda seed=seed: post(seed) for seed in range(8)))
    assert Entry.objects.count() == 1600
    requests, _, _, cost = rolled(scope_kind="key")
    assert (requests, cost) == (1600, sum(totals))
    teams = Entry.objects.exclude(team_id=None).values_list("cost_nanousd", flat=True)
    assert rolled(scope_kind="team")[3] == sum(teams)


def usage_by(*names: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
    sums = ("requests", "failed_requests", "estimated_requests", "cost_nanousd", "cache_read_tokens")
    rows = Usage.objects.values_list(*names, *sums)
    return {row[: len(names)]: row[len(names) :] for row in rows}


@pytest.mark.django_db
def test_usage_is_by_all_that_reports_can_be_asked_by() -> None:
    post_entries([make_entry(), make_entry(team_id="t", user_id="u", customer_id="c", model="m", provider="p")])
    post_entries([make_entry(cache_read_tokens=7, is_estimated=True), make_entry(http_status=0)])
    assert usage_by("key_id", "team_id", "user_id", "customer_id", "model", "provider") == {
        (UUID(KEY_ID), "", "", "", "demo", "demo"): (3, 1, 1, 300, 7),
        (UUID(KEY_ID), "t", "u", "c", "m", "p"): (1, 0, 0, 100, 0),
    }


@pytest.mark.django_db
def test_usage_has_a_repeated_entry_once_and_each_hour_apart() -> None:
    early, late = make_entry(at_ms=NOW_MS - HOUR_MS), make_entry()
    for _ in range(2):
        post_entries([early, late])
    assert [value[0] for value in usage_by("hour_at").values()] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_usage_is_exact_when_many_post_the_same_calls_at_once() -> None:
    entries = [make_entry(team_id=f"t{number % 7}", model=f"m{number % 5}") for number in range(200)]

    def post(number: int) -> None:
        some = random.Random(number).sample(entries, len(entries))
        for start in range(0, len(some), 40):
            post_entries(some[start : start + 40])

    at_once(*(lambda number=number: post(number) for number in range(4)))
    assert sum(value[0] for value in usage_by("model", "team_id").values()) == 200
    assert len(usage_by("model", "team_id")) == 35
