"""The ledger in the admin: read-only, newest first. Nothing here reads or counts the whole table."""

from django.contrib import admin

from budgets.admin import BoundedPaginator, ReadOnlyAdminMixin, amount_text
from ledger.models import Adjustment, Entry


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[Entry]):
    """Entries: search by call id, key id or team id."""

    list_display = ["admitted_at", "id", "kind", "model", "key_id", "team_id", "input_tokens", "output_tokens", "cost"]
    list_filter = ["kind", "is_estimated", "is_unpriced"]
    search_fields = ["id__exact", "key_id__exact", "team_id__exact"]
    search_help_text = "Call id, key id or team id"
    ordering = ["-admitted_at"]
    paginator = BoundedPaginator
    show_full_result_count = False

    @admin.display(description="cost", ordering="cost_nanousd")
    def cost(self, row: Entry) -> str:
        return amount_text(row.cost_nanousd)


@admin.register(Adjustment)
class AdjustmentAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[Adjustment]):
    """The parts of corrections of spend: search by scope id or by the id that all parts of one have."""

    list_display = [
        *("made_at", "scope_kind", "scope_id", "model", "at", "cost", "tokens", "requests", "actor", "reason"),
        "batch_id",
    ]
    list_filter = ["scope_kind"]
    search_fields = ["scope_id__exact", "batch_id__exact"]
    search_help_text = "Scope id, or the id of a correction"
    ordering = ["-made_at"]
    paginator = BoundedPaginator
    show_full_result_count = False

    @admin.display(description="cost", ordering="cost_nanousd")
    def cost(self, row: Adjustment) -> str:
        return amount_text(row.cost_nanousd)
