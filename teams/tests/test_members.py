"""Members of teams: who joins, with which limits, and what is said of those who cannot."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from budgets.models import Budget, Change, Grant
from budgets.rules.windows import END_OF_TIME_MS
from budgets.services import grants_for
from teams.models import Member, Team, User
from teams.scopes import limits_of_membership
from teams.tests import acting
from tests.api import NOW, Api, ledger_says, stop_clock

pytestmark = pytest.mark.django_db
HOUR = [{"budget_duration": "1h", "max_budget": 10}]


@pytest.fixture(autouse=True)
def _team(api: Api) -> None:
    api.post("/team/new", team_id="t1")


def add(api: Api, member: object, **fields: object) -> dict[str, Any]:
    return api.post("/team/member_add", team_id="t1", member=member, **fields)


def roles(answer: dict[str, Any]) -> dict[str, str]:
    return {entry["user_id"]: entry["role"] for entry in answer["members_with_roles"]}


def test_members_join_one_by_one_or_together_and_unknown_users_are_made(api: Api) -> None:
    api.post("/user/new", user_id="u1", user_email="Ada@example.org", auto_create_key=False)
    assert roles(add(api, {"user_id": "u1", "role": "admin"})) == {"u1": "admin"}
    answer = add(api, [{"user_id": "u2"}, {"user_email": "eve@example.org", "role": "user"}])
    eve = User.objects.get(email="eve@example.org")
    assert roles(answer) == {"u1": "admin", "u2": "user", eve.username: "user"}
    assert {user["user_id"]: user["user_role"] for user in answer["updated_users"]} == {
        "u2": "internal_user",
        eve.username: "internal_user",
    }
    assert not eve.has_usable_password()
    assert answer["admins"] == ["u1"]


def test_a_user_is_found_by_address_in_any_case(api: Api) -> None:
    api.post("/user/new", user_id="u1", user_email="Ada@example.org", auto_create_key=False)
    add(api, {"user_email": "ada@EXAMPLE.org"})
    assert Member.objects.get().user_id == "u1"
    assert User.objects.count() == 1


def test_ids_that_differ_in_case_are_two_users(api: Api) -> None:
    assert sorted(roles(add(api, [{"user_id": "ann"}, {"user_id": "Ann"}]))) == ["Ann", "ann"]


def test_an_address_that_somebody_else_has_makes_nobody(api: Api) -> None:
    api.post("/user/new", user_id="u1", user_email="ada@example.org", auto_create_key=False)
    member = {"user_id": "u2", "user_email": "ADA@example.org"}
    error = api.refusal("/team/member_add", {"team_id": "t1", "member": member}, status=409)
    assert "is the address of another user" in error["message"]
    assert (User.objects.count(), Member.objects.count()) == (1, 0)
    assert not Change.objects.filter(subject_id="u2").exists()
    bulk = api.post("/team/bulk_member_add", team_id="t1", members=[member, {"user_id": "u3"}])
    assert [result["success"] for result in bulk["results"]] == [False, True]


@pytest.mark.parametrize("again", [{"user_id": "u1"}, [{"user_id": "u9"}, {"user_id": "u1"}]])
def test_a_member_is_not_added_twice_and_nobody_else_is_then(api: Api, again: object) -> None:
    add(api, {"user_id": "u1"})
    error = api.refusal("/team/member_add", {"team_id": "t1", "member": again})
    assert (error["type"], error["param"]) == ("team_member_already_in_team", "member")
    assert list(Member.objects.values_list("user_id", flat=True)) == ["u1"]
    assert not User.objects.filter(username="u9").exists()


@pytest.mark.parametrize(
    ("member", "param"),
    [
        ([], "member"),
        ({}, "member.user_id"),
        ([{"user_id": "u1"}, {"role": "user"}], "member[1].user_id"),
        ({"user_id": "u1", "role": "owner"}, "member.role"),
        ({"user_id": 7}, "member.user_id"),
        ({"user_id": "a b"}, "member"),
        ({"user_id": "a/b"}, "member"),
        ({"user_email": "nobody"}, "member"),
        ({"user_id": "u1", "name": "x"}, "member.name"),
        ("u1", "member"),
        (None, "member"),
        ([{"user_id": f"u{index}"} for index in range(501)], "member"),
    ],
)
def test_wrong_members_are_named(api: Api, member: object, param: str) -> None:
    assert api.refusal("/team/member_add", {"team_id": "t1", "member": member})["param"] == param
    assert not User.objects.exists()


def test_an_unknown_team_takes_nobody(api: Api) -> None:
    api.refusal("/team/member_add", {"team_id": "nope", "member": {"user_id": "u1"}}, status=404)
    assert not User.objects.exists()


def test_a_membership_has_windows_of_its_own_with_usage(api: Api) -> None:
    answer = add(api, {"user_id": "u1"}, max_budget_in_team=5, budget_duration="30d", budget_limits=HOUR)
    [membership] = answer["updated_team_memberships"]
    assert membership["max_budget_in_team"] == membership["max_budget"] == 5
    assert membership["budget_source"] == "custom"
    ledger_says("u1/t1", spent=3_000_000_000)
    ledger_says("u1/t1", spent=220_000, start_ms=2142594000000)
    [membership] = api.get("/team/info", team_id="t1")["team_memberships"]
    assert membership["total_spend"] == 3
    assert membership["budget_limits_usage"]["1h"]["current_spend"] == Decimal("0.00022")
    assert membership["budget_limits_usage"]["1h"]["remaining"] == Decimal("9.99978")


def test_max_budget_and_max_budget_in_team_are_the_same_field(api: Api) -> None:
    error = api.refusal(
        "/team/member_add", {"team_id": "t1", "member": {"user_id": "u1"}, "max_budget": 1, "max_budget_in_team": 2}
    )
    assert error["param"] == "max_budget"


def test_the_tier_of_the_team_holds_for_members_without_limits(api: Api) -> None:
    api.post("/team/update", team_id="t1", team_member_budget=3, team_member_budget_duration="1d")
    answer = add(api, {"user_id": "u1"})
    [membership] = answer["updated_team_memberships"]
    assert membership["budget_source"] == "team_default"
    assert membership["budget_id"] == Budget.objects.get().budget_id
    assert membership["litellm_budget_table"]["max_budget"] == 3
    assert membership["max_budget_in_team"] is None
    assert membership["budget_limits_usage"]["1d"]["max_budget"] == 3
    [counted] = limits_of("u1").limits
    assert (counted.limit.maximum, str(counted.limit.period)) == (3_000_000_000, "1d")


def limits_of(user_id: str) -> Any:
    team = Team.objects.select_related("member_budget").get()
    member = Member.objects.select_related("budget").filter(user_id=user_id).first()
    return limits_of_membership(
        user_id, team=team, member=member, grants=grants_for({("member", f"{user_id}/t1")}, now=NOW)
    )


def test_the_tier_of_a_team_changes_in_place_and_goes_when_it_is_emptied(api: Api) -> None:
    api.post("/team/update", team_id="t1", team_member_budget=3, team_member_rpm_limit=5)
    tier = Budget.objects.get().budget_id
    row = api.post("/team/update", team_id="t1", team_member_budget=4)["data"]
    assert (row["team_member_budget"], row["team_member_rpm_limit"]) == (4, 5)
    assert Budget.objects.get().budget_id == tier
    info = api.get("/team/info", team_id="t1")["team_info"]
    assert info["team_member_budget_table"]["budget_id"] == tier
    api.post("/team/update", team_id="t1", team_member_budget=None, team_member_rpm_limit=None)
    assert not Budget.objects.exists()
    assert api.get("/team/info", team_id="t1")["team_info"]["team_member_budget_table"] is None


def test_a_tier_of_a_team_that_others_use_stays_for_them(api: Api) -> None:
    api.post("/team/update", team_id="t1", team_member_budget=3)
    tier = Budget.objects.get().budget_id
    api.post("/customer/new", user_id="c1", budget_id=tier)
    api.post("/team/update", team_id="t1", team_member_budget=None)
    assert Budget.objects.get().budget_id == tier
    assert Team.objects.get().member_budget is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"team_member_budget": -1}, "team_member_budget"),
        ({"team_member_budget_duration": "1h"}, "team_member_budget_duration"),
        ({"team_member_budget": 1, "team_member_budget_duration": "xx"}, "team_member_budget_duration"),
        ({"team_member_rpm_limit": 1.5}, "team_member_rpm_limit"),
        (
            {"team_member_budget": 1, "team_member_budget_duration": "1h", "team_member_budget_limits": HOUR},
            "team_member_budget_limits[0].budget_duration",
        ),
        ({"team_member_key_duration": "1x"}, "team_member_key_duration"),
        ({"team_member_permissions": ["/team/delete"]}, "team_member_permissions[0]"),
    ],
)
def test_wrong_fields_of_the_tier_are_named_as_they_were_sent(api: Api, fields: dict[str, object], param: str) -> None:
    assert api.refusal("/team/update", {"team_id": "t1", **fields})["param"] == param
    assert not Budget.objects.exists()


def test_update_changes_role_limits_and_models_of_a_member(api: Api) -> None:
    add(api, {"user_id": "u1"}, rpm_limit=5)
    answer = api.post(
        "/team/member_update",
        team_id="t1",
        user_id="u1",
        role="admin",
        max_budget_in_team=2,
        budget_duration="1d",
        budget_limits=HOUR,
        tpm_limit=100,
        allowed_models=["gpt-4o"],
        model_max_budget={"gpt-4o": 1},
    )
    assert (answer["role"], answer["max_budget_in_team"], answer["budget_duration"]) == ("admin", 2, "1d")
    assert (answer["tpm_limit"], answer["rpm_limit"], answer["allowed_models"]) == (100, 5, ["gpt-4o"])
    assert answer["model_max_budget"] == {"gpt-4o": {"max_budget": 1}}
    assert [entry["max_budget"] for entry in answer["budget_limits"]] == [10]
    cleared = api.post("/team/member_update", team_id="t1", user_id="u1", max_budget_in_team=None, rpm_limit=None)
    assert (cleared["max_budget_in_team"], cleared["rpm_limit"], cleared["tpm_limit"]) == (None, None, 100)
    assert cleared["role"] == "admin"


def test_a_temporary_increase_raises_every_usd_limit_until_it_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    add(api, {"user_id": "u1"}, max_budget_in_team=2, budget_limits=HOUR)
    body = {"team_id": "t1", "user_id": "u1"}
    api.post("/team/member_update", **body, temp_budget_increase=1, temp_budget_expiry="2037-12-01T00:00:00Z")
    answer = api.post("/team/member_update", **body, temp_budget_increase=5, temp_budget_expiry="2037-12-01T00:00:00Z")
    assert (answer["temp_budget_increase"], answer["temp_budget_expiry"]) == (5, "2037-12-01T00:00:00Z")
    [grant] = Grant.objects.filter(ends_at__gt=NOW)
    assert (grant.scope_kind, grant.scope_id, grant.identity) == ("member", "u1/t1", "")
    assert [each.raises[0].amount for each in limits_of("u1").limits] == [5_000_000_000] * 2
    [membership] = api.get("/team/info", team_id="t1")["team_memberships"]
    assert membership["budget_limits_usage"]["1h"]["max_budget"] == 15
    api.post("/team/member_update", **body, temp_budget_increase=None, temp_budget_expiry=None)
    assert not Grant.objects.filter(ends_at__gt=NOW).exists()
    assert [change.action for change in Change.objects.filter(subject_id="u1/t1").order_by("id")] == [
        "create",
        "grant",
        "grant",
        "revoke",
    ]
    stop_clock(monkeypatch, at=NOW + timedelta(days=30))
    assert api.post("/team/member_update", **body)["temp_budget_increase"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temp_budget_increase": 5}, "temp_budget_expiry"),
        ({"temp_budget_expiry": "2038-01-01"}, "temp_budget_increase"),
        ({"temp_budget_increase": 5, "temp_budget_expiry": "2020-01-01"}, "temp_budget_expiry"),
        ({"temp_budget_increase": 0, "temp_budget_expiry": "2038-01-01"}, "temp_budget_increase"),
        ({"temp_budget_increase": 5, "temp_budget_expiry": "soon"}, "temp_budget_expiry"),
    ],
)
def test_an_increase_needs_an_amount_and_an_end_to_come(api: Api, fields: dict[str, object], param: str) -> None:
    add(api, {"user_id": "u1"})
    error = api.refusal("/team/member_update", {"team_id": "t1", "user_id": "u1", **fields})
    assert error["param"] == param
    assert not Grant.objects.exists()


def test_reset_gives_a_member_the_limits_of_the_team_again(api: Api) -> None:
    add(api, {"user_id": "u1"}, max_budget_in_team=2, budget_limits=HOUR, rpm_limit=3)
    assert api.post("/team/t1/member/u1/reset_budget") == {
        "team_id": "t1",
        "user_id": "u1",
        "budget_id": None,
        "previous_budget_id": None,
        "budget_source": "none",
    }
    api.post("/team/update", team_id="t1", team_member_budget=3)
    answer = api.post("/team/t1/member/u1/reset_budget")
    assert (answer["budget_source"], answer["budget_id"]) == ("team_default", Budget.objects.get().budget_id)
    assert [each.limit.maximum for each in limits_of("u1").limits] == [3_000_000_000]


def test_bulk_adds_each_on_its_own_and_says_who_could_not_be(api: Api) -> None:
    add(api, {"user_id": "u1"})
    members = [{"user_id": "u1"}, {"user_id": "u2", "role": "admin"}, {"user_email": "x@example.org"}]
    answer = api.post("/team/bulk_member_add", team_id="t1", members=members, max_budget_in_team=2)
    assert (answer["total_requested"], answer["successful_additions"], answer["failed_additions"]) == (3, 2, 1)
    refused, good, mailed = answer["results"]
    assert not refused["success"]
    assert "already in team" in refused["error"]
    assert (good["success"], good["error"], good["updated_user"]["user_id"]) == (True, None, "u2")
    assert good["updated_team_membership"]["max_budget_in_team"] == 2
    assert mailed["user_id"] == User.objects.get(email="x@example.org").username
    assert len(answer["updated_team"]["members"]) == 3


def test_bulk_adds_all_users(api: Api) -> None:
    for user_id in ("u1", "u2", "u3"):
        api.post("/user/new", user_id=user_id, auto_create_key=False)
    add(api, {"user_id": "u2"})
    answer = api.post("/team/bulk_member_add", team_id="t1", all_users=True)
    assert (answer["successful_additions"], answer["failed_additions"]) == (2, 0)
    assert sorted(answer["updated_team"]["members"]) == ["u1", "u2", "u3"]
    both = {"team_id": "t1", "all_users": True, "members": [{"user_id": "u1"}]}
    assert api.refusal("/team/bulk_member_add", both)["param"] == "members"


def test_members_follow_the_calendar_of_their_team(api: Api) -> None:
    api.post("/team/update", team_id="t1", timezone="Asia/Tokyo")
    add(api, {"user_id": "u1"}, budget_limits=[{"budget_duration": "1d", "max_budget": 1}])
    assert Member.objects.get().timezone == "Asia/Tokyo"
    api.post("/team/update", team_id="t1", timezone="Europe/Berlin")
    assert Member.objects.get().timezone == "Europe/Berlin"
    [counted] = limits_of("u1").limits
    assert counted.since_ms < END_OF_TIME_MS


def test_every_change_of_a_member_is_recorded(api: Api) -> None:
    add(api, {"user_id": "u1"}, rpm_limit=5)
    acting.admin().post("/team/member_update", team_id="t1", user_id="u1", rpm_limit=6)
    api.post("/team/member_delete", team_id="t1", user_id="u1")
    changes = Change.objects.filter(subject_kind="member", subject_id="u1/t1").order_by("id")
    assert [(change.action, change.actor) for change in changes] == [
        ("create", "master key"),
        ("update", "root"),
        ("delete", "master key"),
    ]
    assert (changes[1].before, changes[1].after) == ({"rpm_limit": 5}, {"rpm_limit": 6})


# --- who may --------------------------------------------------------------------------------------

WRITES: list[tuple[str, dict[str, object]]] = [
    ("/team/member_add", {"team_id": "t1", "member": {"user_id": "u5"}}),
    ("/team/bulk_member_add", {"team_id": "t1", "members": [{"user_id": "u6"}]}),
    ("/team/member_update", {"team_id": "t1", "user_id": "u1", "role": "user"}),
    ("/team/t1/member/u1/reset_budget", {}),
    ("/team/member_delete", {"team_id": "t1", "user_id": "u1"}),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
def test_team_admins_change_members_and_members_and_strangers_do_not(
    api: Api, path: str, body: dict[str, object]
) -> None:
    add(api, [{"user_id": "boss", "role": "admin"}, {"user_id": "u1"}])
    before = Change.objects.count()
    acting.user("u2").refusal(path, body, status=404)
    acting.bare_key("t1").refusal(path, body, status=404)
    acting.user("u1", "t1").refusal(path, body, status=403)
    acting.viewer().refusal(path, body, status=403)
    assert Change.objects.count() == before
    acting.user("boss", admin_of=("t1",)).post(path, **body)


def test_everybody_joins_a_team_that_is_available_and_no_other(api: Api) -> None:
    joining = {"team_id": "t1", "member": {"user_id": "u1", "role": "user"}}
    acting.user("u1").refusal("/team/member_add", joining, status=404)
    api.post("/team/update", team_id="t1", is_available=True)
    assert acting.listed(acting.user("u1"), "/team/available") == [
        {"team_id": "t1", "team_alias": None, "models": [], "members_count": 0}
    ]
    for other in (
        {"team_id": "t1", "member": {"user_id": "u1", "role": "admin"}},
        {"team_id": "t1", "member": {"user_id": "u2", "role": "user"}},
        {"team_id": "t1", "member": [{"user_id": "u1"}, {"user_id": "u2"}]},
        {**joining, "max_budget_in_team": 1000},
    ):
        acting.user("u1").refusal("/team/member_add", other, status=404)
    acting.user("u1").post("/team/member_add", **joining)
    assert Member.objects.get().user_id == "u1"
    assert acting.listed(acting.user("u1", "t1"), "/team/available") == []


def test_a_member_sees_the_own_membership(api: Api) -> None:
    add(api, {"user_id": "u1"}, max_budget_in_team=2)
    assert acting.user("u1", "t1").get("/team/t1/members/me")["max_budget_in_team"] == 2
    for stranger in (acting.user("u2"), acting.bare_key()):
        assert stranger.send("/team/t1/members/me", "", method="GET").status_code == 404
    assert api.send("/team/t1/members/me", "", method="GET").status_code == 404


def test_adding_members_asks_the_database_as_much_for_many_as_for_one(
    api: Api, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(76):  # one record in the audit for each user and each membership
        add(api, [{"user_id": f"u{index}"} for index in range(30)])
    with django_assert_max_num_queries(4):
        assert len(api.get("/team/info", team_id="t1")["team_memberships"]) == 30
