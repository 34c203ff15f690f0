"""Tiers, grants and the audit over the API, with everything that can refer to a tier or be raised by a grant.

They stand here because only from here up all kinds of scopes are known.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from pytest_django import DjangoCaptureOnCommitCallbacks

from budgets import grants, tiers
from budgets.actors import Actor
from budgets.models import Budget, Change, Grant
from budgets.services import LimitFields, changed_limits, set_limits
from keys.models import Key
from keys.profiles import load_profile
from keys.tests import people
from keys.tests.test_key_api import conforms
from teams.models import Customer, Member, Tag, Team, User
from tests.api import NOW, ActorApi, Api, error_of

TIER = {
    "max_budget": 20.5,
    "soft_budget": 5,
    "budget_duration": "1d",
    "max_parallel_requests": 4,
    "tpm_limit": 100,
    "rpm_limit": 3,
    "tpd_limit": 1000,
    "model_max_budget": {"gpt-4o": {"max_budget": 1, "budget_duration": "1d", "rpm_limit": 2}},
    "budget_limits": [{"budget_duration": "1h", "max_budget": 2}],
}
ROW = {
    "budget_id",
    "max_budget",
    "soft_budget",
    "max_parallel_requests",
    "tpm_limit",
    "rpm_limit",
    "tpd_limit",
    "model_max_budget",
    "budget_duration",
    "budget_reset_at",
    "allowed_models",
    "temp_budget_increase",
    "temp_budget_expiry",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "budget_limits",
}


@pytest.fixture
def api(db: None) -> Api:
    return Api()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    subjects: list[str] = []
    for module in (tiers, grants):
        monkeypatch.setattr(module, "publish", lambda *names: subjects.extend(names))
    return subjects


def refer_to(budget_id: str) -> dict[str, Any]:
    """One row of every kind that refers to a tier, and a member whose team does."""
    user = User.objects.create_user("u1")
    team = Team.objects.create(team_id="t1", created_at=NOW, updated_at=NOW)
    rows: dict[str, Any] = {
        "key": Key(rooted_at=NOW, created_at=NOW, updated_at=NOW, token_hash="1" * 64, key_alias="k1"),
        "team": team,
        "user": user,
        "member": Member(team=team, user=user, created_at=NOW),
        "customer": Customer(customer_id="c1", created_at=NOW, updated_at=NOW),
        "tag": Tag(name="g1", created_at=NOW, updated_at=NOW),
    }
    fields: LimitFields = {"budget_id": budget_id}
    for row in rows.values():
        set_limits(row, changed_limits(row, fields), now=NOW)
        row.save()
    return rows


# --- tiers ------------------------------------------------------------------------------------------


def test_a_tier_takes_every_field_and_answers_it_everywhere(api: Api) -> None:
    made = api.post("/budget/new", budget_id="b1", budget_reset_at="2030-01-01T00:00:00Z", **TIER)
    conforms("Budget", made)
    assert made.keys() >= ROW
    limits = [{"budget_duration": "1h", "max_budget": Decimal("2.0"), "reset_at": "2037-11-23T14:00:00Z"}]
    for row in (made, api.send_list("/budget/info", {"budgets": ["nobody", "b1"]})[0], api.get_list("/budget/list")[0]):
        assert {name: row[name] for name in TIER} == TIER | {"budget_limits": limits}
        assert row["budget_reset_at"] == "2037-11-24T00:00:00Z"
        assert (row["created_by"], row["updated_by"]) == ("master key", "master key")
    settings = {each["field_name"]: each for each in api.get_list("/budget/settings?budget_id=b1")}
    assert settings["max_budget"]["field_value"] == Decimal("20.5")
    updated = api.post("/budget/update", budget_id="b1", max_budget=30, rpm_limit=None)
    assert (updated["max_budget"], updated["rpm_limit"], updated["tpm_limit"]) == (Decimal("30.0"), None, 100)
    assert api.post("/budget/delete", id="b1")["budget_id"] == "b1"
    assert not Budget.objects.exists()
    assert list(Change.objects.order_by("id").values_list("subject_kind", "action")) == [
        ("budget", "create"),
        ("budget", "update"),
        ("budget", "delete"),
    ]


def test_a_tier_without_an_id_gets_one(api: Api) -> None:
    assert len(api.post("/budget/new", max_budget=1)["budget_id"]) == 36


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/budget/new", {"budget_id": "b1"}, 400, "budget_id"),
        ("/budget/new", {"max_budget": -1}, 400, "max_budget"),
        ("/budget/new", {"budget_duration": "1d"}, 400, "budget_duration"),
        ("/budget/new", {"budget_reset_at": "soon"}, 400, "budget_reset_at"),
        ("/budget/new", {"max_budget": 1, "soft_budget": 2}, 400, "soft_budget"),
        ("/budget/new", {"budget": 1}, 400, "budget"),
        ("/budget/update", {"max_budget": 1}, 400, "budget_id"),
        ("/budget/update", {"budget_id": "nobody"}, 404, "budget_id"),
        ("/budget/info", {"budgets": []}, 400, "budgets"),
        ("/budget/delete", {"id": "nobody"}, 404, "id"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_tier_is_named(
    api: Api, path: str, body: dict[str, object], status: int, param: str
) -> None:
    api.post("/budget/new", budget_id="b1")
    assert api.refusal(path, body, status=status)["param"] == param
    assert error_of(api.send("/budget/settings?budget_id=nobody", method="GET"), status=404)["param"] == "budget_id"


def test_a_tier_that_something_refers_to_is_not_deleted_and_the_answer_names_it(
    api: Api, settings: LazySettings
) -> None:
    api.post("/budget/new", budget_id="b1")
    refer_to("b1")
    Team.objects.update(member_budget_id="b1", member_budget_since=NOW)
    settings.CUSTOMER_BUDGET_ID = "b1"
    message = api.refusal("/budget/delete", {"id": "b1"}, status=409)["message"]
    for name in ("key k1", "team t1", "members) t1", "user u1", "member u1 in t1", "customer c1", "tag g1", "CUSTOMER"):
        assert name in message
    assert Budget.objects.exists()


def test_a_changed_tier_is_published_and_makes_everything_due_that_refers_to_it(
    api: Api, told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    api.post("/budget/new", budget_id="b1", max_budget=1, budget_duration="1mo")
    api.post("/budget/new", budget_id="b2", max_budget=1, budget_duration="1mo")
    rows = refer_to("b1")
    heir = Member.objects.create(team=rows["team"], user=User.objects.create_user("u2"), created_at=NOW)
    Team.objects.update(member_budget_id="b1", member_budget_since=NOW)
    other = api.post("/key/generate", budget_id="b2")
    with django_capture_on_commit_callbacks(execute=True):
        api.post("/budget/update", budget_id="b1", budget_duration="1h")
    assert told == ["budget:b1"]
    for row in [*rows.values(), heir]:
        row.refresh_from_db()
        assert row.next_reset_at == NOW, row
    assert Key.objects.filter(id=other["id"], next_reset_at__gt=NOW).exists()


def test_only_admins_change_tiers_and_only_who_sees_all_lists_them(api: Api) -> None:
    api.post("/budget/new", budget_id="b1")
    viewer, user = ActorApi(people.viewer()), ActorApi(people.user("u1", admin_of={"t1"}))
    assert len(viewer.get_list("/budget/list")) == 1
    for who in (viewer, user):
        who.refusal("/budget/new", {}, status=403)
        who.refusal("/budget/update", {"budget_id": "b1"}, status=403)
        who.refusal("/budget/delete", {"id": "b1"}, status=403)
    assert user.send("/budget/list", method="GET").status_code == 403
    assert user.send("/budget/settings?budget_id=b1", method="GET").status_code == 403
    user.refusal("/budget/info", {"budgets": ["b1"]}, status=403)


# --- grants -----------------------------------------------------------------------------------------

LIMITS = {"max_budget": 10, "budget_limits": [{"budget_duration": "1h", "max_budget": 1}], "rpm_limit": 5}


def test_a_grant_raises_one_limit_for_some_windows(
    api: Api, told: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    made = api.post("/key/generate", key_alias="k1", **LIMITS)
    with django_capture_on_commit_callbacks(execute=True):
        answer = api.post(
            "/budget/grant",
            scope="key",
            scope_id=made["key"],
            amount=2.5,
            budget_duration="60m",
            windows=3,
            reason="launch",
        )
    conforms("LimitGrant", answer)
    assert told == [f"key:{made['token']}"]
    assert (answer["scope_id"], answer["budget_duration"], answer["unit"]) == (made["id"], "1h", "usd")
    assert (answer["amount"], answer["until"]) == (Decimal("2.5"), "2037-11-23T16:00:00Z")
    info = api.get("/key/info", key=made["key"])["info"]
    assert info["budget_limits_usage"]["1h"]["max_budget"] == Decimal("3.5")
    assert info["grants"] == [answer]
    assert api.get("/budget/grants", scope="key", scope_id="k1") == {"grants": [answer]}
    profile = load_profile(made["token"], now=NOW)
    assert profile is not None
    raised = {each.limit.identity: each.raises for each in profile.scopes[0].limits if each.raises}
    assert list(raised) == ["usd/1h"]
    change = Change.objects.get(action="grant")
    assert (change.subject_kind, change.subject_id, change.reason) == ("key", made["id"], "launch")


def test_a_revoked_grant_raises_nothing_any_more(api: Api) -> None:
    made = api.post("/key/generate", **LIMITS)
    grant = api.post("/budget/grant", scope="key", scope_id=made["token"], amount=1, until="2038-01-01")
    assert grant["budget_duration"] is None
    ended = api.post("/budget/grant/revoke", id=grant["id"])
    assert ended["until"] == "2037-11-23T13:06:59.126000Z"
    assert api.post("/budget/grant/revoke", id=grant["id"]) == ended
    assert api.get("/budget/grants", scope="key", scope_id=made["token"]) == {"grants": []}
    assert Change.objects.filter(action="revoke_grant").count() == 1
    api.refusal("/budget/grant/revoke", {"id": 10**9}, status=404)
    api.post("/key/delete", keys=[made["key"]])
    assert api.post("/budget/grant/revoke", id=grant["id"]) == ended


@pytest.mark.parametrize(
    ("kind", "scope_id", "subject"),
    [
        ("key", "k1", "key:" + "1" * 64),
        ("team", "t1", "team:t1"),
        ("user", "u1", "user:u1"),
        ("member", "u1/t1", "team:t1"),
        ("customer", "c1", "customer:c1"),
        ("tag", "g1", "tag:g1"),
    ],
)
def test_every_kind_of_scope_can_be_raised_also_where_the_limit_is_its_tiers(
    api: Api,
    told: list[str],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    kind: str,
    scope_id: str,
    subject: str,
) -> None:
    api.post("/budget/new", budget_id="b1", **TIER)
    refer_to("b1")
    told.clear()
    with django_capture_on_commit_callbacks(execute=True):
        for fields in (
            {"amount": 1},
            {"amount": 3, "unit": "requests", "budget_duration": "1m"},
            {"amount": 1, "model": "gpt-4o"},
            {"amount": 2, "unit": "parallel"},
        ):
            api.post("/budget/grant", scope=kind, scope_id=scope_id, until="2038-01-01", **fields)
    assert told == [subject] * 4
    assert len(api.get("/budget/grants", scope=kind, scope_id=scope_id)["grants"]) == 4
    api.refusal("/budget/grant", {"scope": kind, "scope_id": "nobody", "amount": 1, "windows": 1}, status=404)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "until"),
        ({"until": "2038-01-01", "windows": 1}, "until"),
        ({"until": "2020-01-01"}, "until"),
        ({"until": "soon"}, "until"),
        ({"windows": 1}, "windows"),
        ({"windows": 0, "budget_duration": "1h"}, "windows"),
        ({"windows": 1, "unit": "usd"}, "windows"),
        ({"until": "2038-01-01", "budget_duration": "1d"}, "budget_duration"),
        ({"until": "2038-01-01", "budget_duration": "1h", "unit": "tokens"}, "budget_duration"),
        ({"until": "2038-01-01", "budget_duration": "zz"}, "budget_duration"),
        ({"until": "2038-01-01", "model": "gpt-4o"}, "model"),
        ({"until": "2038-01-01", "unit": "euro"}, "unit"),
        ({"until": "2038-01-01", "amount": 0}, "amount"),
        ({"until": "2038-01-01", "amount": -1}, "amount"),
        ({"until": "2038-01-01", "amount": "much"}, "amount"),
        ({"until": "2038-01-01", "amount": 1.5, "unit": "requests", "budget_duration": "1m"}, "amount"),
        ({"until": "2038-01-01", "amount": 9_007_199}, "amount"),
        ({"until": "2038-01-01", "scope": "gateway"}, "scope"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_grant_is_named(api: Api, body: dict[str, object], param: str) -> None:
    made = api.post("/key/generate", **LIMITS)
    error = api.refusal("/budget/grant", {"scope": "key", "scope_id": made["token"], "amount": 1} | body)
    assert error["param"] == param
    assert not Grant.objects.exists()
    if param == "budget_duration" and "there is no such limit" in error["message"]:
        assert "usd/lifetime, usd/1h, requests/1m" in error["message"].replace("1lifetime", "lifetime")


def test_the_sum_of_grants_stays_countable(api: Api) -> None:
    made = api.post("/key/generate", max_budget=1)
    body = {"scope": "key", "scope_id": made["token"], "amount": 4_500_000, "until": "2038-01-01"}
    api.post("/budget/grant", **body)
    error = api.refusal("/budget/grant", body | {"amount": 4_600_000})
    assert "allowed is 4507198.254740991 USD" in error["message"]


def test_a_scope_without_limits_cannot_be_raised(api: Api) -> None:
    made = api.post("/key/generate")
    error = api.refusal(
        "/budget/grant", {"scope": "key", "scope_id": made["token"], "amount": 1, "until": "2038-01-01"}
    )
    assert (error["param"], error["message"].endswith("has none")) == ("scope_id", True)


def test_limits_are_raised_by_those_whose_business_they_are(api: Api) -> None:
    team = {"team_id": "t1", "max_budget": 5}
    owner = people.user("owner", teams={"t1"})
    boss = people.user("boss", admin_of={"t1"})
    api.post("/team/update", **team)
    made = api.post("/key/generate", user_id="owner", team_id="t1", **LIMITS)

    def status(actor: Actor, kind: str, scope_id: str) -> int:
        body = {"scope": kind, "scope_id": scope_id, "amount": 1, "until": "2038-01-01"}
        return int(ActorApi(actor).send("/budget/grant", body).status_code)

    key = Key.objects.get(id=made["id"])
    assert status(boss, "key", made["token"]) == 200
    assert status(owner, "key", made["token"]) == 403
    assert status(people.viewer(), "key", made["token"]) == 403
    assert status(people.bare(key), "key", made["token"]) == 403
    assert status(people.user("stranger"), "key", made["token"]) == 404
    assert status(boss, "team", "t1") == 403
    assert status(people.user("stranger"), "team", "t1") == 404
    assert len(ActorApi(owner).get("/budget/grants", scope="key", scope_id=made["token"])["grants"]) == 1
    grant_id = Grant.objects.get().id
    ActorApi(owner).refusal("/budget/grant/revoke", {"id": grant_id}, status=403)
    ActorApi(people.user("stranger")).refusal("/budget/grant/revoke", {"id": grant_id}, status=404)
    ActorApi(boss).post("/budget/grant/revoke", id=grant_id)


# --- the audit --------------------------------------------------------------------------------------


def test_the_audit_is_filtered_and_paged(api: Api) -> None:
    made = api.post("/key/generate", max_budget=1)
    api.post("/key/update", key=made["key"], max_budget=2)
    api.post("/budget/new", budget_id="b1")
    Change.objects.filter(action="update").update(at=NOW - timedelta(days=2), actor="somebody")

    def found(**query: str) -> list[str]:
        answer = api.get("/audit/changes", **query)
        conforms("Changes", answer)
        assert answer["total"] == len(answer["changes"])
        return [f"{change['subject_kind']} {change['action']}" for change in answer["changes"]]

    assert found() == ["budget create", "key create", "key update"]
    assert found(subject_kind="key") == found(subject_id=made["id"]) == ["key create", "key update"]
    assert found(actor="somebody") == found(action="update") == found(end_date="2037-11-21") == ["key update"]
    assert found(start_date="2037-11-22") == ["budget create", "key create"]
    [change] = api.get("/audit/changes", action="update")["changes"]
    assert (change["before"], change["after"]) == ({"max_budget": "1.0"}, {"max_budget": "2.0"})
    page = api.get("/audit/changes", page="2", page_size="2")
    assert (len(page["changes"]), page["total"], page["page"], page["total_pages"]) == (1, 3, 2, 2)
    assert ActorApi(people.viewer()).send("/audit/changes", method="GET").status_code == 200
    assert ActorApi(people.user("boss", admin_of={"t1"})).send("/audit/changes", method="GET").status_code == 403
    assert error_of(api.send("/audit/changes?actors=x", method="GET"), status=400)["param"] == "actors"
