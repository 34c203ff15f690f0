"""Teams and users with their keys: shown, listed and deleted together with them."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from budgets.models import Budget, Change
from keys.models import Key
from keys.parsing import hash_key
from keys.services import create_key
from teams.models import Member, Team, User
from teams.tests import acting
from tests.api import NOW, Api, error_of, ledger_says

pytestmark = pytest.mark.django_db
HOUR = [{"budget_duration": "1h", "max_budget": 10}]


def make_key(**fields: Any) -> str:
    """The hash of a new key."""
    return create_key(fields, now=NOW).key.token_hash  # type: ignore[arg-type]


def get_error(api: Api, path: str, *, status: int = 404) -> dict[str, Any]:
    return error_of(api.send(path, "", method="GET"), status=status)


# --- teams ----------------------------------------------------------------------------------------


def test_deleting_teams_deletes_their_keys_members_and_tiers(api: Api) -> None:
    for team_id in ("t1", "t2", "t3"):
        api.post("/team/new", team_id=team_id, members=["u1"], team_member_budget=5)
    hashes = {make_key(team_id=team_id) for team_id in ("t1", "t1", "t2")}
    stays = make_key(team_id="t3")
    answer = api.post("/team/delete", team_ids=["t1", "t2"])
    assert answer["deleted_teams"] == ["t1", "t2"]
    assert set(answer["deleted_keys"]) == hashes
    assert [key.token_hash for key in Key.objects.all()] == [stays]
    assert [team.team_id for team in Team.objects.all()] == ["t3"]
    assert Member.objects.count() == Budget.objects.count() == 1
    assert User.objects.filter(username="u1").exists()
    assert Change.objects.filter(action="delete", subject_kind="team").count() == 2


def test_an_unknown_team_is_named_and_nothing_is_deleted(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    make_key(team_id="t1")
    error = api.refusal("/team/delete", {"team_ids": ["t1", "nope"]}, status=404)
    assert error["param"] == "team_ids[1]"
    assert (Team.objects.count(), Key.objects.count()) == (1, 1)
    for wrong in (None, [], "t1", [7]):
        assert api.refusal("/team/delete", {"team_ids": wrong})["param"].startswith("team_ids")


def test_whoever_does_not_manage_a_team_does_not_delete_it(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    acting.user("u1").refusal("/team/delete", {"team_ids": ["t1"]}, status=404)
    acting.user("u1", "t1").refusal("/team/delete", {"team_ids": ["t1"]}, status=403)
    acting.viewer().refusal("/team/delete", {"team_ids": ["t1"]}, status=403)
    acting.user("u1", admin_of=("t1",)).post("/team/delete", team_ids=["t1"])
    assert not Team.objects.exists()


def test_a_member_who_leaves_takes_the_own_keys_of_the_team_along(api: Api) -> None:
    api.post("/team/new", team_id="t1", members=["u1", "u2"])
    gone = make_key(team_id="t1", user_id="u1")
    stays = {make_key(team_id="t1", user_id="u2"), make_key(team_id="t1"), make_key(user_id="u1")}
    answer = api.post("/team/member_delete", team_id="t1", user_id="u1")
    assert (answer["deleted_keys"], answer["members"]) == ([gone], ["u2"])
    assert set(Key.objects.values_list("token_hash", flat=True)) == stays
    assert User.objects.filter(username="u1").exists()
    error = api.refusal("/team/member_delete", {"team_id": "t1", "user_id": "u1"}, status=404)
    assert error["param"] == "user_id"
    api.refusal("/team/member_delete", {"team_id": "t1", "user_email": "x@example.org"}, status=404)
    assert api.refusal("/team/member_delete", {"team_id": "t1"})["param"] == "user_id"


def test_team_info_shows_plain_members_their_own_keys_only(api: Api) -> None:
    api.post("/team/new", team_id="t1", members=["u1", "u2"])
    own, other = make_key(team_id="t1", user_id="u1"), make_key(team_id="t1", user_id="u2")
    for reader, seen in [
        (api, {own, other}),
        (acting.viewer(), {own, other}),
        (acting.user("boss", admin_of=("t1",)), {own, other}),
        (acting.user("u1", "t1"), {own}),
    ]:
        assert {key["token"] for key in reader.get("/team/info", team_id="t1")["keys"]} == seen
    for stranger in (acting.user("u3"), acting.user("u3", "t2"), acting.bare_key(), acting.bare_key("t1")):
        assert get_error(stranger, "/team/info?team_id=t1") == get_error(stranger, "/team/info?team_id=t1")
        same = get_error(api, "/team/info?team_id=t9")["message"].replace("t9", "t1")
        assert get_error(stranger, "/team/info?team_id=t1")["message"] == same


def test_team_info_says_what_the_caller_may_change(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    for reader, kind in [
        (api, "unrestricted"),
        (acting.viewer(), "none"),
        (acting.user("boss", admin_of=("t1",)), "team_admin"),
        (acting.user("u1", "t1"), "none"),
    ]:
        assert reader.get("/team/info", team_id="t1")["team_info"]["caller_edit_access"] == {"kind": kind}


def test_team_info_shows_windows_beside_rates_and_those_of_the_tier(api: Api) -> None:
    Budget.objects.create(
        budget_id="gold",
        budget_limits=[{"budget_duration": "1d", "max_budget": "20.0"}],
        counted_since={"usd/1d": "2037-11-01T00:00:00Z"},
        created_at=NOW,
        created_by="x",
        updated_at=NOW,
        updated_by="x",
    )
    api.post("/team/new", team_id="t1", budget_limits=HOUR, rpm_limit=5, tpd_limit=7, budget_id="gold", max_budget=9)
    usage = api.get("/team/info", team_id="t1")["team_info"]["budget_limits_usage"]
    assert {name: window["max_budget"] for name, window in usage.items()} == {"1h": 10, "1d": 20}


def test_the_list_of_teams_is_an_array_with_keys_and_memberships(api: Api) -> None:
    api.post("/team/new", team_id="t1", members=["u1"], organization_id="o1")
    api.post("/team/new", team_id="t2")
    token = make_key(team_id="t1", user_id="u1")
    teams = {team["team_id"]: team for team in acting.listed(api, "/team/list")}
    assert teams.keys() == {"t1", "t2"}
    assert [key["token"] for key in teams["t1"]["keys"]] == [token]
    assert [member["user_id"] for member in teams["t1"]["team_memberships"]] == ["u1"]
    assert teams["t2"]["keys"] == teams["t2"]["team_memberships"] == []
    assert [team["team_id"] for team in acting.listed(api, "/team/list", user_id="u1")] == ["t1"]
    assert [team["team_id"] for team in acting.listed(api, "/team/list", organization_id="o1")] == ["t1"]
    assert [team["team_id"] for team in acting.listed(acting.user("u9", "t2"), "/team/list")] == ["t2"]
    for stranger in (acting.user("u9"), acting.bare_key()):
        assert acting.listed(stranger, "/team/list") == []


def test_teams_are_listed_by_page_found_and_sorted(api: Api) -> None:
    for index, (name, budget) in enumerate([("Red", 5), ("blue", 1), ("Green", None)]):
        api.post("/team/new", team_id=f"t{index}", team_alias=name, max_budget=budget, members=["u1"][:index])
    api.post("/team/block", team_id="t2")
    make_key(team_id="t0")

    def found(**query: str) -> list[str]:
        return [team["team_id"] for team in api.get("/v2/team/list", **query)["teams"]]

    assert found() == found(sort_by="team_id") == ["t0", "t1", "t2"]
    assert found(sort_by="max_budget") == ["t1", "t0", "t2"]
    assert found(sort_by="max_budget", sort_order="desc") == ["t0", "t1", "t2"]
    assert found(team_alias="RE") == ["t0", "t2"]
    assert found(search="t1") == found(team_id="t1") == ["t1"]
    assert found(search="t", search_team_id_match="prefix") == ["t0", "t1", "t2"]
    assert found(search="blu") == ["t1"]
    assert found(user_id="u1") == ["t1", "t2"]
    assert (found(status="blocked"), found(status="active"), found(status="deleted")) == (["t2"], ["t0", "t1"], [])
    page = api.get("/v2/team/list", page="2", page_size="2")
    assert (page["total"], page["page"], page["page_size"], page["total_pages"]) == (3, 2, 2, 2)
    assert [team["team_id"] for team in page["teams"]] == ["t2"]
    first = api.get("/v2/team/list")["teams"][0]
    assert (first["keys_count"], first["members_count"], first["caller_membership"]) == (1, 0, None)
    [own] = acting.user("u1", "t1").get("/v2/team/list")["teams"]
    assert own["caller_membership"]["role"] == "user"
    assert get_error(api, "/v2/team/list?sort_by=spend", status=400)["param"] == "sort_by"


@pytest.mark.parametrize("path", ["/team/list", "/v2/team/list", "/user/list", "/user/info"])
def test_lists_ask_the_database_as_much_for_many_as_for_one(
    api: Api, path: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for index in range(12):
        api.post("/team/new", team_id=f"t{index}", members=["u1", f"u{index}"], budget_limits=HOUR)
        make_key(team_id=f"t{index}", user_id="u1")
    with django_assert_max_num_queries(7):
        acting.admin("u1").get(path)


# --- users ----------------------------------------------------------------------------------------


def test_a_new_user_gets_a_personal_key_that_is_shown_once(api: Api) -> None:
    answer = api.post("/user/new", user_id="u1", max_budget=5, key_alias="k1", duration="30d", user_alias="Ada")
    key = Key.objects.get()
    assert key.token_hash == hash_key(answer["key"]) == answer["token"] == answer["token_id"]
    assert (key.user_id, key.team_id, key.max_budget_nanousd, key.key_alias) == ("u1", None, None, "k1")
    assert (answer["max_budget"], answer["key_alias"], answer["user_alias"]) == (5, "k1", "Ada")
    assert answer["expires"] == "2037-12-23T13:06:59.126000Z"
    assert answer["key"] not in str(api.get("/user/info", user_id="u1"))


def test_a_new_user_without_a_key_and_one_with_nothing_at_all(api: Api) -> None:
    answer = api.post("/user/new", user_id="u1", auto_create_key=False)
    assert (answer["key"], answer["token"]) == ("", None)
    assert not Key.objects.exists()
    assert api.post("/user/new")["user_role"] == "internal_user"


def test_a_new_user_joins_teams_with_role_and_budget(api: Api) -> None:
    for team_id in ("t1", "t2", "t3"):
        api.post("/team/new", team_id=team_id)
    teams = ["t2", {"team_id": "t1", "user_role": "admin", "max_budget_in_team": 2}]
    answer = api.post("/user/new", user_id="u1", teams=teams, team_id="t3")
    assert answer["teams"] == ["t2", "t1", "t3"]
    members = {member.team_id: (member.role, member.max_budget_nanousd) for member in Member.objects.all()}
    assert members == {"t1": ("admin", 2_000_000_000), "t2": ("user", None), "t3": ("user", None)}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"user_id": "u1"}, "user_id"),
        ({"user_id": "a b"}, "user_id"),
        ({"user_id": "a/b"}, "user_id"),
        ({"user_email": "ADA@example.org"}, "user_email"),
        ({"user_email": "nobody"}, "user_email"),
        ({"sso_user_id": "s1"}, "sso_user_id"),
        ({"user_role": "king"}, "user_role"),
        ({"password": "short"}, "password"),
        ({"max_budget": -1}, "max_budget"),
        ({"teams": ["nope"]}, "teams[0]"),
        ({"teams": [{"team_id": "t1", "user_role": "king"}]}, "teams"),
        ({"teams": [{"team_id": "t1", "max_budget_in_team": -1}]}, "teams[0].max_budget_in_team"),
        ({"teams": ["t1", "t1"]}, "teams"),
        ({"duration": "zz"}, "duration"),
        ({"guardrails": ["a"]}, "guardrails"),
        ({"user_mail": "a"}, "user_mail"),
    ],
    ids=str,
)
def test_wrong_fields_of_a_new_user_are_named(api: Api, body: dict[str, object], param: str) -> None:
    api.post("/team/new", team_id="t1")
    api.post("/user/new", user_id="u1", user_email="ada@example.org", sso_user_id="s1", auto_create_key=False)
    assert api.refusal("/user/new", body)["param"] == param
    assert (User.objects.count(), Key.objects.count(), Member.objects.count()) == (1, 0, 0)


def test_user_info_is_about_oneself_without_a_parameter(api: Api) -> None:
    api.post("/team/new", team_id="t1", members=["u1", "u2"])
    own, in_team = make_key(user_id="u1"), make_key(user_id="u1", team_id="t1")
    make_key(team_id="t1", user_id="u2")
    reader = acting.user("u1", "t1")
    answer = reader.get("/user/info")
    assert answer == reader.get("/user/info", user_id="u1")
    assert {key["token"] for key in answer["keys"]} == {own, in_team}
    assert [team["team_id"] for team in answer["teams"]] == ["t1"]
    assert answer["user_info"]["teams"] == ["t1"]
    assert api.get("/user/info") == {
        "user_id": None,
        "user_info": None,
        "keys": [],
        "teams": [],
        "admin_mcp_permissions": None,
    }
    for stranger in (acting.user("u2", "t1"), acting.bare_key()):
        assert get_error(stranger, "/user/info?user_id=u1")["param"] == "user_id"
        assert get_error(stranger, "/v2/user/info?user_id=u1")["param"] == "user_id"
    assert acting.viewer().get("/v2/user/info", user_id="u1")["user_id"] == "u1"


def test_user_info_shows_the_windows_of_the_user(api: Api) -> None:
    api.post("/user/new", user_id="u1", budget_limits=HOUR, max_budget=100)
    ledger_says("u1", spent=2_000_000_000)
    ledger_says("u1", spent=1_000_000_000, start_ms=2142594000000)
    info = api.get("/v2/user/info", user_id="u1")
    assert (info["spend"], info["total_spend"]) == (2, 2)
    assert info["budget_limits_usage"]["1h"]["current_spend"] == 1
    assert info == api.get("/user/info", user_id="u1")["user_info"]


def test_users_are_listed_by_page_found_and_sorted(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    api.post("/user/new", user_id="u1", user_email="b@example.org", user_alias="Zoe", teams=["t1"], sso_user_id="s1")
    api.post("/user/new", user_id="u2", user_email="a@example.org", user_role="proxy_admin", auto_create_key=False)
    api.post("/user/new", user_id="x3", max_budget=5, organization_id="o1")

    def found(**query: str) -> list[str]:
        return [user["user_id"] for user in api.get("/user/list", **query)["users"]]

    assert found() == ["u1", "u2", "x3"]
    assert found(sort_by="user_email", sort_order="desc") == ["u1", "u2", "x3"]
    assert found(role="proxy_admin") == found(user_ids="u2,nobody") == ["u2"]
    assert found(sso_user_ids="s1") == found(team="t1") == found(search="zoe") == ["u1"]
    assert (found(user_email="EXAMPLE"), found(search="u"), found(organization_ids="o1")) == (
        ["u1", "u2"],
        ["u1", "u2"],
        ["x3"],
    )
    page = api.get("/user/list", page="2", page_size="2")
    assert (page["total"], page["total_pages"], len(page["users"])) == (3, 2, 1)
    counts = {user["user_id"]: user["key_count"] for user in api.get("/user/list")["users"]}
    assert counts == {"u1": 1, "u2": 0, "x3": 1}
    assert [user["user_id"] for user in acting.user("u1", "t1").get("/user/list")["users"]] == ["u1"]


def test_deleting_users_deletes_all_their_keys_and_memberships(api: Api) -> None:
    api.post("/team/new", team_id="t1", members=["u1", "u2"])
    hashes = {make_key(user_id="u1"), make_key(user_id="u1", team_id="t1")}
    stays = make_key(user_id="u2", team_id="t1")
    error = api.refusal("/user/delete", {"user_ids": ["u1", "nope"]}, status=404)
    assert error["param"] == "user_ids[1]"
    assert Key.objects.count() == 3
    answer = api.post("/user/delete", user_ids=["u1"])
    assert (answer["deleted_users"], set(answer["deleted_keys"])) == (1, hashes)
    assert [key.token_hash for key in Key.objects.all()] == [stays]
    assert [member.user_id for member in Member.objects.all()] == ["u2"]
    get_error(api, "/user/info?user_id=u1")


def test_the_last_proxy_admin_stays_and_stays_one(api: Api) -> None:
    for user_id in ("a1", "a2"):
        api.post("/user/new", user_id=user_id, user_role="proxy_admin", auto_create_key=False)
    api.post("/user/new", user_id="a3", user_role="proxy_admin", blocked=True, auto_create_key=False)
    assert api.refusal("/user/delete", {"user_ids": ["a1", "a2"]}, status=409)["param"] == "user_ids"
    api.post("/user/update", user_id="a1", user_role="internal_user")
    for body in ({"user_role": "proxy_admin_viewer"}, {"blocked": True}):
        assert api.refusal("/user/update", {"user_id": "a2", **body}, status=409)["type"] == "conflict_error"
    api.refusal("/user/delete", {"user_ids": ["a2"]}, status=409)
    api.post("/user/update", user_id="a2", user_alias="Boss", user_role=None)
    assert User.objects.get(username="a2").role == "proxy_admin"


@pytest.mark.parametrize(("path", "body"), [("/user/new", {"user_id": "n"}), ("/user/delete", {"user_ids": ["u1"]})])
def test_only_proxy_admins_make_and_delete_users(api: Api, path: str, body: dict[str, object]) -> None:
    api.post("/user/new", user_id="u1", auto_create_key=False)
    for other in (acting.user("u1"), acting.viewer(), acting.bare_key(), acting.user("u2", admin_of=("t1",))):
        assert other.send(path, body).status_code == 403
    acting.admin().post(path, **body)
