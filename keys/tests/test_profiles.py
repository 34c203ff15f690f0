"""What the gate is told of a key."""

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from budgets.rules.limits import LimitUnit, parse_limits
from budgets.rules.scopes import Scope, lifetime_tracker
from budgets.rules.windows import LIFETIME
from budgets.services import ms_of
from keys.profiles import load_profile, profiles_for
from keys.services import create_key, update_key
from teams.services import create_team
from tests.api import NOW

pytestmark = pytest.mark.django_db
HOUR = parse_limits([{"budget_duration": "1h", "max_budget": 10}])
LATER = NOW + timedelta(hours=3)


def test_a_profile_has_the_limits_of_the_key_and_then_of_its_team(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    create_team({"budget_limits": HOUR, "models": ["gpt-4o"], "blocked": True}, team_id="t1", now=NOW)
    key = create_key({"budget_limits": HOUR, "team_id": "t1", "key_alias": "k1", "duration": "1h"}, now=NOW).key
    with django_assert_num_queries(2):
        profile = load_profile(key.token_hash, now=NOW)
    assert profile is not None
    assert [scope.scope for scope in profile.scopes] == [Scope("key", str(key.id)), Scope("team", "t1")]
    assert [[counted.limit.identity for counted in scope.limits] for scope in profile.scopes] == [
        ["usd/1h", "usd/lifetime"],
        ["usd/1h"],
    ]
    assert (profile.key_id, profile.alias, profile.root) == (str(key.id), "k1", "team:t1")
    assert (profile.blocked, profile.team_blocked) == (False, True)
    assert (profile.models, profile.team_models) == (None, frozenset({"gpt-4o"}))
    assert profile.expires_ms == ms_of(NOW + timedelta(hours=1))


def test_an_unknown_hash_has_no_profile() -> None:
    assert load_profile("0" * 64, now=NOW) is None


def test_the_whole_spend_of_a_key_is_counted_without_limiting_it() -> None:
    key = create_key({}, now=NOW).key
    profile = load_profile(key.token_hash, now=NOW)
    assert profile is not None
    assert profile.scopes[0].limits == (lifetime_tracker(ms_of(NOW)),)


def test_a_limit_of_the_whole_spend_counts_it_already() -> None:
    key = create_key({"max_budget_nanousd": 7}, now=NOW).key
    profile = load_profile(key.token_hash, now=NOW)
    assert profile is not None
    [counted] = profile.scopes[0].limits
    assert (counted.limit.period, counted.limit.unit, counted.limit.maximum) == (LIFETIME, LimitUnit.USD, 7)


def test_a_key_that_came_back_to_its_first_team_does_not_trust_the_counters_it_left_there() -> None:
    create_team({}, team_id="t1", now=NOW)
    key = create_key({}, now=NOW).key
    update_key(key.token_hash, {"team_id": "t1"}, now=NOW + timedelta(hours=1))
    update_key(key.token_hash, {"team_id": None}, now=LATER)
    profile = load_profile(key.token_hash, now=NOW)
    assert profile is not None
    assert profile.scopes[0].limits == (lifetime_tracker(ms_of(LATER)),)


def test_many_profiles_are_two_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    create_team({}, team_id="t1", now=NOW)
    ids = [str(create_key({"team_id": "t1"}, now=NOW).key.id) for _ in range(3)]
    with django_assert_num_queries(2):
        profiles = profiles_for([*ids, "00000000-0000-0000-0000-000000000000"], now=NOW)
    assert sorted(profiles) == sorted(ids)
    assert all(profile.team_id == "t1" for profile in profiles.values())
