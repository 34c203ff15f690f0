"""The window history in the admin: read-only."""

from django.contrib import admin
from django.http import HttpRequest

from budgets.models import WindowHistory
from budgets.rules.limits import LimitUnit
from budgets.rules.money import usd_text


def amount_text(amount: int | None, *, unit: str = LimitUnit.USD) -> str:
    """An amount for people: dollars to six places, or a plain number of tokens or requests."""
    if amount is None:
        return "-"
    return usd_text(amount, places=6) if unit == LimitUnit.USD else f"{amount:,} {unit}"


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
    show_full_result_count = False

    @admin.display(description="spent")
    def spent_text(self, row: WindowHistory) -> str:
        return amount_text(row.spent, unit=row.unit)

    @admin.display(description="maximum")
    def maximum_text(self, row: WindowHistory) -> str:
        return amount_text(row.maximum, unit=row.unit)
