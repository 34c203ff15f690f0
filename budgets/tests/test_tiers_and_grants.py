"""What a scope's limits are once a tier stands under them and grants are added, and what an audit says of a change."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from budgets.actors import MASTER, Actor, Role
from budgets.audit import limits_record, record_change
from budgets.errors import InputError
from budgets.gate.protocol import Names
from budgets.gate.windows import active_windows
from budgets.models import Budget, Change, Grant
from budgets.rules.limits import LimitError, LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.scopes import ScopeLimits
from budgets.services import (
    DefaultTier,
    LimitFields,
    changed_limits,
    grants_for,
    ms_of,
    parsed_limits,
    scope_limits,
    set_limits,
)
from budgets.tests.holders import Holder

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
NANO = 10**9


def limits(*entries: tuple[str, int]) -> Any:
    return parsed_limits([{"budget_duration": duration, "max_budget": maximum} for duration, maximum in entries])


def saved_tier(*, now: datetime = NOW, **fields: Any) -> Budget:
    tier = Budget(budget_id="gold", created_at=now, created_by="x", updated_at=now, updated_by="x")
    set_limits(tier, changed_limits(tier, cast(LimitFields, fields)), now=now)
    tier.save()
    return tier


def team_with(*, now: datetime = NOW, **fields: Any) -> Holder:
    team = Holder()
    set_limits(team, changed_limits(team, cast(LimitFields, fields)), now=now)
    return team


def read(team: Holder, **more: Any) -> ScopeLimits:
    return scope_limits(team, kind="team", scope_id="t1", **more)


def maxima(read_limits: ScopeLimits) -> dict[str, int | None]:
    return {counted.limit.identity: counted.limit.maximum for counted in read_limits.limits}


@pytest.mark.django_db
def test_a_scope_has_the_limits_of_its_tier_besides_its_own() -> None:
    saved_tier(budget_limits=limits(("1h", 1)), rpm_limit=5, model_max_budget={"m": {"max_budget": "2"}})
    team = team_with(budget_limits=limits(("1d", 9)), budget_id="gold")
    assert maxima(read(team)) == {"usd/1d": 9 * NANO, "usd/1h": NANO, "requests/1m": 5}
    assert [each.limit.maximum for each in read(team).by_model["m"]] == [2 * NANO]


@pytest.mark.django_db
def test_an_own_limit_replaces_the_same_one_and_an_own_max_budget_any_of_the_tier() -> None:
    saved_tier(budget_limits=limits(("60m", 1)), max_budget_nanousd=7, budget_duration="1d", rpm_limit=5, tpm_limit=8)
    team = team_with(budget_limits=limits(("1h", 9)), max_budget_nanousd=3, rpm_limit=6, budget_id="gold")
    assert maxima(read(team)) == {"usd/lifetime": 3, "usd/1h": 9 * NANO, "requests/1m": 6, "tokens/1m": 8}


@pytest.mark.django_db
def test_a_limit_of_a_tier_is_counted_since_both_were_there() -> None:
    tier = saved_tier(budget_limits=limits(("1h", 1)))
    team = team_with(budget_id="gold", now=LATER)
    assert {each.since_ms for each in read(team).limits} == {ms_of(LATER)}
    evening = LATER + timedelta(hours=2)
    set_limits(tier, changed_limits(tier, {"budget_limits": limits(("1h", 2), ("1d", 5))}), now=evening)
    tier.save()
    team.budget = tier
    assert {each.limit.identity: each.since_ms for each in read(team).limits} == {
        "usd/1h": ms_of(LATER),
        "usd/1d": ms_of(evening),
    }


@pytest.mark.django_db
def test_a_tier_that_is_taken_again_counts_anew() -> None:
    saved_tier(budget_limits=limits(("1h", 1)))
    team = team_with(budget_id="gold")
    set_limits(team, changed_limits(team, {"budget_id": None}), now=LATER)
    assert read(team).limits == ()
    set_limits(team, changed_limits(team, {"budget_id": "gold"}), now=LATER)
    assert {each.since_ms for each in read(team).limits} == {ms_of(LATER)}


@pytest.mark.django_db
def test_a_tier_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="there is no budget 'silver'") as refused:
        team_with(budget_id="silver")
    assert refused.value.field == "budget_id"


@pytest.mark.django_db
def test_a_default_tier_holds_for_a_scope_without_one() -> None:
    tier = saved_tier(budget_limits=limits(("1h", 1)))
    default = DefaultTier(tier, LATER)
    assert {each.since_ms for each in read(team_with(), default=default).limits} == {ms_of(LATER)}
    own = team_with(budget_limits=limits(("1h", 9)))
    assert maxima(read(own, default=default)) == {"usd/1h": 9 * NANO}


@pytest.mark.django_db
def test_the_next_reset_is_also_that_of_a_tier_and_never_that_of_a_rate() -> None:
    saved_tier(budget_limits=limits(("1h", 1)))
    assert team_with(budget_id="gold").next_reset_at == datetime(2026, 11, 23, 15, tzinfo=UTC)
    assert team_with(rpm_limit=5, max_parallel_requests=1).next_reset_at is None
    day = team_with(model_max_budget={"m": {"max_budget": "1", "budget_duration": "1d"}})
    assert day.next_reset_at == datetime(2026, 11, 24, tzinfo=UTC)


def test_a_soft_budget_lies_below_the_budget() -> None:
    with pytest.raises(LimitError, match=r"soft_budget \(9.0\) must be strictly lower than max_budget \(5.0\)") as it:
        team_with(max_budget_nanousd=5 * NANO, soft_budget_nanousd=9 * NANO)
    assert it.value.field == "soft_budget"
    assert team_with(max_budget_nanousd=5, soft_budget_nanousd=4).soft_budget_nanousd == 4


def grant(*, identity: str = "", model: str = "", amount: int = 1, hours: tuple[int, int] = (0, 2)) -> Grant:
    return Grant(
        scope_kind="team",
        scope_id="t1",
        model=model,
        identity=identity,
        amount=amount,
        starts_at=NOW + timedelta(hours=hours[0]),
        ends_at=NOW + timedelta(hours=hours[1]),
        created_at=NOW,
        created_by="x",
    )


def granted(team: Holder, *grants: Grant, at: datetime) -> dict[str, tuple[int | None, int]]:
    windows = active_windows([read(team, grants=grants)], names=Names("x"), root="team:t1", now_ms=ms_of(at))
    return {active.limit.identity: (active.limit.maximum, active.granted) for active in windows}


def test_a_grant_raises_its_limit_until_it_ends() -> None:
    team = team_with(budget_limits=limits(("1h", 1), ("1d", 5)))
    one = grant(identity="usd/1h", amount=NANO)
    assert granted(team, one, at=NOW) == {"usd/1h": (2 * NANO, NANO), "usd/1d": (5 * NANO, 0)}
    assert granted(team, one, at=NOW + timedelta(hours=2))["usd/1h"] == (NANO, 0)
    assert granted(team, one, at=NOW - timedelta(milliseconds=1))["usd/1h"] == (NANO, 0)


def test_a_grant_without_an_identity_raises_every_dollar_limit() -> None:
    team = team_with(budget_limits=limits(("1h", 1)), max_budget_nanousd=7, rpm_limit=5)
    assert granted(team, grant(amount=3), at=NOW) == {
        "usd/lifetime": (10, 3),
        "usd/1h": (NANO + 3, 3),
        "requests/1m": (5, 0),
    }


def test_grants_add_up_below_the_highest_amount() -> None:
    team = team_with(max_budget_nanousd=AMOUNT_MAX - 1)
    assert granted(team, grant(amount=5), grant(amount=6), at=NOW)["usd/lifetime"] == (AMOUNT_MAX, 11)


def test_grants_of_other_scopes_and_models_raise_nothing_here() -> None:
    team = team_with(budget_limits=limits(("1h", 1)), model_max_budget={"m": {"max_budget": "1"}})
    other = grant(amount=3)
    other.scope_id = "t2"
    assert granted(team, other, grant(model="m", amount=3), at=NOW) == {"usd/1h": (NANO, 0)}
    of_model = read(team, grants=[grant(model="m", amount=3)]).by_model["m"]
    assert [each.raises[0].amount for each in of_model] == [3]


def test_what_is_known_of_a_window_ends_when_a_grant_begins_or_ends() -> None:
    limited = read(team_with(budget_limits=limits(("1d", 1))), grants=[grant(hours=(1, 2))])
    for at, until in ((0, 1), (1, 2)):
        (active,) = active_windows([limited], names=Names("x"), root="team:t1", now_ms=ms_of(NOW + timedelta(hours=at)))
        assert active.until_ms == ms_of(NOW + timedelta(hours=until))


@pytest.mark.django_db
def test_grants_are_found_while_they_raise_something_now_or_later() -> None:
    over, now_on, later = grant(hours=(0, 0)), grant(hours=(0, 1)), grant(hours=(5, 6))
    Grant.objects.bulk_create([over, now_on, later])
    assert grants_for({("team", "t1"), ("key", "k1")}, now=NOW) == [now_on, later]
    assert grants_for({("team", "t2")}, now=NOW) == []


@pytest.mark.django_db
def test_an_audit_says_what_differs_and_by_whom() -> None:
    team = team_with(budget_limits=limits(("1h", 1)), rpm_limit=5)
    before = limits_record(team)
    set_limits(team, changed_limits(team, {"budget_limits": limits(("1h", 2)), "rpm_limit": None}), now=LATER)
    alice = Actor("alice", Role.INTERNAL_USER, address="10.0.0.1")
    record_change(
        alice, action="update", kind="team", subject_id="t1", before=before, after=limits_record(team), now=LATER
    )
    change = Change.objects.get()
    assert (change.actor, change.address, change.at) == ("alice", "10.0.0.1", LATER)
    assert change.before == {"budget_limits": [{"budget_duration": "1h", "max_budget": "1.0"}], "rpm_limit": 5}
    assert change.after == {"budget_limits": [{"budget_duration": "1h", "max_budget": "2.0"}]}


@pytest.mark.django_db
def test_a_change_of_nothing_leaves_no_trace() -> None:
    record = limits_record(team_with(rpm_limit=5))
    record_change(MASTER, action="update", kind="team", subject_id="t1", before=record, after=record, now=NOW)
    assert not Change.objects.exists()


def test_every_unit_has_an_amount_that_a_grant_can_raise() -> None:
    team = team_with(rpm_limit=5, tpm_limit=6, max_parallel_requests=7)
    for identity in ("requests/1m", "tokens/1m", "parallel/lifetime"):
        assert granted(team, grant(identity=identity, amount=1), at=NOW)[identity][1] == 1
    assert {LimitUnit(identity.split("/")[0]) for identity in granted(team, at=NOW)} == set(LimitUnit) - {LimitUnit.USD}
