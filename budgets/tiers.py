"""Every write to a tier, and reading tiers. Which rows refer to one, the apps above say (budgets/kinds.py)."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.deletion import ProtectedError

from budgets.actors import SYSTEM, Actor
from budgets.audit import limits_record, record_change
from budgets.errors import ConflictError, ForbiddenError, InputError, NotFoundError, conflicts_named
from budgets.gate.changes import publish
from budgets.kinds import referrers
from budgets.models import Budget
from budgets.services import LimitFields, changed_limits, set_limits

KIND = "budget"
TIERS_MAX = 10_000
NAMED_MAX = 3


def check_manages(by: Actor) -> None:
    """Raises ForbiddenError: tiers hold for many, so proxy admins alone change them."""
    if not by.manages_all:
        raise ForbiddenError(f"{by.name} may not change budgets; proxy admins may")


def check_sees(by: Actor) -> None:
    """Raises ForbiddenError. Others see of a tier what their own keys say of it."""
    if not by.sees_all:
        raise ForbiddenError(f"{by.name} may not see all budgets; proxy admins and viewers may")


def create_tier(fields: LimitFields, *, now: datetime, budget_id: str | None = None, by: Actor = SYSTEM) -> Budget:
    """Makes a tier. Raises InputError, LimitError and ForbiddenError."""
    check_manages(by)
    author = by.user_id or by.name
    tier = Budget(budget_id=budget_id or str(uuid4()), created_at=now, created_by=author)
    tier.updated_at, tier.updated_by = now, author
    set_limits(tier, changed_limits(tier, fields), now=now)
    taken = InputError(f"Budget with id '{tier.budget_id}' already exists.", field="budget_id")
    with conflicts_named({"budgets_budget_pkey": taken}), transaction.atomic():
        tier.save(force_insert=True)
        _tell(tier, action="create", before={}, after=limits_record(tier), now=now, by=by)
    return tier


def update_tier(budget_id: str, fields: LimitFields, *, now: datetime, by: Actor = SYSTEM) -> Budget:
    """Changes what `fields` names, for all scopes that refer to it. Raises NotFoundError, LimitError, ForbiddenError.

    Their rows become due: the task that closes windows works out anew when their next window ends.
    """
    check_manages(by)
    with transaction.atomic():
        tier = _locked(budget_id, field="budget_id")
        before = limits_record(tier)
        set_limits(tier, changed_limits(tier, fields), now=now)
        tier.updated_at, tier.updated_by = now, by.user_id or by.name
        tier.save(force_update=True)
        for referrer in referrers():
            if referrer.is_due:
                waiting = Q(next_reset_at__isnull=True) | Q(next_reset_at__gt=now)
                rows = referrer.model._default_manager.filter(waiting, **{referrer.lookup: budget_id})
                rows.update(next_reset_at=now)
        _tell(tier, action="update", before=before, after=limits_record(tier), now=now, by=by)
    return tier


def delete_tier(budget_id: str, *, now: datetime, by: Actor = SYSTEM) -> Budget:
    """Deletes a tier that nothing refers to. Raises NotFoundError, ConflictError and ForbiddenError."""
    check_manages(by)
    try:
        with transaction.atomic():
            tier = _locked(budget_id, field="id")
            if used := _users_of(budget_id):
                raise ConflictError(f"id: {budget_id!r} is the budget of {', '.join(used)}", field="id")
            _tell(tier, action="delete", before=limits_record(tier), after={}, now=now, by=by)
            Budget.objects.filter(budget_id=budget_id).delete()
    except (ProtectedError, IntegrityError):
        message = f"id: something took the budget {budget_id!r} at this moment; nothing was changed"
        raise ConflictError(message, field="id") from None
    return tier


def _locked(budget_id: str, *, field: str) -> Budget:
    """Nobody else changes it until the end of the transaction; that rows refer to it is not kept from them."""
    tier = Budget.objects.select_for_update(no_key=True).filter(budget_id=budget_id).first()
    if tier is None:
        raise _unknown(budget_id, field=field)
    return tier


def _unknown(budget_id: str, *, field: str) -> NotFoundError:
    return NotFoundError(f"There is no budget {budget_id!r}", field=field)


def _users_of(budget_id: str) -> list[str]:
    """What refers to a tier, by kind, the first ones by name."""
    used = ["the setting BUDGETGATE_CUSTOMER_BUDGET_ID"] if budget_id == settings.CUSTOMER_BUDGET_ID else []
    for referrer in referrers():
        if referrer.keeps:
            rows = [
                str(row)
                for row in referrer.model._default_manager.filter(**{referrer.lookup: budget_id})[: NAMED_MAX + 1]
            ]
            shown = rows[:NAMED_MAX] + (["more"] if len(rows) > NAMED_MAX else [])
            used += [f"{referrer.kind} {' and '.join(shown)}"] if rows else []
    return used


def tiers_of(budget_ids: Sequence[str], *, by: Actor = SYSTEM) -> list[Budget]:
    """The tiers with these ids, in their order; unknown ones are left out. Raises ForbiddenError."""
    check_sees(by)
    found = Budget.objects.in_bulk(list(budget_ids))
    return [found[budget_id] for budget_id in dict.fromkeys(budget_ids) if budget_id in found]


def all_tiers(*, by: Actor = SYSTEM) -> list[Budget]:
    """Newest first. Raises ForbiddenError."""
    check_sees(by)
    return list(Budget.objects.order_by("-created_at", "budget_id")[:TIERS_MAX])


def tier_for(budget_id: str, *, by: Actor = SYSTEM) -> Budget:
    """Raises NotFoundError and ForbiddenError."""
    found = tiers_of([budget_id], by=by)
    if not found:
        raise _unknown(budget_id, field="budget_id")
    return found[0]


def _tell(
    tier: Budget, *, action: str, before: dict[str, object], after: dict[str, object], now: datetime, by: Actor
) -> None:
    record_change(by, action=action, kind=KIND, subject_id=tier.budget_id, before=before, after=after, now=now)
    transaction.on_commit(partial(publish, f"budget:{tier.budget_id}"))
