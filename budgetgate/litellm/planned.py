"""What shall be there for a row of LiteLLM, before anybody knows what is there already. Amounts in nano-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from budgetgate.litellm.durations import is_open, read_duration
from budgetgate.litellm.limits import limits_of
from budgetgate.litellm.values import Note, Notes, Row, decoded, instant, mapping, number, rounded_nanousd, spent_usd
from budgets.rules.limits import Limit, LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.windows import Calendar, Period, parse_period
from budgets.services import LimitSet
from teams import parsing

USER_ID_RULE = "allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + | -"
ID_RULE = "allowed are 1 to 128 of the characters A-Z a-z 0-9 . _ : @ + -"
GUEST_RULE = "allowed are 1 to 128 printable characters but { }, and no space around them"
TAG_RULE = "allowed are 1 to 128 printable characters but { } and the comma, and no space around them"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a scope has spent: in its life, and in the open windows of its limits, by their identities."""

    lifetime_nanousd: int = 0
    windows: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.lifetime_nanousd > 0 or any(self.windows.values())


@dataclass(frozen=True, slots=True)
class Increase:
    """What a temporary increase adds to the limits in dollars, and until when."""

    nanousd: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Planned:
    """One object. `columns` are compared with what is there, `born` are set when it is made and never again.

    `key` is its natural key here, `name` what people recognise it by. `why_not` says why it is not brought.
    """

    key: str
    name: str
    columns: Mapping[str, Any]
    born: Mapping[str, Any]
    limits: LimitSet
    budget_id: str | None = None
    spent: Spent = field(default_factory=Spent)
    increase: Increase | None = None
    notes: tuple[Note, ...] = ()
    why_not: str = ""

    def changed(self, *, field: str, value: str, why: str, **columns: Any) -> "Planned":
        """The same with other columns, and a note of why."""
        return replace(self, columns={**self.columns, **columns}, notes=(*self.notes, Note(field, value, why)))


def refused(name: str, why: str) -> Planned:
    """An object that cannot be brought."""
    return Planned("", name, {}, {}, LimitSet((), None, Calendar()), why_not=why)


def is_id(text: object) -> bool:
    """Whether a text may be an id here: ids stand in names of counters."""
    return isinstance(text, str) and parsing.is_team_id(text)


def is_user_id(text: object) -> bool:
    """Whether a text may be the id of a user; those of login services have bars."""
    return isinstance(text, str) and parsing.is_user_id(text)


def is_guest_name(text: object, *, without: str = "") -> bool:
    """Whether a text may be the id of a customer or, without a comma, a tag."""
    return isinstance(text, str) and parsing.is_guest_name(text, without=without)


@dataclass(frozen=True, slots=True)
class Limited:
    """The limits that a scope has of its own, the budget that it refers to, and LiteLLM's row of its budget."""

    limits: LimitSet
    budget_id: str | None = None
    budget: Row = field(default_factory=dict)


def with_budget(row: Row, *, notes: Notes, metadata: Mapping[str, Any] | None = None) -> Limited:
    """A row's limits. A budget that only this row refers to, and that nobody named, becomes limits of its own."""
    budget, budget_id = mapping(row, "budget", notes=notes), row.get("budget_id")
    if budget.get("temp_budget_increase"):
        notes.add("temp_budget_increase", budget["temp_budget_increase"], "not brought: give one anew")
    if budget and row.get("budget_is_own"):
        given = {name: value for name, value in row.items() if value not in (None, {}, [])}
        return Limited(limits_of({**budget, **given}, notes=notes, metadata=metadata), None, budget)
    if budget and is_id(budget_id):
        merged = {**row, **_single_beside_tier(row, budget)}
        return Limited(limits_of(merged, notes=notes, metadata=metadata), str(budget_id), budget)
    if budget_id:
        notes.add("budget_id", budget_id, f"not brought: {ID_RULE if budget else 'LiteLLM has no such budget'}")
    return Limited(limits_of(row, notes=notes, metadata=metadata))


def _single_beside_tier(row: Row, budget: Row) -> dict[str, Any]:
    """LiteLLM takes the amount from one and the duration from the other, where each has only one of them."""
    maximum, duration = row.get("max_budget"), row.get("budget_duration")
    if maximum is None and not duration:
        return {}
    return {
        "max_budget": budget.get("max_budget") if maximum is None else maximum,
        "budget_duration": duration or budget.get("budget_duration"),
    }


def increase_of(metadata: Mapping[str, Any], limited: Limited, *, now: datetime, notes: Notes) -> Increase | None:
    """The temporary increase of a key, if it still runs and there is something to increase."""
    name, until = "metadata.temp_budget_increase", instant(metadata.get("temp_budget_expiry"))
    given = metadata.get("temp_budget_increase")
    amount = number(given)
    nanousd = 0 if amount is None else rounded_nanousd(amount)[0]
    if given is None:
        return None
    if until is None or not 0 < nanousd <= AMOUNT_MAX:
        why = "not brought: it needs temp_budget_expiry and an amount above 0"
    elif until <= now:
        why = f"not brought: it ended at {until:%Y-%m-%d %H:%M:%S} UTC"
    elif limited.limits.single is None and not limited.limits.limits and limited.budget_id is None:
        why = "not brought: there is no limit in dollars that it could raise"
    else:
        if limited.limits.limits:
            notes.add(name, given, "a grant, which raises budget_limits too, and not max_budget alone")
        return Increase(nanousd, until)
    notes.add(name, given, why)
    return None


def spent_of(row: Row, limited: Limited, *, now: datetime) -> Spent:
    """What a row says that it has spent.

    `spend` is what was spent since the last reset of `max_budget`, or ever, where nothing resets it. A reset that
    LiteLLM is late with counts as done.
    """
    spend, total = spent_usd(row.get("spend")), spent_usd(row.get("total_spend"))
    single = limited.limits.single
    if single is None and limited.budget_id is not None:
        single = limits_of(limited.budget, notes=Notes()).single
    reset_at = instant(row.get("budget_reset_at")) or instant(limited.budget.get("budget_reset_at"))
    windows = _open_windows(row, limited.limits.limits, now=now)
    if single is not None and single.spelled:
        windows[single.identity] = 0 if reset_at is not None and reset_at <= now else spend
    return Spent(max(spend, total, *windows.values()), {name: amount for name, amount in windows.items() if amount})


def _open_windows(row: Row, limits: tuple[Limit, ...], *, now: datetime) -> dict[str, int]:
    """By identity. Of several spellings of one period that with the most counts."""
    wanted = {limit.identity for limit in limits}
    spends: dict[str, int] = {}
    for stored in decoded(row.get("windows"), field="windows", notes=Notes()) or ():
        period, started_at = _period(stored.get("window_duration")), instant(stored.get("window_start"))
        if period is None or started_at is None or not is_open(started_at, period=period, now=now):
            continue
        identity = f"{LimitUnit.USD.value}/{period}"
        if identity in wanted:
            spends[identity] = max(spends.get(identity, 0), spent_usd(stored.get("spend")))
    return spends


def _period(duration: object) -> Period | None:
    spelled = read_duration(duration).spelled
    return None if spelled is None else parse_period(spelled)


def born(row: Row, *, now: datetime) -> dict[str, Any]:
    """When and by whom a row was made; now, where LiteLLM does not know."""
    created_at = instant(row.get("created_at")) or now
    return {
        "created_at": created_at,
        "created_by": str(row.get("created_by") or "")[:255],
        "updated_at": instant(row.get("updated_at")) or created_at,
    }
