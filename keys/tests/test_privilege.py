"""Ways in which somebody might get more than he has: with a key of somebody else, past a limit, out of a team."""

from typing import Any

import pytest

from budgets.actors import Role
from keys.models import Key
from keys.tests import people
from teams.models import User
from tests.api import ActorApi, Api


@pytest.fixture
def boss(db: None) -> ActorApi:
    """The admin of a team whose members are a proxy admin and a plain user."""
    people.user("root", teams={"t1"})
    User.objects.filter(username="root").update(role=Role.PROXY_ADMIN)
    people.user("ann", teams={"t1"})
    return ActorApi(people.user("boss", admin_of={"t1"}))


def sees_only_itself(key: str) -> None:
    assert Api(key).get("/key/info")["info"]["key_alias"] == "mine"
    for path, body in {"/key/generate": {}, "/user/new": {"user_id": "evil"}, "/key/update": {"key": key}}.items():
        assert Api(key).send(path, body).status_code in (401, 403), path
    assert Api(key).get("/key/list")["total_count"] == 1


@pytest.mark.parametrize("user_id", ["root", "ann"])
def test_a_key_that_a_team_admin_makes_for_a_member_does_not_act_as_the_member(boss: ActorApi, user_id: str) -> None:
    Api().post("/key/generate", user_id=user_id, key_alias="private")
    made = boss.post("/key/generate", user_id=user_id, team_id="t1", key_alias="mine")
    sees_only_itself(made["key"])


@pytest.mark.parametrize("user_id", ["root", "ann"])
def test_a_key_that_a_team_admin_rotates_does_not_act_as_its_user(boss: ActorApi, user_id: str) -> None:
    Api().post("/key/generate", user_id=user_id, key_alias="private")
    key = Api().post("/key/generate", user_id=user_id, team_id="t1", key_alias="mine")
    assert Api(key["key"]).get("/user/info")["user_id"] == user_id
    sees_only_itself(boss.post(f"/key/{key['token']}/regenerate")["key"])


def test_a_key_that_a_team_admin_gives_to_a_member_does_not_act_as_the_member(boss: ActorApi) -> None:
    Api().post("/key/generate", user_id="root", key_alias="private")
    key = boss.post("/key/generate", team_id="t1", key_alias="mine")
    boss.post("/key/update", key=key["token"], user_id="root")
    sees_only_itself(key["key"])


def test_a_key_acts_as_its_user_again_once_a_proxy_admin_rotates_it(boss: ActorApi) -> None:
    made = boss.post("/key/generate", user_id="ann", team_id="t1", key_alias="mine")
    graceful: dict[str, Any] = Api().post("/key/regenerate", key=made["token"], grace_period="1d")
    sees_only_itself(graceful["key"])
    sees_only_itself(made["key"])
    rotated: dict[str, Any] = Api().post("/key/regenerate", key=graceful["token"])
    assert Api(rotated["key"]).get("/user/info")["user_id"] == "ann"


def test_an_own_key_and_one_of_a_proxy_admin_act_as_the_user(boss: ActorApi) -> None:
    own = boss.post("/key/generate", team_id="t1")
    assert Key.objects.get(token_hash=own["token"]).acts_for_user
    assert Api(own["key"]).get("/user/info")["user_id"] == "boss"


@pytest.mark.parametrize(
    "bound", [{"max_budget": 1}, {"blocked": True}, {"models": ["gpt-4o"]}, {"duration": "1d"}, {"budget_id": "small"}]
)
def test_a_limit_that_an_admin_gives_to_an_own_key_is_not_lifted_by_its_user(
    boss: ActorApi, bound: dict[str, Any]
) -> None:
    ann = ActorApi(people.user("ann", teams={"t1"}))
    Api().post("/budget/new", budget_id="small", max_budget=1)
    key = ann.post("/key/generate", team_id="t1")["token"]
    ann.post("/key/update", key=key, max_budget=100)
    boss.post("/key/update", key=key, **bound)
    lifted = {name: False if name == "blocked" else None for name in bound}
    ann.refusal("/key/update", {"key": key, **lifted}, status=403)
    ann.refusal("/key/update", {"key": key, "max_budget": 100}, status=403)
    ann.refusal("/key/update", {"key": key, "team_id": None}, status=403)
    ann.post("/key/update", key=key, key_alias="still-mine")


MEMBER_MAY: list[tuple[str, dict[str, Any]]] = [
    ("/key/generate", {"team_id": "t1"}),
    ("/key/update", {"key": "own", "key_alias": "x"}),
    ("/key/block", {"key": "own"}),
    ("/key/regenerate", {"key": "own"}),
    ("/key/{key}/reset_spend", {"reset_to": 0}),
    ("/key/delete", {"keys": ["own"]}),
]


@pytest.mark.parametrize("without", [path for path, _ in MEMBER_MAY])
def test_a_member_uses_the_addresses_that_the_team_allows_and_no_other(boss: ActorApi, without: str) -> None:
    ann = ActorApi(people.user("ann", teams={"t1"}))
    key = ann.post("/key/generate", team_id="t1")["token"]
    allowed = [path for path, _ in MEMBER_MAY if path != without]
    boss.post("/team/update", team_id="t1", team_member_permissions=allowed)
    for path, body in MEMBER_MAY:
        sent = {name: key if value == "own" else [key] if value == ["own"] else value for name, value in body.items()}
        status = 403 if path == without else 200
        answer = ann.send(path.replace("{key}", key), sent)
        assert answer.status_code == status, answer.content
        key = answer.json()["token"] if path == "/key/regenerate" and status == 200 else key
    boss.post("/key/generate", team_id="t1")


def test_a_member_brings_no_key_into_a_team_that_lets_members_make_none(boss: ActorApi) -> None:
    ann = ActorApi(people.user("ann", teams={"t1"}))
    key = ann.post("/key/generate")["token"]
    boss.post("/team/update", team_id="t1", team_member_permissions=["/key/update"])
    ann.refusal("/key/update", {"key": key, "team_id": "t1"}, status=403)
    assert Key.objects.get(token_hash=key).team_id is None


def test_keys_that_members_make_live_no_longer_than_the_team_says(boss: ActorApi) -> None:
    ann = ActorApi(people.user("ann", teams={"t1"}))
    outside = ann.post("/key/generate")["token"]
    boss.post("/team/update", team_id="t1", team_member_key_duration="7d")
    key = ann.post("/key/generate", team_id="t1")
    assert key["expires"] == "2037-11-30T13:06:59.126000Z"
    for longer in ("-1", "8d"):
        assert ann.refusal("/key/generate", {"team_id": "t1", "duration": longer})["param"] == "duration"
        assert ann.refusal("/key/update", {"key": key["token"], "duration": longer})["param"] == "duration"
        ann.refusal("/key/update", {"key": outside, "team_id": "t1", "duration": longer})
        ann.refusal("/key/regenerate", {"key": key["token"], "duration": longer})
    ann.refusal("/key/update", {"key": key["token"], "duration": None})
    assert ann.post("/key/update", key=key["token"], duration="7d")["expires"] == "2037-11-30T13:06:59.126000Z"
    assert ann.post("/key/update", key=outside, team_id="t1")["expires"] == "2037-11-30T13:06:59.126000Z"
    assert boss.post("/key/generate", team_id="t1", duration="-1")["expires"] is None


@pytest.mark.parametrize("name", ["system", "System"])
def test_nobody_becomes_a_user_who_is_called_like_the_gateway_in_audits(boss: ActorApi, name: str) -> None:
    body = {"team_id": "t1", "member": {"user_id": name, "role": "user"}}
    assert boss.refusal("/team/member_add", body)["param"] == "member"
    assert Api().refusal("/user/new", {"user_id": name})["param"] == "user_id"
    assert not User.objects.filter(username=name).exists()
