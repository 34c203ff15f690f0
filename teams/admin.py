"""Who spends, in the admin: to see and to find. Changes go through the API, whose services keep the counters right.

The one thing that is changed here is a user's password.
"""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest

from budgets.admin import LimitsAdminMixin, ReadOnlyAdminMixin
from teams.models import Customer, Member, Tag, Team, User

_LIMITS = ("limits_text", "resets_text", "budget", "timezone")
_USER = ("username", "password", "user_alias", "email", "sso_user_id", "role", "is_active")
_MORE = ("metadata", "last_login", "date_joined", "created_by", "updated_at")


@admin.register(Team)
class TeamAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Team]):
    """Teams by name."""

    list_display = ["__str__", "team_id", "limits_text", "resets_text", "blocked", "created_at"]
    list_select_related = ["budget"]
    list_filter = ["blocked", "is_available"]
    search_fields = ["team_id", "team_alias"]
    ordering = ["team_id"]
    show_full_result_count = False
    fields = [
        "team_id",
        "team_alias",
        "allowed_models",
        "model_aliases",
        *_LIMITS,
        "member_budget",
        "default_member_models",
        "member_permissions",
        "member_key_duration",
        "is_available",
        "tags",
        "blocked",
        "metadata",
        "created_at",
        "created_by",
        "updated_at",
    ]
    readonly_fields = ["limits_text", "resets_text"]


@admin.register(User)
class UserAdmin(LimitsAdminMixin, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users by id. Role and limits are shown; the password can be set anew."""

    list_display = ["username", "user_alias", "email", "role", "limits_text", "resets_text", "is_active", "date_joined"]
    list_select_related = ["budget"]
    list_filter = ["role", "is_active"]
    search_fields = ["username", "user_alias", "email", "sso_user_id"]
    ordering = ["username"]
    show_full_result_count = False
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": _USER}),
        ("Limits", {"fields": (*_LIMITS, "allowed_models")}),
        ("More", {"fields": _MORE}),
    )
    readonly_fields = [*(name for name in _USER if name != "password"), *_LIMITS, "allowed_models", *_MORE]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Member)
class MemberAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Member]):
    """Members, newest first."""

    list_display = ["user", "team", "role", "limits_text", "resets_text", "created_at"]
    list_select_related = ["user", "team", "budget"]
    list_filter = ["role"]
    search_fields = ["user__username", "user__email", "user__user_alias", "team__team_id", "team__team_alias"]
    ordering = ["-created_at", "id"]
    show_full_result_count = False
    fields = ["user", "team", "role", "allowed_models", *_LIMITS, "created_at"]
    readonly_fields = ["limits_text", "resets_text"]


@admin.register(Customer)
class CustomerAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Customer]):
    """Customers by id."""

    list_display = ["customer_id", "alias", "limits_text", "resets_text", "blocked", "created_at"]
    list_select_related = ["budget"]
    list_filter = ["blocked"]
    search_fields = ["customer_id", "alias"]
    ordering = ["customer_id"]
    show_full_result_count = False
    fields = [
        "customer_id",
        "alias",
        "allowed_models",
        "default_model",
        *_LIMITS,
        "blocked",
        "metadata",
        "created_at",
        "updated_at",
    ]
    readonly_fields = ["limits_text", "resets_text"]


@admin.register(Tag)
class TagAdmin(LimitsAdminMixin, ReadOnlyAdminMixin, admin.ModelAdmin[Tag]):
    """Tags by name."""

    list_display = ["name", "description", "limits_text", "resets_text", "created_at"]
    list_select_related = ["budget"]
    search_fields = ["name", "description"]
    ordering = ["name"]
    show_full_result_count = False
    fields = ["name", "description", "allowed_models", *_LIMITS, "created_at", "created_by", "updated_at"]
    readonly_fields = ["limits_text", "resets_text"]
