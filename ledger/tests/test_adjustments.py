"""Adjustments on the real PostgreSQL and Valkey: every window shows what it shall, under load, and if added later."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, cast

import pytest
import redis
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from budgets.actors import SYSTEM, Actor, Role
from budgets.errors import InputError
from budgets.gate.store import sync_gate
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts
from budgets.models import Change
from budgets.rules.limits import LimitUnit
from budgets.rules.scopes import Scope
from budgets.rules.settlement import Settlement
from budgets.rules.windows import Calendar, parse_period, window_at
from budgets.services import instant_of, ms_of
from budgets.usage import SpendQuery, SpendReading, query_of
from keys.fields import KeyFields
from keys.models import Key
from keys.services import update_key
from ledger.adjustments import adjust, move_spend, set_spend
from ledger.models import Adjustment
from ledger.owners import owner_of
from ledger.posting import post_entries
from ledger.settling import post_and_settle
from ledger.spends import read_spends
from ledger.tests.factories import (
    NOW,
    NOW_MS,
    admitted_call,
    at,
    at_once,
    differences,
    limits,
    posted_entry,
    saved_key,
    saved_team,
    seed,
    windows_of,
)

QueryCount = Callable[[int], AbstractContextManager[object]]
pytestmark = pytest.mark.django_db(transaction=True)
ADMIN = Actor("ada", Role.PROXY_ADMIN)
PERIODS = ("5s", "1m", "10m", "1h", "6h", "12h", "1d", "1w", "1mo", "3mo", "12mo")


@pytest.fixture
def gate(valkey: redis.Redis) -> SyncGate:
    return sync_gate()


def key_with_windows(**fields: Any) -> Key:
    return saved_key(budget_limits=limits(("1h", 10), ("1d", 50), ("1mo", 500)), **fields)


def spend(key: Key, *costs: tuple[str, int], **fields: Any) -> None:
    for text, cost in costs:
        posted_entry(key_id=str(key.id), team_id=key.team_id, at_ms=ms_of(at(text)), cost_nanousd=cost, **fields)


def reset(key: Key, to_nanousd: int, *, now_ms: int = NOW_MS) -> int:
    owner = owner_of(key)
    return set_spend(
        owner.limits, root=owner.root, to_nanousd=to_nanousd, by=ADMIN, reason="a test", now=instant_of(now_ms)
    )


def shown(
    key: Key, period: str, *, unit: LimitUnit = LimitUnit.USD, model: str | None = None, at_ms: int = NOW_MS
) -> int:
    """What the ledger says of the window of any period, whether the key has such a limit or not."""
    from_now = window_at(parse_period(period), at_ms, calendar=Calendar())
    return read_spends([SpendQuery(Scope("key", str(key.id), model), unit, from_now)]).sums[0]


def lifetime(key: Key) -> int:
    query = next(query_of(active) for active in windows_of(key) if active.limit.identity == "usd/lifetime")
    return read_spends([query]).sums[0]


# --- what windows show --------------------------------------------------------------------------------


def test_reset_empties_every_window_also_ones_that_are_added_later(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:30", 1), ("03-06 12:10", 2), ("03-06 03:00", 4), ("03-04 12:00", 8), ("01-02 00:00", 16))
    assert [shown(key, period) for period in PERIODS] == [1, 1, 1, 3, 3, 3, 7, 7, 15, 31, 31]
    assert reset(key, 0) == 31
    assert [shown(key, period) for period in PERIODS] == [0] * len(PERIODS)
    assert lifetime(key) == 0
    assert [shown(key, "1h", unit=unit) for unit in (LimitUnit.TOKENS, LimitUnit.REQUESTS)] == [0, 0]


def test_spend_after_a_reset_counts_from_there(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4))
    reset(key, 0)
    spend(key, ("03-06 12:31", 10))
    assert [shown(key, period) for period in ("1h", "1d", "1mo")] == [10, 10, 10]
    assert lifetime(key) == 10
    assert reset(key, 0, now_ms=NOW_MS + 60_000) == 10


def test_reset_lowers_windows_to_the_amount_and_leaves_smaller_ones(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4), ("01-02 00:00", 16))
    assert reset(key, 5) == 22
    assert [shown(key, period) for period in ("1h", "6h", "1d", "1mo", "3mo")] == [2, 2, 5, 5, 5]
    assert lifetime(key) == 5
    assert shown(key, "1d", unit=LimitUnit.REQUESTS) == 2


def test_higher_spend_raises_the_lifetime_and_no_window(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2), ("01-02 00:00", 16))
    assert reset(key, 1000) == 18
    assert [shown(key, period) for period in ("1h", "1d", "1mo", "3mo")] == [2, 2, 2, 18]
    assert lifetime(key) == 1000


def test_windows_before_and_after_the_adjusted_ones_are_not_touched(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 11:10", 5), ("03-06 12:10", 2))
    reset(key, 0)
    spend(key, ("03-06 13:00", 3))
    hours = [shown(key, "1h", at_ms=NOW_MS + hour * 3600_000) for hour in (-1, 0, 1)]
    assert hours == [5, 0, 3]
    assert shown(key, "1d") == 3


def test_reset_twice_changes_nothing_the_second_time(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4))
    reset(key, 0)
    rows = Adjustment.objects.count()
    assert reset(key, 0) == 0
    assert Adjustment.objects.count() == rows


def test_reset_empties_windows_of_models_however_the_limit_spells_them(gate: SyncGate) -> None:
    key = saved_key(model_max_budget={"openai/demo": {"max_budget": "1.0", "budget_duration": "1d"}})
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4), model="demo")
    spend(key, ("03-06 12:20", 8), model="other")
    assert shown(key, "1d", model="demo") == 6
    reset(key, 0)
    assert [shown(key, "1d"), shown(key, "1d", model="demo"), shown(key, "1h", model="other")] == [0, 0, 0]
    spend(key, ("03-06 12:31", 1), model="demo")
    assert [shown(key, "1d"), shown(key, "1d", model="demo")] == [1, 1]


def test_windows_follow_the_time_zone_of_the_scope(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1d", 10)), timezone="Asia/Kolkata")
    spend(key, ("03-05 18:29", 1), ("03-05 18:31", 2))
    reset(key, 0)
    (day, *_) = [active for active in windows_of(key) if active.limit.identity == "usd/1d"]
    assert day.window.start_ms == ms_of(at("03-05 18:30"))
    assert read_spends([query_of(day)]).sums == (0,)


def test_amount_moves_every_current_window_and_none_below_zero(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4))
    owner = owner_of(key)
    moved = move_spend(owner.limits, root=owner.root, amount_nanousd=-3, by=ADMIN, reason="r", now=NOW)
    assert moved == (6, 3)
    assert [shown(key, period) for period in ("10m", "1h", "1d", "1mo")] == [0, 0, 3, 3]
    assert move_spend(owner.limits, root=owner.root, amount_nanousd=7, by=ADMIN, reason="r", now=NOW) == (3, 10)
    assert [shown(key, period) for period in ("5s", "10m", "1h", "1d", "1mo")] == [7, 7, 7, 10, 10]


def test_targets_say_what_single_windows_show(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2))
    owner = owner_of(key)
    targets = {"usd/1h": 5, "usd/1mo": 400, "usd/lifetime": 1000, "tokens/1d": 77}
    adjust(owner.limits, root=owner.root, targets=targets, by=ADMIN, reason="import", now=NOW)
    assert [shown(key, period) for period in ("10m", "1h", "1d", "1mo")] == [0, 5, 2, 400]
    assert lifetime(key) == 1000
    assert shown(key, "1d", unit=LimitUnit.TOKENS) == 77


@pytest.mark.parametrize(
    ("targets", "message"),
    [({"usd/2h": 1}, "usd/2h"), ({"usd/1h": -1}, "-1"), ({"usd/1h": 1, "usd/2h": 1}, "usd/2h"), ({"1h": 1}, "1h")],
)
def test_target_that_is_none_is_refused(gate: SyncGate, targets: dict[str, int], message: str) -> None:
    owner = owner_of(key_with_windows())
    with pytest.raises(InputError, match=message):
        adjust(owner.limits, root=owner.root, targets=targets, by=ADMIN, reason="", now=NOW)
    assert not Adjustment.objects.exists()


def test_windows_that_begin_together_cannot_differ(gate: SyncGate) -> None:
    owner = owner_of(key_with_windows())
    targets = {"usd/1h": 1, "usd/12h": 2}
    with pytest.raises(InputError, match="begin together"):
        adjust(owner.limits, root=owner.root, targets=targets, by=ADMIN, reason="", now=NOW)


# --- rows and audit -----------------------------------------------------------------------------------


def test_adjustment_never_changes(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2))
    reset(key, 0)
    for change in ("UPDATE ledger_adjustment SET cost_nanousd = 0", "DELETE FROM ledger_adjustment"):
        with pytest.raises(Exception, match="never change"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_adjustment_says_who_why_and_when(gate: SyncGate) -> None:
    key = key_with_windows()
    spend(key, ("03-06 12:10", 2))
    reset(key, 0)
    rows = list(Adjustment.objects.order_by("at"))
    assert {(row.actor, row.reason, row.made_at, row.scope_kind, row.scope_id) for row in rows} == {
        ("ada", "a test", NOW, "key", str(key.id))
    }
    assert len({row.batch_id for row in rows}) == 1
    assert sum(row.cost_nanousd for row in rows) == -2
    change = Change.objects.get(action="adjust_spend")
    assert (change.actor, change.before, change.after) == ("ada", {"spend": "0.000000002"}, {"spend": "0.0"})


def test_correction_that_fails_with_its_caller_leaves_nothing(gate: SyncGate) -> None:
    key = key_with_windows()
    call = admitted_call(gate, key, cost=100)
    post_and_settle([call], gate=gate, now_ms=NOW_MS)

    @transaction.atomic
    def fail() -> None:
        reset(key, 0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not Adjustment.objects.exists()
    assert differences(gate, windows_of(key)) == [0, 0, 0, 0]
    assert lifetime(key) == 100


def test_number_of_questions_does_not_grow_with_the_windows(
    gate: SyncGate, django_assert_num_queries: QueryCount
) -> None:
    few, many = saved_key(), key_with_windows()
    for key in (few, many):
        spend(key, ("03-06 12:10", 2))
        with django_assert_num_queries(6):  # begin, lock, sums, audit, rows, commit
            reset(key, 0)


# --- counters -----------------------------------------------------------------------------------------


def used(gate: SyncGate, key: Key, *, cost: int = 100) -> None:
    post_and_settle([admitted_call(gate, key, cost=cost)], gate=gate, now_ms=NOW_MS)


def spents(gate: SyncGate, key: Key) -> list[int | None]:
    return [reading.spent for reading in gate.read([active.counter for active in windows_of(key)])]


def test_counters_show_a_reset_at_once(gate: SyncGate) -> None:
    key = key_with_windows()
    used(gate, key)
    assert spents(gate, key) == [100] * 4
    reset(key, 0)
    assert spents(gate, key) == [0] * 4
    assert differences(gate, windows_of(key)) == [0] * 4


def test_key_that_was_exhausted_is_admitted_after_a_reset(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 0.0000001)))
    used(gate, key, cost=100)
    with pytest.raises(AssertionError):
        admitted_call(gate, key)
    reset(key, 0)
    assert admitted_call(gate, key)


def test_holds_survive_a_reset_and_settle_on_top_of_it(gate: SyncGate) -> None:
    key = key_with_windows()
    used(gate, key)
    call = admitted_call(gate, key, cost=30)
    reset(key, 0)
    assert [reading.held for reading in gate.read([active.counter for active in windows_of(key)])] == [200] * 4
    post_and_settle([call], gate=gate, now_ms=NOW_MS)
    assert spents(gate, key) == [30] * 4
    assert differences(gate, windows_of(key)) == [0] * 4


def test_call_that_is_posted_before_a_reset_and_settled_after_it_is_reset(gate: SyncGate) -> None:
    key = key_with_windows()
    used(gate, key)
    call = admitted_call(gate, key, cost=30)
    post_entries([call.entry])
    reset(key, 0)
    post_and_settle([call], gate=gate, now_ms=NOW_MS)
    assert spents(gate, key) == [0] * 4
    assert differences(gate, windows_of(key)) == [0] * 4


def test_spend_that_is_given_to_a_new_key_is_no_true_zero(gate: SyncGate, valkey: redis.Redis) -> None:
    """Its window began after the store and the limit did, so a missing counter would be taken for nothing spent."""
    key = saved_key(budget_limits=limits(("1m", 10)), now=NOW - timedelta(hours=1))
    used(gate, key, cost=1)
    later_ms = NOW_MS + 120_000
    owner = owner_of(key)
    adjust(
        owner.limits, root=owner.root, targets={"usd/1m": 10 * 10**9}, by=SYSTEM, reason="", now=instant_of(later_ms)
    )
    with pytest.raises(AssertionError):
        admitted_call(gate, key, at_ms=later_ms)


def test_seed_that_was_read_before_the_reset_and_comes_after_it_has_the_reset_all_the_same(gate: SyncGate) -> None:
    key = key_with_windows()
    used(gate, key)
    windows = windows_of(key)
    for active in windows:
        gate.forget(active.counter, since_ms=2**52)
    reading = read_spends([query_of(active) for active in windows])
    reset(key, 0)
    for active, spent in zip(windows, reading.sums, strict=True):
        gate.seed(active.claim(Amounts(0, 0)), spent=spent, snapshot=reading.snapshot)
    assert spents(gate, key) == [0] * 4


def test_forgetting_the_counters_alone_would_lose_that_reset(gate: SyncGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why an adjustment goes to the counters as a posting: the control of the test above."""
    key = key_with_windows()
    used(gate, key)
    windows = windows_of(key)

    def forget_only(effects: object, *, posting: int, now_ms: int) -> None:
        for active in windows:
            gate.forget(active.counter, since_ms=2**52)

    monkeypatch.setattr("ledger.adjustments._tell_counters", forget_only)
    forget_only(None, posting=0, now_ms=0)
    reading = read_spends([query_of(active) for active in windows])
    reset(key, 0)
    for active, spent in zip(windows, reading.sums, strict=True):
        gate.seed(active.claim(Amounts(0, 0)), spent=spent, snapshot=reading.snapshot)
    assert spents(gate, key) == [100] * 4


def test_counter_beyond_the_largest_amount_counts_anew_after_a_reset(gate: SyncGate) -> None:
    key = key_with_windows()
    for _ in range(3):
        spend(key, ("03-06 12:10", 2**52))
    seed(gate, windows_of(key))
    assert reset(key, 5) == 3 * 2**52
    assert spents(gate, key) == [None] * 4
    seed(gate, windows_of(key))
    assert spents(gate, key) == [5] * 4


def test_store_that_is_down_does_not_stop_a_reset(
    gate: SyncGate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_with_windows()
    used(gate, key)

    def down(*_: object, **__: object) -> None:
        raise RedisConnectionError("down")

    monkeypatch.setattr(SyncGate, "settle", down)
    assert reset(key, 0) == 100
    assert lifetime(key) == 0
    assert "the counter store is down" in caplog.text


def test_limit_that_is_added_after_a_reset_counts_from_the_reset(gate: SyncGate) -> None:
    key = saved_key(budget_limits=limits(("1h", 10)))
    spend(key, ("03-06 12:10", 2), ("03-06 03:00", 4))
    reset(key, 0)
    spend(key, ("03-06 12:40", 1))
    fields: Any = {"budget_limits": limits(("1h", 10), ("1d", 10), ("7d", 10))}
    key = update_key(key.token_hash, cast(KeyFields, fields), now=NOW + timedelta(minutes=15))
    later_ms = NOW_MS + 20 * 60_000
    seed(gate, windows_of(key, at_ms=later_ms))
    counters = [active.counter for active in windows_of(key, at_ms=later_ms)]
    assert [reading.spent for reading in gate.read(counters)] == [1] * 4


# --- under load ---------------------------------------------------------------------------------------


def test_two_resets_at_once_take_off_what_was_spent_once(gate: SyncGate) -> None:
    key = key_with_windows()
    used(gate, key)
    previous = at_once(*(lambda: reset(key, 0) for _ in range(8)))
    assert sorted(previous) == [0] * 7 + [100]
    assert lifetime(key) == 0
    assert spents(gate, key) == [0] * 4
    assert sum(Adjustment.objects.values_list("cost_nanousd", flat=True)) == -100


def test_counters_and_ledger_agree_after_resets_under_load(gate: SyncGate) -> None:
    team = saved_team(budget_limits=limits(("1h", 1000), ("1d", 1000)))
    keys = [key_with_windows(team_id=team.team_id) for _ in range(3)]
    team_owner = owner_of(team)

    def call(key: Key) -> None:
        for number in range(25):
            post_and_settle([admitted_call(sync_gate(), key, cost=number + 1)], gate=sync_gate(), now_ms=NOW_MS)

    def reset_all() -> None:
        for number in range(12):
            reset(keys[number % 3], number)
            set_spend(team_owner.limits, root=team_owner.root, to_nanousd=number, by=SYSTEM, reason="", now=NOW)

    def reseed() -> None:
        for _ in range(15):
            for key in keys:
                windows = windows_of(key)
                for active in windows:
                    sync_gate().forget(active.counter, since_ms=2**52)
                seed(sync_gate(), windows)

    at_once(*(lambda key=key: call(key) for key in keys), reset_all, reseed)
    for key in keys:
        seed(gate, windows_of(key))
        assert differences(gate, windows_of(key)) == [0] * 6


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 1000)),
        st.tuples(st.just("admit"), st.integers(0, 1000)),
        st.tuples(st.just("reset"), st.integers(0, 1500)),
        st.tuples(st.just("move"), st.integers(-800, 800)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("seed"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 3 * 3600_000)),
    ),
    max_size=14,
)


class Play:
    """A key whose calls, resets and seeding happen in any order. One reading of the ledger is under way at a time."""

    def __init__(self, gate: SyncGate) -> None:
        self.gate, self.key, self.now_ms = gate, key_with_windows(), NOW_MS
        self.owner = owner_of(self.key)
        self.open: list[Settlement] = []
        self.reading: tuple[Sequence[ActiveWindow], SpendReading] | None = None

    def call(self, cost: int) -> None:
        self.admit(cost)
        self.settle(self.open.pop())

    def admit(self, cost: int) -> None:
        self.open.append(admitted_call(self.gate, self.key, at_ms=self.now_ms, cost=cost))

    def settle(self, call: Settlement) -> None:
        post_and_settle([call], gate=self.gate, now_ms=self.now_ms)

    def reset(self, to_nanousd: int) -> None:
        reset(self.key, to_nanousd, now_ms=self.now_ms)

    def move(self, amount: int) -> None:
        now = instant_of(self.now_ms)
        move_spend(self.owner.limits, root=self.owner.root, amount_nanousd=amount, by=SYSTEM, reason="", now=now)

    def read(self, _: int) -> None:
        windows = windows_of(self.key, at_ms=self.now_ms)
        for active in windows:
            self.gate.forget(active.counter, since_ms=2**52)
        self.reading = windows, read_spends([query_of(active) for active in windows])

    def seed(self, _: int) -> None:
        if self.reading is not None:
            windows, reading = self.reading
            for active, spent in zip(windows, reading.sums, strict=True):
                self.gate.seed(active.claim(Amounts(0, 0)), spent=spent, snapshot=reading.snapshot)
        self.reading = None

    def wait(self, ms: int) -> None:
        self.now_ms += ms


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_counters_and_ledger_agree_after_any_steps(gate: SyncGate, steps: list[tuple[str, int]]) -> None:
    play = Play(gate)
    for name, number in steps:
        getattr(play, name)(number)
    for call in play.open:
        play.settle(call)
    play.seed(0)
    assert [each for each in differences(gate, windows_of(play.key, at_ms=play.now_ms)) if each] == []
