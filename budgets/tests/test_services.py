"""A scope's limits keep their count while their period stays, and say when they reset."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import strategies as st

from budgets.rules.limits import Enforcement, LimitError, LimitUnit, parse_limits, single_limit
from budgets.rules.scopes import Scope
from budgets.rules.windows import Calendar
from budgets.services import (
    LimitSet,
    changed_limits,
    instant_of,
    limit_set,
    ms_of,
    parsed_limits,
    refresh_resets,
    scope_limits,
    set_limits,
    text_of,
)
from budgets.tests.holders import Holder

NOW = datetime(2026, 11, 23, 14, 30, 15, 123457, tzinfo=UTC)
LATER = NOW + timedelta(days=3, microseconds=1)
UTC_CALENDAR = Calendar()


def wanted(
    *entries: dict[str, Any], single: tuple[int, str | None] | None = None, calendar: Calendar = UTC_CALENDAR
) -> LimitSet:
    limit = None if single is None else single_limit(single[0], duration=single[1])
    return LimitSet(parse_limits(list(entries)), limit, calendar)


def hourly(maximum: object = "10", **more: object) -> dict[str, Any]:
    return {"budget_duration": "1h", "max_budget": maximum, **more}


def daily(maximum: object = 5, field: str = "max_tokens") -> dict[str, Any]:
    return {"budget_duration": "24h", field: maximum}


def scope_with(limits: LimitSet, *, now: datetime = NOW) -> Holder:
    scope = Holder()
    set_limits(scope, limits, now=now)
    return scope


def counted_since(scope: Holder) -> list[str]:
    return [scope.counted_since[limit.identity] for limit in limit_set(scope).limits]


def test_limits_are_written_with_their_instants() -> None:
    scope = scope_with(wanted(hourly("0.000000001"), daily(), single=(7, "monthly")))
    assert scope.budget_limits == [
        {
            "budget_duration": "1h",
            "max_budget": "0.000000001",
            "reset_at": "2026-11-23T15:00:00Z",
        },
        {
            "budget_duration": "24h",
            "max_tokens": 5,
            "reset_at": "2026-11-24T00:00:00Z",
        },
    ]
    assert (scope.max_budget_nanousd, scope.budget_duration) == (7, "monthly")
    assert scope.counted_since == dict.fromkeys(["usd/1h", "tokens/1d", "usd/1mo"], "2026-11-23T14:30:15.123457Z")
    assert scope.budget_reset_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert scope.next_reset_at == datetime(2026, 11, 23, 15, tzinfo=UTC)


def test_what_was_written_reads_back_the_same() -> None:
    limits = wanted(hourly(enforcement="strict"), daily(), single=(7, None), calendar=Calendar("Asia/Kolkata", 6))
    scope = scope_with(limits)
    assert limit_set(scope) == limits
    read = scope_limits(scope, kind="key", scope_id="k1")
    assert (read.scope, read.calendar) == (Scope("key", "k1"), Calendar("Asia/Kolkata", 6))
    assert [str(counted.limit.period) for counted in read.limits] == ["lifetime", "1h", "1d"]
    assert {counted.since_ms for counted in read.limits} == {ms_of(NOW)}
    assert read.limits[1].limit.enforcement is Enforcement.STRICT


@pytest.mark.parametrize(
    "same",
    [hourly("99"), hourly("10", enforcement="strict"), {"budget_duration": "60m", "max_budget": 3}, hourly("10")],
)
def test_limit_of_the_same_period_and_unit_keeps_counting(same: dict[str, Any]) -> None:
    scope = scope_with(wanted(hourly()))
    set_limits(scope, wanted(daily(), same), now=LATER)
    assert counted_since(scope) == [text_of(LATER), text_of(NOW)]


@pytest.mark.parametrize(
    "other", [{"budget_duration": "2h", "max_budget": 10}, {"budget_duration": "1h", "max_tokens": 10}]
)
def test_limit_of_another_period_or_unit_counts_anew(other: dict[str, Any]) -> None:
    scope = scope_with(wanted(hourly()))
    set_limits(scope, wanted(other), now=LATER)
    assert counted_since(scope) == [text_of(LATER)]


def test_limit_that_was_taken_away_and_given_again_counts_anew() -> None:
    scope = scope_with(wanted(hourly()))
    set_limits(scope, wanted(), now=LATER)
    assert (scope.budget_limits, scope.next_reset_at) == ([], None)
    set_limits(scope, wanted(hourly()), now=LATER + timedelta(hours=1))
    assert counted_since(scope) == [text_of(LATER + timedelta(hours=1))]


def test_limit_that_moves_between_the_list_and_the_single_fields_keeps_counting() -> None:
    scope = scope_with(wanted(hourly()))
    set_limits(scope, wanted(single=(5, "60m")), now=LATER)
    assert scope.counted_since == {"usd/1h": text_of(NOW)}
    set_limits(scope, wanted(hourly()), now=LATER)
    assert counted_since(scope) == [text_of(NOW)]


@pytest.mark.parametrize("calendar", [Calendar("Europe/Berlin"), Calendar("UTC", 6)])
def test_another_calendar_counts_all_limits_anew(calendar: Calendar) -> None:
    scope = scope_with(wanted(hourly(), single=(5, None)))
    set_limits(scope, wanted(hourly(), single=(5, None), calendar=calendar), now=LATER)
    assert counted_since(scope) == [text_of(LATER)]
    assert scope.counted_since["usd/lifetime"] == text_of(LATER)
    assert (scope.timezone, scope.week_start) == (calendar.zone, calendar.week_start)


def test_recount_counts_all_limits_anew() -> None:
    scope = scope_with(wanted(hourly(), single=(5, None)))
    set_limits(scope, wanted(hourly(), single=(5, None)), now=LATER, recount=True)
    assert counted_since(scope) == [text_of(LATER)]
    assert scope.counted_since["usd/lifetime"] == text_of(LATER)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(1, 5))  # noqa: DTZ001 - made aware below
def test_count_never_drifts_however_often_limits_are_written(naive: datetime, times: int) -> None:
    now = naive.replace(tzinfo=UTC)
    scope = scope_with(wanted(hourly(), single=(5, "1d")), now=now)
    since = scope_limits(scope, kind="key", scope_id="k")
    for number in range(times):
        set_limits(scope, wanted(hourly(number), single=(number, "1d")), now=now + timedelta(hours=number))
    again = scope_limits(scope, kind="key", scope_id="k")
    assert [each.since_ms for each in again.limits] == [each.since_ms for each in since.limits] == [ms_of(now)] * 2


def test_scope_keeps_the_zone_that_it_was_made_with(settings: LazySettings) -> None:
    settings.TIME_ZONE_OF_WINDOWS = "Europe/Berlin"
    scope = Holder()
    set_limits(scope, changed_limits(scope, {"budget_limits": parse_limits([daily()])}), now=NOW)
    assert scope.timezone == "Europe/Berlin"
    settings.TIME_ZONE_OF_WINDOWS = "UTC"
    assert limit_set(scope).calendar == Calendar("Europe/Berlin")


@pytest.mark.parametrize(
    ("limits", "field", "named"),
    [
        (wanted(hourly(), {"budget_duration": "60m", "max_budget": 3}), "budget_limits[1].budget_duration", "60m"),
        (wanted(hourly(), single=(5, "hourly")), "budget_limits[0].budget_duration", "hourly"),
        (wanted(calendar=Calendar("Mars/Olympus")), "timezone", "Mars/Olympus"),
        (wanted(calendar=Calendar("")), "timezone", "''"),
    ],
)
def test_wrong_limits_are_refused_and_change_nothing(limits: LimitSet, field: str, named: str) -> None:
    scope = scope_with(wanted(daily()))
    before = dict(scope.__dict__)
    with pytest.raises(LimitError, match=named) as refusal:
        set_limits(scope, limits, now=LATER)
    assert refusal.value.field == field
    assert scope.__dict__ == before


def test_resets_are_written_as_computed() -> None:
    scope = scope_with(wanted(hourly(), daily(), single=(5, None)))
    since = counted_since(scope)
    assert scope.budget_reset_at is None
    refresh_resets(scope, now=datetime(2026, 11, 23, 14, 59, 59, 999999, tzinfo=UTC))
    assert resets(scope) == ["2026-11-23T15:00:00Z", "2026-11-24T00:00:00Z"]
    refresh_resets(scope, now=datetime(2026, 11, 23, 15, tzinfo=UTC))
    assert resets(scope) == ["2026-11-23T16:00:00Z", "2026-11-24T00:00:00Z"]
    assert scope.next_reset_at == datetime(2026, 11, 23, 16, tzinfo=UTC)
    assert counted_since(scope) == since


def resets(scope: Holder) -> Sequence[str]:
    return [entry["reset_at"] for entry in scope.budget_limits]


def test_resets_follow_the_zone_of_the_scope() -> None:
    scope = scope_with(wanted(daily(), calendar=Calendar("Asia/Kolkata")))
    assert resets(scope) == ["2026-11-23T18:30:00Z"]


def test_scope_without_limits_has_no_reset() -> None:
    scope = scope_with(wanted())
    refresh_resets(scope, now=LATER)
    assert (scope.next_reset_at, scope.budget_reset_at, scope.budget_limits) == (None, None, [])
    assert scope_with(wanted(single=(5, None))).next_reset_at is None


def test_fields_that_are_missing_leave_limits_as_they_are_and_none_clears() -> None:
    scope = scope_with(wanted(hourly(), single=(5, "1d"), calendar=Calendar("Asia/Kolkata", 6)))
    assert changed_limits(scope, {}) == limit_set(scope)
    cleared = changed_limits(
        scope,
        {
            "budget_limits": None,
            "max_budget_nanousd": None,
            "budget_duration": None,
            "timezone": None,
            "week_start": None,
        },
    )
    assert cleared == wanted()
    assert changed_limits(scope, {"budget_duration": None}).single == single_limit(5, duration=None)
    with pytest.raises(LimitError, match="limits nothing without max_budget"):
        changed_limits(Holder(), {"budget_duration": "1d"})


def test_no_list_and_an_empty_list_are_no_limits() -> None:
    assert parsed_limits(None) == parsed_limits([]) == ()
    assert [limit.unit for limit in parsed_limits([daily()])] == [LimitUnit.TOKENS]


@given(st.integers(0, 4_102_444_800_000))
def test_instants_and_milliseconds_are_the_same_thing(ms: int) -> None:
    assert ms_of(instant_of(ms)) == ms
    assert ms_of(instant_of(ms).astimezone(ZoneInfo("Asia/Kolkata"))) == ms
    assert datetime.fromisoformat(text_of(instant_of(ms))) == instant_of(ms)


def test_text_of_an_instant_is_utc_to_the_second_where_that_is_exact() -> None:
    berlin = datetime(2026, 11, 23, 15, tzinfo=ZoneInfo("Europe/Berlin"))
    assert text_of(berlin) == "2026-11-23T14:00:00Z"
    assert text_of(NOW) == "2026-11-23T14:30:15.123457Z"
