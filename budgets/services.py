"""Every write to a scope's limits, and reading them back as values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, cast

from django.conf import settings

from budgets.errors import InputError
from budgets.models import Budget, Grant, LimitedScope, Limits
from budgets.rules.limits import (
    MAXIMUM_FIELDS,
    RATE_FIELDS,
    Limit,
    LimitError,
    LimitUnit,
    check_distinct,
    entry_json,
    limits_of_models,
    parse_limits,
    rate_limits,
    single_limit,
)
from budgets.rules.money import exact_usd
from budgets.rules.scopes import CountedLimit, Raise, Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, Calendar, DurationError, check_zone

TIER = "tier"
"""Under this name `counted_since` has the instant at which a scope took its tier."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits that a scope shall have of its own: those of `budget_limits`, that of `max_budget` and
    `budget_duration`, the rates by the names of RATE_FIELDS, and those by model in their stored forms."""

    limits: tuple[Limit, ...]
    single: Limit | None
    calendar: Calendar
    soft_budget_nanousd: int | None = None
    rates: Mapping[str, int] = field(default_factory=dict)
    model_max_budget: Mapping[str, Any] = field(default_factory=dict)
    model_rpm_limit: Mapping[str, int] = field(default_factory=dict)
    model_tpm_limit: Mapping[str, int] = field(default_factory=dict)
    tier: Budget | None = None

    @property
    def by_model(self) -> dict[str, tuple[Limit, ...]]:
        """The limits for each model that has some. Raises LimitError."""
        return limits_of_models(self.model_max_budget, rpm=self.model_rpm_limit, tpm=self.model_tpm_limit)


class LimitFields(TypedDict, total=False):
    """What a request says of a scope's limits: a missing field leaves them as they are, None clears."""

    budget_limits: tuple[Limit, ...] | None
    max_budget_nanousd: int | None
    budget_duration: str | None
    soft_budget_nanousd: int | None
    tpm_limit: int | None
    rpm_limit: int | None
    tpd_limit: int | None
    max_parallel_requests: int | None
    model_max_budget: dict[str, dict[str, Any]] | None
    model_rpm_limit: dict[str, int] | None
    model_tpm_limit: dict[str, int] | None
    budget_id: str | None
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


def calendar_of(scope: Limits) -> Calendar:
    """The calendar of a scope's windows. A scope keeps the zone it was made with: when the project's default changes,
    windows that are being counted must not move."""
    return Calendar(scope.timezone or settings.TIME_ZONE_OF_WINDOWS, scope.week_start)


def tier_of(scope: Limits) -> Budget | None:
    """The tier that a scope refers to. Whoever reads many scopes selects it with them."""
    return scope.budget if isinstance(scope, LimitedScope) else None


def limit_set(scope: Limits) -> LimitSet:
    """The limits that a scope has of its own now."""
    return LimitSet(
        limits=_entries(scope),
        single=single_limit(scope.max_budget_nanousd, duration=scope.budget_duration),
        calendar=calendar_of(scope),
        soft_budget_nanousd=scope.soft_budget_nanousd,
        rates={name: rate for name in RATE_FIELDS if (rate := getattr(scope, name)) is not None},
        model_max_budget=scope.model_max_budget,
        model_rpm_limit=scope.model_rpm_limit,
        model_tpm_limit=scope.model_tpm_limit,
        tier=tier_of(scope),
    )


def changed_limits(scope: Limits, fields: LimitFields) -> LimitSet:
    """The limits that a scope has once `fields` are applied to it. Raises LimitError, and InputError for the tier."""
    current = limit_set(scope)
    zone = current.calendar.zone
    if "timezone" in fields:
        zone = fields["timezone"] or settings.TIME_ZONE_OF_WINDOWS
    given = cast(dict[str, Any], fields)
    rates = {name: given.get(name, current.rates.get(name)) for name in RATE_FIELDS}
    return LimitSet(
        limits=fields.get("budget_limits", current.limits) or (),
        single=_changed_single(scope, fields),
        calendar=Calendar(zone, fields.get("week_start", current.calendar.week_start) or 0),
        soft_budget_nanousd=fields.get("soft_budget_nanousd", current.soft_budget_nanousd),
        rates={name: rate for name, rate in rates.items() if rate is not None},
        model_max_budget=given.get("model_max_budget", current.model_max_budget) or {},
        model_rpm_limit=given.get("model_rpm_limit", current.model_rpm_limit) or {},
        model_tpm_limit=given.get("model_tpm_limit", current.model_tpm_limit) or {},
        tier=_tier(fields["budget_id"]) if "budget_id" in fields else current.tier,
    )


def _changed_single(scope: Limits, fields: LimitFields) -> Limit | None:
    maximum = fields.get("max_budget_nanousd", scope.max_budget_nanousd)
    if maximum is None and fields.get("budget_duration") is not None:
        message = f"{fields['budget_duration']!r} limits nothing without max_budget; give both"
        raise LimitError(message, field="budget_duration")
    return single_limit(maximum, duration=fields.get("budget_duration", scope.budget_duration))


def _tier(budget_id: str | None) -> Budget | None:
    if not budget_id:
        return None
    tier = Budget.objects.filter(budget_id=budget_id).first()
    if tier is None:
        raise InputError(f"budget_id: there is no budget {budget_id!r}; POST /budget/new makes one", field="budget_id")
    return tier


@dataclass(frozen=True, slots=True)
class DefaultTier:
    """A tier that holds for scopes which have none of their own, and since when."""

    tier: Budget
    since_at: datetime


def scope_limits(
    scope: Limits, *, kind: str, scope_id: str, grants: Sequence[Grant] = (), default: DefaultTier | None = None
) -> ScopeLimits:
    """A scope's limits as the gate wants them: its own, the single one first, then those of its tier.

    `grants` may be of other scopes too.
    """
    mine = [grant for grant in grants if (grant.scope_kind, grant.scope_id) == (kind, scope_id)]
    counted = {model: tuple(limits) for model, limits in _counted(scope, grants=mine, default=default).items()}
    return ScopeLimits(Scope(kind, scope_id), calendar_of(scope), counted.pop("", ()), counted)


def _counted(
    scope: Limits, *, grants: Sequence[Grant], default: DefaultTier | None = None
) -> dict[str, list[CountedLimit]]:
    """By model, under no name those for all models."""
    own, tier = limit_set(scope), tier_of(scope)
    tier_since = scope.counted_since.get(TIER, "")
    if tier is None and default is not None:
        tier, tier_since = default.tier, text_of(default.since_at)
    counted: dict[str, list[CountedLimit]] = {}
    for model, limit in _all_limits(own):
        since = scope.counted_since.get(_since_name(limit, model=model))
        assert since is not None, "a limit always knows since when it is counted"
        counted.setdefault(model, []).append(_raised(limit, since=since, model=model, grants=grants))
    if tier is not None:
        for model, limit in _all_limits(limit_set(tier)):
            if not _is_replaced(limit, model=model, own=own, tier=tier):
                since = _later(tier_since, tier.counted_since[_since_name(limit, model=model)])
                counted.setdefault(model, []).append(_raised(limit, since=since, model=model, grants=grants))
    return counted


def _all_limits(limits: LimitSet) -> Iterator[tuple[str, Limit]]:
    """Every limit with the model that it is for, or no name."""
    if limits.single is not None:
        yield "", limits.single
    yield from (("", limit) for limit in (*limits.limits, *rate_limits(limits.rates)))
    yield from ((model, limit) for model, some in limits.by_model.items() for limit in some)


def _later(text: str, other: str) -> str:
    return max(text, other, key=datetime.fromisoformat)


def _is_replaced(limit: Limit, *, model: str, own: LimitSet, tier: Budget) -> bool:
    """Whether a scope's own limits take the place of one of its tier's: the same one, or any `max_budget`."""
    if any(name == model and each.identity == limit.identity for name, each in _all_limits(own)):
        return True
    is_single = limit == single_limit(tier.max_budget_nanousd, duration=tier.budget_duration)
    return not model and is_single and own.single is not None


def _since_name(limit: Limit, *, model: str) -> str:
    return f"{limit.identity}@{model}" if model else limit.identity


def _raised(limit: Limit, *, since: str, model: str, grants: Sequence[Grant]) -> CountedLimit:
    raises = tuple(
        Raise(ms_of(grant.starts_at), ms_of(grant.ends_at), grant.amount)
        for grant in grants
        if grant.model == model
        and (grant.identity == limit.identity or (not grant.identity and limit.unit is LimitUnit.USD))
    )
    return CountedLimit(limit, ms_of(datetime.fromisoformat(since)), raises)


def grants_for(scopes: Collection[tuple[str, str]], *, now: datetime) -> list[Grant]:
    """The grants of any of these scopes (kind and id) that raise something now or later. One query."""
    kinds, ids = {kind for kind, _ in scopes}, {scope_id for _, scope_id in scopes}
    found = Grant.objects.filter(scope_kind__in=kinds, scope_id__in=ids, ends_at__gt=now).order_by("id")
    return [grant for grant in found if (grant.scope_kind, grant.scope_id) in scopes]


def _entries(scope: Limits) -> tuple[Limit, ...]:
    own = {"budget_duration", "enforcement", *MAXIMUM_FIELDS}
    return parse_limits([{name: entry[name] for name in own & entry.keys()} for entry in scope.budget_limits])


def check_limits(wanted: LimitSet) -> None:
    """Raises LimitError where two limits are the same, the soft budget is not below, or the time zone is none."""
    try:
        check_zone(wanted.calendar.zone)
    except DurationError as error:
        raise LimitError(str(error), field="timezone") from None
    check_distinct(wanted.limits, single=wanted.single, rates=rate_limits(wanted.rates))
    limits_of_models(wanted.model_max_budget, rpm=wanted.model_rpm_limit, tpm=wanted.model_tpm_limit)
    maximum = None if wanted.single is None else wanted.single.maximum
    if maximum is not None and (wanted.soft_budget_nanousd or 0) >= maximum > 0:
        soft, most = exact_usd(wanted.soft_budget_nanousd or 0), exact_usd(maximum)
        raise LimitError(f"soft_budget ({soft}) must be strictly lower than max_budget ({most})", field="soft_budget")


def set_limits(scope: Limits, wanted: LimitSet, *, now: datetime, recount: bool = False) -> None:
    """Gives an unsaved or locked scope its limits; the caller saves it. Raises LimitError.

    A limit that the scope had already, by unit and period, keeps counting: its spend stays. Every other one counts
    what its current window has already spent. `recount` says that all counters moved (the scope has another team).
    """
    check_limits(wanted)
    before = {} if recount or wanted.calendar != calendar_of(scope) else dict(scope.counted_since)
    if isinstance(scope, LimitedScope):
        if scope.budget_id != (None if wanted.tier is None else wanted.tier.budget_id):
            before.pop(TIER, None)
        scope.budget = wanted.tier
    scope.timezone = wanted.calendar.zone
    scope.week_start = wanted.calendar.week_start
    scope.budget_limits = [entry_json(limit) for limit in wanted.limits]
    scope.max_budget_nanousd = None if wanted.single is None else wanted.single.maximum
    scope.budget_duration = None if wanted.single is None else wanted.single.spelled or None
    scope.soft_budget_nanousd = wanted.soft_budget_nanousd
    for name in RATE_FIELDS:
        setattr(scope, name, wanted.rates.get(name))
    scope.model_max_budget = dict(wanted.model_max_budget)
    scope.model_rpm_limit = dict(wanted.model_rpm_limit)
    scope.model_tpm_limit = dict(wanted.model_tpm_limit)
    counted = [_since_name(limit, model=model) for model, limit in _all_limits(wanted)]
    if wanted.tier is not None:
        counted.append(TIER)
    scope.counted_since = {name: before.get(name, text_of(now)) for name in counted}
    due_at = scope.next_reset_at
    refresh_resets(scope, now=now)
    if due_at is not None and due_at <= now and scope.next_reset_at is not None:
        scope.next_reset_at = due_at  # a window has ended and nobody has closed it yet: it stays due


def set_limits_beside(scope: Limits, wanted: LimitSet, *, now: datetime) -> None:
    """The same for a scope that has more limits by a default, of which this module knows nothing: the task that closes
    windows works out anew when the next one ends. What is due already stays so."""
    due_at = scope.next_reset_at
    set_limits(scope, wanted, now=now)
    scope.next_reset_at = min(due_at or now, now)


def refresh_resets(scope: Limits, *, now: datetime) -> None:
    """Writes the `reset_at` of every limit as computed for `now`; of a limit whose window has not ended it stays.

    `next_reset_at` is when the first window ends of which a history row may be written. Rates leave none.
    """
    calendar = calendar_of(scope)
    scope.budget_limits = [
        {**entry, "reset_at": _reset_text(limit, calendar=calendar, now=now)}
        for limit, entry in zip(_entries(scope), scope.budget_limits, strict=True)
    ]
    single = single_limit(scope.max_budget_nanousd, duration=scope.budget_duration)
    scope.budget_reset_at = None if single is None else _reset_at(single, calendar=calendar, now=now)
    counted = [each.limit for limits in _counted(scope, grants=()).values() for each in limits]
    resets = [_reset_at(limit, calendar=calendar, now=now) for limit in counted if not limit.is_rate]
    scope.next_reset_at = min(filter(None, resets), default=None)


def _reset_at(limit: Limit, *, calendar: Calendar, now: datetime) -> datetime | None:
    end_ms = limit.window_at(ms_of(now), calendar=calendar).end_ms
    return None if end_ms == END_OF_TIME_MS else instant_of(end_ms)


def _reset_text(limit: Limit, *, calendar: Calendar, now: datetime) -> str | None:
    reset_at = _reset_at(limit, calendar=calendar, now=now)
    return None if reset_at is None else text_of(reset_at)


def parsed_limits(entries: Sequence[Any] | None) -> tuple[Limit, ...]:
    """The limits of a `budget_limits` value as a client sent it; None and an empty list clear. Raises LimitError."""
    return () if entries is None else parse_limits(entries)
