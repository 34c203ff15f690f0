"""What teams, members, users, customers and tags have spent, for answers: many at once, with one question for all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from budgets.answers import Answer, listed_limits, usage_answer
from budgets.models import Budget, Grant, LimitedScope
from budgets.rules.scopes import MEMBER, TEAM, USER, ScopeLimits, member_id, root_of
from budgets.services import LimitSet, grants_for, limit_set, tier_of
from budgets.usage import Spends, spends_of, usages_of
from teams.models import Customer, Member, Tag, Team, User
from teams.scopes import limits_of_customer, limits_of_membership, limits_of_tag, limits_of_team, limits_of_user

Person = Team | Member | User | Customer | Tag


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer says of a scope besides its own fields: spends, windows, and what grants add to its limits."""

    spends: Spends
    windows: Answer
    grants: tuple[Grant, ...] = ()


NOTHING_SPENT = Shown(Spends(0, 0), {})


def shown_of(row: Person, *, now: datetime) -> Shown:
    """Spends and windows of one row."""
    return shown_of_all([row], now=now)[0]


def shown_of_all(rows: Sequence[Person], *, now: datetime) -> list[Shown]:
    """The same for many rows, in their order. Each has its tier selected, a member its team with the team's tier."""
    grants = grants_for({_subject(row) for row in rows}, now=now) if rows else []
    limits = [_limits_of(row, grants=grants) for row in rows]
    spends = spends_of([(each.scope, _effective(row)) for row, each in zip(rows, limits, strict=True)], now=now)
    usages = usages_of(
        [(listed_limits(row, each, tier=_tier(row)), _root_of(row)) for row, each in zip(rows, limits, strict=True)],
        now=now,
    )
    by_subject = _by_subject(grants)
    return [
        Shown(spent, usage_answer(windows), by_subject.get(_subject(row), ()))
        for row, spent, windows in zip(rows, spends, usages, strict=True)
    ]


def spends_of_rows(rows: Sequence[Person], *, now: datetime) -> list[Spends]:
    """The spends alone, which lists show; the ledger is asked once."""
    return spends_of([(_limits_of(row, grants=()).scope, _effective(row)) for row in rows], now=now)


def _by_subject(grants: Sequence[Grant]) -> dict[tuple[str, str], tuple[Grant, ...]]:
    found: dict[tuple[str, str], tuple[Grant, ...]] = {}
    for grant in grants:
        subject = (grant.scope_kind, grant.scope_id)
        found[subject] = (*found.get(subject, ()), grant)
    return found


def _limits_of(row: Person, *, grants: Sequence[Grant]) -> ScopeLimits:
    if isinstance(row, Team):
        return limits_of_team(row, grants=grants)
    if isinstance(row, Member):
        return limits_of_membership(row.user_id, team=row.team, member=row, grants=grants)
    if isinstance(row, User):
        return limits_of_user(row, grants=grants)
    return limits_of_customer(row, grants=grants) if isinstance(row, Customer) else limits_of_tag(row, grants=grants)


def _subject(row: Person) -> tuple[str, str]:
    if isinstance(row, Team):
        return TEAM, row.team_id
    if isinstance(row, Member):
        return MEMBER, member_id(row.user_id, team_id=row.team_id)
    if isinstance(row, User):
        return USER, row.username
    return ("customer", row.customer_id) if isinstance(row, Customer) else ("tag", row.name)


def _root_of(row: Person) -> str:
    kind, name = _subject(row)
    return root_of("", team_id=row.team_id) if isinstance(row, Member) else f"{kind}:{name}"


def _tier(row: LimitedScope) -> Budget | None:
    """The tier that holds for a row: its own, or that of its team for members."""
    own = tier_of(row)
    return row.team.member_budget if own is None and isinstance(row, Member) else own


def _effective(row: LimitedScope) -> LimitSet:
    """The limits of a row, whose `max_budget` is its tier's where it has none of its own."""
    own, tier = limit_set(row), _tier(row)
    return own if own.single is not None or tier is None else replace(own, single=limit_set(tier).single)


def increase_of(shown: Shown, *, now: datetime) -> tuple[int | None, datetime | None]:
    """What temporary increases of all USD limits add now, in nano-dollars, and when the first of them ends."""
    open_now = [each for each in shown.grants if not each.identity and not each.model and each.starts_at <= now]
    if not open_now:
        return None, None
    return sum(each.amount for each in open_now), min(each.ends_at for each in open_now)
