"""Owner, team admin, member, viewer, stranger and a bare key: what each of them sees and may change."""

from typing import Any

import pytest
from django.conf import LazySettings

from budgets.actors import Actor, Role
from keys.access import keys_visible_to
from keys.models import Key
from keys.tests import people
from tests.api import ActorApi, Api

OWN = {"key_alias": "mine", "user_id": "owner", "team_id": "t1", "max_budget": 5}
LIMITS: list[dict[str, Any]] = [
    {"max_budget": 50},
    {"budget_limits": []},
    {"budget_id": None},
    {"rpm_limit": None},
    {"model_max_budget": {}},
    {"timezone": "Asia/Tokyo"},
    {"spend": 0},
    {"temp_budget_increase": 5, "temp_budget_expiry": "2038-01-01"},
    {"models": []},
    {"aliases": {"gpt-4o": "a-dear-model"}},
    {"tags": []},
    {"allowed_routes": []},
    {"key_type": "default"},
    {"duration": "-1"},
    {"team_id": None},
    {"user_id": None},
]


@pytest.fixture
def actors(db: None, settings: LazySettings) -> dict[str, Actor]:
    settings.SPEND_WRITER = "keys.tests.people.set_spend"
    actors = {
        "owner": people.user("owner", teams={"t1"}),
        "member": people.user("member", teams={"t1"}),
        "team admin": people.user("boss", admin_of={"t1"}),
        "other admin": people.user("other", admin_of={"t2"}),
        "stranger": people.user("stranger"),
        "viewer": people.viewer(),
        "own viewer": Actor("owner", Role.INTERNAL_USER_VIEWER, user_id="owner"),
    }
    Api().post("/key/generate", **OWN, models=["gpt-4o"], tags=["a"], key_type="llm_api")
    actors["itself"] = people.bare(Key.objects.get())
    Api().post("/key/generate", key_alias="other")
    actors["another key"] = people.bare(Key.objects.get(key_alias="other"))
    return actors


SEEN = {
    "owner": {"mine"},
    "member": set(),
    "team admin": {"mine"},
    "other admin": set(),
    "stranger": set(),
    "viewer": {"mine", "other"},
    "own viewer": {"mine"},
    "itself": {"mine"},
    "another key": {"other"},
}


@pytest.mark.parametrize("who", SEEN)
def test_everybody_sees_the_own_keys_and_those_of_teams_one_administers(who: str, actors: dict[str, Actor]) -> None:
    api, token = ActorApi(actors[who]), Key.objects.get(key_alias="mine").token_hash
    assert set(keys_visible_to(actors[who]).values_list("key_alias", flat=True)) == SEEN[who]
    assert set(api.get("/key/aliases")["aliases"]) == SEEN[who]
    listed = api.get("/key/list", include_team_keys="true", size="100")["keys"]
    assert len(listed) == len(SEEN[who])
    assert len(api.post("/v2/key/info", keys=[token])["info"]) == ("mine" in SEEN[who])
    status = api.send(f"/key/info?key={token}", method="GET").status_code
    assert status == (200 if "mine" in SEEN[who] else 403)


@pytest.mark.parametrize("who", SEEN)
@pytest.mark.parametrize("path", ["/key/update", "/key/block", "/key/{key}/regenerate", "/key/delete"])
def test_whoever_sees_a_key_and_may_not_change_it_is_told_so(who: str, path: str, actors: dict[str, Actor]) -> None:
    token = Key.objects.get(key_alias="mine").token_hash
    body = {"keys": [token]} if path == "/key/delete" else {} if "{key}" in path else {"key": token}
    status = ActorApi(actors[who]).send(path.format(key=token), body).status_code
    changes = {"owner", "team admin"}
    assert status == (200 if who in changes else 403 if "mine" in SEEN[who] else 404)


@pytest.mark.parametrize("fields", LIMITS, ids=str)
def test_a_limit_that_an_admin_set_is_not_lifted_by_the_one_it_binds(
    fields: dict[str, Any], actors: dict[str, Actor]
) -> None:
    key = Key.objects.get(key_alias="mine")
    before = Key.objects.values().get(id=key.id)
    owner = ActorApi(actors["owner"])
    owner.refusal("/key/update", {"key": key.token_hash, **fields}, status=403)
    if "temp_budget_increase" not in fields:
        owner.refusal(f"/key/{key.token_hash}/regenerate", fields, status=403)
    assert Key.objects.values().get(id=key.id) == before


def test_an_owner_blocks_and_does_not_unblock_what_an_admin_made(actors: dict[str, Actor]) -> None:
    owner, token = ActorApi(actors["owner"]), Key.objects.get(key_alias="mine").token_hash
    owner.post("/key/update", key=token, key_alias="renamed", metadata={"a": 1})
    owner.post("/key/block", key=token)
    owner.refusal("/key/unblock", {"key": token}, status=403)
    ActorApi(actors["team admin"]).post("/key/unblock", key=token)


@pytest.mark.parametrize("fields", [fields for fields in LIMITS if "user_id" not in fields], ids=str)
def test_an_owner_changes_everything_of_what_the_owner_made(fields: dict[str, Any], actors: dict[str, Actor]) -> None:
    owner = ActorApi(actors["owner"])
    made = owner.post("/key/generate", team_id="t1", max_budget=5)
    assert (made["user_id"], made["created_by"]) == ("owner", "owner")
    owner.post("/key/update", key=made["token"], **fields)


def test_users_make_keys_for_themselves_in_their_own_teams(actors: dict[str, Actor]) -> None:
    owner = ActorApi(actors["owner"])
    assert owner.post("/key/generate")["user_id"] == "owner"
    owner.refusal("/key/generate", {"user_id": "member"}, status=403)
    owner.refusal("/key/generate", {"user_id": "member", "team_id": "t1"}, status=403)
    owner.refusal("/key/generate", {"spend": 5}, status=403)
    unknown = owner.refusal("/key/generate", {"team_id": "nowhere"})
    foreign = owner.refusal("/key/generate", {"team_id": "t2"})
    assert foreign["message"].replace("t2", "nowhere") == unknown["message"]
    owner.refusal("/key/service-account/generate", {"team_id": "t1"}, status=403)
    owner.refusal("/key/bulk_update", {"keys": [{"key": "x"}]}, status=403)
    owner.refusal("/team/key/bulk_update", {"team_id": "t1", "key_ids": ["x"], "update_fields": {}}, status=403)
    for who in ("viewer", "own viewer", "itself"):
        ActorApi(actors[who]).refusal("/key/generate", {}, status=403)


def test_team_admins_make_keys_for_members_and_services_of_their_team_only(actors: dict[str, Actor]) -> None:
    boss = ActorApi(actors["team admin"])
    assert boss.post("/key/generate", team_id="t1", user_id="member")["user_id"] == "member"
    assert boss.post("/key/generate", team_id="t1")["user_id"] == "boss"
    assert boss.post("/key/service-account/generate", team_id="t1")["user_id"] is None
    boss.refusal("/key/generate", {"team_id": "t1", "user_id": "stranger"}, status=403)
    boss.refusal("/key/generate", {"user_id": "member"}, status=403)
    boss.refusal("/key/service-account/generate", {"team_id": "t2"})
    token = Key.objects.get(key_alias="mine").token_hash
    boss.refusal("/key/update", {"key": token, "team_id": None}, status=403)
    boss.refusal("/key/update", {"key": token, "team_id": "t2"})
    boss.refusal("/key/update", {"key": token, "user_id": "stranger"}, status=403)
    boss.post("/key/update", key=token, max_budget=7, user_id="member", blocked=True)
    answer = boss.post("/team/key/bulk_update", team_id="t1", all_keys_in_team=True, update_fields={"rpm_limit": 1})
    assert len(answer["successful_updates"]) == 4
    ActorApi(actors["other admin"]).refusal(
        "/team/key/bulk_update", {"team_id": "t1", "all_keys_in_team": True, "update_fields": {}}, status=404
    )


def test_a_user_called_like_the_system_has_made_nothing_of_its_keys(actors: dict[str, Actor]) -> None:
    people.user("system")
    made = Api().post("/key/generate", user_id="system", max_budget=5)
    Key.objects.filter(id=made["id"]).update(created_by="system")
    impostor = ActorApi(Actor("system", Role.INTERNAL_USER, user_id="system"))
    impostor.refusal("/key/update", {"key": made["key"], "max_budget": 50}, status=403)


def test_deleted_keys_are_seen_by_those_who_saw_them(actors: dict[str, Actor]) -> None:
    token = Key.objects.get(key_alias="mine").token_hash
    Api().post("/key/delete", keys=[token])
    for who, status in {"owner": 200, "team admin": 200, "viewer": 200, "stranger": 403, "member": 403}.items():
        api = ActorApi(actors[who])
        assert api.send(f"/key/info?key={token}", method="GET").status_code == status
        listed = api.get("/key/list", status="deleted", include_team_keys="true")["keys"]
        assert listed == ([token] if status == 200 else [])
