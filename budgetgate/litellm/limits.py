"""The limits of a LiteLLM row as ours. Pure.

What LiteLLM never enforces is left out and noted; what it enforces becomes a limit that is not looser.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from budgetgate.litellm.durations import read_duration
from budgetgate.litellm.values import Notes, Row, decoded, mapping, maximum_count, maximum_usd
from budgets.rules.limits import (
    LIMITS_MAX,
    MODELS_MAX,
    OTHER_NAMES,
    RATE_FIELDS,
    Limit,
    LimitError,
    LimitUnit,
    parse_model_limits,
    single_limit,
)
from budgets.rules.money import exact_usd
from budgets.rules.windows import Calendar, parse_period
from budgets.services import LimitSet

_UTC = Calendar()


def limits_of(row: Row, *, notes: Notes, metadata: Mapping[str, Any] | None = None) -> LimitSet:
    """The limits of a key, a team, a user or a budget. Some limits by model stand in the metadata."""
    metadata = metadata or {}
    single = _single(row, notes=notes)
    limits = _distinct(_entries(row, notes=notes), single=single, notes=notes)
    if single is not None and any(limit.identity == single.identity for limit in limits):
        single = None
    return LimitSet(
        limits=limits,
        single=single,
        calendar=_UTC,
        soft_budget_nanousd=_soft(row, single=single, notes=notes),
        rates=_rates(row, notes=notes),
        model_max_budget=_by_model(row, notes=notes),
        model_rpm_limit=_model_rates(metadata, "model_rpm_limit", notes=notes),
        model_tpm_limit=_model_rates(metadata, "model_tpm_limit", notes=notes),
    )


def _single(row: Row, *, notes: Notes) -> Limit | None:
    maximum = maximum_usd(row.get("max_budget"), field="max_budget", notes=notes)
    duration = row.get("budget_duration") or None
    if maximum is None:
        if duration is not None:
            notes.add("budget_duration", duration, "not brought: it limits nothing without max_budget")
        return None
    if duration is None:
        return single_limit(maximum, duration=None)
    read = read_duration(duration)
    if read.spelled is None:
        notes.add("budget_duration", duration, f"max_budget lasts for ever instead: {read.why}")
    elif read.why:
        notes.add("budget_duration", duration, read.why)
    return single_limit(maximum, duration=read.spelled)


def _entries(row: Row, *, notes: Notes) -> Iterator[Limit]:
    given = decoded(row.get("budget_limits"), field="budget_limits", notes=notes)
    if given is not None and not isinstance(given, list):
        notes.add("budget_limits", given, "not brought: it is no list")
        return
    for index, entry in enumerate(given or ()):
        limit = _entry(entry, field=f"budget_limits[{index}]", notes=notes)
        if limit is not None:
            yield limit


def _entry(entry: object, *, field: str, notes: Notes) -> Limit | None:
    if not isinstance(entry, Mapping):
        notes.add(field, entry, "not brought: it is no limit")
        return None
    usual = {OTHER_NAMES.get(str(name), str(name)): value for name, value in entry.items()}
    maximum = maximum_usd(usual.get("max_budget"), field=f"{field}.max_budget", notes=notes)
    duration = usual.get("budget_duration")
    read = read_duration(duration)
    if read.spelled is None:
        notes.add(f"{field}.budget_duration", duration, f"not brought: {read.why}")
        return None
    if read.why:
        notes.add(f"{field}.budget_duration", duration, read.why)
    if maximum is None:
        return None
    period = parse_period(read.spelled)
    return Limit(unit=LimitUnit.USD, period=period, maximum=maximum, spelled=read.spelled)


def _distinct(entries: Iterator[Limit], *, single: Limit | None, notes: Notes) -> tuple[Limit, ...]:
    """Of several limits with one period the lowest holds, as it did there: all of them had to have room."""
    kept: dict[str, Limit] = {}
    for limit in entries:
        name = f"budget_limits ({limit.spelled})"
        before = kept.get(limit.identity)
        if before is None and single is not None and limit.identity == single.identity:
            before = single
        if before is not None:
            notes.add(name, _shown(limit), f"the same period as {before.spelled}; the lower of the two holds")
            if _maximum(before) <= _maximum(limit):
                continue
        if limit.identity not in kept and len(kept) == LIMITS_MAX:
            notes.add(name, _shown(limit), f"not brought: at most {LIMITS_MAX} limits are allowed")
            continue
        kept[limit.identity] = limit
    return tuple(kept.values())


def _maximum(limit: Limit) -> int:
    assert limit.maximum is not None, "limits of LiteLLM have a maximum"
    return limit.maximum


def _shown(limit: Limit) -> str:
    return exact_usd(_maximum(limit))


def _soft(row: Row, *, single: Limit | None, notes: Notes) -> int | None:
    soft = maximum_usd(row.get("soft_budget"), field="soft_budget", notes=notes)
    if soft is not None and single is not None and soft >= _maximum(single) > 0:
        notes.add("soft_budget", row.get("soft_budget"), "not brought: it is not lower than max_budget")
        return None
    return soft


def _rates(row: Row, *, notes: Notes) -> dict[str, int]:
    found = {name: maximum_count(row.get(name), field=name, notes=notes) for name in RATE_FIELDS}
    return {name: rate for name, rate in found.items() if rate is not None}


def _by_model(row: Row, *, notes: Notes) -> dict[str, dict[str, object]]:
    stored: dict[str, dict[str, object]] = {}
    for model, entry in mapping(row, "model_max_budget", notes=notes).items():
        field = f"model_max_budget.{model}"
        if len(stored) == MODELS_MAX:
            notes.add(field, entry, f"not brought: at most {MODELS_MAX} models are allowed")
            continue
        try:
            stored |= parse_model_limits({model: _model(entry, field=field, notes=notes)}, field="model_max_budget")
        except LimitError as error:
            notes.add(field, entry, f"not brought: {error}")
    return stored


def _model(entry: object, *, field: str, notes: Notes) -> dict[str, object] | None:
    """The entry of one model with our amounts and durations."""
    given = dict(entry) if isinstance(entry, Mapping) else {"max_budget": entry}
    usual: dict[str, Any] = {OTHER_NAMES.get(str(name), str(name)): value for name, value in given.items()}
    taken: dict[str, object] = {}
    maximum = maximum_usd(usual.pop("max_budget", None), field=f"{field}.max_budget", notes=notes)
    duration = usual.pop("budget_duration", None)
    if maximum is not None:
        taken["max_budget"] = exact_usd(maximum)
        read = read_duration(duration)
        if duration and (read.spelled is None or read.why):
            notes.add(f"{field}.budget_duration", duration, read.why)
        if duration and read.spelled is not None:
            taken["budget_duration"] = read.spelled
    for name in ("tpm_limit", "rpm_limit"):
        rate = maximum_count(usual.pop(name, None), field=f"{field}.{name}", notes=notes)
        if rate is not None:
            taken[name] = rate
    for name in sorted(name for name, value in usual.items() if value):
        notes.add(f"{field}.{name}", usual[name], "not brought: there is no such field here")
    return taken


def _model_rates(metadata: Mapping[str, Any], name: str, *, notes: Notes) -> dict[str, int]:
    rates: dict[str, int] = {}
    for model, value in mapping(metadata, name, notes=notes).items():
        rate = maximum_count(value, field=f"metadata.{name}.{model}", notes=notes)
        if rate is None:
            continue
        if not model or "*" in model or len(rates) == MODELS_MAX:
            notes.add(f"metadata.{name}.{model}", value, f"not brought: allowed are {MODELS_MAX} names without *")
            continue
        rates[model] = rate
    return rates
