"""Users: what may be set, by whom; passwords; changes of many at once."""

from typing import Any

import pytest
from django.conf import LazySettings

from budgets.models import Change
from teams.models import User
from teams.tests import acting
from tests.api import Api

pytestmark = pytest.mark.django_db
HOUR = [{"budget_duration": "1h", "max_budget": 10}]


@pytest.fixture(autouse=True)
def _user(api: Api, settings: LazySettings) -> None:
    settings.SPEND_WRITER = "teams.tests.acting.set_spend"
    acting.written.clear()
    api.post("/user/new", user_id="u1", user_email="ada@example.org", auto_create_key=False)


def update(api: Api, **body: object) -> dict[str, Any]:
    data: dict[str, Any] = api.post("/user/update", **{"user_id": "u1", **body})["data"]
    return data


def test_everything_that_was_given_is_answered_and_can_be_cleared(api: Api) -> None:
    given: dict[str, Any] = {
        "user_alias": "Ada",
        "user_role": "proxy_admin_viewer",
        "sso_user_id": "s1",
        "models": ["gpt-4o"],
        "metadata": {"a": 1},
        "max_budget": 5,
        "budget_duration": "1d",
        "rpm_limit": 7,
        "blocked": True,
        "organization_id": "o1",
    }
    assert {name: update(api, **given)[name] for name in given} == given
    assert update(api, budget_limits=HOUR)["budget_limits"][0]["max_budget"] == 10
    cleared = update(api, **dict.fromkeys(given), budget_limits=None)
    assert cleared["user_role"] == "proxy_admin_viewer"
    assert not any(cleared[name] for name in given if name != "user_role")
    assert cleared["budget_limits"] == []


def test_a_user_is_named_by_address_and_the_address_can_change(api: Api) -> None:
    answer = api.post("/user/update", user_email="ADA@example.org", user_alias="Ada")
    assert (answer["user_id"], answer["data"]["user_email"]) == ("u1", "ada@example.org")
    assert update(api, user_email="eve@example.org")["user_email"] == "eve@example.org"
    api.post("/user/new", user_id="u2", user_email="bob@example.org", auto_create_key=False)
    assert api.refusal("/user/update", {"user_id": "u1", "user_email": "Bob@example.org"})["param"] == "user_email"
    api.refusal("/user/update", {"user_email": "nobody@example.org"}, status=404)
    api.refusal("/user/update", {"user_id": "nobody"}, status=404)
    assert api.refusal("/user/update", {"user_alias": "x"})["param"] == "user_id"


def test_spend_is_corrected_through_the_ledger(api: Api) -> None:
    update(api, spend=3)
    api.post("/user/new", user_id="u2", spend=2, auto_create_key=False)
    update(api, spend=0)
    api.post("/user/new", user_id="u3", spend=0, auto_create_key=False)
    assert acting.written == [
        ("user", "u1", "user:u1", 3_000_000_000, "master key"),
        ("user", "u2", "user:u2", 2_000_000_000, "master key"),
        ("user", "u1", "user:u1", 0, "master key"),
    ]


def test_users_change_their_alias_and_nothing_that_binds_them(api: Api) -> None:
    oneself = acting.user("u1")
    assert update(oneself, user_alias="Ada")["user_alias"] == "Ada"
    fields: list[tuple[str, object]] = [("max_budget", 9), ("user_role", "proxy_admin"), ("models", []), ("spend", 0)]
    for name, value in [*fields, ("blocked", False), ("password", "a long password"), ("user_email", "x@y.org")]:
        body = {"user_id": "u1", name: value}
        oneself.refusal("/user/update", body, status=403)
        acting.user("u2").refusal("/user/update", body, status=404)
        acting.viewer().refusal("/user/update", body, status=403)
        acting.bare_key().refusal("/user/update", body, status=404)


def test_a_password_is_hashed_and_its_owner_changes_it(api: Api) -> None:
    update(api, password="the first password")
    user = User.objects.get(username="u1")
    assert user.check_password("the first password")
    oneself = acting.user("u1")
    wrong = {"current_password": "another password", "new_password": "the second password"}
    oneself.refusal("/user/password/change", wrong, status=403)
    oneself.refusal("/user/password/change", {"new_password": "the second password"}, status=403)
    short = {"current_password": "the first password", "new_password": "x"}
    assert oneself.refusal("/user/password/change", short)["param"] == "new_password"
    answer = oneself.post(
        "/user/password/change", current_password="the first password", new_password="the 2nd password"
    )
    assert answer == {"user_id": "u1", "message": "Password changed"}
    assert User.objects.get(username="u1").check_password("the 2nd password")
    assert Change.objects.latest("id").after == {"password": "changed"}


def test_a_user_without_a_password_sets_the_first_one_and_who_is_no_user_has_none(api: Api) -> None:
    acting.user("u1").post("/user/password/change", new_password="the first password")
    api.refusal("/user/password/change", {"new_password": "the first password"}, status=403)
    acting.bare_key().refusal("/user/password/change", {"new_password": "the first password"}, status=403)


def test_bulk_changes_each_on_its_own_and_says_who_could_not_be(api: Api) -> None:
    users = [
        {"user_id": "u1", "max_budget": 5},
        {"user_id": "nobody", "max_budget": 5},
        {"user_id": "u1", "max_budget": -1},
        {"user_id": "u1", "guardrails": ["a"]},
        {"max_budget": 5},
        {"user_email": "ada@example.org", "user_alias": "Ada"},
    ]
    answer = api.post("/user/bulk_update", users=users)
    assert (answer["total_requested"], answer["successful_updates"], answer["failed_updates"]) == (6, 2, 4)
    assert [result["success"] for result in answer["results"]] == [True, False, False, False, False, True]
    errors = [result["error"] for result in answer["results"]]
    assert "nobody" in errors[1]
    assert errors[2].startswith("max_budget: ")
    assert errors[3].startswith("guardrails: ")
    assert errors[4] == "user_id: needed, or user_email"
    assert answer["results"][5]["updated_user"]["user_alias"] == "Ada"
    assert answer["results"][0]["updated_user"]["max_budget"] == 5


def test_bulk_changes_all_users_alike(api: Api) -> None:
    api.post("/user/new", user_id="u2", auto_create_key=False)
    answer = api.post("/user/bulk_update", all_users=True, user_updates={"max_budget": 5.25})
    assert answer["successful_updates"] == 2
    assert set(User.objects.values_list("max_budget_nanousd", flat=True)) == {5_250_000_000}
    for wrong, param in [
        ({"all_users": True}, "user_updates"),
        ({"all_users": True, "user_updates": {"user_id": "x"}}, "user_updates.user_id"),
        ({}, "users"),
        ({"users": [7]}, "users"),
        ({"users": [{"user_id": "u1"}] * 501}, "users"),
    ]:
        assert api.refusal("/user/bulk_update", wrong)["param"] == param
    for other in (acting.user("u1"), acting.viewer(), acting.bare_key()):
        other.refusal("/user/bulk_update", {"users": [{"user_id": "u1", "user_alias": "x"}]}, status=403)


def test_the_roles_are_listed(api: Api) -> None:
    roles = api.get("/user/available_roles")
    assert roles.keys() == set(User.Role.values)
    assert all(role.keys() == {"ui_label", "description"} for role in roles.values())


def test_a_superuser_of_django_is_a_proxy_admin() -> None:
    assert User.objects.create_superuser("root").role == "proxy_admin"
