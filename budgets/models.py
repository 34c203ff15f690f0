"""What every scope with limits stores, and the history of closed windows. Money is in nano-dollars."""

from django.db import models
from django.db.models import Q


class LimitedScope(models.Model):
    """The limits of a scope. Written by budgets.services alone, which keeps `reset_at` and `counted_since`.

    An entry of `budget_limits` holds `budget_duration`, one of `max_budget` (exact decimal text), `max_tokens` and
    `max_requests`, `enforcement` (where it is not standard), `reset_at` and `counted_since`.
    """

    budget_limits = models.JSONField(default=list, blank=True)
    max_budget_nanousd = models.BigIntegerField(null=True, blank=True)
    budget_duration = models.CharField(max_length=16, null=True, blank=True)
    budget_reset_at = models.DateTimeField(null=True, blank=True)
    budget_counted_since = models.DateTimeField(null=True, blank=True)
    timezone = models.CharField(max_length=64, blank=True, default="")
    week_start = models.PositiveSmallIntegerField(default=0)
    next_reset_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class WindowHistory(models.Model):
    """One closed window in which something was charged. `spent` and `maximum` are in the limit's unit.

    It is final once no call that it admitted is open any more; until then `spent` may still grow.
    """

    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=128)
    identity = models.CharField(max_length=32)
    budget_duration = models.CharField(max_length=16)
    unit = models.CharField(max_length=16)
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    maximum = models.BigIntegerField()
    spent = models.BigIntegerField()
    closed_at = models.DateTimeField()
    counter = models.CharField(max_length=512)
    is_final = models.BooleanField()

    class Meta:
        verbose_name_plural = "window history"
        constraints = [
            models.UniqueConstraint(
                fields=["scope_kind", "scope_id", "identity", "start_at"], name="budgets_history_once"
            ),
            models.CheckConstraint(condition=Q(end_at__gt=models.F("start_at")), name="budgets_history_forward"),
            models.CheckConstraint(condition=Q(maximum__gte=0), name="budgets_history_maximum"),
        ]
        indexes = [
            models.Index(fields=["-end_at"], name="budgets_history_recent"),
            models.Index(fields=["closed_at"], name="budgets_history_open", condition=Q(is_final=False)),
        ]

    def __str__(self) -> str:
        return f"{self.scope_kind} {self.scope_id} {self.budget_duration} from {self.start_at:%Y-%m-%d %H:%M:%S}"
