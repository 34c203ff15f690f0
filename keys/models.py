"""Virtual keys: with what somebody spends. The key's text is not kept, only its SHA-256."""

from uuid import uuid4

from django.db import models
from django.db.models import Q

from budgets.models import LimitedScope
from teams.models import Team


class Key(LimitedScope):
    """A virtual key. Counters and ledger refer to `id`, which stays when anything else changes.

    An empty list of allowed models allows every model. `rooted_at` is since when the counters live with the current
    team: after a move every counter, also that of the whole spend, counts anew from the ledger.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    token_hash = models.CharField(max_length=64)
    key_name = models.CharField(max_length=16)
    key_alias = models.CharField(max_length=255, null=True, blank=True)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    allowed_models = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    blocked = models.BooleanField(default=False)
    rooted_at = models.DateTimeField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

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
            models.Index(fields=["-created_at"], name="keys_recent"),
        ]

    def __str__(self) -> str:
        return self.key_alias or self.key_name
