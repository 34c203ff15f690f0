"""Requests about one team or one user that come at once: nothing is lost, nobody is added twice, nothing dangles."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.db import IntegrityError, connections
from django.http import HttpResponse

from budgets.errors import InputError
from budgets.models import Budget
from keys.models import Key
from keys.services import create_key
from teams.models import Customer, Member, Tag, Team, User
from tests.api import NOW, Api, stop_clock, use_told_ledger

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 5


@pytest.fixture
def api(valkey: redis.Redis, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Api:
    use_told_ledger(settings)
    stop_clock(monkeypatch)
    return Api()


def at_once(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """What the acts answer that start together, each with a connection of its own."""
    barrier = Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def sender(path: str, **body: object) -> Callable[[], HttpResponse]:
    """A request with a client of its own."""
    return lambda: Api().send(path, body)


def statuses(answers: Sequence[Any]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


def test_two_updates_of_one_team_both_stay(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    for index in range(ROUNDS):
        changes: list[dict[str, object]] = [{"max_budget": index + 1}, {"team_alias": f"T{index}"}]
        changes += [{"rpm_limit": index}, {"metadata": {"a": index}}]
        answers = at_once([sender("/team/update", team_id="t1", **change) for change in changes])
        assert statuses(answers) == [200] * 4
        team = Team.objects.get()
        assert (team.max_budget_nanousd, team.team_alias) == ((index + 1) * 10**9, f"T{index}")
        assert (team.rpm_limit, team.metadata) == (index, {"a": index})


@pytest.mark.parametrize("noun", ["team", "customer", "tag", "user"])
def test_a_tier_that_is_taken_at_once_with_another_change_stays(api: Api, noun: str) -> None:
    """The row that a lock waited for is new, what was joined to it is not."""
    for index in range(ROUNDS * 3):
        create_tier(f"b{index}")
        name, row_id = {"team": "team_id", "tag": "name"}.get(noun, "user_id"), f"x{index}"
        more: dict[str, object] = {"auto_create_key": False} if noun == "user" else {}
        api.post(f"/{noun}/new", **{name: row_id, **more})
        changes: list[dict[str, object]] = [{"budget_id": f"b{index}"}, {"rpm_limit": 5}, {"tpm_limit": 6}]
        answers = at_once([sender(f"/{noun}/update", **{name: row_id, **change}) for change in changes])
        assert statuses(answers) == [200] * 3
        model = {"team": Team, "customer": Customer, "tag": Tag, "user": User}[noun]
        row = model.objects.get(pk=row_id)  # type: ignore[attr-defined]
        assert (row.budget_id, row.rpm_limit, row.tpm_limit) == (f"b{index}", 5, 6)


def create_tier(budget_id: str) -> None:
    times = {"created_at": NOW, "updated_at": NOW}
    Budget.objects.create(budget_id=budget_id, created_by="x", updated_by="x", **times)


def test_fields_of_the_tier_for_members_that_are_set_at_once_all_stay(api: Api) -> None:
    for index in range(ROUNDS * 3):
        team_id = f"t{index}"
        api.post("/team/new", team_id=team_id)
        changes = [{"team_member_budget": 5}, {"team_member_rpm_limit": 6}, {"team_member_tpm_limit": 7}]
        at_once([sender("/team/update", team_id=team_id, **change) for change in changes])
        tier = Team.objects.get(team_id=team_id).member_budget
        assert tier is not None
        assert (tier.max_budget_nanousd, tier.rpm_limit, tier.tpm_limit) == (5 * 10**9, 6, 7)
    assert Budget.objects.count() == ROUNDS * 3


def test_models_that_are_added_at_once_are_all_there(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    at_once([sender("/team/model/add", team_id="t1", models=[f"m{index}"]) for index in range(6)])
    assert sorted(Team.objects.get().allowed_models) == [f"m{index}" for index in range(6)]


def test_of_two_who_add_the_same_member_one_is_told_so(api: Api) -> None:
    for index in range(ROUNDS):
        team_id = f"t{index}"
        api.post("/team/new", team_id=team_id)
        add = sender("/team/member_add", team_id=team_id, member={"user_id": f"u{index}"})
        answers = at_once([add, add])
        assert statuses(answers) == [200, 400]
        [refused] = [answer for answer in answers if answer.status_code == 400]
        assert refused.json()["error"]["type"] == "team_member_already_in_team"
        assert Member.objects.filter(team_id=team_id).count() == 1


def test_an_unknown_user_who_joins_two_teams_at_once_is_made_once(api: Api) -> None:
    for index in range(ROUNDS):
        for team_id in (f"a{index}", f"b{index}"):
            api.post("/team/new", team_id=team_id)
        member = {"user_email": f"u{index}@example.org"}
        acts = [sender("/team/member_add", team_id=f"{name}{index}", member=member) for name in "ab"]
        assert statuses(at_once(acts)) == [200, 200]
        assert User.objects.filter(email=member["user_email"]).count() == 1


def test_a_team_that_is_deleted_while_a_member_joins_leaves_nothing(api: Api) -> None:
    for index in range(ROUNDS):
        team_id = f"t{index}"
        api.post("/team/new", team_id=team_id, members=["old"])
        acts = [
            sender("/team/delete", team_ids=[team_id]),
            sender("/team/member_add", team_id=team_id, member={"user_id": f"u{index}"}),
            sender("/team/member_update", team_id=team_id, user_id="old", rpm_limit=5),
            sender("/team/update", team_id=team_id, max_budget=5),
        ]
        deleted, *others = at_once(acts)
        assert deleted.status_code == 200
        assert {other.status_code for other in others} <= {200, 404}
    assert not Member.objects.exists()
    assert not Team.objects.exists()


def test_a_team_that_is_deleted_while_keys_are_made_takes_them_along(api: Api) -> None:
    def make(team_id: str) -> None:
        try:
            create_key({"team_id": team_id}, now=NOW)
        except (IntegrityError, InputError):  # the team was gone first
            return

    for index in range(ROUNDS):
        team_id = f"t{index}"
        api.post("/team/new", team_id=team_id)
        acts: list[Callable[[], Any]] = [lambda team_id=team_id: make(team_id)] * 3  # type: ignore[misc]
        *_, deleted = at_once([*acts, sender("/team/delete", team_ids=[team_id])])
        assert deleted.status_code == 200
    assert not Team.objects.exists()
    assert not Key.objects.exists()


def test_a_user_who_is_deleted_while_joining_leaves_nothing_that_dangles(api: Api) -> None:
    api.post("/team/new", team_id="t1")
    for index in range(ROUNDS):
        user_id = f"u{index}"
        api.post("/user/new", user_id=user_id)
        acts = [
            sender("/user/delete", user_ids=[user_id]),
            sender("/team/member_add", team_id="t1", member={"user_id": user_id}),
            sender("/user/update", user_id=user_id, user_alias="x"),
        ]
        deleted, added, updated = at_once(acts)
        assert deleted.status_code == 200
        assert added.status_code == 200
        assert updated.status_code in (200, 404)
    assert not Key.objects.exists()
    users = set(User.objects.values_list("username", flat=True))
    assert set(Member.objects.values_list("user_id", flat=True)) == users


def test_of_two_last_proxy_admins_one_stays(api: Api) -> None:
    for index in range(ROUNDS):
        User.objects.all().delete()
        for user_id in ("a", "b"):
            api.post("/user/new", user_id=user_id, user_role="proxy_admin", auto_create_key=False)
        demote = sender("/user/update", user_id="b", user_role="internal_user")
        acts = [sender("/user/delete", user_ids=["a"]), demote if index % 2 else sender("/user/delete", user_ids=["b"])]
        assert statuses(at_once(acts)) == [200, 409]
        assert User.objects.filter(role="proxy_admin").count() == 1


def test_customers_that_are_blocked_at_once_are_made_once(api: Api) -> None:
    answers = at_once([sender("/customer/block", user_ids=["c2", "c1", "c3"]) for _ in range(4)])
    assert statuses(answers) == [200] * 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/team/new", {"team_id": "x"}),
        ("/user/new", {"user_id": "x"}),
        ("/customer/new", {"user_id": "x"}),
        ("/tag/new", {"name": "x"}),
    ],
)
def test_of_two_who_make_the_same_thing_one_is_told_so(api: Api, path: str, body: dict[str, object]) -> None:
    assert statuses(at_once([sender(path, **body)] * 2)) == [200, 400]


def test_a_change_is_announced_after_the_commit_and_a_refusal_is_not(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    modules = ["teams.services", "teams.member_services", "teams.user_services", "teams.guest_services"]
    for module in [*modules, "keys.people_services"]:
        monkeypatch.setattr(f"{module}.publish", lambda *subjects: told.extend(subjects))
    expected: list[tuple[str, dict[str, object], set[str]]] = [
        ("/team/new", {"team_id": "t1"}, {"team:t1"}),
        ("/team/update", {"team_id": "t1", "max_budget": 5}, {"team:t1"}),
        ("/team/block", {"team_id": "t1"}, {"team:t1"}),
        ("/team/member_add", {"team_id": "t1", "member": {"user_id": "u1"}}, {"team:t1"}),
        ("/team/member_update", {"team_id": "t1", "user_id": "u1", "rpm_limit": 5}, {"team:t1"}),
        ("/team/t1/member/u1/reset_budget", {}, {"team:t1"}),
        ("/user/new", {"user_id": "u2", "teams": ["t1"], "auto_create_key": False}, {"user:u2", "team:t1"}),
        ("/user/update", {"user_id": "u2", "max_budget": 5}, {"user:u2"}),
        ("/user/delete", {"user_ids": ["u2"]}, {"user:u2", "team:t1"}),
        ("/team/member_delete", {"team_id": "t1", "user_id": "u1"}, {"team:t1"}),
        ("/team/delete", {"team_ids": ["t1"]}, {"team:t1"}),
        ("/customer/new", {"user_id": "c1"}, {"customer:c1"}),
        ("/customer/update", {"user_id": "c1", "alias": "C"}, {"customer:c1"}),
        ("/customer/block", {"user_ids": ["c1", "c2"]}, {"customer:c1", "customer:c2"}),
        ("/customer/delete", {"user_ids": ["c1"]}, {"customer:c1"}),
        ("/tag/new", {"name": "g1"}, {"tag:g1"}),
        ("/tag/update", {"name": "g1", "max_budget": 5}, {"tag:g1"}),
        ("/tag/delete", {"name": "g1"}, {"tag:g1"}),
    ]
    for path, body, subjects in expected:
        told.clear()
        api.post(path, **body)
        assert set(told) == subjects, path
    told.clear()
    api.refusal("/team/update", {"team_id": "t1", "max_budget": 5}, status=404)
    api.refusal("/customer/new", {"user_id": "c2"})
    assert told == []
