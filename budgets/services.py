"""Every write to a scope's limits, and reading them back as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from django.conf import settings

from budgets.models import LimitedScope
from budgets.rules.limits import (
    MAXIMUM_FIELDS,
    Limit,
    LimitError,
    check_distinct,
    entry_json,
    parse_limits,
    single_limit,
)
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, Calendar, DurationError, check_zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits that a scope shall have: those of `budget_limits`, and that of `max_budget` and `budget_duration`."""

    limits: tuple[Limit, ...]
    single: Limit | None
    calendar: Calendar


class LimitFields(TypedDict, total=False):
    """What a request says of a scope's limits: a missing field leaves them as they are, None clears."""

    budget_limits: tuple[Limit, ...] | None
    max_budget_nanousd: int | None
    budget_duration: str | None
    timezone: str | None
    week_start: int | None


LIMIT_FIELDS = frozenset(LimitFields.__annotations__)


def ms_of(instant: datetime) -> int:
    """Milliseconds since 1970 of an aware instant, rounded down; a float of seconds would lose one now and then."""
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def instant_of(ms: int) -> datetime:
    """The aware UTC instant of milliseconds since 1970."""
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def text_of(instant: datetime) -> str:
    """RFC 3339 in UTC with a Z, to the second where that is exact: `2026-11-23T14:00:00Z`."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def calendar_of(scope: LimitedScope) -> Calendar:
    """The calendar of a scope's windows. A scope keeps the zone it was made with: when the project's default changes,
    windows that are being counted must not move."""
    return Calendar(scope.timezone or settings.TIME_ZONE_OF_WINDOWS, scope.week_start)


def limit_set(scope: LimitedScope) -> LimitSet:
    """The limits that a scope has now."""
    return LimitSet(
        limits=tuple(counted.limit for counted in _stored(scope)),
        single=single_limit(scope.max_budget_nanousd, duration=scope.budget_duration),
        calendar=calendar_of(scope),
    )


def changed_limits(scope: LimitedScope, fields: LimitFields) -> LimitSet:
    """The limits that a scope has once `fields` are applied to it. Raises LimitError."""
    current = limit_set(scope)
    zone = current.calendar.zone
    if "timezone" in fields:
        zone = fields["timezone"] or settings.TIME_ZONE_OF_WINDOWS
    return LimitSet(
        limits=fields.get("budget_limits", current.limits) or (),
        single=_changed_single(scope, fields),
        calendar=Calendar(zone, fields.get("week_start", current.calendar.week_start) or 0),
    )


def _changed_single(scope: LimitedScope, fields: LimitFields) -> Limit | None:
    maximum = fields.get("max_budget_nanousd", scope.max_budget_nanousd)
    if maximum is None and fields.get("budget_duration") is not None:
        message = f"{fields['budget_duration']!r} limits nothing without max_budget; give both"
        raise LimitError(message, field="budget_duration")
    return single_limit(maximum, duration=fields.get("budget_duration", scope.budget_duration))


def scope_limits(scope: LimitedScope, *, kind: str, scope_id: str) -> ScopeLimits:
    """A scope's limits as the gate wants them, the single one first."""
    limits = _stored(scope)
    single = single_limit(scope.max_budget_nanousd, duration=scope.budget_duration)
    if single is not None:
        assert scope.budget_counted_since is not None, "a limit always knows since when it is counted"
        limits.insert(0, CountedLimit(single, ms_of(scope.budget_counted_since)))
    return ScopeLimits(Scope(kind, scope_id), calendar_of(scope), tuple(limits))


def _stored(scope: LimitedScope) -> list[CountedLimit]:
    own = {"budget_duration", "enforcement", *MAXIMUM_FIELDS}
    limits = parse_limits([{name: entry[name] for name in own & entry.keys()} for entry in scope.budget_limits])
    return [
        CountedLimit(limit, ms_of(datetime.fromisoformat(entry["counted_since"])))
        for limit, entry in zip(limits, scope.budget_limits, strict=True)
    ]


def check_limits(wanted: LimitSet) -> None:
    """Raises LimitError where two limits are the same, or the time zone is none."""
    try:
        check_zone(wanted.calendar.zone)
    except DurationError as error:
        raise LimitError(str(error), field="timezone") from None
    check_distinct(wanted.limits, single=wanted.single)


def set_limits(scope: LimitedScope, wanted: LimitSet, *, now: datetime, recount: bool = False) -> None:
    """Gives an unsaved or locked scope its limits; the caller saves it. Raises LimitError.

    A limit that the scope had already, by unit and period, keeps counting: its spend stays. Every other one counts
    what its current window has already spent. `recount` says that all counters moved (the scope has another team).
    """
    check_limits(wanted)
    before = {} if recount or wanted.calendar != calendar_of(scope) else _counted_since(scope)
    scope.timezone = wanted.calendar.zone
    scope.week_start = wanted.calendar.week_start
    scope.budget_limits = [
        entry_json(limit) | {"counted_since": text_of(before.get(limit.identity, now))} for limit in wanted.limits
    ]
    single = wanted.single
    scope.max_budget_nanousd = None if single is None else single.maximum
    scope.budget_duration = None if single is None else single.spelled or None
    scope.budget_counted_since = None if single is None else before.get(single.identity, now)
    due_at = scope.next_reset_at
    refresh_resets(scope, now=now)
    if due_at is not None and due_at <= now and scope.next_reset_at is not None:
        scope.next_reset_at = due_at  # a window has ended and nobody has closed it yet: it stays due


def _counted_since(scope: LimitedScope) -> dict[str, datetime]:
    single = single_limit(scope.max_budget_nanousd, duration=scope.budget_duration)
    since = {counted.limit.identity: instant_of(counted.since_ms) for counted in _stored(scope)}
    if single is not None and scope.budget_counted_since is not None:
        since[single.identity] = scope.budget_counted_since
    return since


def refresh_resets(scope: LimitedScope, *, now: datetime) -> None:
    """Writes the `reset_at` of every limit as computed for `now`; of a limit whose window has not ended it stays."""
    calendar = calendar_of(scope)
    entries: list[dict[str, Any]] = []
    for counted, entry in zip(_stored(scope), scope.budget_limits, strict=True):
        entries.append({**entry, "reset_at": _reset_text(counted.limit, calendar=calendar, now=now)})
    scope.budget_limits = entries
    single = single_limit(scope.max_budget_nanousd, duration=scope.budget_duration)
    scope.budget_reset_at = None if single is None else _reset_at(single, calendar=calendar, now=now)
    resets = [datetime.fromisoformat(entry["reset_at"]) for entry in entries if entry["reset_at"] is not None]
    scope.next_reset_at = min([*resets, *filter(None, [scope.budget_reset_at])], default=None)


def _reset_at(limit: Limit, *, calendar: Calendar, now: datetime) -> datetime | None:
    end_ms = limit.window_at(ms_of(now), calendar=calendar).end_ms
    return None if end_ms == END_OF_TIME_MS else instant_of(end_ms)


def _reset_text(limit: Limit, *, calendar: Calendar, now: datetime) -> str | None:
    reset_at = _reset_at(limit, calendar=calendar, now=now)
    return None if reset_at is None else text_of(reset_at)


def parsed_limits(entries: Sequence[Any] | None) -> tuple[Limit, ...]:
    """The limits of a `budget_limits` value as a client sent it; None and an empty list clear. Raises LimitError."""
    return () if entries is None else parse_limits(entries)
