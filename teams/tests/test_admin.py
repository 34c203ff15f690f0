"""Who spends can be seen and found in the admin; of all that only a password is changed there."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from budgets.actors import MASTER
from budgets.rules.limits import parse_limits
from teams.guest_services import create_customer, create_tag
from teams.member_services import NewMember, add_members
from teams.models import User
from teams.services import create_team
from teams.user_services import create_user, update_user
from tests.api import NOW

pytestmark = pytest.mark.django_db
LIMITS = parse_limits([{"budget_duration": "1h", "max_budget": 10}])
PAGES = {
    "user": "u1",
    "team": "t1",
    "customer": "c1",
    "tag": "g1",
}


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def browser() -> Client:
    return browser_of(User.objects.create_superuser("root", password="a long password"))


def make(count: int = 1) -> None:
    create_team({"budget_limits": LIMITS}, team_id="t1", now=NOW)
    for index in range(1, count + 1):
        create_user({"budget_limits": LIMITS, "user_alias": f"Ada {index}"}, user_id=f"u{index}", now=NOW)
        create_customer(f"c{index}", {"budget_limits": LIMITS}, now=NOW)
        create_tag(f"g{index}", {"budget_limits": LIMITS}, now=NOW)
        add_members("t1", [NewMember(f"u{index}")], {"budget_limits": LIMITS}, by=MASTER, now=NOW)


def page(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("name", ["user", "team", "member", "customer", "tag"])
def test_a_list_shows_limits_and_does_not_ask_for_each_row(
    browser: Client, name: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make(20)
    with django_assert_max_num_queries(6):
        text = page(browser, f"/admin/teams/{name}/")
    assert "$10.00 per 1h" in text


@pytest.mark.parametrize(("name", "pk"), PAGES.items())
def test_a_page_shows_limits_and_cannot_change_them(browser: Client, name: str, pk: str) -> None:
    make()
    text = page(browser, f"/admin/teams/{name}/{pk}/change/")
    assert "$10.00 per 1h" in text
    assert 'name="budget_limits"' not in text
    assert 'name="role"' not in text
    assert browser.get(f"/admin/teams/{name}/add/").status_code == 403
    assert browser.post(f"/admin/teams/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_user_is_found_by_id_alias_and_address(browser: Client) -> None:
    make()
    update_user("u1", {"user_email": "ada@example.org"}, now=NOW)
    for term in ("u1", "Ada", "ada@example"):
        assert "Ada 1" in page(browser, f"/admin/teams/user/?q={term}")
    assert "Ada 1" not in page(browser, "/admin/teams/user/?q=nobody")


def test_an_admin_sets_the_password_of_a_user(browser: Client) -> None:
    make()
    new = {"password1": "another long password", "password2": "another long password", "usable_password": "true"}
    assert browser.post("/admin/teams/user/u1/password/", new).status_code == 302
    assert User.objects.get(username="u1").check_password("another long password")


def test_a_viewer_sees_everything_and_changes_nothing() -> None:
    make()
    viewer = create_user({"user_role": "proxy_admin_viewer"}, user_id="v", now=NOW)
    assert viewer.is_staff
    assert not viewer.is_superuser
    browser = browser_of(viewer)
    assert "$10.00 per 1h" in page(browser, "/admin/teams/user/u1/change/")
    assert "Save" not in page(browser, "/admin/teams/user/u1/change/")
    assert browser.get("/admin/teams/user/u1/password/").status_code == 403
    assert page(browser, "/admin/keys/key/")
    assert browser.get("/admin/budgets/windowhistory/").status_code == 200
    assert viewer.has_perm("teams.view_user")
    assert not viewer.has_perm("teams.change_user")


def test_a_role_that_is_taken_away_takes_the_admin_with_it() -> None:
    make()
    for role, staff, superuser in [
        ("proxy_admin", True, True),
        ("proxy_admin_viewer", True, False),
        ("proxy_admin", True, True),
        ("internal_user_viewer", False, False),
        ("internal_user", False, False),
    ]:
        create_user({"user_role": "proxy_admin"}, user_id=None, now=NOW)
        user = update_user("u1", {"user_role": role}, now=NOW)
        assert (user.is_staff, user.is_superuser) == (staff, superuser)
    assert browser_of(user).get("/admin/").status_code == 302


def test_an_inactive_viewer_sees_nothing() -> None:
    viewer = create_user({"user_role": "proxy_admin_viewer", "blocked": True}, user_id="v", now=NOW)
    assert not viewer.has_perm("teams.view_user")
    assert not viewer.has_module_perms("teams")
