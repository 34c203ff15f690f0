"""Each address of the API for keys takes every field that clients send, and answers every field that they read."""

import re
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import jsonschema_rs
import orjson
import pytest
from django.conf import LazySettings
from django.test import Client

from budgets.models import Change, Grant
from budgets.services import ms_of
from keys.models import DeletedKey, Key
from keys.parsing import hash_key
from keys.profiles import load_profile
from keys.tests import people
from teams.models import Member, Team
from tests.api import NOW, ActorApi, Api, ledger_says, stop_clock

ROW = re.findall(
    r"\w+",
    """
    key_name key_alias soft_budget_cooldown spend total_spend expires models aliases config router_settings
    user_id team_id agent_id project_id permissions max_parallel_requests metadata blocked tpm_limit rpm_limit
    tpd_limit max_budget budget_duration budget_reset_at allowed_cache_controls allowed_routes key_type
    policies access_group_ids model_spend model_max_budget budget_fallbacks budget_id organization_id
    object_permission_id created_at created_by updated_at updated_by settings_updated_at last_active
    rotation_count auto_rotate rotation_interval last_rotation_at key_rotation_at budget_limits
    litellm_budget_table litellm_organization_table litellm_project_table object_permission jwt_key_mappings
    status
    """,
)
GENERATED = re.findall(
    r"\w+",
    """
    key_alias duration models spend max_budget user_id team_id agent_id max_parallel_requests metadata
    tpm_limit rpm_limit budget_duration budget_limits allowed_cache_controls config permissions
    model_max_budget budget_fallbacks model_rpm_limit model_tpm_limit mcp_rpm_limit tag_rpm_limit guardrails
    policies prompts blocked aliases object_permission key tpd_limit default_estimated_output_tokens
    default_estimated_output_tokens_per_model budget_id end_user_budget_id tags disable_global_guardrails
    enable_prompt_caching throttle_on_budget_exceeded enforced_params allowed_routes
    allowed_passthrough_routes denied_passthrough_routes allowed_vector_store_indexes rpm_limit_type
    tpm_limit_type router_settings access_group_ids key_name key_type expires token_id organization_id
    project_id litellm_budget_table token created_by updated_by created_at updated_at
    """,
)

EVERYTHING: dict[str, Any] = {
    "key_alias": "all",
    "duration": "30d",
    "models": ["gpt-4o"],
    "max_budget": 10,
    "soft_budget": 5,
    "budget_duration": "30d",
    "budget_limits": [{"budget_duration": "1h", "max_budget": 1.5}],
    "budget_id": "b1",
    "user_id": "u1",
    "team_id": "t1",
    "max_parallel_requests": 3,
    "tpm_limit": 1000,
    "rpm_limit": 10,
    "tpd_limit": 50_000,
    "model_max_budget": {"gpt-4o": {"max_budget": 2, "budget_duration": "1d"}},
    "model_rpm_limit": {"gpt-4o": 5},
    "model_tpm_limit": {"gpt-4o": 500},
    "metadata": {"cost_centre": "x"},
    "blocked": False,
    "aliases": {"fast": "gpt-4o"},
    "tags": ["prod", "eu"],
    "key_type": "llm_api",
    "agent_id": "a1",
    "organization_id": "o1",
    "project_id": "p1",
    "allowed_cache_controls": ["no-cache"],
    "config": {"a": 1},
    "prompts": ["p"],
    "router_settings": {"num_retries": 2},
    "default_estimated_output_tokens": 100,
    "default_estimated_output_tokens_per_model": {"gpt-4o": 50},
    "rpm_limit_type": "best_effort_throughput",
    "tpm_limit_type": "best_effort_throughput",
    "rotation_interval": "30d",
    "timezone": "Europe/Berlin",
    "week_start": "sunday",
    "guardrails": None,
    "policies": [],
    "permissions": {},
    "object_permission": None,
    "access_group_ids": [],
    "auto_rotate": False,
}


@pytest.fixture(autouse=True)
def _ledger(settings: LazySettings) -> None:
    people.corrections.clear()
    settings.SPEND_WRITER = "keys.tests.people.set_spend"


@pytest.fixture
def api(db: None) -> Api:
    """With a team, a user in it, and a tier."""
    api = Api()
    people.user("u1", teams={"t1"})
    api.post("/budget/new", budget_id="b1", budget_limits=[{"budget_duration": "1w", "max_budget": 70}])
    return api


def conforms(schema: str, answer: object) -> None:
    """An answer is what the document says of it."""
    _validator(schema).validate(orjson.loads(orjson.dumps(answer, default=float)))


@cache
def _validator(schema: str) -> Any:
    components = orjson.loads(Client().get("/openapi.json").content)["components"]
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{schema}", "components": components})


def echoed(fields: dict[str, Any]) -> dict[str, Any]:
    """What a row says of these fields."""
    limits = [{"budget_duration": "1h", "max_budget": Decimal("1.5"), "reset_at": "2037-11-23T14:00:00Z"}]
    gone = {"duration", "policies"}
    return {name: value for name, value in fields.items() if name not in gone} | {"budget_limits": limits}


def test_a_key_takes_every_field_and_answers_it_everywhere(api: Api) -> None:
    made = api.post("/key/generate", **EVERYTHING, send_invite_email=True)
    assert set(GENERATED) <= made.keys()
    conforms("GeneratedKey", made)
    assert made["allowed_routes"] == ["llm_api_routes"]
    assert (made["created_by"], made["updated_by"], made["duration"]) == ("master key", "master key", None)
    info = api.get("/key/info", key=made["token"])
    conforms("KeyInfo", info)
    assert set(ROW) | {"budget_limits_usage", "grants"} <= info["info"].keys()
    listed = api.get("/key/list", return_full_object="true")
    conforms("KeyList", listed)
    updated = api.post("/key/update", key=made["key"], metadata={"cost_centre": "x"})
    conforms("UpdatedKey", updated)
    for row in (made, info["info"], updated, listed["keys"][0]):
        assert {name: row[name] for name in echoed(EVERYTHING)} == echoed(EVERYTHING)
        assert row["litellm_budget_table"]["budget_id"] == "b1"
        assert UUID(row["id"]) == Key.objects.get().id
    assert listed["keys"][0]["user_email"] == "u1@example.com"
    assert list(info["info"]["budget_limits_usage"]) == ["1h", "1w"]


def test_an_update_takes_every_field_and_null_empties_it(api: Api) -> None:
    made = api.post("/key/generate")
    conforms("UpdatedKey", api.post("/key/update", key=made["key"], **EVERYTHING))
    empty = {name: None for name in EVERYTHING if name not in ("timezone", "week_start")}
    row = api.post("/key/update", key=made["key"], **empty)
    before = {name: value for name, value in made.items() if name not in ("key", "token_id", "duration", "timezone")}
    before["week_start"] = "sunday"
    assert {name: row[name] for name in before} == before


def test_a_profile_has_what_a_key_was_given(api: Api) -> None:
    made = api.post("/key/generate", **EVERYTHING)
    profile = load_profile(made["token"], now=NOW)
    assert profile is not None
    assert (profile.user_id, profile.team_id, profile.tags) == ("u1", "t1", ("prod", "eu"))
    assert (profile.routes, profile.aliases["fast"]) == (frozenset({"llm_api_routes"}), "gpt-4o")


@pytest.mark.parametrize(
    ("key_type", "routes"),
    [
        ("llm_api", ["llm_api_routes"]),
        ("read_only", ["info_routes"]),
        ("management", ["management_routes"]),
        ("default", []),
    ],
)
def test_a_key_type_is_short_for_routes(api: Api, key_type: str, routes: list[str]) -> None:
    made = api.post("/key/generate", key_type=key_type)
    assert (made["key_type"], made["allowed_routes"]) == (key_type, routes)
    own = api.post("/key/update", key=made["key"], allowed_routes=["/v1/models"])
    assert (own["key_type"], own["allowed_routes"]) == ("default", ["/v1/models"])


def test_a_key_for_a_service_belongs_to_its_team_and_to_no_user(api: Api) -> None:
    made = api.post("/key/service-account/generate", team_id="t1", user_id="u1", key_alias="ci")
    conforms("GeneratedKey", made)
    assert (made["team_id"], made["user_id"]) == ("t1", None)


def test_keys_of_members_live_as_long_as_their_team_says(api: Api) -> None:
    Team.objects.update(member_key_duration="7d")
    people.user("stranger")
    assert api.post("/key/generate", team_id="t1", user_id="u1")["expires"] == "2037-11-30T13:06:59.126000Z"
    assert api.post("/key/generate", team_id="t1", user_id="u1", duration="1h")["expires"].startswith("2037-11-23T14")
    assert api.post("/key/generate", team_id="t1", user_id="u1", duration="-1")["expires"] is None
    assert api.post("/key/generate", team_id="t1", user_id="stranger")["expires"] is None
    assert api.post("/key/generate", team_id="t1")["expires"] is None


def test_spend_is_corrected_through_the_ledger(api: Api) -> None:
    made = api.post("/key/generate", spend=3, user_id="u1")
    assert made["spend"] == Decimal("3.0")
    api.post("/key/update", key=made["key"], spend=0)
    api.post("/key/update", key=made["key"], spend=None)
    api.post("/key/generate", spend=0)
    key_id = made["id"]
    assert people.corrections == [(key_id, "user:u1", 3_000_000_000), (key_id, "user:u1", 0)]


def test_a_temporary_increase_raises_every_limit_in_usd_until_the_next_one(api: Api) -> None:
    made = api.post("/key/generate", max_budget=5, budget_limits=[{"budget_duration": "1h", "max_budget": 1}])
    until = "2037-11-25T00:00:00Z"
    row = api.post("/key/update", key=made["key"], temp_budget_increase=10, temp_budget_expiry=until)
    assert (row["temp_budget_increase"], row["temp_budget_expiry"]) == (Decimal("10.0"), until)
    row = api.post("/key/update", key=made["key"], temp_budget_increase="2.5", temp_budget_expiry=until)
    assert row["temp_budget_increase"] == Decimal("2.5")
    api.post("/key/update", key=made["key"], metadata={"a": 1})
    info = api.get("/key/info", key=made["key"])["info"]
    usage = info["budget_limits_usage"]["1h"]
    assert (usage["max_budget"], usage["granted"], usage["remaining"]) == tuple(map(Decimal, ("3.5", "2.5", "3.5")))
    assert [grant["amount"] for grant in info["grants"]] == [Decimal("2.5")]
    assert (info["max_budget"], info["temp_budget_increase"]) == (Decimal("5.0"), Decimal("2.5"))
    row = api.post("/key/update", key=made["key"], temp_budget_increase=None, temp_budget_expiry=None)
    assert (row["temp_budget_increase"], row["temp_budget_expiry"]) == (None, None)
    assert not Grant.objects.filter(ends_at__gt=NOW).exists()


def test_many_keys_are_updated_each_with_its_result(api: Api) -> None:
    first, second = api.post("/key/generate"), api.post("/key/generate", key_alias="b")
    answer = api.post(
        "/key/bulk_update",
        keys=[
            {"key": first["key"], "max_budget": 5, "budget_id": "b1", "team_id": "t1", "tags": ["x"]},
            {"key": second["token"], "max_budget": -5},
            {"key": "sk-nobody", "object_permission": None},
            {"max_budget": 1},
            {"key": second["key"], "max_budgets": 1},
            {"key": second["key"], "max_budget": 7},
        ],
    )
    conforms("BulkUpdated", answer)
    assert answer["total_requested"] == 6
    assert [each["key"] for each in answer["successful_updates"]] == [first["key"], second["key"]]
    assert answer["successful_updates"][0]["key_info"]["tags"] == ["x"]
    assert [each["failed_reason"].split(":")[0] for each in answer["failed_updates"]] == [
        "max_budget",
        "Key not found in database",
        "key",
        "max_budgets",
    ]


def test_keys_of_a_team_are_updated_together(api: Api) -> None:
    own = [api.post("/key/generate", team_id="t1") for _ in range(2)]
    other = api.post("/key/generate")
    path, fields = "/team/key/bulk_update", {"rpm_limit": 5}
    answer = api.post(path, team_id="t1", key_ids=[own[0]["token"], other["key"]], update_fields=fields)
    conforms("BulkUpdated", answer)
    assert [each["key"] for each in answer["successful_updates"]] == [own[0]["token"]]
    assert [each["key"] for each in answer["failed_updates"]] == [other["key"]]
    answer = api.post(path, team_id="t1", all_keys_in_team=True, update_fields=fields)
    assert {each["key"] for each in answer["successful_updates"]} == {key["token"] for key in own}
    assert sorted(Key.objects.filter(rpm_limit=5).values_list("token_hash", flat=True)) == sorted(
        key["token"] for key in own
    )


def test_a_key_is_blocked_and_unblocked(api: Api) -> None:
    made = api.post("/key/generate")
    blocked = api.post("/key/block", key=made["key"])
    conforms("KeyWithToken", blocked)
    assert (blocked["token"], blocked["blocked"], blocked["status"]) == (made["token"], True, "revoked")
    assert api.post("/key/unblock", key=made["token"])["blocked"] is False
    assert list(Change.objects.order_by("id").values_list("action", flat=True)[2:]) == ["block", "unblock"]


def test_a_deleted_key_can_still_be_read(api: Api) -> None:
    made = api.post("/key/generate", key_alias="gone", max_budget=10)
    ledger_says(made["id"], spent=220_000)
    api.post("/key/delete", keys=[made["key"]])
    assert not Key.objects.exists()
    answer = api.get("/key/info", key=made["key"])
    conforms("KeyInfo", answer)
    info = answer["info"]
    assert (info["status"], info["deleted_by"], info["deleted_at"]) == (
        "deleted",
        "master key",
        "2037-11-23T13:06:59.126000Z",
    )
    assert (info["spend"], info["max_budget"], info["key_alias"]) == (Decimal("0.00022"), Decimal("10.0"), "gone")
    listed = api.get("/key/list", status="deleted", return_full_object="true")
    conforms("KeyList", listed)
    assert [row["status"] for row in listed["keys"]] == ["deleted"]
    assert api.get("/key/list", status="deleted")["keys"] == [made["token"]]
    assert api.get("/key/list")["keys"] == []
    deleted = DeletedKey.objects.get()
    change = Change.objects.get(action="delete")
    assert (change.subject_id, change.before["key_alias"]) == (str(deleted.id), "gone")


def test_a_text_that_was_deleted_may_be_a_key_again(api: Api) -> None:
    for alias in ("first", "second"):
        api.post("/key/generate", key="sk-my-own-key-0123456789", key_alias=alias)
        api.post("/key/delete", key_aliases=[alias])
    made = api.post("/key/generate", key="sk-my-own-key-0123456789", key_alias="third")
    assert api.get("/key/info", key=made["key"])["info"]["key_alias"] == "third"


def test_several_keys_are_shown_at_once(api: Api) -> None:
    made = [api.post("/key/generate") for _ in range(3)]
    names = [made[2]["key"], "sk-nobody", made[0]["token"], made[0]["key"]]
    answer = api.post("/v2/key/info", keys=names)
    conforms("KeysInfo", answer)
    assert answer["key"] == names
    assert [row["token"] for row in answer["info"]] == [made[2]["token"], made[0]["token"]]


def test_a_key_asks_for_itself(api: Api) -> None:
    made = api.post("/key/generate", key_alias="me")
    me = ActorApi(people.bare(Key.objects.get()))
    answer = me.get("/key/info")
    assert (answer["key"], answer["info"]["key_alias"]) == (made["token"], "me")
    assert me.post("/key/health") == {"key": "healthy", "logging_callbacks": None}
    conforms("KeyHealth", api.post("/key/health"))


def test_a_rotated_key_keeps_everything_but_its_text(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.post("/key/generate", **EVERYTHING)
    before: dict[str, Any] = dict(Key.objects.values().get())
    rotated = api.post(f"/key/{made['key']}/regenerate", grace_period="24h", max_budget=11)
    conforms("GeneratedKey", rotated)
    assert rotated["key"] != made["key"]
    assert (rotated["token"], rotated["key_name"]) == (hash_key(rotated["key"]), f"sk-...{rotated['key'][-4:]}")
    assert (rotated["rotation_count"], rotated["max_budget"], rotated["id"]) == (1, Decimal("11.0"), made["id"])
    assert rotated["previous_key_until"] == "2037-11-24T13:06:59.126000Z"
    after: dict[str, Any] = dict(Key.objects.values().get())
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "token_hash",
        "key_name",
        "previous_token_hash",
        "previous_until",
        "rotated_at",
        "rotation_count",
        "max_budget_nanousd",
    }
    assert api.get("/key/info", key=made["key"])["info"]["key_alias"] == "all"
    assert load_profile(made["token"], now=NOW) == load_profile(rotated["token"], now=NOW)
    stop_clock(monkeypatch, at=NOW + timedelta(hours=24))
    assert load_profile(made["token"], now=NOW + timedelta(hours=24)) is None
    assert api.send(f"/key/info?key={made['key']}", method="GET").status_code == 404


def test_without_grace_the_old_text_is_worth_nothing_at_once(api: Api) -> None:
    made = api.post("/key/generate")
    rotated = api.post(f"/key/regenerate?key={made['token']}", new_key="sk-my-own-key-0123456789")
    assert rotated["key"] == "sk-my-own-key-0123456789"
    assert rotated["previous_key_until"] is None
    assert load_profile(made["token"], now=NOW) is None
    api.refusal("/key/update", {"key": made["key"]}, status=404)
    by_body = api.post("/key/regenerate", key=rotated["key"])
    assert by_body["rotation_count"] == 2


def test_a_text_that_still_works_for_one_key_is_not_given_to_another(api: Api) -> None:
    made = api.post("/key/generate", key="sk-my-own-key-0123456789")
    api.post(f"/key/{made['key']}/regenerate", grace_period="1h")
    assert api.refusal("/key/generate", {"key": made["key"]})["param"] == "key"
    other = api.post("/key/generate")
    assert api.refusal(f"/key/{other['key']}/regenerate", {"new_key": made["key"]})["param"] == "key"
    assert api.refusal(f"/key/{made['key']}/regenerate", {}, status=409)["type"] == "conflict_error"


def test_the_audit_of_a_key_says_what_changed_and_never_a_secret(api: Api) -> None:
    made = api.post("/key/generate", metadata={"token": "very-secret"}, config={"password": "very-secret"})
    api.post("/key/update", key=made["key"], max_budget=5, metadata={"token": "another-secret"})
    api.post(f"/key/{made['key']}/regenerate")
    changes = list(Change.objects.filter(subject_kind="key").order_by("id"))
    assert [change.action for change in changes] == ["create", "update", "rotate"]
    assert {change.subject_id for change in changes} == {made["id"]}
    assert changes[1].after["max_budget"] == "5.0"
    written = str([(change.before, change.after) for change in changes])
    assert "secret" not in written
    assert made["key"] not in written
    assert made["token"] not in written


def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    people.user("boss", admin_of={"t1"})
    tokens: dict[str, str] = {}
    for index, fields in enumerate(
        [
            {"key_alias": "alpha", "team_id": "t1", "max_budget": 3, "duration": "1d"},
            {"key_alias": "beta", "user_id": "u1", "max_budget": 1, "organization_id": "o1"},
            {"key_alias": "gamma", "user_id": "boss", "blocked": True, "duration": "2d"},
            {"key_alias": "alphabet", "max_budget": 2},
        ]
    ):
        made = api.post("/key/generate", **fields)
        tokens[made["token"]] = str(fields["key_alias"])
        Key.objects.filter(token_hash=made["token"]).update(created_at=NOW + timedelta(seconds=index))
    hashes = {alias: token for token, alias in tokens.items()}

    def found(**query: str) -> list[str]:
        answer = api.get("/key/list", **query)
        assert answer["total_count"] == len(answer["keys"])
        return [tokens[token] for token in answer["keys"]]

    assert found() == ["alphabet", "gamma", "beta", "alpha"]
    assert found(sort_order="asc") == ["alpha", "beta", "gamma", "alphabet"]
    assert found(sort_by="key_alias", sort_order="asc") == ["alpha", "alphabet", "beta", "gamma"]
    assert found(sort_by="max_budget", sort_order="asc")[:3] == ["beta", "alphabet", "alpha"]
    assert found(sort_by="expires", sort_order="asc")[:2] == ["alpha", "gamma"]
    assert found(user_id="u1") == ["beta"]
    assert found(team_id="t1") == ["alpha"]
    assert found(user_id="boss", include_team_keys="true") == ["gamma", "alpha"]
    assert found(user_id="master key", include_created_by_keys="true") == ["alphabet", "gamma", "beta", "alpha"]
    assert found(key_alias="alpha") == ["alpha"]
    assert found(key_alias="alpha", substring_matching="true") == ["alphabet", "alpha"]
    assert found(search="PHAB") == ["alphabet"]
    assert found(search=hashes["beta"]) == found(key_hash=hashes["beta"]) == ["beta"]
    assert found(organization_id="o1") == ["beta"]
    assert found(project_id="p") == found(agent_id="a") == found(access_group_id="g") == []
    assert found(status="revoked") == found(status="blocked") == ["gamma"]
    assert found(status="active") == ["alphabet", "beta", "alpha"]
    assert found(status="expired") == []
    assert found(expires="never") == ["alphabet", "beta"]
    assert found(expires="2037-11-24") == ["alpha"]
    page = api.get("/key/list", size="3", page="2")
    assert (len(page["keys"]), page["total_count"], page["current_page"], page["total_pages"]) == (1, 4, 2, 2)
    beyond = api.get("/key/list", size="3", page="9")
    assert (beyond["keys"], beyond["total_count"]) == ([], 4)
    [row] = api.get("/key/list", user_id="u1", return_full_object="true", expand="user")["keys"]
    assert row["user"] == {"user_id": "u1", "user_email": "u1@example.com", "user_alias": None}
    aliases = api.get("/key/aliases", size="2")
    conforms("KeyAliases", aliases)
    assert aliases == {
        "aliases": ["alpha", "alphabet"],
        "total_count": 4,
        "current_page": 1,
        "total_pages": 2,
        "size": 2,
    }
    assert api.get("/key/aliases", search="alp", team_id="t1")["aliases"] == ["alpha"]


def test_a_move_to_another_user_counts_anew_where_no_team_is_between(api: Api) -> None:
    made = api.post("/key/generate", max_budget=1)
    later = NOW + timedelta(hours=1)
    key = Key.objects.get(token_hash=made["token"])
    assert ms_of(key.rooted_at) == ms_of(NOW)
    Member.objects.all().delete()
    with pytest.MonkeyPatch.context() as patch:
        stop_clock(patch, at=later)
        api.post("/key/update", key=made["key"], user_id="u1")
        key.refresh_from_db()
        assert key.rooted_at == later
    with pytest.MonkeyPatch.context() as patch:
        stop_clock(patch, at=later + timedelta(hours=1))
        api.post("/key/update", key=made["key"], user_id="u1", key_alias="x")
        key.refresh_from_db()
        assert key.rooted_at == later
