"""Customers and tags: limits of what calls name themselves."""

from typing import Any

import pytest
from django.conf import LazySettings
from pytest_django import DjangoAssertNumQueries

from budgets.models import Budget, Change
from teams.models import Customer, Tag
from teams.scopes import load_guest
from teams.tests import acting
from tests.api import NOW, Api, error_of, ledger_says

pytestmark = pytest.mark.django_db
HOUR = [{"budget_duration": "1h", "max_budget": 10}]


@pytest.fixture(autouse=True)
def _writer(settings: LazySettings) -> None:
    settings.SPEND_WRITER = "teams.tests.acting.set_spend"
    acting.written.clear()


def tier(budget_id: str = "gold") -> None:
    Budget.objects.create(
        budget_id=budget_id,
        max_budget_nanousd=7_000_000_000,
        counted_since={"usd/lifetime": "2037-11-01T00:00:00Z"},
        created_at=NOW,
        created_by="x",
        updated_at=NOW,
        updated_by="x",
    )


@pytest.mark.parametrize("noun", ["customer", "end_user"])
def test_a_customer_lives_under_both_names(api: Api, noun: str) -> None:
    made = api.post(f"/{noun}/new", user_id="c1", alias="C", max_budget=5, budget_duration="1d", budget_limits=HOUR)
    assert (made["litellm_budget_table"]["max_budget"], made["budget_reset_at"]) == (5, "2037-11-24T00:00:00Z")
    assert api.get(f"/{noun}/info", end_user_id="c1") == made
    changed = api.post(f"/{noun}/update", user_id="c1", default_model="gpt-4o", models=["gpt-4o"], rpm_limit=5)
    assert (changed["default_model"], changed["models"], changed["rpm_limit"]) == ("gpt-4o", ["gpt-4o"], 5)
    assert changed["budget_limits"] == made["budget_limits"]
    assert acting.listed(api, f"/{noun}/list") == [changed]
    [blocked] = api.post(f"/{noun}/block", user_ids=["c1"])["blocked_users"]
    assert (blocked["user_id"], blocked["blocked"]) == ("c1", True)
    assert api.post(f"/{noun}/unblock", user_ids=["c1"]) == {"blocked_users": []}
    deleted = api.post(f"/{noun}/delete", user_ids=["c1"])
    assert deleted["deleted_customers"] == 1
    actions = list(Change.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["create", "update", "block", "unblock", "delete"]


def test_a_customer_shows_spends_and_windows(api: Api) -> None:
    api.post("/customer/new", user_id="c1", budget_limits=HOUR)
    ledger_says("c1", spent=2_000_000_000)
    ledger_says("c1", spent=1_000_000_000, start_ms=2142594000000)
    info = api.get("/customer/info", end_user_id="c1")
    assert (info["spend"], info["budget_limits_usage"]["1h"]["current_spend"]) == (2, 1)


def test_a_customer_has_a_budget_or_a_tier(api: Api) -> None:
    tier()
    assert (
        api.refusal("/customer/new", {"user_id": "c1", "max_budget": 1, "budget_id": "gold"})["param"] == "max_budget"
    )
    made = api.post("/customer/new", user_id="c1", budget_id="gold")
    assert (made["budget_id"], made["litellm_budget_table"]["max_budget"], made["max_budget"]) == ("gold", 7, None)
    guest = load_guest("customer", "c1", now=NOW)
    assert guest is not None
    assert [each.limit.maximum for each in guest.limits.limits] == [7_000_000_000]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "user_id"),
        ({"user_id": "c1"}, "user_id"),
        ({"user_id": "a{b}"}, "user_id"),
        ({"user_id": " a"}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "x" * 129}, "user_id"),
        ({"user_id": "n", "allowed_model_region": "eu"}, "allowed_model_region"),
        ({"user_id": "n", "object_permission": {"a": 1}}, "object_permission"),
        ({"user_id": "n", "max_budget": -1}, "max_budget"),
        ({"user_id": "n", "budget_id": "nope"}, "budget_id"),
        ({"user_id": "n", "region": "eu"}, "region"),
    ],
    ids=str,
)
def test_wrong_fields_of_a_customer_are_named(api: Api, body: dict[str, object], param: str) -> None:
    api.post("/customer/new", user_id="c1")
    assert api.refusal("/customer/new", body)["param"] == param
    assert Customer.objects.count() == 1


def test_ids_that_people_give_their_users_are_taken(api: Api) -> None:
    for customer_id in ("John Doe", "a/b:c|d", "user@example.org", "Zoë"):
        assert api.post("/customer/new", user_id=customer_id)["user_id"] == customer_id
        assert api.get("/customer/info", end_user_id=customer_id)["user_id"] == customer_id


def test_spend_is_corrected_through_the_ledger(api: Api) -> None:
    api.post("/customer/new", user_id="c1", spend="1.5")
    api.post("/customer/update", user_id="c1", spend=0)
    api.post("/customer/new", user_id="c2", spend=0)
    assert acting.written == [
        ("customer", "c1", "customer:c1", 1_500_000_000, "master key"),
        ("customer", "c1", "customer:c1", 0, "master key"),
    ]


def test_customers_that_nobody_knows_are_made_blocked(api: Api) -> None:
    api.post("/customer/new", user_id="c1")
    answer = api.post("/customer/block", user_ids=["c2", "c1", "c2"])
    assert [customer["user_id"] for customer in answer["blocked_users"]] == ["c2", "c1"]
    assert Customer.objects.filter(blocked=True).count() == 2
    guest = load_guest("customer", "c2", now=NOW)
    assert guest is not None
    assert guest.blocked
    error = api.refusal("/customer/unblock", {"user_ids": ["c1", "c9"]}, status=404)
    assert error["param"] == "user_ids[1]"
    assert Customer.objects.filter(blocked=True).count() == 2


def test_all_customers_are_deleted_or_none(api: Api) -> None:
    api.post("/customer/new", user_id="c1")
    assert api.refusal("/customer/delete", {"user_ids": ["c1", "c2"]}, status=404)["param"] == "user_ids[1]"
    assert api.refusal("/customer/delete", {"user_ids": []})["param"] == "user_ids"
    assert Customer.objects.count() == 1


def test_customers_are_found_and_paged(api: Api) -> None:
    for index in range(5):
        api.post("/customer/new", user_id=f"c{index}", alias="Zoe" if index == 3 else None)

    def found(**query: str) -> list[str]:
        rows: Any = api.get("/customer/list", **query)
        return [row["user_id"] for row in rows]

    assert found(page_size="2") == ["c0", "c1"]
    assert found(page="3", page_size="2") == ["c4"]
    assert (found(search="zoe"), found(search="C2"), found(search="%")) == (["c3"], ["c2"], [])


@pytest.mark.parametrize(("path", "count"), [("/customer/list", 30), ("/tag/list", 30)])
def test_lists_ask_the_database_as_much_for_many_as_for_one(
    api: Api, path: str, count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    tier()
    for index in range(count):
        api.post("/customer/new", user_id=f"c{index}", budget_id="gold", budget_limits=HOUR)
        api.post("/tag/new", name=f"g{index}", budget_id="gold", budget_limits=HOUR)
    with django_assert_max_num_queries(2):
        assert len(api.get(path)) == count


def test_a_tag_has_limits_is_shown_by_name_changed_and_deleted(api: Api) -> None:
    made = api.post("/tag/new", name="research", description="R", models=["gpt-4o"], max_budget=5, budget_limits=HOUR)
    assert made["message"] == "Tag research created successfully"
    assert (made["tag"]["max_budget"], made["tag"]["litellm_budget_table"]["max_budget"]) == (5, 5)
    api.post("/tag/new", name="team a")
    changed = api.post("/tag/update", name="research", max_budget=6)["tag"]
    assert (changed["max_budget"], changed["description"]) == (6, "R")
    assert api.post("/tag/info", names=["team a", "research"])["research"] == changed
    assert [tag["name"] for tag in acting.listed(api, "/tag/list")] == ["research", "team a"]
    guest = load_guest("tag", "research", now=NOW)
    assert guest is not None
    assert guest.models == frozenset({"gpt-4o"})
    assert api.post("/tag/delete", name="research") == {"message": "Tag research deleted successfully"}
    assert load_guest("tag", "research", now=NOW) is None
    actions = Change.objects.filter(subject_id="research").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["create", "update", "delete"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tag/new", {}, 400, "name"),
        ("/tag/new", {"name": "g1"}, 400, "name"),
        ("/tag/new", {"name": "a,b"}, 400, "name"),
        ("/tag/new", {"name": "n", "max_budget": "x"}, 400, "max_budget"),
        ("/tag/update", {"name": "nope"}, 404, "name"),
        ("/tag/delete", {"name": "nope"}, 404, "name"),
        ("/tag/info", {"names": ["g1", "nope"]}, 404, "names[1]"),
        ("/tag/info", {"names": []}, 400, "names"),
        ("/tag/info", {}, 400, "names"),
    ],
    ids=str,
)
def test_wrong_tags_are_named(api: Api, path: str, body: dict[str, object], status: int, param: str) -> None:
    api.post("/tag/new", name="g1")
    assert api.refusal(path, body, status=status)["param"] == param
    assert Tag.objects.count() == 1


WRITES: list[tuple[str, dict[str, object]]] = [
    ("/customer/new", {"user_id": "c2"}),
    ("/customer/update", {"user_id": "c1", "alias": "x"}),
    ("/customer/block", {"user_ids": ["c1"]}),
    ("/customer/unblock", {"user_ids": ["c1"]}),
    ("/customer/delete", {"user_ids": ["c1"]}),
    ("/tag/new", {"name": "g2"}),
    ("/tag/update", {"name": "g1", "description": "x"}),
    ("/tag/delete", {"name": "g1"}),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_only_proxy_admins_change_customers_and_tags(api: Api, path: str, body: dict[str, object]) -> None:
    api.post("/customer/new", user_id="c1")
    api.post("/tag/new", name="g1")
    for other in (acting.user("c1"), acting.user("u1", admin_of=("t1",)), acting.viewer(), acting.bare_key()):
        other.refusal(path, body, status=403)
    assert Change.objects.count() == 2
    acting.admin().post(path, **body)


def test_viewers_see_customers_and_tags_and_others_do_not(api: Api) -> None:
    made = api.post("/customer/new", user_id="c1")
    tag = api.post("/tag/new", name="g1")["tag"]
    watch = acting.viewer()
    assert watch.get("/customer/info", end_user_id="c1") == made
    assert acting.listed(watch, "/customer/list") == [made]
    assert acting.listed(watch, "/tag/list") == [tag]
    assert watch.post("/tag/info", names=["g1"]) == {"g1": tag}
    for other in (acting.user("c1"), acting.bare_key()):
        error_of(other.send("/customer/info?end_user_id=c1", "", method="GET"), status=404)
        other.refusal("/tag/info", {"names": ["g1"]}, status=404)
        for path in ("/customer/list", "/tag/list"):
            error_of(other.send(path, "", method="GET"), status=403)
