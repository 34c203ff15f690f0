"""What every scope with limits stores, tiers, grants, the audit, and the history of closed windows. In nano-dollars."""

from django.db import models
from django.db.models import Q


class Limits(models.Model):
    """Limits as they are stored. Written by budgets.services alone, which keeps `reset_at` and `counted_since`.

    An entry of `budget_limits` holds `budget_duration`, one of `max_budget` (exact decimal text), `max_tokens` and
    `max_requests`, `enforcement` (where it is not standard) and `reset_at`. `model_max_budget` has, by model, the
    fields of rules.limits.MODEL_FIELDS. `counted_since` has, for the identity of each limit, the instant since which it
    is counted.
    """

    budget_limits = models.JSONField(default=list, blank=True)
    max_budget_nanousd = models.BigIntegerField(null=True, blank=True)
    budget_duration = models.CharField(max_length=16, null=True, blank=True)
    budget_reset_at = models.DateTimeField(null=True, blank=True)
    soft_budget_nanousd = models.BigIntegerField(null=True, blank=True)
    tpm_limit = models.BigIntegerField(null=True, blank=True)
    rpm_limit = models.BigIntegerField(null=True, blank=True)
    tpd_limit = models.BigIntegerField(null=True, blank=True)
    max_parallel_requests = models.BigIntegerField(null=True, blank=True)
    model_max_budget = models.JSONField(default=dict, blank=True)
    model_rpm_limit = models.JSONField(default=dict, blank=True)
    model_tpm_limit = models.JSONField(default=dict, blank=True)
    counted_since = models.JSONField(default=dict, blank=True)
    timezone = models.CharField(max_length=64, blank=True, default="")
    week_start = models.PositiveSmallIntegerField(default=0)
    next_reset_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class Budget(Limits):
    """A tier: limits that any number of scopes refer to, each of which is counted on its own."""

    budget_id = models.CharField(max_length=128, primary_key=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=255)
    updated_at = models.DateTimeField()
    updated_by = models.CharField(max_length=255)

    def __str__(self) -> str:
        return self.budget_id


class LimitedScope(Limits):
    """A scope's own limits, and the tier whose limits it has besides. A limit of its own replaces the tier's."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        abstract = True


class Grant(models.Model):
    """A temporary increase of one limit of a scope, in the limit's unit; of all its USD limits, without an `identity`.

    It is never changed but for `ends_at`, which a revocation brings forward. Of those with a `name` a scope has one at
    a time: the next one ends it.
    """

    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=300)
    model = models.CharField(max_length=256, blank=True, default="")
    identity = models.CharField(max_length=32, blank=True, default="")
    amount = models.BigIntegerField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    name = models.CharField(max_length=32, blank=True, default="")
    reason = models.CharField(max_length=1000, blank=True, default="")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="budgets_grant_increases"),
            models.CheckConstraint(condition=Q(ends_at__gte=models.F("starts_at")), name="budgets_grant_forward"),
        ]
        indexes = [models.Index(fields=["scope_kind", "scope_id", "ends_at"], name="budgets_grant_scope")]

    def __str__(self) -> str:
        return f"{self.scope_kind} {self.scope_id} until {self.ends_at:%Y-%m-%d %H:%M:%S}"


class Change(models.Model):
    """Who changed what of a scope, a tier or a grant: the audit. `before` and `after` have only what differs."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=255)
    address = models.CharField(max_length=64, blank=True, default="")
    action = models.CharField(max_length=32)
    subject_kind = models.CharField(max_length=16)
    subject_id = models.CharField(max_length=300)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["-at", "-id"], name="budgets_change_recent"),
            models.Index(fields=["subject_kind", "subject_id", "-at"], name="budgets_change_subject"),
            models.Index(fields=["actor", "-at"], name="budgets_change_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject_kind} {self.subject_id}"


class WindowHistory(models.Model):
    """One closed window in which something was charged. `spent` and `maximum` are in the limit's unit.

    It is final once no call that it admitted is open any more; until then `spent` may still grow.
    """

    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=300)
    model = models.CharField(max_length=256, blank=True, default="")
    identity = models.CharField(max_length=32)
    budget_duration = models.CharField(max_length=16)
    unit = models.CharField(max_length=16)
    start_at = models.DateTimeField()
    end_at = models.DateTimeField()
    maximum = models.BigIntegerField()
    spent = models.BigIntegerField()
    closed_at = models.DateTimeField()
    counter = models.CharField(max_length=1024)
    is_final = models.BooleanField()

    class Meta:
        verbose_name_plural = "window history"
        constraints = [
            models.UniqueConstraint(
                fields=["scope_kind", "scope_id", "model", "identity", "start_at"], name="budgets_history_once"
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
