"""History and reconciliation of every kind of scope, of limits that are its tier's or a model's, and with grants."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from django.conf import LazySettings

from budgets.actors import SYSTEM
from budgets.gate.store import names, sync_gate
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.models import Budget, Grant, LimitedScope, WindowHistory
from budgets.rules.settlement import HeldGroup, Settlement
from budgets.services import LimitFields, changed_limits, ms_of, set_limits
from keys.services import update_key
from ledger import reconcile
from ledger.adjustments import move_spend, set_spend
from ledger.closing import CLOSE_AFTER, close_expired_windows, make_members_and_customers_due
from ledger.owners import owner_of, owners_of
from ledger.reconcile import repair_counters
from ledger.settling import post_and_settle
from ledger.tests.factories import (
    NOW,
    NOW_MS,
    admitted_call,
    at,
    at_once,
    differences,
    limits,
    make_entry,
    posted_entry,
    saved_key,
    saved_team,
    seed,
    windows_of,
)
from teams.member_services import NewMember, add_members, reset_member_budget, update_member
from teams.models import Customer, Member, Tag, Team, User
from teams.services import update_team

HOURLY: Any = {"budget_limits": limits(("1h", 10))}


@pytest.fixture
def gate(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> SyncGate:
    monkeypatch.setattr(reconcile, "LOOK_AGAIN_S", 0)
    return sync_gate()


def close(gate: SyncGate, end: datetime) -> int:
    return close_expired_windows(gate=gate, now=end + CLOSE_AFTER)


def with_limits(row: Any, **fields: Any) -> Any:
    given: LimitFields = fields or HOURLY  # type: ignore[assignment]
    set_limits(row, changed_limits(row, given), now=NOW - timedelta(days=40))
    row.save()
    return row


def saved_tier(name: str = "gold", **fields: Any) -> Budget:
    made = {"created_at": NOW - timedelta(days=50), "updated_at": NOW, "created_by": "", "updated_by": ""}
    tier: Budget = with_limits(Budget(budget_id=name, **made), **fields)
    return tier


def saved_user(name: str = "u1") -> User:
    return User.objects.create(username=name)


def saved_member(team: Team, user: User) -> Member:
    return Member(team=team, user=user, created_at=NOW)


def customer(name: str = "c1") -> Customer:
    return Customer(customer_id=name, created_at=NOW, updated_at=NOW)


def tag(name: str = "prod") -> Tag:
    return Tag(name=name, created_at=NOW, updated_at=NOW)


def history() -> list[tuple[str, str, str, str, int, int]]:
    rows = WindowHistory.objects.order_by("scope_kind", "model", "identity", "start_at")
    return [(r.scope_kind, r.scope_id, r.model, r.identity, r.spent, r.maximum) for r in rows]


TEN = 10 * 10**9


@pytest.mark.django_db
def test_every_kind_of_scope_gets_history_and_its_next_reset(gate: SyncGate) -> None:
    user, team = saved_user(), with_limits(saved_team(team_id="a-team"))
    rows: list[LimitedScope] = [
        with_limits(user),
        team,
        with_limits(saved_member(team, user)),
        with_limits(customer()),
        with_limits(tag()),
        with_limits(saved_key()),
    ]
    posted_entry(key_id=str(rows[5].pk), user_id="u1", customer_id="c1", tags=("prod",), cost_nanousd=1)
    posted_entry(team_id="a-team", user_id="u1", cost_nanousd=2)
    assert close(gate, at("03-06 13:00")) == 6
    assert history() == [
        ("customer", "c1", "", "usd/1h", 1, TEN),
        ("key", str(rows[5].pk), "", "usd/1h", 1, TEN),
        ("member", "u1/a-team", "", "usd/1h", 2, TEN),
        ("tag", "prod", "", "usd/1h", 1, TEN),
        ("team", "a-team", "", "usd/1h", 2, TEN),
        ("user", "u1", "", "usd/1h", 1, TEN),
    ]
    for row in rows:
        row.refresh_from_db()
        assert row.next_reset_at == at("03-06 14:00")
    assert close(gate, at("03-06 13:00")) == 0


@pytest.mark.django_db
def test_rates_leave_no_history(gate: SyncGate) -> None:
    team = with_limits(saved_team(team_id="a-team"), tpm_limit=100, rpm_limit=5, tpd_limit=10**6)
    posted_entry(team_id="a-team")
    close(gate, at("03-07 00:00"))
    assert [(identity, spent) for _, _, _, identity, spent, _ in history()] == [("tokens/1d", 15)]
    team.refresh_from_db()
    assert team.next_reset_at == at("03-08 00:00")


@pytest.mark.django_db
def test_limits_of_models_leave_history_by_the_name_of_the_route(gate: SyncGate) -> None:
    spelled = {"openai/big": {"max_budget": "3.0", "budget_duration": "1h"}, "small": {"max_budget": "1.0"}}
    key = with_limits(saved_key(), model_max_budget=spelled)
    for model, cost in (("big", 5), ("small", 7), ("other", 9)):
        posted_entry(key_id=str(key.id), model=model, cost_nanousd=cost)
    close(gate, at("03-06 13:00"))
    assert history() == [("key", str(key.id), "big", "usd/1h", 5, 3 * 10**9)]


@pytest.mark.django_db
def test_alias_of_a_key_names_the_model_that_is_limited(gate: SyncGate) -> None:
    key = with_limits(saved_key(), model_max_budget={"fast": {"max_budget": "3.0", "budget_duration": "1h"}})
    key.model_aliases = {"fast": "big"}
    key.save()
    posted_entry(key_id=str(key.id), model="big", cost_nanousd=5)
    close(gate, at("03-06 13:00"))
    assert history() == [("key", str(key.id), "big", "usd/1h", 5, 3 * 10**9)]


@pytest.mark.django_db
def test_limits_of_a_tier_leave_history(gate: SyncGate) -> None:
    key = with_limits(saved_key(), budget_id=saved_tier().budget_id)
    posted_entry(key_id=str(key.id), cost_nanousd=5)
    close(gate, at("03-06 13:00"))
    assert history() == [("key", str(key.id), "", "usd/1h", 5, TEN)]


@pytest.mark.django_db
def test_scope_whose_tier_was_changed_and_that_was_made_due_goes_by_the_new_one(gate: SyncGate) -> None:
    tier = saved_tier()
    key = with_limits(saved_key(), budget_id="gold")
    with_limits(tier, budget_limits=limits(("1d", 7)))
    type(key).objects.update(next_reset_at=NOW)
    posted_entry(key_id=str(key.id), cost_nanousd=5)
    close(gate, NOW)
    key.refresh_from_db()
    assert key.next_reset_at == at("03-07 00:00")
    close(gate, at("03-07 00:00"))
    assert history() == [("key", str(key.id), "", "usd/1d", 5, 7 * 10**9)]


@pytest.mark.django_db
def test_members_have_history_of_the_tier_that_their_team_gives_them(gate: SyncGate) -> None:
    saved_tier()
    team = saved_team(team_id="a-team", now=NOW - timedelta(days=40))
    Team.objects.update(member_budget="gold", member_budget_since=NOW - timedelta(days=40))
    saved_member(team, saved_user()).save()
    assert make_members_and_customers_due(now=NOW) == 1
    posted_entry(team_id="a-team", user_id="u1", cost_nanousd=5)
    posted_entry(team_id="a-team", user_id="no-member", cost_nanousd=5)
    close(gate, NOW)
    assert Member.objects.get().next_reset_at == at("03-06 13:00")
    close(gate, at("03-06 13:00"))
    assert history() == [("member", "u1/a-team", "", "usd/1h", 5, TEN)]
    assert make_members_and_customers_due(now=NOW) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["joins", "gets an own limit", "loses it", "gets another tier"])
def test_members_that_change_have_history_of_their_teams_tier_at_once(gate: SyncGate, change: str) -> None:
    team = saved_team(team_id="a-team", now=NOW - timedelta(days=40))
    saved_user()
    tier, start = {"team_member_budget_limits": limits(("1h", 10))}, NOW - timedelta(days=9)
    update_team("a-team", {} if change == "gets another tier" else tier, now=start)  # type: ignore[arg-type]
    monthly: Any = {"max_budget_nanousd": 10**12, "budget_duration": "1mo"}
    if change == "joins":
        add_members("a-team", [NewMember("u1")], {}, by=SYSTEM, now=NOW)
    else:
        add_members("a-team", [NewMember("u1")], monthly if change == "loses it" else {}, by=SYSTEM, now=start)
        close(gate, NOW - timedelta(hours=1))
    if change == "gets an own limit":
        update_member("a-team", "u1", monthly, by=SYSTEM, now=NOW)
    elif change == "loses it":
        reset_member_budget("a-team", "u1", by=SYSTEM, now=NOW)
    elif change == "gets another tier":
        update_team("a-team", tier, now=NOW)  # type: ignore[arg-type]
    posted_entry(team_id=team.team_id, user_id="u1", cost_nanousd=5)
    close(gate, at("03-06 13:00"))
    assert ("member", "u1/a-team", "", "usd/1h", 5, TEN) in history()


@pytest.mark.django_db
def test_customers_have_history_of_the_default_tier(gate: SyncGate, settings: LazySettings) -> None:
    settings.CUSTOMER_BUDGET_ID = saved_tier().budget_id
    customer().save()
    assert make_members_and_customers_due(now=NOW) == 1
    posted_entry(customer_id="c1", cost_nanousd=5)
    close(gate, NOW)
    close(gate, at("03-06 13:00"))
    assert history() == [("customer", "c1", "", "usd/1h", 5, TEN)]


@pytest.mark.django_db
@pytest.mark.parametrize(("until", "maximum"), [("03-06 13:00:00", 15 * 10**9), ("03-06 12:59:59", TEN)])
def test_maximum_in_the_history_is_the_one_at_the_end_of_the_window(gate: SyncGate, until: str, maximum: int) -> None:
    key = with_limits(saved_key())
    Grant.objects.create(
        scope_kind="key",
        scope_id=str(key.id),
        amount=5 * 10**9,
        starts_at=NOW,
        ends_at=at(until),
        created_at=NOW,
    )
    posted_entry(key_id=str(key.id), cost_nanousd=5)
    close(gate, at("03-06 13:00"))
    assert [row[-1] for row in history()] == [maximum]


@pytest.mark.django_db(transaction=True)
def test_reset_in_a_window_shows_in_its_history_and_not_in_that_of_the_one_before(gate: SyncGate) -> None:
    key = with_limits(saved_key())
    for text, cost in (("03-06 11:30", 3), ("03-06 12:10", 5), ("03-06 12:50", 1)):
        if text.endswith("12:50"):
            owner = owner_of(key)
            set_spend(owner.limits, root=owner.root, to_nanousd=0, by=SYSTEM, reason="", now=NOW)
        posted_entry(key_id=str(key.id), at_ms=ms_of(at(text)), cost_nanousd=cost)
    type(key).objects.update(next_reset_at=at("03-06 12:00"))
    close(gate, at("03-06 13:00"))
    assert sorted(row[4] for row in history()) == [1, 3]


# --- reconciliation ---------------------------------------------------------------------------------


def of_scope(kind: str, scope_id: str) -> tuple[str, tuple[ActiveWindow, ...]]:
    owner = owners_of(kind, [scope_id], now=NOW)[scope_id]
    windows = active_windows(owner.parts(["demo"]), names=names(), root=owner.root, now_ms=NOW_MS)
    return owner.root, windows


def charge(gate: SyncGate, kind: str, scope_id: str, **fields: Any) -> tuple[ActiveWindow, ...]:
    """A call that the windows of this scope have admitted, finished."""
    root, windows = of_scope(kind, scope_id)
    seed(gate, windows)
    held = tuple(active.held(Amounts(0, 0, 0)) for active in windows)
    post_and_settle([Settlement(make_entry(**fields), (HeldGroup(root, 0, held),))], gate=gate, now_ms=NOW_MS)
    assert set(differences(gate, windows)) == {0}
    return windows


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "row", "fields"),
    [
        ("customer", customer, {"customer_id": "c1"}),
        ("tag", tag, {"tags": ("prod",)}),
    ],
)
def test_wrong_counters_of_guests_are_mended(
    gate: SyncGate, valkey: redis.Redis, kind: str, row: Any, fields: dict[str, Any]
) -> None:
    scope_id = str(with_limits(row()).pk)
    (active,) = charge(gate, kind, scope_id, **fields)
    valkey.hincrby(active.counter, "spent", 7)
    assert repair_counters(gate=gate, now=NOW) == 1
    assert differences(gate, [active]) == [0]


@pytest.mark.django_db(transaction=True)
def test_wrong_counter_of_a_model_is_mended(gate: SyncGate, valkey: redis.Redis) -> None:
    key = with_limits(saved_key(), model_max_budget={"demo": {"max_budget": "3.0", "budget_duration": "1h"}})
    windows = charge(gate, "key", str(key.id), key_id=str(key.id))
    assert [active.scope.model for active in windows] == ["demo"]
    valkey.hincrby(windows[0].counter, "spent", 7)
    assert repair_counters(gate=gate, now=NOW) == 1
    assert differences(gate, windows) == [0]


@pytest.mark.django_db(transaction=True)
def test_scope_that_was_adjusted_while_the_store_was_down_is_mended_though_nobody_uses_it(
    gate: SyncGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was exhausted, so that nobody could: the database would say 0 while the counters refuse."""
    team = with_limits(saved_team(team_id="a-team"))
    windows = charge(gate, "team", "a-team", team_id="a-team", at_ms=ms_of(at("03-06 12:00")))
    monkeypatch.setattr("ledger.adjustments._tell_counters", lambda *_, **__: None)
    owner, later = owner_of(team), NOW + timedelta(minutes=29)
    set_spend(owner.limits, root=owner.root, to_nanousd=0, by=SYSTEM, reason="", now=later)
    assert differences(gate, windows) == [-100]
    reconcile.repair_counters(gate=gate, now=later)
    assert differences(gate, windows) == [0]


@pytest.mark.django_db(transaction=True)
def test_reconciliation_has_nothing_to_do_after_a_reset(gate: SyncGate) -> None:
    key = with_limits(saved_key(), budget_limits=limits(("1h", 10), ("1d", 50)), rpm_limit=100, max_parallel_requests=9)
    post_and_settle([admitted_call(gate, key)], gate=gate, now_ms=NOW_MS)
    owner = owner_of(key)
    set_spend(owner.limits, root=owner.root, to_nanousd=0, by=SYSTEM, reason="", now=NOW)
    assert repair_counters(gate=gate, now=NOW) == 0
    assert [d for d in differences(gate, windows_of(key)) if d] == []


@pytest.mark.django_db(transaction=True)
def test_counters_of_a_key_that_comes_back_to_its_team_have_what_it_spent_elsewhere(gate: SyncGate) -> None:
    for team_id in ("a-team", "b-team"):
        with_limits(saved_team(team_id=team_id))
    made = saved_key(now=NOW - timedelta(minutes=30), team_id="a-team", **HOURLY)

    def call() -> None:
        key = type(made).objects.get()
        post_and_settle([admitted_call(gate, key)], gate=gate, now_ms=NOW_MS)
        assert set(differences(gate, windows_of(key))) == {0}

    running = admitted_call(gate, made)
    call()
    places: list[str | None] = ["b-team", "a-team", None, "a-team"]
    for number, place in enumerate(places):
        update_key(made.token_hash, {"team_id": place}, now=NOW - timedelta(minutes=20 - number))
        call()
    post_and_settle([running], gate=gate, now_ms=NOW_MS)
    key = type(made).objects.get()
    assert set(differences(gate, windows_of(key))) == {0}


@pytest.mark.django_db(transaction=True)
def test_counters_and_ledger_agree_after_corrections_of_every_kind_under_load(gate: SyncGate) -> None:
    user, team = saved_user(), with_limits(saved_team(team_id="a-team"))
    with_limits(saved_member(team, user))
    with_limits(user)
    keys = [
        saved_key(now=NOW - timedelta(days=2), user_id="u1", **place, **HOURLY)
        for place in ({"team_id": "a-team"}, {})
        for _ in range(2)
    ]

    def call(key: Any) -> None:
        for _ in range(15):
            post_and_settle([admitted_call(gate, key, user_id="u1", cost=100)], gate=gate, now_ms=NOW_MS)

    def correct(kind: str, scope_id: str) -> None:
        for number in range(6):
            amount = -70 if number % 2 else 30
            [owner] = owners_of(kind, [scope_id], now=NOW).values()
            move_spend(owner.limits, root=owner.root, amount_nanousd=amount, by=SYSTEM, reason="", now=NOW)
        set_spend(owner.limits, root=owner.root, to_nanousd=0, by=SYSTEM, reason="", now=NOW)

    scopes = [("key", str(keys[0].id)), ("team", "a-team"), ("member", "u1/a-team"), ("user", "u1")]
    at_once(*(lambda key=key: call(key) for key in keys), *(lambda scope=scope: correct(*scope) for scope in scopes))
    for key in keys:
        assert set(differences(gate, windows_of(key))) == {0}
