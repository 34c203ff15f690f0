"""What clients of this kind of gateway send is acted on or refused by name, and answers have what they read."""

from typing import Any

import pytest

from budgets.models import Change
from teams.tests import acting, contract
from tests.api import Api

pytestmark = pytest.mark.django_db
BODIES: dict[str, dict[str, object]] = {
    "POST /team/new": {"team_id": "new"},
    "POST /team/update": {"team_id": "t1"},
    "POST /team/member_add": {"team_id": "t1", "member": {"user_id": "u9"}},
    "POST /team/bulk_member_add": {"team_id": "t1", "members": [{"user_id": "u9"}]},
    "POST /team/member_update": {"team_id": "t1", "user_id": "u1"},
    "POST /team/member_delete": {"team_id": "t1", "user_id": "u1"},
    "POST /user/new": {"user_id": "new"},
    "POST /user/update": {"user_id": "u1"},
    "POST /customer/new": {"user_id": "new"},
    "POST /customer/update": {"user_id": "c1"},
}
NEEDS: dict[str, dict[str, object]] = {
    "budget_duration": {"max_budget": 5},
    "soft_budget": {"max_budget": 5},
    "team_member_budget_duration": {"team_member_budget": 5},
    "temp_budget_increase": {"temp_budget_expiry": "2038-01-01"},
    "temp_budget_expiry": {"temp_budget_increase": 5},
}
UNSEEN = {
    "password",
    "send_invite_email",
    "auto_create_key",
    "all_users",
    "members",
    "member",
    "team_id",
    "user_id",
    "duration",
    "user_email",
}
"""What an answer does not repeat, or not under that name."""


@pytest.fixture(autouse=True)
def _people(api: Api, settings: Any) -> None:
    settings.SPEND_WRITER = "teams.tests.acting.set_spend"
    api.post("/team/new", team_id="t1", members=["u1"], max_budget=10)
    api.post("/customer/new", user_id="c1")


def cases() -> list[tuple[str, str]]:
    return [(path, name) for path in BODIES for name in contract.body_fields(path)]


@pytest.mark.parametrize(("path", "name"), cases())
def test_every_field_is_acted_on_or_refused_by_name(api: Api, path: str, name: str) -> None:
    kind = contract.body_fields(path)[name]
    value = contract.sample(name, kind)
    needed: dict[str, object] = NEEDS.get(name, {})
    if name == "budget_duration" and "max_budget_in_team" in contract.body_fields(path):
        needed = {"max_budget_in_team": 5}
    body = {**needed, name: value, **BODIES[path]}
    if name == "all_users":
        del body["members"]
    response = api.send(path.removeprefix("POST "), body)
    if response.status_code == 400:
        error = acting_error(response)
        assert (error["param"] or "").startswith(name), error
        assert "not supported" in error["message"]
        return
    assert response.status_code == 200, response.content
    if name not in UNSEEN:
        assert shown(response.json(), name, value), f"{name} is lost"


def acting_error(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error


def shown(answer: Any, name: str, value: object) -> bool:
    """Whether the field stands somewhere in the answer, and is not empty there."""
    if isinstance(answer, dict):
        own = answer.get(name)
        return (name in answer and (bool(own) or not value or name == "spend")) or any(
            shown(inner, name, value) for inner in answer.values()
        )
    return isinstance(answer, list) and any(shown(inner, name, value) for inner in answer)


@pytest.mark.parametrize("path", BODIES)
def test_every_field_may_be_null(api: Api, path: str) -> None:
    body = {name: None for name, kind in contract.body_fields(path).items() if "null" in kind}
    api.post(path.removeprefix("POST "), **{**body, **BODIES[path]})


def test_answers_about_teams_have_every_field(api: Api) -> None:
    contract.check_answer("POST /team/new", api.post("/team/new", team_id="t2", model_aliases={"a": "b"}))
    added = api.post("/team/member_add", team_id="t1", member={"user_id": "u2"}, max_budget_in_team=2)
    contract.check_answer("POST /team/member_add", added)
    [membership] = added["updated_team_memberships"]
    assert membership.keys() >= {"user_id", "team_id", "budget_id", "spend", "total_spend", "litellm_budget_table"}
    assert membership["litellm_budget_table"]["max_budget"] == 2
    bulk = api.post("/team/bulk_member_add", team_id="t1", members=[{"user_id": "u3"}, {"user_id": "u2"}])
    contract.check_answer("POST /team/bulk_member_add", bulk)
    updated = api.post("/team/member_update", team_id="t1", user_id="u1", role="admin")
    contract.check_answer("POST /team/member_update", updated)
    contract.check_answer(
        "POST /team/{team_id}/member/{user_id}/reset_budget", api.post("/team/t1/member/u2/reset_budget")
    )
    for path in ("/team/block", "/team/unblock"):
        contract.check_answer("POST /team/new", api.post(path, team_id="t1"))
    contract.check_answer("POST /team/new", api.post("/team/member_delete", team_id="t1", user_id="u1"))
    page = api.get("/v2/team/list")
    contract.check_answer("GET /v2/team/list", page)
    for row in [*page["teams"], *api.get("/team/list"), api.get("/team/info", team_id="t1")["team_info"]]:
        contract.check_answer("POST /team/new", row)


def test_answers_about_users_have_every_field(api: Api) -> None:
    contract.check_answer("POST /user/new", api.post("/user/new", user_id="x"))
    contract.check_answer("POST /user/new", api.post("/user/new", user_id="y", auto_create_key=False))
    contract.check_answer("GET /user/info", api.get("/user/info", user_id="x"))
    contract.check_answer("GET /user/list", api.get("/user/list"))


def test_answers_about_customers_have_every_field(api: Api) -> None:
    contract.check_answer("POST /customer/new", api.post("/customer/new", user_id="c2", max_budget=1))
    contract.check_answer("POST /customer/update", api.post("/customer/update", user_id="c2", alias="C"))
    contract.check_answer("GET /customer/info", api.get("/customer/info", end_user_id="c2"))
    contract.check_answer("POST /customer/block", api.post("/customer/block", user_ids=["c2"]))
    contract.check_answer("POST /customer/unblock", api.post("/customer/unblock", user_ids=["c2"]))
    contract.check_answer("POST /customer/delete", api.post("/customer/delete", user_ids=["c2"]))


@pytest.mark.parametrize(
    "path",
    [
        "GET /team/info",
        "GET /team/list",
        "GET /v2/team/list",
        "GET /user/info",
        "GET /user/list",
        "GET /customer/list",
    ],
)
def test_every_parameter_is_known(api: Api, path: str) -> None:
    values = {
        "page": "1",
        "page_size": "5",
        "key_limit": "5",
        "sort_order": "desc",
        "sort_by": "created_at",
        "team_id": "t1",
        "role": "internal_user",
        "search_team_id_match": "prefix",
        "status": "active",
        "admin_mcp": "false",
        "user_id": "u1",
    }
    api.get(path.removeprefix("GET "), **{name: values.get(name, "a") for name in contract.parameters(path)})


def test_no_audit_and_no_answer_has_a_password(api: Api) -> None:
    secret = "correct horse battery"
    made = api.post("/user/new", user_id="x", password=secret)
    changed = api.post("/user/update", user_id="x", password=secret + " 2")
    own = acting.user("x").post("/user/password/change", current_password=secret + " 2", new_password=secret + " 3")
    audits = list(Change.objects.filter(subject_kind="user").values("before", "after"))
    for text in (made, changed, own, api.get("/user/info", user_id="x"), audits):
        assert secret not in str(text)
        assert "pbkdf2" not in str(text)
