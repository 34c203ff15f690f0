"""Every instant lies in exactly one window of every period, in every zone, across every change of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets.rules.windows import (
    DURATION_HELP,
    END_OF_TIME_MS,
    LIFETIME,
    Calendar,
    DurationError,
    Period,
    Window,
    check_zone,
    parse_period,
    window_at,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/Havana",  # changes at midnight, back from 01:00 to 00:00
    "America/St_Johns",  # half an hour off; changed at 00:01 for years
    "America/Sao_Paulo",  # changed at midnight
    "America/Santiago",
    "America/Asuncion",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",  # changes at midnight
    "Asia/Amman",
    "Asia/Gaza",
    "Asia/Tehran",
    "Africa/Casablanca",  # changes around Ramadan
    "Africa/Cairo",
    "Africa/Monrovia",  # an offset with seconds until 1972
    "Antarctica/Troll",  # changes by two hours
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # had no 2011-12-30
    "Pacific/Kwajalein",  # had no 1993-08-21
    "Pacific/Kiritimati",  # had no 1994-12-31
    "Pacific/Chatham",
]
WHOLE_HOUR_ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Antarctica/Troll"]
HOUR_MS = 3600_000
DAY_MS = 24 * HOUR_MS
LAST_MS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1000


def changes_of(zone: str) -> list[int]:
    """The seconds at which the offset of a zone changes, from 1960 (windows of 1970 begin there) to 2100."""
    tz = ZoneInfo(zone)

    def offset(instant_s: int) -> timedelta | None:
        return datetime.fromtimestamp(instant_s, UTC).astimezone(tz).utcoffset()

    step = 7 * 86400
    found = []
    for before in range(-10 * 366 * 86400, LAST_MS // 1000, step):
        low, high = before, before + step
        if offset(low) == offset(high):
            continue
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        found.append(high)
    return found


CHANGES = {zone: changes_of(zone) for zone in ZONES}

periods = st.one_of(
    st.builds(Period, st.integers(1, 120), st.just("mo")),
    st.integers(1, 3660).map(lambda n: parse_period(f"{n}d")),
    st.integers(1, 520).map(lambda n: parse_period(f"{n}w")),
    st.integers(1, 87840).map(lambda n: parse_period(f"{n}h")),
    st.integers(1, 100_000).map(lambda n: parse_period(f"{n}m")),
    st.integers(1, 10_000_000).map(lambda n: parse_period(f"{n}s")),
    st.sampled_from(["1s", "1m", "5m", "1h", "2h", "6h", "8h", "12h", "1d", "2d", "25h", "7d", "14d", "30d"]).map(
        parse_period
    ),
)


@st.composite
def places_in_time(draw: st.DrawFn) -> tuple[Calendar, int]:
    """A calendar and an instant in it, most of them close to a change of the clock or to a local midnight."""
    zone = draw(st.sampled_from(ZONES))
    calendar = Calendar(zone, draw(st.integers(0, 6)))
    kind = draw(st.sampled_from(["any", "change", "midnight", "month"]))
    near = draw(st.one_of(st.integers(-2000, 2000), st.integers(-2 * DAY_MS, 2 * DAY_MS)))
    if kind == "change" and CHANGES[zone]:
        base = draw(st.sampled_from(CHANGES[zone])) * 1000
    elif kind in ("midnight", "month"):
        day = draw(st.dates(datetime(1970, 1, 2).date(), datetime(2099, 12, 30).date()))  # noqa: DTZ001 - a date
        day = day.replace(day=1) if kind == "month" else day
        base = int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * 1000
    else:
        base, near = draw(st.integers(0, LAST_MS)), 0
    return calendar, min(max(base + near, 0), LAST_MS)


@settings(max_examples=1500)
@given(periods, places_in_time(), st.data())
def test_every_instant_lies_in_exactly_one_window(
    period: Period, place: tuple[Calendar, int], data: st.DataObject
) -> None:
    calendar, now_ms = place
    window = window_at(period, now_ms, calendar=calendar)
    assert window.start_ms <= now_ms < window.end_ms
    inside = data.draw(st.integers(window.start_ms, window.end_ms - 1))
    for instant in (inside, window.start_ms, window.end_ms - 1):
        if instant >= 0:
            assert window_at(period, instant, calendar=calendar) == window
    assert window_at(period, window.end_ms, calendar=calendar).start_ms == window.end_ms
    if window.start_ms > 0:
        assert window_at(period, window.start_ms - 1, calendar=calendar).end_ms == window.start_ms


@settings(max_examples=100)
@given(periods, places_in_time())
def test_windows_follow_each_other_forward_and_backward(period: Period, place: tuple[Calendar, int]) -> None:
    calendar, now_ms = place
    first = window_at(period, now_ms, calendar=calendar)
    walked = [first]
    for _ in range(30):
        walked.append(window_at(period, walked[-1].end_ms, calendar=calendar))
        assert walked[-1].start_ms == walked[-2].end_ms
    back = walked[-1]
    for expected in reversed(walked[:-1]):
        back = window_at(period, back.start_ms - 1, calendar=calendar)
        assert back == expected


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", ["1d", "1w", "1mo", "6h"])
def test_no_gap_and_no_overlap_around_any_change_of_the_clock(zone: str, text: str) -> None:
    period, calendar = parse_period(text), Calendar(zone)
    for change_s in CHANGES[zone]:
        window = window_at(period, max(change_s * 1000 - 2 * DAY_MS, 0), calendar=calendar)
        while window.end_ms < change_s * 1000 + 2 * DAY_MS:
            following = window_at(period, window.end_ms, calendar=calendar)
            assert following.start_ms == window.end_ms
            assert window_at(period, window.end_ms - 1, calendar=calendar) == window
            window = following


@settings(max_examples=500)
@given(st.sampled_from(["d", "w", "mo"]), st.integers(1, 100), places_in_time())
def test_calendar_windows_begin_with_a_local_date(unit: str, count: int, place: tuple[Calendar, int]) -> None:
    calendar, now_ms = place
    period = parse_period(f"{count}{unit}")
    start_s = window_at(period, now_ms, calendar=calendar).start_ms // 1000
    zone = ZoneInfo(calendar.zone)
    start = datetime.fromtimestamp(start_s, UTC).astimezone(zone)
    before = datetime.fromtimestamp(start_s - 1, UTC).astimezone(zone)
    if (start.hour, start.minute, start.second) != (0, 0, 0):  # the clock was set forward over midnight
        assert start_s in CHANGES[calendar.zone]
        assert before.date() < start.date()
    if start_s in CHANGES[calendar.zone]:
        return  # the date may be later than the boundary, where a whole day was left out
    if period.unit == "mo":
        assert start.day == 1
        assert ((start.year - 1) * 12 + start.month - 1) % period.count == 0
    elif period.unit == "w":
        assert start.weekday() == calendar.week_start
    else:
        assert (start.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days % period.count == 0


@given(st.sampled_from(WHOLE_HOUR_ZONES), st.integers(0, LAST_MS))
def test_hourly_windows_start_at_the_full_hour_and_last_one(zone: str, now_ms: int) -> None:
    window = window_at(Period(1, "h"), now_ms, calendar=Calendar(zone))
    if zone == "Antarctica/Troll" and now_ms < 1_200_000_000_000:
        return
    assert window == Window(now_ms // HOUR_MS * HOUR_MS, now_ms // HOUR_MS * HOUR_MS + HOUR_MS)


@given(st.integers(1, 86400), places_in_time())
def test_steps_that_divide_a_day_are_never_longer_than_a_step_and_end_with_the_day(
    step_s: int, place: tuple[Calendar, int]
) -> None:
    while 86400 % step_s:
        step_s -= 1
    period = parse_period(f"{step_s}s")
    calendar, now_ms = place
    window = window_at(period, now_ms, calendar=calendar)
    day = window_at(Period(1, "d"), now_ms, calendar=calendar)
    assert day.start_ms <= window.start_ms
    assert window.end_ms <= day.end_ms
    if period.unit != "d":
        assert (window.start_ms - day.start_ms) % (step_s * 1000) == 0
        assert window.end_ms - window.start_ms == step_s * 1000 or window.end_ms == day.end_ms


@given(st.integers(1, 87840), places_in_time())
def test_other_steps_are_always_of_their_length(hours: int, place: tuple[Calendar, int]) -> None:
    period = parse_period(f"{hours}h")
    if period.unit != "h" or 24 % hours == 0:
        return
    window = window_at(period, place[1], calendar=place[0])
    assert window.end_ms - window.start_ms == hours * HOUR_MS


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "calendar", "now", "start", "end"),
    [
        ("1h", Calendar(), "2026-11-23T14:59:59", "2026-11-23T14:00", "2026-11-23T15:00"),
        ("hourly", Calendar(), "2026-11-23T14:00:00", "2026-11-23T14:00", "2026-11-23T15:00"),
        ("15m", Calendar(), "2026-11-23T14:44:59", "2026-11-23T14:30", "2026-11-23T14:45"),
        ("7h", Calendar(), "1970-01-01T20:59:59", "1970-01-01T14:00", "1970-01-01T21:00"),
        ("7h", Calendar(), "1970-01-02T00:00:00", "1970-01-01T21:00", "1970-01-02T04:00"),
        ("8h", Calendar(), "2026-11-23T23:59:59", "2026-11-23T16:00", "2026-11-24T00:00"),
        ("24h", Calendar("Europe/Berlin"), "2026-11-23T23:59:59", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("48h", Calendar(), "1970-01-02T12:00:00", "1970-01-01T00:00", "1970-01-03T00:00"),
        ("48h", Calendar(), "2026-11-24T23:59:59", "2026-11-23T00:00", "2026-11-25T00:00"),
        ("25h", Calendar(), "1970-01-02T00:59:59", "1970-01-01T00:00", "1970-01-02T01:00"),
        ("25h", Calendar(), "1970-01-02T01:00:00", "1970-01-02T01:00", "1970-01-03T02:00"),
        ("10d", Calendar(), "1970-01-10T23:59:59", "1970-01-01T00:00", "1970-01-11T00:00"),
        ("45d", Calendar(), "1970-02-14T23:59:59", "1970-01-01T00:00", "1970-02-15T00:00"),
        ("45d", Calendar(), "1970-02-15T00:00:00", "1970-02-15T00:00", "1970-04-01T00:00"),
        ("7d", Calendar(), "2026-11-29T23:59:59", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("weekly", Calendar(week_start=6), "2026-11-28T12:00:00", "2026-11-22T00:00", "2026-11-29T00:00"),
        ("weekly", Calendar(week_start=6), "2026-11-29T00:00:00", "2026-11-29T00:00", "2026-12-06T00:00"),
        ("14d", Calendar(), "1970-01-05T00:00:00", "1970-01-05T00:00", "1970-01-19T00:00"),
        ("14d", Calendar(), "1970-01-04T23:59:59", "1969-12-22T00:00", "1970-01-05T00:00"),
        ("30d", Calendar(), "2026-02-28T23:59:59", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("720h", Calendar(), "2028-02-29T12:00:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("monthly", Calendar("America/New_York"), "2026-12-31T23:59:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("2mo", Calendar(), "2026-12-31T23:59:59", "2026-11-01T00:00", "2027-01-01T00:00"),
        ("3mo", Calendar(), "2026-11-23T00:00:00", "2026-10-01T00:00", "2027-01-01T00:00"),
        ("5mo", Calendar(), "2026-11-23T00:00:00", "2026-11-01T00:00", "2027-04-01T00:00"),
        ("12mo", Calendar(), "2026-11-23T00:00:00", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("1h", Calendar("Asia/Kolkata"), "2026-11-23T14:59:59", "2026-11-23T14:00", "2026-11-23T15:00"),
        ("1d", Calendar("America/Havana"), "2026-03-08T12:00:00", "2026-03-08T01:00", "2026-03-09T00:00"),
        ("1d", Calendar("Pacific/Apia"), "2011-12-31T12:00:00", "2011-12-31T00:00", "2012-01-01T00:00"),
        ("1d", Calendar("Pacific/Apia"), "2011-12-29T12:00:00", "2011-12-29T00:00", "2011-12-31T00:00"),
    ],
)
def test_alignment(text: str, calendar: Calendar, now: str, start: str, end: str) -> None:
    window = window_at(parse_period(text), at(now, calendar.zone), calendar=calendar)
    assert window == Window(at(start, calendar.zone), at(end, calendar.zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_days_of_berlin_have_the_hours_they_have(day: str, hours: int) -> None:
    berlin = Calendar("Europe/Berlin")
    window = window_at(Period(1, "d"), at(f"{day}T12:00", berlin.zone), calendar=berlin)
    assert window.end_ms - window.start_ms == hours * HOUR_MS
    hourly = _windows_of(Period(1, "h"), window, berlin)
    assert [end - start for start, end in hourly] == [HOUR_MS] * hours
    lengths = [(end - start) // HOUR_MS for start, end in _windows_of(Period(6, "h"), window, berlin)]
    assert lengths == {23: [6, 6, 6, 5], 24: [6, 6, 6, 6], 25: [6, 6, 6, 6, 1]}[hours]


def _windows_of(period: Period, day: Window, calendar: Calendar) -> list[tuple[int, int]]:
    found = []
    now_ms = day.start_ms
    while now_ms < day.end_ms:
        window = window_at(period, now_ms, calendar=calendar)
        found.append((window.start_ms, window.end_ms))
        now_ms = window.end_ms
    return found


def test_a_lifetime_has_one_window() -> None:
    assert window_at(LIFETIME, 0, calendar=Calendar()) == Window(0, END_OF_TIME_MS)
    assert window_at(LIFETIME, LAST_MS, calendar=Calendar("Asia/Kolkata", 6)) == Window(0, END_OF_TIME_MS)
    assert str(LIFETIME) == "lifetime"


def test_windows_are_known_until_the_year_9900() -> None:
    now_ms = at("9900-01-01T00:00")
    for text in ("1s", "1h", "25h", "3660d", "1w", "120mo", "1mo"):
        window = window_at(parse_period(text), now_ms, calendar=Calendar("Europe/Berlin"))
        assert window.start_ms <= now_ms < window.end_ms


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        (["24h", "1d", "daily", "Daily", "1440m", "86400s"], "1d"),
        (["1h", "hourly", "60m", "3600s"], "1h"),
        (["7d", "1w", "weekly", "168h"], "1w"),
        (["14d", "2w"], "2w"),
        (["30d", "1mo", "monthly", "MONTHLY", "720h", "43200m", "2592000s"], "1mo"),
        (["48h", "2d"], "2d"),
        (["25h", "1500m"], "25h"),
        (["60d"], "60d"),
        (["28d", "4w"], "4w"),
        (["90s"], "90s"),
        (["3660d"], "3660d"),
        (["120mo"], "120mo"),
    ],
)
def test_spellings_of_a_period_are_the_same_period(spellings: list[str], canonical: str) -> None:
    assert {str(parse_period(text)) for text in spellings} == {canonical}
    assert len({parse_period(text) for text in spellings}) == 1


@given(st.integers(1, 3660 * 86400))
def test_equal_lengths_are_equal_periods_and_canonical_text_is_stable(length_s: int) -> None:
    spelled = [
        f"{length_s // size}{unit}"
        for unit, size in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
        if length_s % size == 0
    ]
    periods_read = {parse_period(text) for text in spelled}
    assert len(periods_read) == 1
    period = periods_read.pop()
    assert parse_period(str(period)) == period


@pytest.mark.parametrize(
    "value",
    [
        *("xx", "1hr", "1M", "1.5h", "-1h", "+1h", " 1h", "1h ", "1h\n", "1 h", "", "0s", "0mo", "01h", "h", "1", "1H"),
        *("1y", "१h", "1e3s", "1_0h", "9999999999s", "9" * 5000 + "s", "lifetime", "yearly"),
        *(None, 5, 1.5, True, b"1h", ["1h"], {}),
    ],
)
def test_what_is_no_duration_is_refused_and_named(value: object) -> None:
    with pytest.raises(DurationError) as refusal:
        parse_period(value)
    assert str(refusal.value) == f"{value!r} is not a duration; {DURATION_HELP}"


@pytest.mark.parametrize("value", ["3661d", "999999999s", "523w", "121mo", "999999999mo", "87841h"])
def test_what_is_too_long_is_refused_and_named(value: str) -> None:
    with pytest.raises(DurationError, match=f"^{value!r} is too long"):
        parse_period(value)


@given(st.text())
def test_any_text_is_a_period_or_refused(text: str) -> None:
    try:
        period = parse_period(text)
    except DurationError:
        return
    assert parse_period(str(period)) == period


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "Asia/Kolkata", "America/Argentina/Buenos_Aires"])
def test_zones_are_iana_names(name: str) -> None:
    check_zone(name)


@pytest.mark.parametrize(
    "name",
    ["", "Europe", "Europe/Nowhere", "../UTC", "/etc/passwd", "UTC\0", "CEST/", "zone.tab", "x" * 5000, "\ud800"],
)
def test_other_zones_are_refused_and_named(name: str) -> None:
    with pytest.raises(DurationError) as refusal:
        check_zone(name)
    assert repr(name) in str(refusal.value)
