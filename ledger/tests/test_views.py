"""Resets and adjustments over the API: what they answer, whom they refuse, and what the audit says."""

from decimal import Decimal
from typing import Any

import pytest
import redis

from budgets.actors import Actor
from budgets.gate.store import sync_gate
from budgets.models import Change
from keys.models import Key
from ledger import services
from ledger.owners import owner_of
from ledger.settling import post_and_settle
from ledger.tests.actors import ADMIN, STRANGER, TEAM_ADMIN, USER, VIEWER, answer, ask, key_actor
from ledger.tests.factories import (
    NOW,
    NOW_MS,
    admitted_call,
    differences,
    limits,
    posted_entry,
    saved_key,
    saved_team,
    windows_of,
)
from ledger.views import Adjustments, AdjustSpend, ResetAllSpend, ResetKeySpend, ResetMemberSpend
from teams.models import Member, Team, User
from tests.api import stop_clock

pytestmark = pytest.mark.django_db(transaction=True)
USD = 10**9


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, valkey: redis.Redis) -> None:
    stop_clock(monkeypatch, at=NOW)


def spent_key(cost: int = 3 * USD, **fields: Any) -> Key:
    key = saved_key(budget_limits=limits(("1h", 10), ("30d", 500)), **fields)
    post_and_settle([admitted_call(sync_gate(), key, cost=cost)], gate=sync_gate(), now_ms=NOW_MS)
    return key


def team_with_member() -> Team:
    team = saved_team(team_id="a-team")
    Member.objects.create(team=team, user=User.objects.create(username="u1"), created_at=NOW)
    return team


def test_reset_answers_what_was_spent_before_and_empties_every_window() -> None:
    key = spent_key(max_budget_nanousd=5 * USD)
    done = answer(ResetKeySpend, ADMIN, {"reset_to": 0}, key=key.token_hash)
    usage = done.pop("budget_limits_usage")
    assert done == {
        "key_hash": key.token_hash,
        "spend": 0,
        "previous_spend": 3,
        "max_budget": 5,
        "budget_reset_at": None,
    }
    assert [usage[window]["current_spend"] for window in ("1h", "30d")] == [0, 0]
    assert set(differences(sync_gate(), windows_of(key))) == {0}
    change = Change.objects.get(action="reset_spend")
    assert (change.subject_kind, change.subject_id, change.actor) == ("key", str(key.id), "ada")
    assert (change.before, change.after) == ({"spend": "3.0"}, {"spend": "0.0"})


def test_reset_to_an_amount_lowers_windows_to_it() -> None:
    key = spent_key()
    done = answer(ResetKeySpend, ADMIN, {"reset_to": 1.5}, key=key.token_hash)
    assert (done["spend"], done["budget_limits_usage"]["30d"]["current_spend"]) == (Decimal("1.5"), Decimal("1.5"))


@pytest.mark.parametrize(
    "body", [{}, {"reset_to": None}, {"reset_to": ""}, {"reset_to": -1}, {"reset_to": 3.5}, {"reset_to": "x"}]
)
def test_reset_to_what_cannot_be_is_refused(body: dict[str, Any]) -> None:
    key = spent_key()
    response = ask(ResetKeySpend, ADMIN, body, key=key.token_hash)
    assert response.status_code == 400
    assert b"reset_to" in response.content
    assert set(differences(sync_gate(), windows_of(key))) == {0}


@pytest.mark.parametrize(
    ("by", "status"),
    [(ADMIN, 200), (TEAM_ADMIN, 200), (VIEWER, 403), (USER, 404), (STRANGER, 404)],
    ids=lambda value: getattr(value, "name", value),
)
def test_who_may_reset_a_key_of_a_team(by: Actor, status: int) -> None:
    team_with_member()
    key = spent_key(team_id="a-team")
    assert ask(ResetKeySpend, by, {"reset_to": 0}, key=key.token_hash).status_code == status


def test_user_may_reset_own_keys_that_the_user_made_and_no_others() -> None:
    user = User.objects.create(username="u1")
    made, given = spent_key(), spent_key()
    Key.objects.update(user=user)
    Key.objects.filter(id=made.id).update(created_by="u1")
    assert ask(ResetKeySpend, USER, {"reset_to": 0}, key=made.token_hash).status_code == 200
    assert ask(ResetKeySpend, USER, {"reset_to": 0}, key=given.token_hash).status_code == 403
    assert ask(ResetKeySpend, key_actor(given), {"reset_to": 0}, key=given.token_hash).status_code == 403


def test_member_is_reset_in_the_team_only() -> None:
    team_with_member()
    posted_entry(team_id="a-team", user_id="u1", cost_nanousd=2 * USD)
    posted_entry(user_id="u1", cost_nanousd=5 * USD)
    path = {"team_id": "a-team", "user_id": "u1"}
    done = answer(ResetMemberSpend, TEAM_ADMIN, {"reset_to": 0}, **path)
    assert (done["team_id"], done["user_id"], done["previous_spend"], done["spend"]) == ("a-team", "u1", 2, 0)
    assert answer(ResetMemberSpend, ADMIN, {"reset_to": 0}, **path)["previous_spend"] == 0
    for by, status in ((STRANGER, 404), (USER, 403), (VIEWER, 403)):
        assert ask(ResetMemberSpend, by, {"reset_to": 0}, **path).status_code == status
    assert ask(ResetMemberSpend, ADMIN, {"reset_to": 0}, team_id="a-team", user_id="u2").status_code == 404


def test_global_reset_empties_all_keys_and_teams_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "BATCH", 3)
    team = saved_team(budget_limits=limits(("1d", 100)))
    keys = [spent_key(team_id=team.team_id) for _ in range(7)]
    done = answer(ResetAllSpend, ADMIN, {})
    assert (done["status"], done["keys"], done["teams"]) == ("success", 7, 1)
    for key in keys:
        assert [r.spent for r in sync_gate().read([active.counter for active in windows_of(key)])] == [0] * 4
        assert set(differences(sync_gate(), windows_of(key))) == {0}
    assert Change.objects.filter(action="reset_spend").count() == 8


def test_global_reset_is_for_admins_of_the_gateway() -> None:
    for by in (VIEWER, TEAM_ADMIN, USER, STRANGER):
        assert ask(ResetAllSpend, by, {}).status_code == 403


def test_adjustment_moves_the_spend_and_is_listed() -> None:
    key = spent_key()
    body = {"scope": "key", "scope_id": key.token_hash, "amount": -1.25, "reason": "refund of a failed batch"}
    done = answer(AdjustSpend, ADMIN, body)
    assert (done["scope_id"], done["previous_spend"], done["spend"]) == (str(key.id), 3, Decimal("1.75"))
    assert done["budget_limits_usage"]["1h"]["current_spend"] == Decimal("1.75")
    query = {"scope": "key", "scope_id": str(key.id)}
    listed = answer(Adjustments, VIEWER, query=query)
    assert (listed["page"], listed["has_more"], len(listed["adjustments"])) == (1, False, 1)
    row = listed["adjustments"][0]
    assert (row["amount"], row["actor"], row["reason"]) == (Decimal("-1.25"), "ada", "refund of a failed batch")
    assert Change.objects.get(action="adjust_spend").reason == "refund of a failed batch"


def test_adjustment_never_goes_below_zero() -> None:
    key = spent_key()
    body = {"scope": "key", "scope_id": str(key.id), "amount": "-99", "reason": "r"}
    assert answer(AdjustSpend, ADMIN, body)["spend"] == 0
    assert set(differences(sync_gate(), windows_of(key))) == {0}


def test_every_kind_of_scope_can_be_adjusted() -> None:
    team_with_member()
    for kind, scope_id in (("team", "a-team"), ("member", "u1/a-team"), ("user", "u1")):
        body = {"scope": kind, "scope_id": scope_id, "amount": 2, "reason": "r"}
        assert answer(AdjustSpend, ADMIN, body)["spend"] == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": "planet"},
        {"scope": "run"},
        {"scope_id": ""},
        {"amount": 0},
        {"amount": "much"},
        {"amount": "0.0000000001"},
        {"amount": True},
        {"amount": 10**8},
        {"amount": None},
        {"reason": ""},
        {"reason": None},
        {"more": 1},
    ],
    ids=str,
)
def test_adjustment_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    team = saved_team(team_id="a-team")
    body = {"scope": "team", "scope_id": team.team_id, "amount": 1, "reason": "r"} | wrong
    response = ask(AdjustSpend, ADMIN, body)
    assert response.status_code == 400
    assert next(iter(wrong)).encode() in response.content


def test_adjustment_of_what_does_not_exist_is_not_found() -> None:
    for kind, scope_id in (("key", "sk-none"), ("team", "x"), ("member", "x"), ("customer", "x"), ("tag", "x")):
        body = {"scope": kind, "scope_id": scope_id, "amount": 1, "reason": "r"}
        assert ask(AdjustSpend, ADMIN, body).status_code == 404


def test_admin_of_a_team_adjusts_its_members_and_not_the_team() -> None:
    team_with_member()
    body = {"amount": -1, "reason": "r"}
    assert ask(AdjustSpend, TEAM_ADMIN, {"scope": "member", "scope_id": "u1/a-team", **body}).status_code == 200
    assert ask(AdjustSpend, TEAM_ADMIN, {"scope": "team", "scope_id": "a-team", **body}).status_code == 403
    assert ask(AdjustSpend, STRANGER, {"scope": "team", "scope_id": "a-team", **body}).status_code == 404


def test_adjustments_are_paged_and_shown_to_those_who_see_the_scope() -> None:
    team = team_with_member()
    owner = owner_of(team)
    for number in range(5):
        body = {"scope": "team", "scope_id": "a-team", "amount": number + 1, "reason": str(number)}
        answer(AdjustSpend, ADMIN, body)
    query = {"scope": "team", "scope_id": owner.limits.scope.id, "page_size": "2"}
    pages = [answer(Adjustments, USER, query=query | {"page": str(page)}) for page in (1, 2, 3)]
    assert [len(page["adjustments"]) for page in pages] == [2, 2, 1]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert ask(Adjustments, STRANGER, query=query).status_code == 404
    assert ask(Adjustments, USER, query={}).status_code == 403
    assert len(answer(Adjustments, VIEWER, query={})["adjustments"]) == 5
