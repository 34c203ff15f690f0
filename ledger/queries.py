"""The parameters of reports, logs and exports, each with what it means."""

from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar

from rest_framework import serializers

from budgets.errors import InputError
from budgets.queries import InstantParameter, IntParameter, NamesParameter, QuerySerializer, TextParameter
from budgets.rules.money import MoneyError, nanousd_from_usd
from ledger.filters import Days

DAYS_MAX = 3660
DAYS_DEFAULT = 30
YEAR_MAX = 9000
PAGE_MAX = 10_000
LIMIT_MAX = 1000


class UsdParameter(TextParameter):
    """Dollars, as nano-dollars."""

    def to_internal_value(self, data: str) -> Any:
        try:
            return nanousd_from_usd(super().to_internal_value(data))
        except MoneyError as error:
            raise serializers.ValidationError(str(error)) from None


def _start(help_text: str = "The first day, YYYY-MM-DD. Without one, 30 days ago.") -> InstantParameter:
    return InstantParameter(help_text=help_text)


def _end(help_text: str = "The last day, which is included. Without one, today.") -> InstantParameter:
    return InstantParameter(help_text=help_text, end_of_day=True)


def _key() -> TextParameter:
    return TextParameter(max_length=256, secret=True, help_text="Only the calls of this key: its text or hash.")


def _page() -> IntParameter:
    return IntParameter(minimum=1, maximum=PAGE_MAX, default=1, help_text="Which page.")


class DaysQuery(QuerySerializer):
    """Days, of which the last 30 are the default."""

    start_date = _start()
    end_date = _end()


class TopQuery(DaysQuery):
    """What was spent by each of something."""

    limit = IntParameter(minimum=1, maximum=LIMIT_MAX, default=100, help_text="How many, the dearest first.")


class TagsQuery(TopQuery):
    """What was spent by tags."""

    tags = NamesParameter(max_length=128, help_text="Only these tags, separated by commas.")


class ActivityQuery(DaysQuery):
    """What all daily activity can be asked."""

    model = TextParameter(max_length=256, help_text="Only the calls of this model.")
    page = _page()
    page_size = IntParameter(minimum=1, maximum=LIMIT_MAX, default=10, help_text="How many days are on a page.")
    timezone = IntParameter(
        minimum=-14 * 60,
        maximum=14 * 60,
        default=0,
        help_text="Minutes that the zone of the days is behind UTC: 480 for Los Angeles in winter, -60 for Berlin.",
    )


class TeamActivityQuery(ActivityQuery):
    """GET /team/daily/activity."""

    team_ids = NamesParameter(max_length=128, help_text="Only these teams, separated by commas.")
    exclude_team_ids = NamesParameter(max_length=128, help_text="Without these teams.")
    api_key = _key()


class UserActivityQuery(ActivityQuery):
    """GET /user/daily/activity."""

    not_yet: ClassVar[dict[str, object]] = {"include_current_utc_day": "false"}
    user_id = TextParameter(max_length=128, help_text="Only this user.")
    api_key = _key()
    page_size = IntParameter(minimum=1, maximum=LIMIT_MAX, default=50, help_text="How many days are on a page.")


class CustomerActivityQuery(ActivityQuery):
    """GET /customer/daily/activity."""

    end_user_ids = NamesParameter(max_length=128, help_text="Only these customers, separated by commas.")
    exclude_end_user_ids = NamesParameter(max_length=128, help_text="Without these customers.")
    api_key = _key()


class TagActivityQuery(ActivityQuery):
    """GET /tag/daily/activity."""

    tags = NamesParameter(max_length=128, help_text="Only these tags, separated by commas.")
    exclude_tags = NamesParameter(max_length=128, help_text="Without these tags.")


class SpendReportQuery(QuerySerializer):
    """GET /global/spend/report."""

    start_date = InstantParameter(required=True, help_text="The first day, YYYY-MM-DD.")
    end_date = InstantParameter(required=True, end_of_day=True, help_text="The last day, which is included.")
    group_by = TextParameter(
        choices=("team", "customer", "api_key"), default="team", help_text="What each line of the report is."
    )
    api_key = _key()
    internal_user_id = TextParameter(max_length=128, help_text="Only the calls of this user.")
    team_id = TextParameter(max_length=128, help_text="Only the calls of this team.")
    customer_id = TextParameter(max_length=128, help_text="Only the calls of this customer.")


class LogsQuery(QuerySerializer):
    """GET /spend/logs."""

    api_key = _key()
    user_id = TextParameter(max_length=128, help_text="Only the calls of this user's keys.")
    request_id = TextParameter(max_length=128, help_text="Only the call of this id.")
    start_date = _start()
    end_date = _end()
    summarize = TextParameter(
        choices=("true", "false"),
        default="true",
        help_text="With dates: `true` for sums by day, `false` for the calls.",
    )


LOG_SORTS = {
    "startTime": "admitted_at",
    "endTime": "finished_at",
    "spend": "cost_nanousd",
    "total_tokens": "input_tokens + output_tokens",
    "request_duration_ms": "finished_at - admitted_at",
}


class PagedLogsQuery(QuerySerializer):
    """GET /spend/logs/v2."""

    not_yet: ClassVar[dict[str, object]] = {
        "cache_hit_filter": None,
        "used_client_oauth_token": "false",
        "span_type": None,
        "model_id": None,
        "error_code": None,
        "error_message": None,
        "exclude_internal_health_checks": "false",
        "group_by_session": "false",
        "session_cursor": None,
        "search": None,
    }
    api_key = _key()
    key_alias = TextParameter(help_text="Only the calls of the keys of this alias.")
    user_id = TextParameter(max_length=128, help_text="Only the calls of this user's keys.")
    team_id = TextParameter(max_length=128, help_text="Only the calls of this team.")
    end_user = TextParameter(max_length=128, help_text="Only the calls for this customer.")
    request_id = TextParameter(max_length=128, help_text="Only the call of this id.")
    session_id = TextParameter(max_length=128, help_text="Only the calls of this run.")
    model = TextParameter(max_length=256, help_text="Only the calls of this model, by public name or the provider's.")
    model_group = TextParameter(max_length=256, help_text="Only the calls of this model, by public name.")
    min_spend = UsdParameter(help_text="Only calls that cost as much, in USD.")
    max_spend = UsdParameter(help_text="Only calls that cost no more, in USD.")
    status_filter = TextParameter(choices=("success", "failure"), help_text="Only calls that ended so.")
    start_date = _start()
    end_date = _end()
    page = _page()
    page_size = IntParameter(minimum=1, maximum=LIMIT_MAX, default=50, help_text="How many calls are on a page.")
    sort_by = TextParameter(choices=tuple(LOG_SORTS), default="startTime", help_text="What the calls are sorted by.")
    sort_order = TextParameter(choices=("asc", "desc"), default="desc", help_text="In which order.")


class ExportQuery(QuerySerializer):
    """GET /spend/export."""

    format = TextParameter(choices=("csv", "json"), default="csv", help_text="CSV with a header, or one JSON array.")
    start_date = _start()
    end_date = _end()
    api_key = _key()
    user_id = TextParameter(max_length=128, help_text="Only the calls of this user's keys.")
    team_id = TextParameter(max_length=128, help_text="Only the calls of this team.")
    end_user = TextParameter(max_length=128, help_text="Only the calls for this customer.")
    model = TextParameter(max_length=256, help_text="Only the calls of this model, by public name or the provider's.")


def days_of(query: dict[str, Any], *, now: datetime) -> Days:
    """The days that a query names. Raises InputError where they are none, or too many."""
    offset = query.get("timezone") or 0
    today = (now - timedelta(minutes=offset)).date()
    last = query["end_date"].date() if query["end_date"] is not None else today
    start = query["start_date"]
    first = start.date() if start is not None else last - timedelta(days=DAYS_DEFAULT - 1)
    _check(first=first, last=last, days=(last - first).days + 1)
    return Days(first, last, offset)


def instants_of(query: dict[str, Any], *, now: datetime) -> tuple[datetime, datetime]:
    """From when on, and before when, the calls of a query were admitted."""
    end_at = query["end_date"]
    end_at = datetime.combine(now.date(), time.max, UTC) if end_at is None else end_at
    start_at = query["start_date"]
    start_at = end_at - timedelta(days=DAYS_DEFAULT) if start_at is None else start_at
    _check(first=start_at, last=end_at, days=(end_at - start_at).days)
    return start_at, end_at + timedelta(microseconds=1)


def _check(*, first: Any, last: Any, days: int) -> None:
    if first > last:
        raise InputError(f"start_date: {first} is after end_date, {last}", field="start_date")
    if last.year > YEAR_MAX:
        raise InputError(f"end_date: {last} is too late; allowed are years up to {YEAR_MAX}", field="end_date")
    if days > DAYS_MAX:
        raise InputError(f"end_date: {days} days; allowed are at most {DAYS_MAX}", field="end_date")
