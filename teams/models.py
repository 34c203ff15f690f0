"""Teams: who spends. A team's limits hold for all of its keys together."""

from django.db import models
from django.db.models import Q

from budgets.models import LimitedScope


class Team(LimitedScope):
    """A group of keys with limits of its own. An empty list of allowed models allows every model.

    `team_id` is part of key names in the counter store, so it never changes; teams/parsing.py says what it may be.
    """

    team_id = models.CharField(max_length=128, primary_key=True)
    team_alias = models.CharField(max_length=255, null=True, blank=True)
    allowed_models = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    blocked = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["next_reset_at"], condition=Q(next_reset_at__isnull=False), name="teams_next_reset"),
        ]

    def __str__(self) -> str:
        return self.team_alias or self.team_id
