"""Every write to a grant: a temporary increase of a limit. Amounts are in the limit's unit.

Which scopes there are, and who may raise their limits, the apps above say (budgets/kinds.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import transaction

from budgets.actors import SYSTEM, Actor
from budgets.answers import grant_answer
from budgets.audit import record_change
from budgets.errors import ForbiddenError, InputError, NotFoundError
from budgets.gate.changes import publish
from budgets.kinds import Found, found
from budgets.models import Grant
from budgets.rules.limits import LimitUnit, parse_maximum
from budgets.rules.money import AMOUNT_MAX, usd_from_nanousd
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, LIFETIME, Period
from budgets.services import grants_for, instant_of, ms_of, text_of

TEMPORARY = "temp_budget_increase"
"""The name of the grant that the fields temp_budget_increase and temp_budget_expiry make."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants. Without unit and period it means all USD limits, with a unit alone the one for all time."""

    amount: object
    unit: LimitUnit | None = None
    period: Period | None = None
    model: str = ""
    until: datetime | None = None
    windows: int | None = None
    reason: str = ""

    @property
    def identity(self) -> str:
        if self.unit is None and self.period is None:
            return ""
        return f"{self.unit or LimitUnit.USD}/{self.period or LIFETIME}"


def grant(kind: str, scope_id: str, wanted: Wanted, *, now: datetime, by: Actor = SYSTEM) -> Grant:
    """Raises a limit of a scope. Raises NotFoundError, ForbiddenError, InputError, and LimitError for the amount."""
    target = found(by, kind=kind, scope_id=scope_id, now=now)
    _check_managed(by, target)
    raised = _raised(target.limits, wanted)
    unit = wanted.unit or LimitUnit.USD
    amount = parse_maximum(wanted.amount, unit=unit, field="amount")
    ends_at = _ends_at(target.limits, raised, wanted, now=now)
    scope = target.limits.scope
    with transaction.atomic():
        _check_sum(scope, raised, amount=amount, identity=wanted.identity, model=wanted.model, now=now)
        made = _made(scope, amount=amount, ends_at=ends_at, now=now, by=by, wanted=wanted)
        _tell(made, action="grant", before={}, subjects=target.subjects, now=now, by=by)
    return made


def _check_managed(by: Actor, target: Found) -> None:
    if not target.is_managed:
        raise ForbiddenError(f"{by.name} may not raise limits of this {target.limits.scope.kind}; an admin may")


def _raised(limits: ScopeLimits, wanted: Wanted) -> list[CountedLimit]:
    """The limits that the grant is for. Raises InputError that lists those there are."""
    there = limits.by_model.get(wanted.model, ()) if wanted.model else limits.limits
    raised = [
        counted
        for counted in there
        if counted.limit.maximum is not None
        and (counted.limit.identity == wanted.identity if wanted.identity else counted.limit.unit is LimitUnit.USD)
    ]
    if raised:
        return raised
    known = ", ".join(_names_of_limits(limits)) or "none"
    field = "model" if wanted.model and not there else "budget_duration" if wanted.identity else "scope_id"
    raise InputError(f"{field}: there is no such limit; {limits.scope.kind} {limits.scope.id} has {known}", field=field)


def _names_of_limits(limits: ScopeLimits) -> Iterator[str]:
    for model, some in {"": limits.limits, **limits.by_model}.items():
        for counted in some:
            if counted.limit.maximum is not None:
                yield counted.limit.identity + (f" of {model}" if model else "")


def _ends_at(limits: ScopeLimits, raised: list[CountedLimit], wanted: Wanted, *, now: datetime) -> datetime:
    if (wanted.until is None) == (wanted.windows is None):
        raise InputError("until: exactly one of until and windows is needed", field="until")
    if wanted.until is not None:
        if wanted.until <= now:
            message = f"until: {text_of(wanted.until)} is over; allowed is an instant after {text_of(now)}"
            raise InputError(message, field="until")
        return wanted.until
    if len(raised) > 1:
        message = "windows: says how long only of one limit; name it by budget_duration and unit, or give until"
        raise InputError(message, field="windows")
    end_ms = ms_of(now)
    for _ in range(wanted.windows or 0):
        end_ms = raised[0].limit.window_at(end_ms, calendar=limits.calendar).end_ms
        if end_ms == END_OF_TIME_MS:
            raise InputError("windows: this limit is for all time and has no windows; give until", field="windows")
    return instant_of(end_ms)


def _check_sum(
    scope: Scope, raised: Iterable[CountedLimit], *, amount: int, identity: str, model: str, now: datetime
) -> None:
    """Grants that are made at the same moment may pass this; admission never counts beyond AMOUNT_MAX."""
    if amount <= 0:
        raise InputError("amount: 0 increases nothing; allowed is more than 0", field="amount")
    there = [each for each in grants_for({(scope.kind, scope.id)}, now=now) if each.model == model]
    for counted in raised:
        limit = counted.limit
        others = sum(each.amount for each in there if each.identity in ("", limit.identity))
        if (limit.maximum or 0) + others + amount > AMOUNT_MAX:
            most = max(AMOUNT_MAX - (limit.maximum or 0) - others, 0)
            shown = f"{usd_from_nanousd(most):f} USD" if limit.unit is LimitUnit.USD else str(most)
            raise InputError(f"amount: too large with what is granted already; allowed is {shown}", field="amount")


def _made(scope: Scope, *, amount: int, ends_at: datetime, now: datetime, by: Actor, wanted: Wanted) -> Grant:
    return Grant.objects.create(
        scope_kind=scope.kind,
        scope_id=scope.id,
        model=wanted.model,
        identity=wanted.identity,
        amount=amount,
        starts_at=now,
        ends_at=ends_at,
        reason=wanted.reason,
        created_at=now,
        created_by=by.user_id or by.name,
    )


def revoke(grant_id: int, *, now: datetime, by: Actor = SYSTEM) -> Grant:
    """Ends a grant now; one that is over stays as it is. Raises NotFoundError and ForbiddenError."""
    with transaction.atomic():
        made = Grant.objects.select_for_update().filter(id=grant_id).first()
        unknown = NotFoundError(f"There is no grant {grant_id}", field="id")
        if made is None:
            raise unknown
        subjects: Iterable[str] = ()
        try:
            target = found(by, kind=made.scope_kind, scope_id=made.scope_id, now=now, is_id=True)
            _check_managed(by, target)
            subjects = target.subjects
        except NotFoundError:
            if not by.manages_all:
                raise unknown from None
        if made.ends_at > now:
            before = _record(made)
            made.ends_at = max(now, made.starts_at)
            made.save(update_fields=["ends_at"])
            _tell(made, action="revoke_grant", before=before, subjects=subjects, now=now, by=by)
    return made


def grants_of(kind: str, scope_id: str, *, now: datetime, by: Actor = SYSTEM) -> list[Grant]:
    """The grants of a scope that raise something now or later. Raises NotFoundError."""
    scope = found(by, kind=kind, scope_id=scope_id, now=now).limits.scope
    return grants_for({(scope.kind, scope.id)}, now=now)


def replace_grant(
    scope: Scope,
    *,
    amount: int | None,
    until: datetime | None,
    now: datetime,
    by: Actor = SYSTEM,
    name: str = TEMPORARY,
) -> None:
    """Ends the grant of that name, and makes another where an amount is given; for all USD limits of the scope.

    The caller locks the scope, publishes it and writes the audit. Raises InputError.
    """
    if (amount is None) != (until is None):
        message = "temp_budget_increase and temp_budget_expiry belong together; give both, or null for both"
        raise InputError(message, field="temp_budget_increase" if amount is None else "temp_budget_expiry")
    if until is not None and until <= now:
        message = f"temp_budget_expiry: {text_of(until)} is over; allowed is an instant after {text_of(now)}"
        raise InputError(message, field="temp_budget_expiry")
    Grant.objects.filter(scope_kind=scope.kind, scope_id=scope.id, name=name, ends_at__gt=now).update(ends_at=now)
    if amount and until is not None:
        Grant.objects.create(
            scope_kind=scope.kind,
            scope_id=scope.id,
            amount=amount,
            starts_at=now,
            ends_at=until,
            name=name,
            created_at=now,
            created_by=by.user_id or by.name,
        )


def _record(made: Grant) -> dict[str, object]:
    """As in answers, in texts."""
    return {
        name: text_of(value) if isinstance(value, datetime) else str(value) if name == "amount" else value
        for name, value in grant_answer(made).items()
        if name not in ("scope", "scope_id", "created_at", "created_by", "reason")
    }


def _tell(
    made: Grant, *, action: str, before: dict[str, object], subjects: Iterable[str], now: datetime, by: Actor
) -> None:
    record_change(
        by,
        action=action,
        kind=made.scope_kind,
        subject_id=made.scope_id,
        before=before,
        after=_record(made),
        now=now,
        reason=made.reason,
    )
    transaction.on_commit(partial(publish, *sorted(subjects)))
