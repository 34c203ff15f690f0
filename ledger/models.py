"""The ledger: entries, the only truth about money, their hourly sums, and adjustments. Amounts are in nano-dollars.

All but the adjustments are partitioned by time, which Django cannot declare: the migration makes them with SQL, and
ledger/posting.py alone writes them, ledger/adjustments.py the adjustments. A trigger refuses to change either.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Entry(models.Model):
    """One finished call: its usage and its cost. `id` is the call's; `admitted_at` says which windows it belongs to.

    `posting` is the database transaction that wrote the row: a counter that was seeded from a snapshot knows by it
    whether the entry was in the sum already.
    """

    class Kind(models.TextChoices):
        CALL = "call"
        UNSETTLED = "unsettled"

    id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    admitted_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    posted_at = models.DateTimeField()
    posting = models.BigIntegerField()
    key_id = models.UUIDField()
    team_id = models.CharField(max_length=128, null=True)
    user_id = models.CharField(max_length=128, null=True)
    customer_id = models.CharField(max_length=128, null=True)
    run_id = models.CharField(max_length=128, null=True)
    tags = ArrayField(models.CharField(max_length=128))
    model = models.CharField(max_length=256)
    provider = models.CharField(max_length=64)
    upstream_model = models.CharField(max_length=256)
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_nanousd = models.BigIntegerField()
    hold_nanousd = models.BigIntegerField()
    price_source = models.CharField(max_length=256)
    is_estimated = models.BooleanField()
    is_unpriced = models.BooleanField()
    is_streamed = models.BooleanField()
    http_status = models.SmallIntegerField()
    first_byte_ms = models.IntegerField(null=True)

    class Meta:
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return str(self.id)


class Rollup(models.Model):
    """What a scope spent with one model in one hour of admission; sums of entries, written in their transaction."""

    pk = models.CompositePrimaryKey("scope_kind", "scope_id", "hour_at", "model")
    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=300)
    hour_at = models.DateTimeField()
    model = models.CharField(max_length=256)
    requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cost_nanousd = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.scope_kind} {self.scope_id} {self.hour_at:%Y-%m-%d %H:00}"


class Usage(models.Model):
    """What was used in one hour of admission, by everything that reports can be asked by; made like rollups.

    An empty id is none. Adjustments are not in it: it says what was used, not what counts against limits.
    """

    pk = models.CompositePrimaryKey("hour_at", "key_id", "team_id", "user_id", "customer_id", "model", "provider")
    hour_at = models.DateTimeField()
    key_id = models.UUIDField()
    team_id = models.CharField(max_length=128)
    user_id = models.CharField(max_length=128)
    customer_id = models.CharField(max_length=128)
    model = models.CharField(max_length=256)
    provider = models.CharField(max_length=64)
    requests = models.BigIntegerField()
    failed_requests = models.BigIntegerField()
    estimated_requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    cost_nanousd = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "usage"

    def __str__(self) -> str:
        return f"{self.key_id} {self.model} {self.hour_at:%Y-%m-%d %H:00}"


class Adjustment(models.Model):
    """A part of a correction of what a scope has spent, all of whose parts have its `batch_id`.

    It counts in the windows that contain both `at` and `made_at`: those that began at `at` or before and had not ended
    when it was made. With a `model` it counts for the windows of that model, without one for those of all models.
    """

    id = models.UUIDField(primary_key=True)
    batch_id = models.UUIDField()
    scope_kind = models.CharField(max_length=16)
    scope_id = models.CharField(max_length=300)
    model = models.CharField(max_length=256, null=True)
    at = models.DateTimeField()
    made_at = models.DateTimeField()
    posted_at = models.DateTimeField()
    posting = models.BigIntegerField()
    cost_nanousd = models.BigIntegerField()
    tokens = models.BigIntegerField()
    requests = models.BigIntegerField()
    actor = models.CharField(max_length=255)
    reason = models.CharField(max_length=1000)

    def __str__(self) -> str:
        return f"{self.scope_kind} {self.scope_id} {self.made_at:%Y-%m-%d %H:%M:%S}"
