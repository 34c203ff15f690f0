"""How the management API shows limits, spends and windows. Dollars are exact decimals, instants are as of `now`.

What clients know of a limit is inside `budget_limits`; everything else stands beside it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from budgets.models import Limits
from budgets.rules.limits import MAXIMUM_FIELDS, RATE_FIELDS, Enforcement, Limit, LimitUnit, parse_limits
from budgets.rules.money import nanousd_from_usd, usd_from_nanousd
from budgets.rules.windows import END_OF_TIME_MS, Calendar
from budgets.serializers import WEEKDAYS
from budgets.services import instant_of, limit_set, ms_of, tier_of
from budgets.usage import Spends, WindowUsage

Answer = dict[str, Any]

_FIELD_OF_UNIT = {unit: field for field, unit in MAXIMUM_FIELDS.items()} | {LimitUnit.PARALLEL: "max_parallel_requests"}


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


def usage_answer(usages: Sequence[WindowUsage]) -> Answer:
    """`budget_limits_usage`: each window by the duration as it was given; with its unit, where that is given twice."""
    answer: Answer = {}
    for usage in usages:
        limit = usage.active.limit
        name = f"{limit.spelled}:{limit.unit}" if limit.spelled in answer else limit.spelled
        answer[name] = {
            "current_spend": amount_of(usage.spent, unit=limit.unit),
            "held": amount_of(usage.held, unit=limit.unit),
            _FIELD_OF_UNIT[limit.unit]: amount_of(limit.maximum, unit=limit.unit),
            "remaining": amount_of(usage.remaining, unit=limit.unit),
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
