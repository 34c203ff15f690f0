"""Teams: what may be set, by whom, and what is recorded and announced."""

from typing import Any

import pytest

from budgets.models import Change
from teams.models import Member, Team, User
from teams.tests import acting
from tests.api import Api, answer_of, error_of

pytestmark = pytest.mark.django_db


def patch(api: Api, team: str, **body: object) -> Any:
    return api.send(f"/team/{team}", body, method="PATCH")


def test_a_user_who_makes_a_team_is_its_admin_and_the_master_key_is_nobody(api: Api) -> None:
    assert api.post("/team/new", team_id="t1")["members_with_roles"] == []
    User.objects.create_superuser("root")
    members = [{"user_id": "root", "role": "user"}, {"user_id": "u1", "role": "user"}]
    answer = acting.admin("root").post("/team/new", team_id="t2", members_with_roles=members)
    assert {entry["user_id"]: entry["role"] for entry in answer["members_with_roles"]} == {
        "root": "admin",
        "u1": "user",
    }
    assert Team.objects.get(team_id="t2").created_by == "root"


def test_members_are_named_in_three_ways_and_each_joins_once(api: Api) -> None:
    answer = api.post(
        "/team/new",
        team_id="t1",
        members_with_roles=[{"user_email": "ada@example.org", "role": "admin"}, {"user_id": "u1"}],
        admins=["u2"],
        members=["u1", "u2", "u3"],
    )
    ada = User.objects.get(email="ada@example.org").username
    assert answer["admins"] == [ada, "u2"]
    assert answer["members"] == [ada, "u1", "u2", "u3"]


def test_a_team_that_cannot_be_made_makes_no_users(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    api.refusal("/team/new", {"team_id": "t1", "members": ["u1"]})
    api.refusal("/team/new", {"team_id": "t2", "members_with_roles": [{"user_id": "u1"}, {"user_id": "a b"}]})
    assert not User.objects.exists()
    assert Team.objects.count() == 1


def test_everything_that_was_given_is_answered_and_can_be_changed_and_cleared(api: Api) -> None:
    given: dict[str, Any] = {
        "model_aliases": {"fast": "gpt-4o-mini"},
        "tags": ["research"],
        "default_team_member_models": ["gpt-4o"],
        "team_member_permissions": ["/key/generate"],
        "team_member_key_duration": "30d",
        "is_available": True,
        "organization_id": "o1",
        "router_settings": {"a": 1},
        "prompts": ["p"],
        "team_alias": "T",
        "metadata": {"a": 1},
        "models": ["gpt-4o"],
    }
    answer = api.post("/team/new", team_id="t1", **given)
    assert {name: answer[name] for name in given} == given
    assert answer["litellm_model_table"]["model_aliases"] == given["model_aliases"]
    assert {name: api.post("/team/update", team_id="t1")["data"][name] for name in given} == given
    cleared = answer_of(patch(api, "t1", **dict.fromkeys(given)))
    assert not any(cleared[name] for name in given)
    assert cleared["litellm_model_table"] is None


def test_patch_answers_with_the_row_and_takes_the_id_from_the_address(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    assert answer_of(patch(api, "t1", max_budget=5))["max_budget"] == 5
    assert answer_of(patch(api, "t1", team_id="t1", max_budget=6))["max_budget"] == 6
    assert error_of(patch(api, "t1", team_id="t2"), status=400)["param"] == "team_id"
    assert error_of(patch(api, "t9", max_budget=5), status=404)["param"] == "team_id"


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"max_budget": 5, "soft_budget": 4}, True),
        ({"max_budget": 5, "soft_budget": 5}, False),
        ({"max_budget": 5, "soft_budget": 9}, False),
        ({"soft_budget": 9}, True),
    ],
)
def test_a_soft_budget_is_lower_than_the_budget(api: Api, body: dict[str, object], allowed: bool) -> None:
    response = api.send("/team/new", body)
    assert response.status_code == (200 if allowed else 400)
    if not allowed:
        assert "must be strictly lower than max_budget" in response.json()["error"]["message"]


def test_a_budget_that_falls_below_the_soft_budget_is_refused(api: Api) -> None:
    api.post("/team/new", team_id="t1", max_budget=10, soft_budget=5)
    assert api.refusal("/team/update", {"team_id": "t1", "max_budget": 4})["param"] == "soft_budget"


def test_a_block_is_answered_and_lifted_again(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    assert api.post("/team/block", team_id="t1")["blocked"] is True
    assert api.post("/team/unblock", team_id="t1")["blocked"] is False
    assert list(Change.objects.order_by("id").values_list("action", flat=True)) == ["create", "block", "unblock"]
    assert api.refusal("/team/block", {"team_id": "t9"}, status=404)["param"] == "team_id"


def test_models_are_added_and_taken_away_but_never_all(api: Api) -> None:
    api.post("/team/new", team_id="t1", models=["a"])
    assert api.post("/team/model/add", team_id="t1", models=["b", "a", "c"])["models"] == ["a", "b", "c"]
    assert api.post("/team/model/delete", team_id="t1", models=["a", "b", "x"])["models"] == ["c"]
    assert api.refusal("/team/model/delete", {"team_id": "t1", "models": ["c"]})["param"] == "models"
    api.post("/team/new", team_id="t2")
    assert api.refusal("/team/model/delete", {"team_id": "t2", "models": ["c"]})["param"] == "models"
    assert api.refusal("/team/model/add", {"team_id": "t1", "models": []})["param"] == "models"


def test_permissions_of_members_are_shown_and_changed(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    row = api.post("/team/permissions_update", team_id="t1", team_member_permissions=["/key/generate", "/key/info"])
    assert row["team_member_permissions"] == ["/key/generate", "/key/info"]
    shown = acting.user("u1", "t1").get("/team/permissions_list", team_id="t1")
    assert shown["team_member_permissions"] == ["/key/generate", "/key/info"]
    assert "/key/delete" in shown["all_available_permissions"]
    assert api.refusal("/team/permissions_update", {"team_id": "t1"})["param"] == "team_member_permissions"


# --- who may --------------------------------------------------------------------------------------

BINDING = {
    "max_budget": 1000,
    "budget_limits": [],
    "models": [],
    "tags": [],
    "blocked": False,
    "budget_id": None,
    "model_aliases": {},
    "timezone": "UTC",
    "is_available": True,
}


@pytest.mark.parametrize("name", BINDING)
def test_a_team_admin_does_not_lift_what_binds_the_team(api: Api, name: str) -> None:
    api.post("/team/new", team_id="t1", max_budget=5)
    boss = acting.user("boss", admin_of=("t1",))
    error = boss.refusal("/team/update", {"team_id": "t1", name: BINDING[name]}, status=403)
    assert error["type"] == "permission_denied"
    assert error_of(patch(boss, "t1", **{name: BINDING[name]}), status=403)
    api.post("/team/update", team_id="t1", **{name: BINDING[name]})


def test_a_team_admin_sets_what_concerns_members(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    boss = acting.user("boss", admin_of=("t1",))
    row = boss.post("/team/update", team_id="t1", team_alias="T", team_member_budget=5, metadata={"a": 1})["data"]
    assert (row["team_alias"], row["team_member_budget"]) == ("T", 5)
    boss.post("/team/block", team_id="t1")
    boss.refusal("/team/unblock", {"team_id": "t1"}, status=403)
    boss.refusal("/team/model/add", {"team_id": "t1", "models": ["a"]}, status=403)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/team/update", {"team_alias": "x"}),
        ("/team/block", {}),
        ("/team/unblock", {}),
        ("/team/model/add", {"models": ["a"]}),
        ("/team/model/delete", {"models": ["a"]}),
        ("/team/permissions_update", {"team_member_permissions": []}),
    ],
)
def test_members_see_a_team_and_strangers_do_not_and_neither_changes_it(
    api: Api, path: str, body: dict[str, object]
) -> None:
    api.post("/team/new", team_id="t1", models=["a", "b"])
    body = {"team_id": "t1", **body}
    unknown = api.refusal(path, {**body, "team_id": "t9"}, status=404)
    for stranger in (acting.user("u2"), acting.user("u2", admin_of=("t2",)), acting.bare_key(), acting.bare_key("t1")):
        error = stranger.refusal(path, body, status=404)
        assert error == {**unknown, "message": unknown["message"].replace("t9", "t1")}
    acting.user("u1", "t1").refusal(path, body, status=403)
    acting.viewer().refusal(path, body, status=403)
    assert Change.objects.count() == 1


def test_only_proxy_admins_make_teams(api: Api) -> None:
    for other in (acting.user("u1"), acting.user("u1", admin_of=("t1",)), acting.viewer(), acting.bare_key()):
        other.refusal("/team/new", {}, status=403)
    assert not Team.objects.exists()
    acting.admin().post("/team/new")
    assert Member.objects.get().user_id == "root"


def test_the_audit_says_what_changed_and_who_did_it(api: Api) -> None:
    api.post("/team/new", team_id="t1", max_budget=5, metadata={"a": 1})
    acting.admin(address="10.0.0.1").post("/team/update", team_id="t1", max_budget=7, team_member_budget=1)
    change = Change.objects.get(action="update")
    assert (change.actor, change.address, change.subject_kind, change.subject_id) == ("root", "10.0.0.1", "team", "t1")
    assert change.before == {"max_budget": "5"} or change.before == {"max_budget": "5.0"}
    assert change.after["team_member_budget"]["max_budget"] in ("1", "1.0")
    api.post("/team/update", team_id="t1", max_budget=7)
    assert Change.objects.filter(action="update").count() == 1
