"""Posting: entries into the ledger and their sums into rollups and usage, in one statement and so in one transaction.

An entry whose id the ledger already has is ignored, together with its part of the sums. Amounts are in nano-dollars.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from django.db import connection, transaction

from budgets.rules.settlement import Entry

COLUMNS = (
    "id, kind, key_id, team_id, user_id, customer_id, run_id, tags, model, provider, upstream_model, input_tokens, "
    "output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanousd, hold_nanousd, price_source, "
    "is_estimated, is_unpriced, is_streamed, http_status, first_byte_ms"
)

# The first 48 bits of a call id are the millisecond of its admission (budgets/rules/calls.py).
ADMITTED_MS = "('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint"

# Entries are written in one order by everybody, and after them the sums, one table after the other, so two postings of
# the same calls (a gateway's and a task's) cannot lock each other out.
POST = f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS entry (
        id uuid, kind text, key_id uuid, team_id text, user_id text, customer_id text, run_id text, tags text[],
        model text, provider text, upstream_model text,
        input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,
        reasoning_tokens bigint, cost_nanousd bigint, hold_nanousd bigint, price_source text, is_estimated boolean,
        is_unpriced boolean, is_streamed boolean, http_status smallint, first_byte_ms integer,
        finished_ms bigint
    )
), posted AS (
    INSERT INTO ledger_entry ({COLUMNS}, admitted_at, finished_at)
    SELECT {COLUMNS},
        timestamptz 'epoch' + {ADMITTED_MS} * interval '1 millisecond',
        timestamptz 'epoch' + finished_ms * interval '1 millisecond'
    FROM given
    ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING *
), scoped AS (
    SELECT 'key' AS scope_kind, key_id::text AS scope_id, * FROM posted
    UNION ALL
    SELECT 'team', team_id, * FROM posted WHERE team_id IS NOT NULL
    UNION ALL
    SELECT 'member', user_id || '/' || team_id, * FROM posted WHERE team_id IS NOT NULL AND user_id IS NOT NULL
    UNION ALL
    SELECT 'user', user_id, * FROM posted WHERE team_id IS NULL AND user_id IS NOT NULL
    UNION ALL
    SELECT 'customer', customer_id, * FROM posted WHERE customer_id IS NOT NULL
    UNION ALL
    SELECT 'tag', tag, posted.* FROM posted CROSS JOIN LATERAL unnest(tags) AS tag
    UNION ALL
    SELECT 'run', key_id::text || '/' || run_id, * FROM posted WHERE run_id IS NOT NULL
), rolled AS (
    INSERT INTO ledger_rollup AS rollup
        (scope_kind, scope_id, hour_at, model, requests, input_tokens, output_tokens, cost_nanousd)
    SELECT scope_kind, scope_id, date_trunc('hour', admitted_at, 'UTC') AS hour_at, model,
        count(*), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
    FROM scoped
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (scope_kind, scope_id, hour_at, model) DO UPDATE SET
        requests = rollup.requests + excluded.requests,
        input_tokens = rollup.input_tokens + excluded.input_tokens,
        output_tokens = rollup.output_tokens + excluded.output_tokens,
        cost_nanousd = rollup.cost_nanousd + excluded.cost_nanousd
), used AS (
    INSERT INTO ledger_usage AS usage
        (hour_at, key_id, team_id, user_id, customer_id, model, provider, requests, failed_requests,
        estimated_requests, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nanousd)
    SELECT date_trunc('hour', admitted_at, 'UTC'), key_id, COALESCE(team_id, ''), COALESCE(user_id, ''),
        COALESCE(customer_id, ''), model, provider,
        count(*), count(*) FILTER (WHERE http_status NOT BETWEEN 200 AND 299), count(*) FILTER (WHERE is_estimated),
        sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(cost_nanousd)
    FROM posted
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (hour_at, key_id, team_id, user_id, customer_id, model, provider) DO UPDATE SET
        requests = usage.requests + excluded.requests,
        failed_requests = usage.failed_requests + excluded.failed_requests,
        estimated_requests = usage.estimated_requests + excluded.estimated_requests,
        input_tokens = usage.input_tokens + excluded.input_tokens,
        output_tokens = usage.output_tokens + excluded.output_tokens,
        cache_read_tokens = usage.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = usage.cache_write_tokens + excluded.cache_write_tokens,
        cost_nanousd = usage.cost_nanousd + excluded.cost_nanousd
)
SELECT id::text, posting, cost_nanousd, input_tokens + output_tokens FROM posted
"""  # noqa: S608 - put in are only the constants above

FIND = f"""
SELECT entry.id::text, posting, cost_nanousd, input_tokens + output_tokens
FROM unnest(%s::uuid[]) AS wanted (id)
JOIN ledger_entry AS entry
    ON entry.id = wanted.id
    AND admitted_at = timestamptz 'epoch' + {ADMITTED_MS.replace("id", "wanted.id")} * interval '1 millisecond'
"""  # noqa: S608 - put in are only the constants above


@dataclass(frozen=True, slots=True)
class Posted:
    """What the ledger holds for a call: the transaction that wrote it, its cost and its tokens."""

    transaction: int
    cost_nanousd: int
    tokens: int


def post_entries(entries: Sequence[Entry]) -> dict[str, Posted]:
    """Writes entries and says what the ledger holds now for each of their ids.

    An entry that was posted before (by a task, or by a try whose answer was lost) stays as it is: its cost counts.
    Raises django.db.Error where the database cannot take them; then none is written.
    """
    rows = orjson.dumps(entries).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(POST, [rows])
        found = cursor.fetchall()
        if len(found) < len(entries):
            new = {row[0] for row in found}
            old = [entry.id for entry in entries if entry.id not in new]
            cursor.execute(FIND, [old])
            found += cursor.fetchall()
    return {row[0]: Posted(row[1], row[2], row[3]) for row in found}
