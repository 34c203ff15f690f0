"""Teams in the admin: to see and to find. Changes go through the API, whose services keep the counters right."""

from django.contrib import admin

from budgets.admin import LimitsAdminMixin, ReadOnlyAdminMixin
from teams.models import Team


@admin.register(Team)
class TeamAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Team]):
    """Teams by name."""

    list_display = ["__str__", "team_id", "limits_text", "resets_text", "blocked", "created_at"]
    list_filter = ["blocked"]
    search_fields = ["team_id", "team_alias"]
    ordering = ["team_id"]
    show_full_result_count = False
    fields = [
        "team_id",
        "team_alias",
        "allowed_models",
        "limits_text",
        "resets_text",
        "timezone",
        "blocked",
        "metadata",
        "created_at",
        "updated_at",
    ]
    readonly_fields = ["limits_text", "resets_text"]
