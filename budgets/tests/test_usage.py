"""Usage is what the counters say, and what the ledger says where they do not know."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis
from django.conf import LazySettings
from redis.exceptions import ConnectionError as RedisConnectionError

from budgets import usage
from budgets.gate.store import names, sync_gate
from budgets.gate.windows import Amounts, active_windows
from budgets.rules.limits import Limit, LimitUnit, parse_limits
from budgets.rules.scopes import CountedLimit, Scope, ScopeLimits, lifetime_tracker, root_of
from budgets.rules.windows import END_OF_TIME_MS, Calendar, Window
from budgets.services import LimitSet, instant_of
from budgets.usage import SpendQuery, SpendReading, Spends, query_of, spends_of, usage_of

ROOT = "team:t1"
LEDGER_SAYS = 500
asked: list[list[SpendQuery]] = []


def read_spends(queries: Sequence[SpendQuery]) -> SpendReading:
    """Stands for the ledger, which is above this app."""
    asked.append(list(queries))
    return SpendReading(tuple(LEDGER_SAYS + number for number in range(len(queries))), "1:1:")


@pytest.fixture(autouse=True)
def _ledger(settings: LazySettings) -> None:
    settings.SPEND_READER = f"{__name__}.read_spends"
    asked.clear()


def scope_of(*limits: Limit, since_ms: int = 0) -> ScopeLimits:
    return ScopeLimits(Scope("key", "k1"), Calendar(), tuple(CountedLimit(limit, since_ms) for limit in limits))


def some_limits() -> tuple[Limit, ...]:
    return parse_limits(
        [
            {"budget_duration": "1h", "max_budget": "0.000001"},
            {"budget_duration": "1d", "max_tokens": 100},
            {"budget_duration": "1w", "max_requests": 10},
        ]
    )


def test_known_windows_are_read_from_counters_and_others_from_the_ledger(valkey: redis.Redis, now_ms: int) -> None:
    scope = scope_of(*some_limits())
    windows = active_windows([scope], names=names(), root=ROOT, now_ms=now_ms)
    claims = [window.claim(Amounts(usd=30, tokens=20)) for window in windows]
    assert [claim.amount for claim in claims] == [30, 20, 1]
    gate = sync_gate()
    gate.seed(claims[0], spent=900, snapshot="1:1:")
    gate.seed(claims[2], spent=4, snapshot="1:1:")
    gate.admit(ROOT, call_id="a", record=b"", claims=[claims[0], claims[2]], now_ms=now_ms)
    usages = usage_of(scope, root=ROOT, now=instant_of(now_ms))
    assert [(each.spent, each.held, each.remaining) for each in usages] == [
        (900, 30, 70),
        (LEDGER_SAYS, 0, 0),
        (4, 1, 5),
    ]
    assert asked == [[query_of(windows[1])]]
    assert asked[0][0] == SpendQuery(Scope("key", "k1"), LimitUnit.TOKENS, windows[1].window)


def test_counter_of_an_older_limit_is_not_believed_but_its_holds_are(valkey: redis.Redis, now_ms: int) -> None:
    scope = scope_of(some_limits()[0])
    claim = active_windows([scope], names=names(), root=ROOT, now_ms=now_ms)[0].claim(Amounts(usd=30, tokens=0))
    sync_gate().seed(claim, spent=900, snapshot="1:1:")
    sync_gate().admit(ROOT, call_id="a", record=b"", claims=[claim], now_ms=now_ms)
    newer = scope_of(some_limits()[0], since_ms=1)
    (found,) = usage_of(newer, root=ROOT, now=instant_of(now_ms))
    assert (found.spent, found.held) == (LEDGER_SAYS, 30)


def test_store_that_is_down_leaves_the_ledger(monkeypatch: pytest.MonkeyPatch, now_ms: int) -> None:
    def down() -> None:
        raise RedisConnectionError

    monkeypatch.setattr(usage, "sync_gate", down)
    usages = usage_of(scope_of(*some_limits()), root=ROOT, now=instant_of(now_ms))
    assert [(each.spent, each.held) for each in usages] == [(500, 0), (501, 0), (502, 0)]
    assert len(asked) == 1


def test_scope_without_limits_asks_nobody(monkeypatch: pytest.MonkeyPatch, now_ms: int) -> None:
    monkeypatch.setattr(usage, "sync_gate", None)
    assert usage_of(scope_of(), root=ROOT, now=instant_of(now_ms)) == []
    assert asked == []


def test_limit_that_only_counts_has_nothing_remaining(valkey: redis.Redis, now_ms: int) -> None:
    tracker = lifetime_tracker(5)
    scope = replace(scope_of(), limits=(tracker,))
    (found,) = usage_of(scope, root=root_of("k1", team_id=None), now=instant_of(now_ms))
    assert found.remaining is None
    assert found.spent == LEDGER_SAYS
    assert asked[0][0].window == Window(0, END_OF_TIME_MS)


def test_spends_of_many_scopes_are_one_question(now_ms: int) -> None:
    hourly = some_limits()[0]
    scopes = [
        (Scope("key", "k1"), LimitSet((), hourly, Calendar())),
        (Scope("key", "k2"), LimitSet((), None, Calendar())),
    ]
    assert spends_of(scopes, now=instant_of(now_ms)) == [Spends(500, 501), Spends(502, 503)]
    (queries,) = asked
    assert [query.scope.id for query in queries] == ["k1", "k1", "k2", "k2"]
    assert queries[0].window == hourly.window_at(now_ms, calendar=Calendar())
    assert {query.window for query in queries[1:]} == {Window(0, END_OF_TIME_MS)}
    assert spends_of([], now=instant_of(now_ms)) == []
