"""Keys in the admin: to see and to find. Changes go through the API, whose services keep the counters right."""

from django.contrib import admin

from budgets.admin import LimitsAdminMixin, ReadOnlyAdminMixin
from keys.models import Key


@admin.register(Key)
class KeyAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Key]):
    """Keys, newest first."""

    list_display = [
        "__str__",
        "key_name",
        "hash_prefix",
        "team",
        "limits_text",
        "resets_text",
        "blocked",
        "expires_at",
        "created_at",
    ]
    list_select_related = ["team"]
    list_filter = ["blocked"]
    search_fields = ["key_alias", "key_name", "token_hash__startswith", "team__team_alias", "team__team_id"]
    search_help_text = "Alias, name, beginning of the hash, or team"
    ordering = ["-created_at"]
    show_full_result_count = False
    fields = [
        "key_alias",
        "key_name",
        "token_hash",
        "team",
        "allowed_models",
        "limits_text",
        "resets_text",
        "timezone",
        "expires_at",
        "blocked",
        "metadata",
        "created_at",
        "updated_at",
    ]
    readonly_fields = ["limits_text", "resets_text"]

    @admin.display(description="hash", ordering="token_hash")
    def hash_prefix(self, key: Key) -> str:
        return f"{key.token_hash[:12]}..."
