"""Keys in the admin: to see and to find. Changes go through the API, whose services keep the counters right."""

from django.contrib import admin

from budgets.admin import BoundedPaginator, LimitsAdminMixin, ReadOnlyAdminMixin
from keys.models import DeletedKey, Key


@admin.register(Key)
class KeyAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Key]):
    """Keys, newest first."""

    list_display = [
        "__str__",
        "key_name",
        "hash_prefix",
        "team",
        "user",
        "limits_text",
        "budget",
        "resets_text",
        "blocked",
        "expires_at",
        "created_at",
    ]
    list_select_related = ["team", "user", "budget"]
    list_filter = ["blocked", "key_type"]
    search_fields = [
        "key_alias",
        "key_name",
        "token_hash__startswith",
        "team__team_alias",
        "team__team_id",
        "user__username",
        "user__email",
    ]
    search_help_text = "Alias, name, beginning of the hash, team, or user"
    paginator = BoundedPaginator
    ordering = ["-created_at"]
    show_full_result_count = False
    fields = [
        "key_alias",
        "key_name",
        "token_hash",
        "team",
        "user",
        "allowed_models",
        "model_aliases",
        "key_type",
        "allowed_routes",
        "tags",
        "limits_text",
        "budget",
        "model_max_budget",
        "resets_text",
        "timezone",
        "expires_at",
        "blocked",
        "rotation_count",
        "rotated_at",
        "previous_until",
        "metadata",
        "noted",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
    ]
    readonly_fields = ["limits_text", "resets_text"]

    @admin.display(description="hash", ordering="token_hash")
    def hash_prefix(self, key: Key) -> str:
        return f"{key.token_hash[:12]}..."


@admin.register(DeletedKey)
class DeletedKeyAdmin(ReadOnlyAdminMixin, admin.ModelAdmin[DeletedKey]):
    """What is left of deleted keys, newest first."""

    list_display = ["__str__", "key_name", "team_id", "user_id", "deleted_at", "deleted_by"]
    search_fields = ["key_alias", "key_name", "token_hash__startswith", "team_id", "user_id"]
    search_help_text = "Alias, name, beginning of the hash, team, or user"
    ordering = ["-deleted_at"]
    paginator = BoundedPaginator
    show_full_result_count = False
