"""How the management API shows limits, spends and windows. Dollars are exact decimals, instants are as of `now`.

What clients know of a limit is inside `budget_limits`; everything else stands beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from budgets.documents import (
    Schema,
    anything,
    instant,
    integer,
    listing,
    mapping,
    nullable,
    number,
    record,
    text,
)
from budgets.models import Budget, Grant, Limits
from budgets.rules.limits import MAXIMUM_FIELDS, RATE_FIELDS, Enforcement, Limit, LimitUnit, parse_limits
from budgets.rules.money import nanousd_from_usd, usd_from_nanousd
from budgets.rules.scopes import ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, LIFETIME, Calendar
from budgets.serializers import WEEKDAYS
from budgets.services import instant_of, limit_set, ms_of, tier_of
from budgets.usage import Spends, WindowUsage

Answer = dict[str, Any]

_FIELD_OF_UNIT = {unit: field for field, unit in MAXIMUM_FIELDS.items()} | {LimitUnit.PARALLEL: "max_parallel_requests"}


_DURATION = text("The duration, as it was given.")
_MAXIMA = {
    "max_budget": number("The most that may be spent in a window, in USD.", minimum=0),
    "max_tokens": integer("The most tokens in a window.", minimum=0),
    "max_requests": integer("The most finished calls in a window.", minimum=0),
}
LIMIT_SCHEMA = record(
    "BudgetLimit",
    {
        "budget_duration": _DURATION,
        **_MAXIMA,
        "reset_at": nullable(instant("When the current window ends; null where it never does.")),
        "enforcement": text("Only where it is not `standard`.", choices=[member.value for member in Enforcement]),
    },
    required=["budget_duration", "reset_at"],
    d="One limit, with one of the three maxima.",
)
LIMITS_FIELDS: dict[str, Schema] = {
    "max_budget": nullable(number("The most that may be spent in each `budget_duration`, in USD.", minimum=0)),
    "budget_duration": nullable(text("The period of `max_budget`; null for all time.")),
    "budget_reset_at": nullable(instant("When the current window of `max_budget` ends.")),
    "budget_limits": listing(LIMIT_SCHEMA, "The limits that hold all at once."),
    "soft_budget": nullable(number("An amount below `max_budget` that refuses nothing, in USD.", minimum=0)),
    "budget_id": nullable(text("The tier whose limits hold besides.")),
    "tpm_limit": nullable(integer("The most tokens in a minute.", minimum=0)),
    "rpm_limit": nullable(integer("The most requests in a minute.", minimum=0)),
    "tpd_limit": nullable(integer("The most tokens in a day.", minimum=0)),
    "max_parallel_requests": nullable(integer("The most calls that run at the same time.", minimum=0)),
    "model_max_budget": mapping(anything("The limits of this model."), "Limits by model."),
    "model_rpm_limit": nullable(mapping(integer("Requests.", minimum=0), "The most requests in a minute, by model.")),
    "model_tpm_limit": nullable(mapping(integer("Tokens.", minimum=0), "The most tokens in a minute, by model.")),
    "timezone": text("The zone in which hours, days, weeks and months begin."),
    "week_start": text("The day on which weeks begin.", choices=WEEKDAYS),
}
"""What `limits_answer` answers."""

SPENDS_FIELDS: dict[str, Schema] = {
    "spend": number("Spent in the window of `max_budget`, in USD; without a duration, in all time."),
    "total_spend": number("Spent in all time, in USD."),
}
"""What `spends_answer` answers."""

USAGE_SCHEMA = mapping(
    record(
        "WindowUsage",
        {
            "current_spend": number("Settled in this window: USD, tokens or requests."),
            "held": number("Held by calls that are running."),
            **_MAXIMA,
            "remaining": number("What is left."),
            "window_start": instant("When the window began."),
            "granted": number("How much of the maximum is granted for a time only.", minimum=0),
            "reset_at": instant("When it ends."),
        },
        required=["current_spend", "held", "remaining", "granted", "window_start", "reset_at"],
        d="The current window of one limit, with its maximum, which includes what is granted.",
    ),
    "The windows of `budget_limits`, by the duration as it was given.",
)
"""What `usage_answer` answers."""

GRANT_SCHEMA = record(
    "LimitGrant",
    {
        "id": integer("What a revocation names it by."),
        "scope": text("The kind of the scope.", example="key"),
        "scope_id": text("The scope: of a key its id, of a member `user/team`."),
        "model": nullable(text("The model whose limit it raises; null for the limits for all models.")),
        "budget_duration": nullable(text("The period of the limit; null for all USD limits, or the one for all time.")),
        "unit": nullable(text("What the limit counts; null for all USD limits.", choices=[*LimitUnit])),
        "amount": number("What is added to the maximum, in the unit of the limit.", minimum=0),
        "from": instant("Since when."),
        "until": instant("Until when."),
        "reason": text("Why."),
        "created_at": instant("When it was made."),
        "created_by": text("Who made it."),
    },
    d="A temporary increase of a limit.",
)


def amount_of(amount: int | None, *, unit: LimitUnit) -> Decimal | int | None:
    """Dollars for nano-dollars; tokens and requests as they are."""
    return usd_from_nanousd(amount) if amount is not None and unit is LimitUnit.USD else amount


def limits_answer(scope: Limits, *, now: datetime) -> Answer:
    """The limits of a scope, and the calendar that they follow."""
    limits = limit_set(scope)
    single = limits.single
    return {
        "max_budget": amount_of(scope.max_budget_nanousd, unit=LimitUnit.USD),
        "budget_duration": scope.budget_duration,
        "budget_reset_at": None if single is None else reset_at(single, calendar=limits.calendar, now=now),
        "budget_id": tier.budget_id if (tier := tier_of(scope)) is not None else None,
        "budget_limits": [_entry_answer(limit, calendar=limits.calendar, now=now) for limit in limits.limits],
        "soft_budget": amount_of(scope.soft_budget_nanousd, unit=LimitUnit.USD),
        **{name: getattr(scope, name) for name in RATE_FIELDS},
        "model_max_budget": {model: _model_answer(entry) for model, entry in scope.model_max_budget.items()},
        "model_rpm_limit": scope.model_rpm_limit or None,
        "model_tpm_limit": scope.model_tpm_limit or None,
        "timezone": limits.calendar.zone,
        "week_start": WEEKDAYS[limits.calendar.week_start],
    }


def _model_answer(stored: Mapping[str, Any]) -> Answer:
    """The limits of one model, as they were given but for `reset_at`."""
    answer = dict(stored)
    if "max_budget" in stored:
        answer["max_budget"] = usd_from_nanousd(nanousd_from_usd(stored["max_budget"]))
    if "budget_limits" in stored:
        answer["budget_limits"] = [_given(limit) for limit in parse_limits(stored["budget_limits"])]
    return answer


def _given(limit: Limit) -> Answer:
    entry: Answer = {
        "budget_duration": limit.spelled,
        _FIELD_OF_UNIT[limit.unit]: amount_of(limit.maximum, unit=limit.unit),
    }
    if limit.enforcement is not Enforcement.STANDARD:
        entry["enforcement"] = limit.enforcement.value
    return entry


def _entry_answer(limit: Limit, *, calendar: Calendar, now: datetime) -> Answer:
    return {**_given(limit), "reset_at": reset_at(limit, calendar=calendar, now=now)}


def reset_at(limit: Limit, *, calendar: Calendar, now: datetime) -> datetime | None:
    """When the current window of a limit ends; None where it never does."""
    end_ms = limit.window_at(ms_of(now), calendar=calendar).end_ms
    return None if end_ms == END_OF_TIME_MS else instant_of(end_ms)


def grant_answer(grant: Grant) -> Answer:
    """A grant, as GRANT_SCHEMA says."""
    unit, _, period = grant.identity.partition("/")
    return {
        "id": grant.id,
        "scope": grant.scope_kind,
        "scope_id": grant.scope_id,
        "model": grant.model or None,
        "budget_duration": None if period in ("", str(LIFETIME)) else period,
        "unit": unit or None,
        "amount": amount_of(grant.amount, unit=LimitUnit(unit or LimitUnit.USD)),
        "from": grant.starts_at,
        "until": grant.ends_at,
        "reason": grant.reason or grant.name,
        "created_at": grant.created_at,
        "created_by": grant.created_by,
    }


def grants_answer(grants: Sequence[Grant], *, kind: str, scope_id: str) -> list[Answer]:
    """`grants` beside `budget_limits_usage`: those of one scope, of grants that may be of other scopes too."""
    return [grant_answer(grant) for grant in grants if (grant.scope_kind, grant.scope_id) == (kind, scope_id)]


def listed_limits(scope: Limits, limits: ScopeLimits, *, tier: Budget | None) -> ScopeLimits:
    """Those of a scope's limits that `budget_limits_usage` shows, by their durations: the listed ones, and those of the
    tier that holds but its rates."""
    own = limit_set(scope)
    shown = {limit.identity for limit in own.limits}
    if tier is not None:
        of_tier = limit_set(tier)
        shown |= {limit.identity for limit in (*of_tier.limits, *filter(None, [of_tier.single]))}
    if own.single is not None:
        shown.discard(own.single.identity)
    listed = (each for each in limits.limits if each.limit.identity in shown and each.limit.spelled)
    return replace(limits, limits=tuple(listed))


def usage_answer(usages: Sequence[WindowUsage]) -> Answer:
    """`budget_limits_usage`: each window by the duration as it was given; with its unit, where that is given twice."""
    answer: Answer = {}
    for usage in usages:
        limit = usage.active.limit
        spelled = str(limit)
        name = f"{spelled}:{limit.unit}" if spelled in answer else spelled
        answer[name] = {
            "current_spend": amount_of(usage.spent, unit=limit.unit),
            "held": amount_of(usage.held, unit=limit.unit),
            _FIELD_OF_UNIT[limit.unit]: amount_of(limit.maximum, unit=limit.unit),
            "remaining": amount_of(usage.remaining, unit=limit.unit),
            "granted": amount_of(usage.active.granted, unit=limit.unit),
            "window_start": instant_of(usage.active.window.start_ms),
            "reset_at": instant_of(usage.active.window.end_ms),
        }
    return answer


def spends_answer(spends: Spends) -> Answer:
    """`spend` is that of the single limit's window, `total_spend` that of all time."""
    return {
        "spend": usd_from_nanousd(spends.current_nanousd),
        "total_spend": usd_from_nanousd(spends.lifetime_nanousd),
    }
