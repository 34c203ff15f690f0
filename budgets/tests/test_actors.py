"""What each kind of caller sees and manages."""

import pytest

from budgets.actors import MASTER, SYSTEM, Actor, Role


def actor(role: Role) -> Actor:
    return Actor("x", role, user_id="u1", teams=frozenset({"t1", "t2"}), admin_of=frozenset({"t2"}))


@pytest.mark.parametrize(
    ("role", "sees_all", "manages_all", "may_write"),
    [
        (Role.PROXY_ADMIN, True, True, True),
        (Role.PROXY_ADMIN_VIEWER, True, False, False),
        (Role.INTERNAL_USER, False, False, True),
        (Role.INTERNAL_USER_VIEWER, False, False, False),
        (Role.KEY, False, False, False),
    ],
)
def test_roles(role: Role, sees_all: bool, manages_all: bool, may_write: bool) -> None:
    who = actor(role)
    assert (who.sees_all, who.manages_all, who.may_write) == (sees_all, manages_all, may_write)


def test_a_user_sees_own_teams_and_manages_those_that_the_user_administers() -> None:
    who = actor(Role.INTERNAL_USER)
    assert [who.sees_team(team) for team in ("t1", "t2", "t3", None)] == [True, True, False, False]
    assert [who.manages_team(team) for team in ("t1", "t2", "t3", None)] == [False, True, False, False]


def test_a_viewer_manages_no_team_even_as_its_admin() -> None:
    assert not actor(Role.INTERNAL_USER_VIEWER).manages_team("t2")
    assert not actor(Role.PROXY_ADMIN_VIEWER).manages_team("t2")


def test_the_master_key_and_the_system_may_do_everything() -> None:
    assert all(who.manages_team(None) and who.sees_team(None) for who in (MASTER, SYSTEM))
