"""Who may call what: lists of key, team, user and guests, aliases, and blocked ones."""

from typing import Any

import pytest

from budgets.rules.scopes import GuestProfile
from proxy.access import barred, guest_denied, model_denied, models_of, names_of, route_denied, target_of
from proxy.tests.factories import make_profile, make_route, make_scope

NOW = 1_800_000_000_000
BIG, SMALL = "gpt-4o", "gpt-4o-mini"


def list_of(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"blocked": True}, "key"),
        ({"team_id": "t1", "team_blocked": True}, "team_id"),
        ({"user_id": "u1", "user_blocked": True}, "user_id"),
        ({"expires_ms": NOW}, "key"),
    ],
)
def test_key_that_is_barred_says_by_what(fields: dict[str, Any], param: str) -> None:
    error = barred(make_profile(**fields), at_ms=NOW)
    assert error is not None
    assert (error.status, error.param) == (401, param)


def test_key_that_is_not_barred_makes_calls() -> None:
    assert barred(make_profile(team_id="t1", user_id="u1", expires_ms=NOW + 1), at_ms=NOW) is None


@pytest.mark.parametrize(
    ("fields", "holder"),
    [
        ({"models": list_of(SMALL)}, "key"),
        ({"team_id": "t1", "team_models": list_of(SMALL)}, "team"),
        ({"user_id": "u1", "user_models": list_of(SMALL)}, "user"),
        ({"team_id": "t1", "user_id": "u1", "user_models": list_of(SMALL)}, "member"),
    ],
)
def test_each_list_refuses_in_its_own_name(fields: dict[str, Any], holder: str) -> None:
    error = model_denied(make_profile(**fields), asked=BIG, names={BIG})
    assert error is not None
    assert (error.status, error.type, error.param) == (403, f"{holder}_model_access_denied", "model")
    assert model_denied(make_profile(**fields), asked=SMALL, names={SMALL}) is None


def test_alias_is_one_step() -> None:
    profile = make_profile(aliases={"fast": SMALL, SMALL: BIG})
    assert [target_of(profile, asked=name) for name in ("fast", SMALL, BIG)] == [SMALL, BIG, BIG]


@pytest.mark.parametrize("allowed", ["fast", SMALL])
def test_key_s_own_list_may_name_the_alias_or_what_it_stands_for(allowed: str) -> None:
    profile = make_profile(models=list_of(allowed), aliases={"fast": SMALL})
    assert model_denied(profile, asked="fast", names={SMALL}) is None


@pytest.mark.parametrize("fields", [{"team_models": list_of(SMALL)}, {"user_models": list_of(SMALL)}])
def test_alias_with_an_allowed_name_does_not_reach_what_the_others_forbid(fields: dict[str, Any]) -> None:
    profile = make_profile(aliases={SMALL: BIG}, **fields)
    assert model_denied(profile, asked=SMALL, names={BIG}) is not None


def test_guests_refuse_in_their_own_name() -> None:
    blocked = GuestProfile(make_scope(kind="customer", scope_id="anna"), blocked=True)
    error = guest_denied(blocked, asked=BIG, names={BIG})
    assert error is not None
    assert (error.status, error.type, error.param) == (401, "auth_error", "user")
    assert error.message.startswith("Authentication Error, Customer=anna is blocked.")
    for kind in ("customer", "tag"):
        guest = GuestProfile(make_scope(kind=kind, scope_id="x"), models=list_of(SMALL))
        error = guest_denied(guest, asked=BIG, names={BIG})
        assert error is not None
        assert (error.status, error.type) == (403, f"{kind}_model_access_denied")
        assert guest_denied(guest, asked=BIG, names={SMALL}) is None


def test_listed_are_the_models_that_may_be_called_and_the_aliases_for_them() -> None:
    profile = make_profile(aliases={"fast": SMALL, "slow": BIG, "gone": "nothing"})
    assert models_of(profile, names=[SMALL, BIG]) == [SMALL, BIG, "fast", "slow"]
    limited = make_profile(
        aliases={"fast": SMALL, "slow": BIG}, models=list_of("fast", BIG), team_models=list_of(SMALL)
    )
    assert models_of(limited, names=[SMALL, BIG]) == ["fast"]


def test_route_that_is_not_in_the_list_is_refused() -> None:
    profile = make_profile(routes=list_of("/v1/models"))
    assert route_denied(profile, path="/v1/models") is None
    assert route_denied(make_profile(), path="/v1/models") is None
    error = route_denied(profile, path="/chat/completions")
    assert error is not None
    assert (error.status, error.type) == (403, "auth_error")
    assert error.message.endswith("['/v1/models']. Tried to call route: /chat/completions")


def test_every_spelling_of_a_model_is_known() -> None:
    bare = make_route(model=BIG, upstream_model=BIG)
    assert set(names_of("fast", target=BIG, route=bare)) == {"fast", BIG, f"openai/{BIG}"}
    qualified = make_route(model=f"openai/{BIG}", upstream_model=BIG)
    assert set(names_of(f"openai/{BIG}", target=f"openai/{BIG}", route=qualified)) == {BIG, f"openai/{BIG}"}
    renamed = make_route(model="ours", upstream_model=BIG)
    assert set(names_of("ours", target="ours", route=renamed)) == {"ours", f"openai/{BIG}"}
