"""The ledger in the admin: read-only, newest first, without a COUNT over the whole table."""

from django.contrib import admin
from django.core.paginator import Paginator

from budgets.admin import ReadOnlyAdminMixin, amount_text
from ledger.models import Entry


class UncountedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through a table that is too large to count."""

    @property
    def count(self) -> int:
        return 10_000


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[Entry]):
    """Entries: search by call id, key id or team id."""

    list_display = ["admitted_at", "id", "kind", "model", "key_id", "team_id", "input_tokens", "output_tokens", "cost"]
    list_filter = ["kind", "is_estimated", "is_unpriced", "provider"]
    search_fields = ["id__exact", "key_id__exact", "team_id__exact", "model__exact"]
    ordering = ["-admitted_at"]
    show_full_result_count = False

    @admin.display(description="cost", ordering="cost_nanousd")
    def cost(self, row: Entry) -> str:
        return amount_text(row.cost_nanousd)
