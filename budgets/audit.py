"""The audit: who changed what, from what to what, when and from where. Written in the transaction of the change."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from budgets.actors import Actor
from budgets.models import Change, LimitedScope, Limits
from budgets.rules.limits import RATE_FIELDS
from budgets.rules.money import exact_usd


def limits_record(scope: Limits) -> dict[str, Any]:
    """A scope's limits as an audit shows them: dollars as exact texts, nothing that time alone changes."""
    record: dict[str, Any] = {
        "budget_limits": [{name: entry[name] for name in entry if name != "reset_at"} for entry in scope.budget_limits],
        "max_budget": _usd(scope.max_budget_nanousd),
        "budget_duration": scope.budget_duration,
        "soft_budget": _usd(scope.soft_budget_nanousd),
        **{name: getattr(scope, name) for name in RATE_FIELDS},
        "model_max_budget": scope.model_max_budget,
        "model_rpm_limit": scope.model_rpm_limit,
        "model_tpm_limit": scope.model_tpm_limit,
        "timezone": scope.timezone,
        "week_start": scope.week_start,
    }
    if isinstance(scope, LimitedScope):
        record["budget_id"] = scope.budget_id
    return record


def _usd(nanousd: int | None) -> str | None:
    return None if nanousd is None else exact_usd(nanousd)


def record_change(
    by: Actor,
    *,
    action: str,
    kind: str,
    subject_id: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    now: datetime,
    reason: str = "",
) -> None:
    """Writes what differs between two records; nothing where nothing does, unless one of them is empty.

    `action` is a verb such as create, update, delete, block, rotate, reset_spend or grant; `kind` is that of a scope,
    or budget. One query.
    """
    change = change_of(
        by, action=action, kind=kind, subject_id=subject_id, before=before, after=after, now=now, reason=reason
    )
    if change is not None:
        change.save(force_insert=True)


def change_of(
    by: Actor,
    *,
    action: str,
    kind: str,
    subject_id: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    now: datetime,
    reason: str = "",
) -> Change | None:
    """The same unsaved, for those who write many in one query."""
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    if not names and before and after:
        return None
    return Change(
        at=now,
        actor=by.name,
        address=by.address,
        action=action,
        subject_kind=kind,
        subject_id=subject_id,
        before={name: before[name] for name in names if before.get(name) is not None},
        after={name: after[name] for name in names if after.get(name) is not None},
        reason=reason,
    )
