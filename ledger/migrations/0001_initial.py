from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models


# Partitioned by time, so that old months can be dropped without a DELETE. A call id holds the millisecond of its admission
# (budgets/rules/calls.py), so (id, admitted_at) is unique exactly where id is.
ENTRIES = """
CREATE TABLE ledger_entry (
    id uuid NOT NULL,
    kind varchar(16) NOT NULL,
    admitted_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    posting bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    key_id uuid NOT NULL,
    team_id varchar(128),
    user_id varchar(128),
    customer_id varchar(128),
    run_id varchar(128),
    tags varchar(128)[] NOT NULL,
    model varchar(256) NOT NULL,
    provider varchar(64) NOT NULL,
    upstream_model varchar(256) NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_nanousd bigint NOT NULL,
    hold_nanousd bigint NOT NULL,
    price_source varchar(256) NOT NULL,
    is_estimated boolean NOT NULL,
    is_unpriced boolean NOT NULL,
    is_streamed boolean NOT NULL,
    http_status smallint NOT NULL,
    first_byte_ms integer,
    CONSTRAINT ledger_entry_once PRIMARY KEY (id, admitted_at),
    CONSTRAINT ledger_entry_kind CHECK (kind IN ('call', 'unsettled')),
    CONSTRAINT ledger_entry_amounts CHECK (
        cost_nanousd >= 0 AND hold_nanousd >= 0 AND input_tokens >= 0 AND output_tokens >= 0
        AND cache_read_tokens >= 0 AND cache_write_tokens >= 0 AND reasoning_tokens >= 0
    )
) PARTITION BY RANGE (admitted_at);
CREATE TABLE ledger_entry_default PARTITION OF ledger_entry DEFAULT;
CREATE INDEX ledger_entry_key ON ledger_entry (key_id, admitted_at);
CREATE INDEX ledger_entry_team ON ledger_entry (team_id, admitted_at) WHERE team_id IS NOT NULL;
CREATE INDEX ledger_entry_user ON ledger_entry (user_id, admitted_at) WHERE user_id IS NOT NULL;
CREATE INDEX ledger_entry_customer ON ledger_entry (customer_id, admitted_at) WHERE customer_id IS NOT NULL;
CREATE INDEX ledger_entry_run ON ledger_entry (key_id, run_id, admitted_at) WHERE run_id IS NOT NULL;
CREATE INDEX ledger_entry_tags ON ledger_entry USING gin (tags) WHERE tags <> '{}';
CREATE INDEX ledger_entry_recent ON ledger_entry (admitted_at);
CREATE INDEX ledger_entry_posted ON ledger_entry USING brin (posted_at);

CREATE FUNCTION ledger_entry_never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the ledger never change; post a correcting entry';
END $$;
CREATE TRIGGER ledger_entry_never_changes BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_never_changes();
"""

ROLLUPS = """
CREATE TABLE ledger_rollup (
    scope_kind varchar(16) NOT NULL,
    scope_id varchar(300) COLLATE "C" NOT NULL,
    hour_at timestamptz NOT NULL,
    model varchar(256) NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cost_nanousd bigint NOT NULL,
    CONSTRAINT ledger_rollup_once PRIMARY KEY (scope_kind, scope_id, hour_at, model)
) PARTITION BY RANGE (hour_at);
CREATE TABLE ledger_rollup_default PARTITION OF ledger_rollup DEFAULT;
CREATE INDEX ledger_rollup_recent ON ledger_rollup (hour_at);
"""

# For reports: the same hours by everything that they can be asked by. Of the dimensions that a call may lack, an empty text
# is none, because a primary key takes no NULL.
USAGE = """
CREATE TABLE ledger_usage (
    hour_at timestamptz NOT NULL,
    key_id uuid NOT NULL,
    team_id varchar(128) COLLATE "C" NOT NULL,
    user_id varchar(128) COLLATE "C" NOT NULL,
    customer_id varchar(128) COLLATE "C" NOT NULL,
    model varchar(256) COLLATE "C" NOT NULL,
    provider varchar(64) COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    failed_requests bigint NOT NULL,
    estimated_requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    cost_nanousd bigint NOT NULL,
    CONSTRAINT ledger_usage_once PRIMARY KEY (hour_at, key_id, team_id, user_id, customer_id, model, provider)
) PARTITION BY RANGE (hour_at);
CREATE TABLE ledger_usage_default PARTITION OF ledger_usage DEFAULT;
CREATE INDEX ledger_usage_key ON ledger_usage (key_id, hour_at);
CREATE INDEX ledger_usage_team ON ledger_usage (team_id, hour_at) WHERE team_id <> '';
CREATE INDEX ledger_usage_user ON ledger_usage (user_id, hour_at) WHERE user_id <> '';
CREATE INDEX ledger_usage_customer ON ledger_usage (customer_id, hour_at) WHERE customer_id <> '';
CREATE INDEX ledger_usage_model ON ledger_usage (model, hour_at);
"""

# A correction of what a scope has spent. Each row counts in the windows that began at `at` or before and had not ended
# when it was made; ledger/adjustments.py says how an adjustment is split so that every window shows what it shall.
ADJUSTMENTS = """
CREATE TABLE ledger_adjustment (
    id uuid NOT NULL PRIMARY KEY,
    batch_id uuid NOT NULL,
    scope_kind varchar(16) NOT NULL,
    scope_id varchar(300) COLLATE "C" NOT NULL,
    model varchar(256),
    at timestamptz NOT NULL,
    made_at timestamptz NOT NULL,
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    posting bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    cost_nanousd bigint NOT NULL,
    tokens bigint NOT NULL,
    requests bigint NOT NULL,
    actor varchar(255) NOT NULL,
    reason varchar(1000) NOT NULL,
    CONSTRAINT ledger_adjustment_backwards CHECK (at <= made_at)
);
CREATE INDEX ledger_adjustment_scope ON ledger_adjustment (scope_kind, scope_id, at);
CREATE INDEX ledger_adjustment_recent ON ledger_adjustment (made_at, batch_id);
CREATE TRIGGER ledger_adjustment_never_changes BEFORE UPDATE OR DELETE ON ledger_adjustment
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_never_changes();
"""

UNDO = """
DROP TABLE ledger_adjustment;
DROP TABLE ledger_usage;
DROP TABLE ledger_rollup;
DROP TABLE ledger_entry;
DROP FUNCTION ledger_entry_never_changes;
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(ENTRIES + ROLLUPS + USAGE + ADJUSTMENTS, UNDO)],
            state_operations=[
                migrations.CreateModel(
                    name="Entry",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        (
                            "kind",
                            models.CharField(choices=[("call", "Call"), ("unsettled", "Unsettled")], max_length=16),
                        ),
                        ("admitted_at", models.DateTimeField()),
                        ("finished_at", models.DateTimeField()),
                        ("posted_at", models.DateTimeField()),
                        ("posting", models.BigIntegerField()),
                        ("key_id", models.UUIDField()),
                        ("team_id", models.CharField(max_length=128, null=True)),
                        ("user_id", models.CharField(max_length=128, null=True)),
                        ("customer_id", models.CharField(max_length=128, null=True)),
                        ("run_id", models.CharField(max_length=128, null=True)),
                        ("tags", ArrayField(models.CharField(max_length=128))),
                        ("model", models.CharField(max_length=256)),
                        ("provider", models.CharField(max_length=64)),
                        ("upstream_model", models.CharField(max_length=256)),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cache_read_tokens", models.BigIntegerField()),
                        ("cache_write_tokens", models.BigIntegerField()),
                        ("reasoning_tokens", models.BigIntegerField()),
                        ("cost_nanousd", models.BigIntegerField()),
                        ("hold_nanousd", models.BigIntegerField()),
                        ("price_source", models.CharField(max_length=256)),
                        ("is_estimated", models.BooleanField()),
                        ("is_unpriced", models.BooleanField()),
                        ("is_streamed", models.BooleanField()),
                        ("http_status", models.SmallIntegerField()),
                        ("first_byte_ms", models.IntegerField(null=True)),
                    ],
                    options={
                        "verbose_name_plural": "entries",
                    },
                ),
                migrations.CreateModel(
                    name="Rollup",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "scope_kind",
                                "scope_id",
                                "hour_at",
                                "model",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("scope_kind", models.CharField(max_length=16)),
                        ("scope_id", models.CharField(max_length=300)),
                        ("hour_at", models.DateTimeField()),
                        ("model", models.CharField(max_length=256)),
                        ("requests", models.BigIntegerField()),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cost_nanousd", models.BigIntegerField()),
                    ],
                ),
                migrations.CreateModel(
                    name="Usage",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "hour_at",
                                "key_id",
                                "team_id",
                                "user_id",
                                "customer_id",
                                "model",
                                "provider",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("hour_at", models.DateTimeField()),
                        ("key_id", models.UUIDField()),
                        ("team_id", models.CharField(max_length=128)),
                        ("user_id", models.CharField(max_length=128)),
                        ("customer_id", models.CharField(max_length=128)),
                        ("model", models.CharField(max_length=256)),
                        ("provider", models.CharField(max_length=64)),
                        ("requests", models.BigIntegerField()),
                        ("failed_requests", models.BigIntegerField()),
                        ("estimated_requests", models.BigIntegerField()),
                        ("input_tokens", models.BigIntegerField()),
                        ("output_tokens", models.BigIntegerField()),
                        ("cache_read_tokens", models.BigIntegerField()),
                        ("cache_write_tokens", models.BigIntegerField()),
                        ("cost_nanousd", models.BigIntegerField()),
                    ],
                    options={
                        "verbose_name_plural": "usage",
                    },
                ),
                migrations.CreateModel(
                    name="Adjustment",
                    fields=[
                        ("id", models.UUIDField(primary_key=True, serialize=False)),
                        ("batch_id", models.UUIDField()),
                        ("scope_kind", models.CharField(max_length=16)),
                        ("scope_id", models.CharField(max_length=300)),
                        ("model", models.CharField(max_length=256, null=True)),
                        ("at", models.DateTimeField()),
                        ("made_at", models.DateTimeField()),
                        ("posted_at", models.DateTimeField()),
                        ("posting", models.BigIntegerField()),
                        ("cost_nanousd", models.BigIntegerField()),
                        ("tokens", models.BigIntegerField()),
                        ("requests", models.BigIntegerField()),
                        ("actor", models.CharField(max_length=255)),
                        ("reason", models.CharField(max_length=1000)),
                    ],
                ),
            ],
        )
    ]
