"""Who spends: teams, users and their memberships, customers; and tags, which callers give to calls."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from budgets.models import Budget, LimitedScope


class Users(UserManager["User"]):
    """Django's manager; whom it makes a superuser is a proxy admin."""

    use_in_migrations = False

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **extra_fields: Any
    ) -> "User":
        extra_fields.setdefault("role", User.Role.PROXY_ADMIN)
        return super().create_superuser(username, email, password, **extra_fields)


class User(AbstractUser, LimitedScope):
    """A person, for the dashboard and for the API alike. `username` is what the API calls `user_id`; it never changes.

    Limits hold for the calls of the user's keys that belong to no team. An inactive user's keys are refused. `is_staff`
    and `is_superuser` follow from the role, which teams/user_services.py sets. In Django's admin a viewer has every
    permission to view and no other, without any row that says so.
    """

    objects: ClassVar[Users] = Users()

    class Role(models.TextChoices):
        PROXY_ADMIN = "proxy_admin"
        PROXY_ADMIN_VIEWER = "proxy_admin_viewer"
        INTERNAL_USER = "internal_user"
        INTERNAL_USER_VIEWER = "internal_user_viewer"

    username = models.CharField("user id", max_length=128, primary_key=True)
    role = models.CharField(max_length=32, choices=Role.choices, default=Role.INTERNAL_USER)
    user_alias = models.CharField(max_length=255, null=True, blank=True)
    sso_user_id = models.CharField(max_length=255, null=True, blank=True)
    allowed_models = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    noted = models.JSONField(default=dict, blank=True)
    created_by = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("email"), condition=~Q(email=""), name="teams_user_email_once"),
            models.UniqueConstraint(fields=["sso_user_id"], name="teams_user_sso_once"),
        ]
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_user_reset"),
        ]

    def __str__(self) -> str:
        return self.user_alias or self.username

    @property
    def views_all(self) -> bool:
        return self.is_active and self.role == self.Role.PROXY_ADMIN_VIEWER

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        if self.views_all and perm.rpartition(".")[2].startswith("view_"):
            return True
        return super().has_perm(perm, obj)

    def has_module_perms(self, app_label: str) -> bool:
        return self.views_all or super().has_module_perms(app_label)


class Team(LimitedScope):
    """A group of keys with limits of its own. An empty list of allowed models allows every model.

    `team_id` is part of key names in the counter store, so it never changes; teams/parsing.py says what it may be.
    `member_budget` is the tier of every member that has none of its own. `noted` has fields that clients know and that
    do nothing here.
    """

    team_id = models.CharField(max_length=128, primary_key=True)
    team_alias = models.CharField(max_length=255, null=True, blank=True)
    allowed_models = models.JSONField(default=list, blank=True)
    model_aliases = models.JSONField(default=dict, blank=True)
    default_member_models = models.JSONField(default=list, blank=True)
    member_permissions = models.JSONField(default=list, blank=True)
    member_budget = models.ForeignKey(Budget, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    member_budget_since = models.DateTimeField(null=True, blank=True)
    member_key_duration = models.CharField(max_length=16, null=True, blank=True)
    is_available = models.BooleanField(default=False)
    tags = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    noted = models.JSONField(default=dict, blank=True)
    blocked = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_next_reset"),
        ]

    def __str__(self) -> str:
        return self.team_alias or self.team_id


class Member(LimitedScope):
    """A user in a team. Limits hold for the calls of the user's keys that belong to the team."""

    class Role(models.TextChoices):
        ADMIN = "admin"
        USER = "user"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.USER)
    allowed_models = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="teams_member_once")]
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_member_reset"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.team_id}"


class Customer(LimitedScope):
    """An end user, whom callers name in the field `user` of a call. One without a row has the default tier's limits."""

    customer_id = models.CharField(max_length=128, primary_key=True)
    alias = models.CharField(max_length=255, null=True, blank=True)
    blocked = models.BooleanField(default=False)
    allowed_models = models.JSONField(default=list, blank=True)
    default_model = models.CharField(max_length=255, null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    noted = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_customer_reset"
            ),
        ]

    def __str__(self) -> str:
        return self.alias or self.customer_id


class Tag(LimitedScope):
    """A tag with limits. A tag that has no row has none, and is only reported."""

    name = models.CharField(max_length=128, primary_key=True)
    description = models.CharField(max_length=1000, blank=True, default="")
    allowed_models = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_tag_reset"),
        ]

    def __str__(self) -> str:
        return self.name
