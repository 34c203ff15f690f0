"""What a scope spent between two instants: whole hours from the rollups, the rest from the entries, and adjustments.

One statement for any number of windows, so that all sums and the snapshot that names them are of one moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from django.db import connection

from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope, ScopeLimits
from budgets.rules.windows import END_OF_TIME_MS, Window
from budgets.usage import SpendQuery, SpendReading

HOUR_MS = 3600_000

# The bounds come as milliseconds: head and tail are the parts of the window that are no whole hours. Each of the two is
# a range of its own, because one range with its middle filtered out reads every entry of a month to drop it again.
SPENDS = """
WITH query AS (
    SELECT n, kind, id, model,
        timestamptz 'epoch' + head_ms * interval '1 millisecond' AS head_at,
        timestamptz 'epoch' + low_ms * interval '1 millisecond' AS low_at,
        timestamptz 'epoch' + high_ms * interval '1 millisecond' AS high_at,
        timestamptz 'epoch' + tail_ms * interval '1 millisecond' AS tail_at
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        WITH ORDINALITY AS bound (kind, id, model, head_ms, low_ms, high_ms, tail_ms, n)
)
SELECT
    pg_current_snapshot()::text,
    COALESCE(hours.cost, 0) + COALESCE(edges.cost, 0) + COALESCE(adjusted.cost, 0),
    COALESCE(hours.tokens, 0) + COALESCE(edges.tokens, 0) + COALESCE(adjusted.tokens, 0),
    COALESCE(hours.requests, 0) + COALESCE(edges.requests, 0) + COALESCE(adjusted.requests, 0)
FROM query
CROSS JOIN LATERAL (
    SELECT sum(cost_nanousd) AS cost, sum(input_tokens + output_tokens) AS tokens, sum(requests) AS requests
    FROM ledger_rollup AS rollup
    WHERE scope_kind = query.kind AND scope_id = query.id AND hour_at >= low_at AND hour_at < high_at
        AND (query.model IS NULL OR rollup.model = query.model)
) AS hours
CROSS JOIN LATERAL (
    SELECT sum(cost_nanousd) AS cost, sum(input_tokens + output_tokens) AS tokens, count(*) AS requests
    FROM (VALUES (head_at, low_at), (high_at, tail_at)) AS edge (from_at, to_at)
    CROSS JOIN LATERAL ({branches}) AS entry
) AS edges
CROSS JOIN LATERAL (
    SELECT sum(cost_nanousd) AS cost, sum(tokens) AS tokens, sum(requests) AS requests
    FROM ledger_adjustment AS adjustment
    WHERE scope_kind = query.kind AND scope_id = query.id AND at >= head_at AND made_at < tail_at
        AND adjustment.model IS NOT DISTINCT FROM query.model
) AS adjusted
ORDER BY query.n
"""

BRANCH = """
        SELECT cost_nanousd, input_tokens, output_tokens FROM ledger_entry
        WHERE query.kind = '{kind}' AND {condition}
            AND admitted_at >= from_at AND admitted_at < to_at
            AND (query.model IS NULL OR ledger_entry.model = query.model)
"""

# The CASE keeps PostgreSQL from reading an id of one kind as one of another. Which of the two parts of a member's id or
# a run's is which stands in budgets/rules/scopes.py.
CONDITIONS = {
    "key": "key_id = CASE WHEN query.kind = 'key' THEN query.id::uuid END",
    "team": "team_id = query.id",
    "member": "user_id = split_part(query.id, '/', 1) AND team_id = split_part(query.id, '/', 2)",
    "user": "user_id = query.id AND team_id IS NULL",
    "customer": "customer_id = query.id",
    "tag": "tags @> ARRAY[query.id]::varchar[] AND tags <> '{}'",
    "run": (
        "key_id = CASE WHEN query.kind = 'run' THEN split_part(query.id, '/', 1)::uuid END "
        "AND run_id = substr(query.id, 38)"
    ),
}

ACTIVE_HOURS = """
SELECT DISTINCT wanted.id, (extract(epoch FROM hour_at) * 1000)::bigint
FROM unnest(%s::text[], %s::bigint[]) AS wanted (id, since_ms)
JOIN ledger_rollup ON scope_kind = %s AND scope_id = wanted.id
    AND hour_at > timestamptz 'epoch' + (since_ms - 3600000) * interval '1 millisecond'
    AND hour_at <= timestamptz 'epoch' + %s * interval '1 millisecond'
ORDER BY 1, 2
"""

MODELS = """
SELECT DISTINCT wanted.kind, wanted.id, model
FROM unnest(%s::text[], %s::text[]) AS wanted (kind, id)
JOIN ledger_rollup ON scope_kind = wanted.kind AND scope_id = wanted.id
ORDER BY 1, 2, 3
"""

_COLUMN = {LimitUnit.USD: 0, LimitUnit.TOKENS: 1, LimitUnit.REQUESTS: 2}


class Totals(NamedTuple):
    """What was spent, in each unit."""

    cost_nanousd: int
    tokens: int
    requests: int


def read_spends(queries: Sequence[SpendQuery]) -> SpendReading:
    """The sum of each query in its unit, and the snapshot they were read in. One statement, whatever the number.

    No window has spent less than nothing.
    """
    totals, snapshot = read_totals([(query.scope, query.window) for query in queries])
    sums = (_sum(row, unit=query.unit) for row, query in zip(totals, queries, strict=True))
    return SpendReading(tuple(max(each, 0) for each in sums), snapshot)


def read_totals(windows: Sequence[tuple[Scope, Window]]) -> tuple[list[Totals], str]:
    """The sums of each scope and window in every unit, and the snapshot."""
    if not windows:
        return [], ""
    bounds = [_bounds(window.start_ms, window.end_ms) for _, window in windows]
    with connection.cursor() as cursor:
        cursor.execute(
            _statement(frozenset(scope.kind for scope, _ in windows)),
            [
                [scope.kind for scope, _ in windows],
                [scope.id for scope, _ in windows],
                [scope.model for scope, _ in windows],
                *(list(column) for column in zip(*bounds, strict=True)),
            ],
        )
        rows = cursor.fetchall()
    return [Totals(int(row[1]), int(row[2]), int(row[3])) for row in rows], rows[0][0]


@lru_cache
def _statement(kinds: frozenset[str]) -> str:
    """With a branch for each kind of scope that is asked for: PostgreSQL plans them all."""
    branches = [BRANCH.format(kind=kind, condition=CONDITIONS[kind]) for kind in sorted(kinds)]
    return SPENDS.format(branches="        UNION ALL".join(branches))


def _sum(totals: Totals, *, unit: LimitUnit) -> int:
    """Open calls are no spend: a limit of them counts from nothing."""
    return 0 if unit is LimitUnit.PARALLEL else totals[_COLUMN[unit]]


def active_hours(kind: str, *, since_ms: Mapping[str, int], now_ms: int) -> dict[str, list[int]]:
    """The hours (their first milliseconds) in which each scope spent something since its instant. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(ACTIVE_HOURS, [list(since_ms), list(since_ms.values()), kind, now_ms])
        hours: dict[str, list[int]] = {}
        for scope_id, hour_ms in cursor.fetchall():
            hours.setdefault(scope_id, []).append(hour_ms)
    return hours


def models_called(limits: Iterable[ScopeLimits]) -> dict[Scope, list[str]]:
    """The models that scopes with limits by model have called. The limits may spell them in other ways."""
    scopes = [each.scope for each in limits if each.by_model]
    models: dict[Scope, list[str]] = {}
    if scopes:
        with connection.cursor() as cursor:
            cursor.execute(MODELS, [[scope.kind for scope in scopes], [scope.id for scope in scopes]])
            for kind, scope_id, model in cursor.fetchall():
                models.setdefault(Scope(kind, scope_id), []).append(model)
    return models


def _bounds(start_ms: int, end_ms: int) -> tuple[int, int, int, int]:
    """Head, first whole hour, end of the last whole hour, tail. Without a whole hour in it, all of it is head."""
    low_ms = -(-start_ms // HOUR_MS) * HOUR_MS
    high_ms = (end_ms + 1 if end_ms == END_OF_TIME_MS else end_ms) // HOUR_MS * HOUR_MS
    if low_ms >= high_ms:
        return start_ms, end_ms, end_ms, end_ms
    return start_ms, low_ms, high_ms, end_ms
