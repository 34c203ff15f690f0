"""Keys and teams can be seen and found in the admin, and not changed."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from budgets.grants import Wanted, grant
from budgets.rules.limits import LimitUnit, parse_limits
from budgets.rules.windows import Period
from budgets.tiers import create_tier
from keys.deletion import delete_keys
from keys.models import Key
from keys.services import create_key
from teams.models import User
from teams.services import create_team
from tests.api import NOW

pytestmark = pytest.mark.django_db
LIMITS = parse_limits(
    [
        {"budget_duration": "1h", "max_budget": 10},
        {"budget_duration": "30d", "max_budget": "500.0005", "enforcement": "strict"},
        {"budget_duration": "1m", "max_requests": 1000},
    ]
)


@pytest.fixture
def browser() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def make() -> Key:
    create_team({"team_alias": "Research", "max_budget_nanousd": 5 * 10**9}, team_id="t1", now=NOW)
    create_key({"key_alias": "the-other-one"}, now=NOW)
    return create_key({"key_alias": "k1", "team_id": "t1", "user_id": "root", "budget_limits": LIMITS}, now=NOW).key


def page(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_limits_and_resets_can_be_read(browser: Client) -> None:
    make()
    text = page(browser, "/admin/keys/key/?q=k1")
    assert "$10.00 per 1h, $500.0005 per 30d (strict), 1,000 requests per 1m" in text
    assert "1h at 2037-11-23 14:00:00, 30d at 2037-12-01 00:00:00, 1m at 2037-11-23 13:07:00" in text
    assert "$5.00 in all" in page(browser, "/admin/teams/team/")


@pytest.mark.parametrize("found_by", ["alias", "name", "hash", "team", "user"])
def test_a_key_is_found_by_alias_name_beginning_of_its_hash_team_and_user(browser: Client, found_by: str) -> None:
    key = make()
    term = {"alias": "k1", "name": key.key_name, "hash": key.token_hash[:10], "team": "Research", "user": "root"}[
        found_by
    ]
    text = page(browser, f"/admin/keys/key/?q={term}")
    assert key.token_hash[:12] in text
    assert "the-other-one" not in text


def test_pages_of_one_key_and_one_team_show_and_change_nothing(browser: Client) -> None:
    key = make()
    text = page(browser, f"/admin/keys/key/{key.id}/change/")
    assert key.token_hash in text
    assert "Save" not in text
    assert "Research" in page(browser, "/admin/teams/team/t1/change/")
    assert browser.get("/admin/keys/key/add/").status_code == 403
    assert browser.post(f"/admin/keys/key/{key.id}/delete/", {"post": "yes"}).status_code == 403


def test_the_list_does_not_ask_for_each_key(
    browser: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make()
    for _ in range(20):
        create_key({"team_id": "t1"}, now=NOW)
    with django_assert_max_num_queries(6):
        page(browser, "/admin/keys/key/")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("keys/deletedkey", "the-other-one"),
        ("budgets/budget", "$5.00 per 1d"),
        ("budgets/grant", "$2.50"),
        ("budgets/change", "grant"),
    ],
)
def test_tiers_grants_the_audit_and_deleted_keys_are_shown_and_not_changed(
    browser: Client, path: str, text: str
) -> None:
    key = make()
    create_tier({"max_budget_nanousd": 5 * 10**9, "budget_duration": "1d"}, budget_id="b1", now=NOW)
    wanted = Wanted("2.5", unit=LimitUnit.USD, period=Period(1, "h"), until=NOW + timedelta(days=1))
    grant("key", key.token_hash, wanted, now=NOW)
    delete_keys([Key.objects.get(key_alias="the-other-one").token_hash], field="keys", now=NOW)
    assert text in page(browser, f"/admin/{path}/")
    assert browser.get(f"/admin/{path}/add/").status_code == 403
