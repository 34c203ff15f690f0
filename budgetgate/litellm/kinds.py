"""The kinds of objects that are brought: how each is found by its natural key, made, and compared."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from django.contrib.auth.hashers import make_password
from django.db.models import QuerySet

from budgetgate.litellm.planned import Planned
from budgets.audit import limits_record
from budgets.models import Budget
from budgets.rules.scopes import member_id
from keys.models import Key
from teams.models import Customer, Member, Tag, Team, User

Object: TypeAlias = Budget | User | Team | Member | Customer | Tag | Key


@dataclass(frozen=True, slots=True)
class Kind:
    """`rows` are those of some natural keys, and perhaps more. `news` is what gateways hear, of a natural key."""

    name: str
    rows: Callable[[Collection[str]], QuerySet[Any]]
    make: Callable[[Planned, datetime], Object]
    news: Callable[[str], str]
    has_spend: bool = True


def natural_key_of(found: Object) -> str:
    """What names an object here as in LiteLLM."""
    return found.token_hash if isinstance(found, Key) else subject_of(found)


def subject_of(found: Object) -> str:
    """The id of an object in audits, and of a scope in the ledger."""
    return member_id(found.user_id, team_id=found.team_id) if isinstance(found, Member) else str(found.pk)


def record_of(found: Object, columns: Mapping[str, Any]) -> dict[str, Any]:
    """What an object is as far as it is compared, also as an audit shows it."""
    return {**{name: getattr(found, name) for name in columns}, **limits_record(found)}


def _members(ids: Collection[str]) -> QuerySet[Any]:
    pairs = [each.split("/", 1) for each in ids]
    users, teams = {user for user, _ in pairs}, {team for _, team in pairs}
    return Member.objects.select_related("budget").filter(user_id__in=users, team_id__in=teams)


BUDGETS = Kind(
    "budget",
    lambda keys: Budget.objects.filter(pk__in=keys),
    lambda planned, now: Budget(budget_id=planned.key, **planned.born),
    "budget:{}".format,
    has_spend=False,
)
USERS = Kind(
    "user",
    lambda keys: User.objects.select_related("budget").filter(pk__in=keys),
    lambda planned, now: User(username=planned.key, password=make_password(None), **planned.born),
    "user:{}".format,
)
TEAMS = Kind(
    "team",
    lambda keys: Team.objects.select_related("budget").filter(pk__in=keys),
    lambda planned, now: Team(team_id=planned.key, member_budget_since=now, **planned.born),
    "team:{}".format,
)
MEMBERS = Kind(
    "member",
    _members,
    lambda planned, now: Member(**planned.born),
    lambda pair: f"team:{pair.partition('/')[2]}",
)
CUSTOMERS = Kind(
    "customer",
    lambda keys: Customer.objects.select_related("budget").filter(pk__in=keys),
    lambda planned, now: Customer(customer_id=planned.key, **planned.born),
    "customer:{}".format,
)
TAGS = Kind(
    "tag",
    lambda keys: Tag.objects.select_related("budget").filter(pk__in=keys),
    lambda planned, now: Tag(name=planned.key, **planned.born),
    "tag:{}".format,
)
KEYS = Kind(
    "key",
    lambda keys: Key.objects.select_related("budget").filter(token_hash__in=keys),
    lambda planned, now: Key(token_hash=planned.key, rooted_at=now, **planned.born),
    "key:{}".format,
)
