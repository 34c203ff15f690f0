"""Resets and adjustments that people ask for. What they mean for windows and counters is ledger/adjustments.py's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.db import connection, transaction

from budgets.actors import Actor
from budgets.errors import ForbiddenError, InputError
from budgets.rules.money import USD_MAX, exact_usd
from budgets.rules.scopes import KEY, TEAM
from budgets.services import limit_set
from budgets.usage import spends_of
from ledger.access import key_to_correct, member_to_correct, owner_to_correct
from ledger.adjustments import Correction, at_most, correct, move_spend, set_spend
from ledger.owners import Owner, Row, owner_of, rows_of
from teams.models import Member

RESET = "reset_spend"
BATCH = 200

ADJUSTMENTS = """
SELECT batch_id::text, scope_kind, scope_id, made_at, actor, reason,
    COALESCE(sum(cost_nanousd) FILTER (WHERE model IS NULL), 0)::bigint,
    COALESCE(sum(tokens) FILTER (WHERE model IS NULL), 0)::bigint,
    COALESCE(sum(requests) FILTER (WHERE model IS NULL), 0)::bigint
FROM ledger_adjustment
WHERE (%(kind)s::text IS NULL OR scope_kind = %(kind)s) AND (%(id)s::text IS NULL OR scope_id = %(id)s)
GROUP BY batch_id, scope_kind, scope_id, made_at, actor, reason
ORDER BY made_at DESC, batch_id
LIMIT %(most)s OFFSET %(first)s
"""


@dataclass(frozen=True, slots=True)
class SpendReset:
    """A scope whose spend was reset, and what it had spent before: in the window of its `max_budget`, and in all."""

    row: Row
    owner: Owner
    previous_nanousd: int
    spend_nanousd: int


@dataclass(frozen=True, slots=True)
class ListedAdjustment:
    """One correction, with what it changed in the scope's life, in each unit."""

    id: str
    scope_kind: str
    scope_id: str
    made_at: datetime
    actor: str
    reason: str
    cost_nanousd: int
    tokens: int
    requests: int


def reset_key_spend(presented: str, *, to_nanousd: int, by: Actor, now: datetime) -> SpendReset:
    """Lowers what a key has spent, in every window. Raises NotFoundError, ForbiddenError and InputError."""
    return _reset(key_to_correct(presented, by=by, now=now), to_nanousd=to_nanousd, by=by, now=now)


def reset_member_spend(team_id: str, user_id: str, *, to_nanousd: int, by: Actor, now: datetime) -> SpendReset:
    """The same for a user in a team."""
    member_to_correct(team_id, user_id, by=by, now=now)
    member = Member.objects.select_related("budget", "team__member_budget").get(team_id=team_id, user_id=user_id)
    return _reset(member, to_nanousd=to_nanousd, by=by, now=now)


def _reset(row: Row, *, to_nanousd: int, by: Actor, now: datetime) -> SpendReset:
    owner = owner_of(row)
    with transaction.atomic():
        [before] = spends_of([(owner.limits.scope, limit_set(row))], now=now)
        if to_nanousd > before.lifetime_nanousd:
            most = exact_usd(before.lifetime_nanousd)
            message = f"reset_to: {exact_usd(to_nanousd)} is more than was spent; allowed is 0 to {most}"
            raise InputError(message, field="reset_to")
        set_spend(owner.limits, root=owner.root, to_nanousd=to_nanousd, by=by, reason="", now=now, action=RESET)
    return SpendReset(row, owner, before.current_nanousd, min(before.current_nanousd, to_nanousd))


def reset_all_spend(*, by: Actor, now: datetime) -> dict[str, int]:
    """Lets every key and every team have spent nothing, in batches; returns how many there are of each."""
    if not by.manages_all:
        raise ForbiddenError("Only an admin of the gateway may reset all spend")
    counts: dict[str, int] = {}
    for kind in (KEY, TEAM):
        counts[kind] = 0
        for rows in _batches(kind):
            corrections = [Correction(owner_of(row), partial(at_most, to_nanousd=0)) for row in rows]
            correct(corrections, by=by, reason="reset of all spend", now=now, action=RESET)
            counts[kind] += len(rows)
    return counts


def _batches(kind: str) -> Iterator[Sequence[Row]]:
    rows = rows_of(kind).order_by("pk")
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        batch = list(rows.filter(pk__gt=batch[-1].pk)[:BATCH])


def adjust_scope(
    kind: str, given: str, *, amount_nanousd: int, by: Actor, reason: str, now: datetime
) -> tuple[Owner, int, int]:
    """Moves what a scope has spent by an amount; returns it with its lifetime spend before and after."""
    owner = owner_to_correct(kind, given, by=by, now=now)
    with transaction.atomic():
        before, after = move_spend(
            owner.limits, root=owner.root, amount_nanousd=amount_nanousd, by=by, reason=reason, now=now
        )
        if after > USD_MAX.scaleb(9):
            message = f"amount: the spend would be {exact_usd(after)}; allowed are at most {USD_MAX}"
            raise InputError(message, field="amount")
    return owner, before, after


def list_adjustments(
    kind: str | None, scope_id: str | None, *, page: int, page_size: int
) -> tuple[list[ListedAdjustment], bool]:
    """A page of corrections, newest first, and whether there are more. One query, and no count."""
    with connection.cursor() as cursor:
        cursor.execute(
            ADJUSTMENTS, {"kind": kind, "id": scope_id, "most": page_size + 1, "first": (page - 1) * page_size}
        )
        rows = [ListedAdjustment(*row) for row in cursor.fetchall()]
    return rows[:page_size], len(rows) > page_size
