"""Tiers, grants, the audit and the window history in the admin, and what the admins of all scopes have in common.

All of it is read-only: changes go through services, which keep counters and audit right.
"""

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

from budgets.answers import grant_answer, reset_at
from budgets.models import Budget, Change, Grant, Limits, WindowHistory
from budgets.rules.limits import Enforcement, Limit, LimitUnit
from budgets.rules.money import NANO, usd_from_nanousd, usd_text
from budgets.services import LimitSet, limit_set


def amount_text(amount: int | None, *, unit: str = LimitUnit.USD) -> str:
    """An amount for people: dollars to six places, or a plain number of tokens or requests."""
    if amount is None:
        return "-"
    return usd_text(amount, places=6) if unit == LimitUnit.USD else f"{amount:,} {unit}"


def limit_text(limit: Limit) -> str:
    """A limit for people: `$10.00 per 1h`, `1,000 requests per 1m (strict)`, `$5.00 in all`."""
    period = f"per {limit.spelled}" if limit.spelled else "in all"
    strict = " (strict)" if limit.enforcement is Enforcement.STRICT else ""
    return f"{_maximum_text(limit)} {period}{strict}"


def _maximum_text(limit: Limit) -> str:
    if limit.unit is not LimitUnit.USD or limit.maximum is None:
        return amount_text(limit.maximum, unit=limit.unit)
    in_cents = limit.maximum % (NANO // 100) == 0
    return usd_text(limit.maximum, places=2) if in_cents else f"${usd_from_nanousd(limit.maximum):f}"


def _all_limits(limits: LimitSet) -> list[Limit]:
    return [*filter(None, [limits.single]), *limits.limits]


class LimitsAdminMixin:
    """The columns of a scope's limits."""

    @admin.display(description="limits")
    def limits_text(self, scope: Limits) -> str:
        return ", ".join(limit_text(limit) for limit in _all_limits(limit_set(scope))) or "none"

    @admin.display(description="resets (UTC)")
    def resets_text(self, scope: Limits) -> str:
        limits, now = limit_set(scope), timezone.now()
        resets = [(limit, reset_at(limit, calendar=limits.calendar, now=now)) for limit in _all_limits(limits)]
        return ", ".join(f"{limit.spelled} at {at:%Y-%m-%d %H:%M:%S}" for limit, at in resets if at is not None) or "-"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the newest rows of a table that is too large to count; what is older is found by searching."""

    ROWS_MAX = 10_000

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet), "the admin pages through querysets"
        return self.object_list.order_by()[: self.ROWS_MAX].count()


class ReadOnlyAdminMixin:
    """An admin that shows and changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(WindowHistory)
class WindowHistoryAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[WindowHistory]):
    """Closed windows, newest first."""

    list_display = ["scope_kind", "scope_id", "budget_duration", "start_at", "end_at", "spent_text", "maximum_text"]
    list_filter = ["scope_kind", "unit", "budget_duration"]
    search_fields = ["scope_id"]
    ordering = ["-end_at"]
    paginator = BoundedPaginator
    show_full_result_count = False

    @admin.display(description="spent")
    def spent_text(self, row: WindowHistory) -> str:
        return amount_text(row.spent, unit=row.unit)

    @admin.display(description="maximum")
    def maximum_text(self, row: WindowHistory) -> str:
        return amount_text(row.maximum, unit=row.unit)


@admin.register(Budget)
class BudgetAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Budget]):
    """Tiers by id."""

    list_display = ["budget_id", "limits_text", "created_at", "created_by", "updated_at", "updated_by"]
    search_fields = ["budget_id"]
    ordering = ["budget_id"]
    fields = ["budget_id", "limits_text", "model_max_budget", "created_at", "created_by", "updated_at", "updated_by"]
    readonly_fields = ["limits_text"]


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[Grant]):
    """Temporary increases, newest first."""

    list_display = [
        "scope_kind",
        "scope_id",
        "limit_text",
        "amount_text",
        "starts_at",
        "ends_at",
        "reason",
        "created_by",
    ]
    list_filter = ["scope_kind"]
    search_fields = ["scope_id", "reason", "created_by"]
    ordering = ["-id"]
    paginator = BoundedPaginator
    show_full_result_count = False

    @admin.display(description="limit")
    def limit_text(self, grant: Grant) -> str:
        return f"{grant.identity or 'all in USD'}{f' of {grant.model}' if grant.model else ''}"

    @admin.display(description="amount")
    def amount_text(self, grant: Grant) -> str:
        return amount_text(grant.amount, unit=grant_answer(grant)["unit"] or LimitUnit.USD)


@admin.register(Change)
class ChangeAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[Change]):
    """The audit, newest first."""

    list_display = ["at", "actor", "address", "action", "subject_kind", "subject_id", "reason"]
    list_filter = ["subject_kind", "action"]
    search_fields = ["subject_id", "actor"]
    ordering = ["-at", "-id"]
    paginator = BoundedPaginator
    show_full_result_count = False
