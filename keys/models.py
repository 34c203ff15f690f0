"""Virtual keys: with what somebody spends. The key's text is not kept, only its SHA-256."""

from uuid import uuid4

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from budgets.exact import ExactDecoder, ExactEncoder
from budgets.models import LimitedScope
from teams.models import Team, User


class Key(LimitedScope):
    """A virtual key. Counters and ledger refer to `id`, which stays when anything else changes.

    An empty list of allowed models allows every model, one of allowed routes every route. `rooted_at` is since when the
    counters live with the current team or user: after a move every counter, also that of the whole spend, counts anew
    from the ledger. After a rotation the old text works until `previous_until`. `noted` has fields that clients know
    and that do nothing here. Whoever was told the text could act as the user: `acts_for_user` is false where that was
    neither the user nor a proxy admin. `is_bound` says that somebody else has set what binds the user since.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    token_hash = models.CharField(max_length=64)
    key_name = models.CharField(max_length=16)
    key_alias = models.CharField(max_length=255, null=True, blank=True)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    allowed_models = models.JSONField(default=list, blank=True)
    allowed_routes = models.JSONField(default=list, blank=True)
    key_type = models.CharField(max_length=16, default="default")
    model_aliases = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    noted = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    blocked = models.BooleanField(default=False)
    rooted_at = models.DateTimeField()
    previous_token_hash = models.CharField(max_length=64, null=True, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    rotation_count = models.PositiveIntegerField(default=0)
    acts_for_user = models.BooleanField(default=True)
    is_bound = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=255, blank=True, default="")
    updated_at = models.DateTimeField()
    updated_by = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        constraints = [
            # The operator class lets the admin search for the beginning of a hash in the same index.
            models.UniqueConstraint(
                fields=["token_hash"], name="keys_token_hash_once", opclasses=["varchar_pattern_ops"]
            ),
            models.UniqueConstraint(fields=["key_alias", "team"], name="keys_alias_once_per_team"),
            models.UniqueConstraint(
                fields=["key_alias"], condition=Q(team__isnull=True), name="keys_alias_once_without_team"
            ),
        ]
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="keys_next_reset"),
            models.Index(fields=["-created_at", "id"], name="keys_recent"),
            models.Index(fields=["-updated_at", "id"], name="keys_changed"),
            models.Index(fields=["-expires_at", "id"], name="keys_expiring"),
            models.Index(fields=["-max_budget_nanousd", "id"], name="keys_largest"),
            models.Index(fields=["-key_alias", "id"], name="keys_by_alias"),
            models.Index(fields=["created_by"], name="keys_created_by", opclasses=["varchar_pattern_ops"]),
            GinIndex(fields=["noted"], name="keys_noted", opclasses=["jsonb_path_ops"]),
            models.Index(fields=["team", "-created_at"], name="keys_of_team"),
            models.Index(fields=["user", "-created_at"], name="keys_of_user"),
            models.Index(
                fields=["previous_token_hash"],
                condition=Q(previous_token_hash__isnull=False),
                name="keys_previous_token_hash",
            ),
        ]

    def __str__(self) -> str:
        return self.key_alias or self.key_name


class DeletedKey(models.Model):
    """What the API goes on saying of a key that was deleted, and its name for reports. `row` is its last answer."""

    id = models.UUIDField(primary_key=True, editable=False)
    token_hash = models.CharField(max_length=64)
    key_alias = models.CharField(max_length=255, null=True)
    key_name = models.CharField(max_length=16)
    team_id = models.CharField(max_length=128, null=True)
    user_id = models.CharField(max_length=150, null=True)
    row = models.JSONField(encoder=ExactEncoder, decoder=ExactDecoder)
    deleted_at = models.DateTimeField()
    deleted_by = models.CharField(max_length=255)

    class Meta:
        indexes = [
            models.Index(fields=["token_hash"], name="keys_deleted_token_hash"),
            models.Index(fields=["-deleted_at", "id"], name="keys_deleted_recent"),
            models.Index(fields=["team_id", "-deleted_at"], name="keys_deleted_of_team"),
            models.Index(fields=["user_id", "-deleted_at"], name="keys_deleted_of_user"),
        ]

    def __str__(self) -> str:
        return self.key_alias or self.key_name
