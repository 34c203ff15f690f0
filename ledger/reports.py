"""Reports of what was used and what it cost, all from hourly sums: a constant number of queries, whatever was called.

Days begin in the zone that the reader names by its offset. An hour belongs to the day in which it begins there.
Adjustments are not in reports: they change what counts against limits, not what was used.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from django.db import connection

from budgets.actors import Actor
from budgets.errors import InputError
from budgets.rules.money import usd_from_nanousd
from ledger.filters import Days, Where
from ledger.names import KeyNames, aliases_of, hash_of, key_ids_of, key_names

ROWS_MAX = 100_000
"""More than this a report does not read at once: it asks for fewer days."""

SUMS = (
    "sum(cost_nanousd)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cache_read_tokens)::bigint, "
    "sum(cache_write_tokens)::bigint, sum(requests)::bigint, sum(failed_requests)::bigint"
)
SUMS_OF_TAGS = (
    "sum(cost_nanousd)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint, 0, 0, sum(requests)::bigint, 0"
)
DAY = "((hour_at - %s * interval '1 minute') AT TIME ZONE 'UTC')::date"

ENTITIES = {"team": "team_id", "user": "user_id", "customer": "customer_id", "tag": "scope_id"}
"""What daily activity can be by, and the column that has it."""

GROUPS = ("models", "providers", "api_keys", "entities")
"""In the order in which PARTS reads them."""

BY_DAY = "SELECT {day} AS day, {sums} FROM {table} WHERE {where} GROUP BY 1"
PARTS = """
SELECT day, {dimensions}, {grouping}, {sums}
FROM (SELECT *, {day} AS day FROM {table} WHERE {where}) AS used
WHERE day = ANY(%s)
GROUP BY GROUPING SETS ({sets})
"""
BY_ONE = "SELECT {column}::text, {sums} FROM {table} WHERE {where} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s"
IN_ALL = "SELECT {sums} FROM ledger_usage WHERE {where}"
REPORT_BY_DAY = """
SELECT {day}, {column}, model, key_id::text, {sums} FROM ledger_usage WHERE {where} AND {column} <> ''
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT %s
"""
REPORT_OF_KEYS = """
SELECT key_id::text, model, {sums} FROM ledger_usage WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT %s
"""

Answer = dict[str, Any]


class Sums(NamedTuple):
    """What was used: cost in nano-dollars, tokens and calls."""

    cost_nanousd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    requests: int = 0
    failed_requests: int = 0

    def plus(self, other: "Sums") -> "Sums":
        return Sums(*(one + another for one, another in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report shall be of. None filters nothing."""

    days: Days
    ids: Sequence[str] | None = None
    exclude_ids: Sequence[str] | None = None
    model: str | None = None
    api_key: str | None = None


# --- daily activity ---------------------------------------------------------------------------------


def daily_activity(entity: str, asked: Asked, *, page: int, page_size: int, by: Actor) -> Answer:
    """The days of a page, the latest first, with what each of them consists of, and the sums of all days."""
    table, sums = ("ledger_rollup", SUMS_OF_TAGS) if entity == "tag" else ("ledger_usage", SUMS)
    where = _where(entity, asked, by=by)
    by_day = _sums_by_day(table, sums, where, offset=asked.days.offset_minutes)
    days = sorted(by_day, reverse=True)
    shown = days[(page - 1) * page_size : page * page_size]
    parts = _parts(entity, table, sums, where, days=shown, offset=asked.days.offset_minutes) if shown else {}
    total = Sums()
    for each in by_day.values():
        total = total.plus(each)
    results = [
        {"date": day.isoformat(), "metrics": metrics_of(by_day[day]), "breakdown": parts.get(day, _breakdown())}
        for day in shown
    ]
    pages = -(-len(days) // page_size)
    return {"results": results, "metadata": _metadata(total, page=page, pages=pages)}


def _where(entity: str, asked: Asked, *, by: Actor) -> Where:
    where, column = Where(), ENTITIES[entity]
    where.between("hour_at", asked.days.start_at, asked.days.end_at)
    if entity == "tag":
        where.add("scope_kind = 'tag'")
    else:
        where.add(f"{column} <> ''")
        where.visible_to(by)
        if entity in ("team", "user") and not by.sees_all:
            where.any_of(column, sorted(by.teams) if entity == "team" else [by.user_id or ""])
        if asked.api_key is not None:
            where.add("key_id = ANY(%s::uuid[])", key_ids_of(asked.api_key))
    where.any_of(column, asked.ids)
    where.none_of(column, asked.exclude_ids)
    where.any_of("model", None if asked.model is None else [asked.model])
    return where


def _sums_by_day(table: str, sums: str, where: Where, *, offset: int) -> dict[date, Sums]:
    statement = BY_DAY.format(day=DAY, sums=sums, table=table, where=where.sql)
    rows = _rows(statement, [offset, *where.parameters])
    return {day: Sums(*rest) for day, *rest in rows}


def _parts(
    entity: str, table: str, sums: str, where: Where, *, days: Sequence[date], offset: int
) -> dict[date, Answer]:
    """What each day consists of, by model, provider, key and entity, and each of these by key."""
    column = ENTITIES[entity]
    if entity == "tag":
        dimensions = f"model, NULL, NULL, {column}"
        sets = f"(day, model), (day, {column})"
        grouping = f"grouping(model), 1, 1, grouping({column})"
    else:
        dimensions = f"model, provider, key_id::text, {column}"
        sets = (
            f"(day, model), (day, provider), (day, key_id), (day, {column}), "
            f"(day, model, key_id), (day, provider, key_id), (day, {column}, key_id)"
        )
        grouping = f"grouping(model), grouping(provider), grouping(key_id), grouping({column})"
    statement = PARTS.format(
        day=DAY, dimensions=dimensions, grouping=grouping, sums=sums, table=table, where=where.sql, sets=sets
    )
    rows = _rows(statement, [offset, *where.parameters, list(days)])
    return _breakdowns(rows, entity=entity)


def _breakdowns(rows: Sequence[Sequence[Any]], *, entity: str) -> dict[date, Answer]:
    keys = key_names({row[3] for row in rows if row[3] is not None})
    aliases = aliases_of(entity, {row[4] for row in rows if row[4] is not None})
    parts: dict[date, Answer] = {}
    # First what is by one thing, then what is by a thing and a key, which goes into the former.
    for row in sorted(rows, key=lambda row: -sum(row[5:9])):
        breakdown = parts.setdefault(row[0], _breakdown())
        present = {group: value for group, value, absent in zip(GROUPS, row[1:5], row[5:9], strict=True) if not absent}
        metrics, key_id = {"metrics": metrics_of(Sums(*row[9:]))}, present.pop("api_keys", None)
        about_key = {**metrics, "metadata": _about_key(keys.get(key_id or ""))}
        if not present:
            breakdown["api_keys"][hash_of(keys, key_id or "")] = about_key
            continue
        [(group, value)] = present.items()
        if key_id is not None:
            breakdown[group][value]["api_key_breakdown"][hash_of(keys, key_id)] = about_key
        else:
            metadata = {"alias": aliases.get(value)} if group == "entities" else {}
            breakdown[group][value] = {**metrics, "metadata": metadata, "api_key_breakdown": {}}
    for breakdown in parts.values():
        breakdown["model_groups"] = breakdown["models"]
    return parts


def _breakdown() -> Answer:
    names = ("models", "model_groups", "providers", "endpoints", "api_keys", "entities", "mcp_servers")
    return {name: {} for name in names}


def _about_key(names: KeyNames | None) -> Answer:
    return {
        "key_alias": None if names is None else names.alias,
        "team_id": None if names is None else names.team_id,
    }


def metrics_of(sums: Sums) -> Answer:
    """Sums under the names that clients know."""
    return {
        "spend": usd_from_nanousd(sums.cost_nanousd),
        "prompt_tokens": sums.input_tokens,
        "completion_tokens": sums.output_tokens,
        "cache_read_input_tokens": sums.cache_read_tokens,
        "cache_creation_input_tokens": sums.cache_write_tokens,
        "total_tokens": sums.input_tokens + sums.output_tokens,
        "successful_requests": sums.requests - sums.failed_requests,
        "failed_requests": sums.failed_requests,
        "api_requests": sums.requests,
    }


def _metadata(total: Sums, *, page: int, pages: int) -> Answer:
    totals = {f"total_{name.removeprefix('total_')}": value for name, value in metrics_of(total).items()}
    return {**totals, "page": page, "total_pages": pages, "has_more": page < pages}


# --- spend by one thing -----------------------------------------------------------------------------


def spend_by(dimension: str, days: Days, *, most: int, by: Actor) -> list[tuple[str, Sums]]:
    """What was used by each team, user, key or model, the dearest first. `dimension` is a column of usage."""
    where = Where()
    where.between("hour_at", days.start_at, days.end_at)
    where.visible_to(by)
    statement = BY_ONE.format(column=dimension, sums=SUMS, table="ledger_usage", where=where.sql)
    rows = _rows(statement, [*where.parameters, most])
    return [(name, Sums(*rest)) for name, *rest in rows]


def total_spend(days: Days, *, by: Actor) -> Sums:
    """What was used in all."""
    where = Where()
    where.between("hour_at", days.start_at, days.end_at)
    where.visible_to(by)
    [row] = _rows(IN_ALL.format(sums=SUMS, where=where.sql), where.parameters)
    return Sums(*(each or 0 for each in row))


def spend_by_tag(days: Days, *, tags: Collection[str] | None, most: int) -> list[tuple[str, Sums]]:
    """The same for tags. A call with two tags counts for both."""
    where = Where()
    where.add("scope_kind = 'tag'")
    where.between("hour_at", days.start_at, days.end_at)
    where.any_of("scope_id", None if tags is None else sorted(tags))
    statement = BY_ONE.format(column="scope_id", sums=SUMS_OF_TAGS, table="ledger_rollup", where=where.sql)
    rows = _rows(statement, [*where.parameters, most])
    return [(name, Sums(*rest)) for name, *rest in rows]


# --- the report of teams, customers or keys ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportAsked:
    """What GET /global/spend/report shall be of."""

    days: Days
    group_by: str
    api_key: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    customer_id: str | None = None


def spend_report(asked: ReportAsked, *, by: Actor) -> list[Answer]:
    """Spend by day and team or customer, or by key, each with the models that it went to."""
    where = Where()
    where.between("hour_at", asked.days.start_at, asked.days.end_at)
    where.visible_to(by)
    for column, value in (("team_id", asked.team_id), ("user_id", asked.user_id), ("customer_id", asked.customer_id)):
        where.any_of(column, None if value is None else [value])
    if asked.api_key is not None:
        where.add("key_id = ANY(%s::uuid[])", key_ids_of(asked.api_key))
    if asked.group_by == "api_key":
        return _report_of_keys(where)
    return _report_by_day(where, group=asked.group_by)


def _report_by_day(where: Where, *, group: str) -> list[Answer]:
    column = ENTITIES[group]
    statement = REPORT_BY_DAY.format(day=DAY, column=column, sums=SUMS, where=where.sql)
    rows = _rows(statement, [0, *where.parameters, ROWS_MAX + 1])
    _check_length(rows)
    keys, aliases = key_names({row[3] for row in rows}), aliases_of(group, {row[1] for row in rows})
    days: dict[date, dict[str, list[Answer]]] = {}
    for day, name, model, key_id, *rest in rows:
        part = _part(Sums(*rest), model=model, api_key=hash_of(keys, key_id))
        days.setdefault(day, {}).setdefault(name, []).append(part)
    named = "team_name" if group == "team" else "customer"
    return [
        {
            "group_by_day": day.isoformat(),
            f"{group}s": [
                {
                    named: (aliases.get(name) or name) if group == "team" else name,
                    f"{group}_id": name,
                    "total_spend": sum(part["spend"] for part in parts),
                    "metadata": parts,
                }
                for name, parts in groups.items()
            ],
        }
        for day, groups in days.items()
    ]


def _part(sums: Sums, *, model: str, api_key: str) -> Answer:
    tokens = sums.input_tokens + sums.output_tokens
    return {"model": model, "spend": usd_from_nanousd(sums.cost_nanousd), "total_tokens": tokens, "api_key": api_key}


def _report_of_keys(where: Where) -> list[Answer]:
    rows = _rows(REPORT_OF_KEYS.format(sums=SUMS, where=where.sql), [*where.parameters, ROWS_MAX + 1])
    _check_length(rows)
    names = key_names({row[0] for row in rows})
    by_key: dict[str, list[tuple[str, Sums]]] = {}
    for key_id, model, *rest in rows:
        by_key.setdefault(key_id, []).append((model, Sums(*rest)))
    return [_key_answer(key_id, models, names=names) for key_id, models in by_key.items()]


def _key_answer(key_id: str, models: Sequence[tuple[str, Sums]], *, names: dict[str, KeyNames]) -> Answer:
    known = names.get(key_id)
    return {
        "api_key": hash_of(names, key_id),
        "key_alias": None if known is None else known.alias,
        **_totals(sums for _, sums in models),
        "model_details": [{"model": model, **_totals([sums])} for model, sums in models],
    }


def _totals(some: Iterable[Sums]) -> Mapping[str, Any]:
    total = Sums()
    for each in some:
        total = total.plus(each)
    return {
        "total_cost": usd_from_nanousd(total.cost_nanousd),
        "total_input_tokens": total.input_tokens,
        "total_output_tokens": total.output_tokens,
    }


def _check_length(rows: Sequence[object]) -> None:
    if len(rows) > ROWS_MAX:
        raise InputError(f"end_date: the report has more than {ROWS_MAX} rows; ask for fewer days", field="end_date")


def _rows(sql: str, parameters: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows
