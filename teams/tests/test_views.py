"""What clients send and read about teams."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from budgets.services import ms_of
from teams.models import Team
from tests.api import NOW, Api, ledger_says, stop_clock

WINDOWS = [{"budget_duration": "1h", "max_budget": 10}]


def test_a_new_team_answers_in_the_shape_that_clients_know(api: Api) -> None:
    answer = api.post(
        "/team/new",
        team_alias="T1",
        team_id="t1",
        metadata={"m": 1},
        max_budget=100,
        budget_duration="30d",
        budget_limits=WINDOWS,
        admins=[],
        members_with_roles=[],
    )
    expected = {
        "team_alias": "T1",
        "team_id": "t1",
        "organization_id": None,
        "prompts": None,
        "model_aliases": {},
        "tags": [],
        "is_available": False,
        "team_member_key_duration": None,
        "team_member_budget": None,
        "team_member_budget_duration": None,
        "team_member_budget_limits": [],
        "team_member_rpm_limit": None,
        "team_member_tpm_limit": None,
        "team_member_model_max_budget": {},
        "admins": [],
        "members": [],
        "members_with_roles": [],
        "team_member_permissions": [],
        "metadata": {"m": 1},
        "tpm_limit": None,
        "rpm_limit": None,
        "tpd_limit": None,
        "max_budget": Decimal("100.0"),
        "soft_budget": None,
        "budget_duration": "30d",
        "budget_limits": [{"budget_duration": "1h", "max_budget": Decimal("10.0"), "reset_at": "2037-11-23T14:00:00Z"}],
        "models": [],
        "blocked": False,
        "router_settings": {},
        "access_group_ids": [],
        "default_team_member_models": [],
        "spend": Decimal("0.0"),
        "total_spend": Decimal("0.0"),
        "max_parallel_requests": None,
        "budget_reset_at": "2037-12-01T00:00:00Z",
        "model_id": None,
        "model_spend": {},
        "model_max_budget": {},
        "model_rpm_limit": None,
        "model_tpm_limit": None,
        "budget_id": None,
        "policies": [],
        "allow_team_guardrail_config": False,
        "litellm_model_table": None,
        "object_permission": None,
        "object_permission_id": None,
        "timezone": "UTC",
        "week_start": "monday",
        "updated_at": "2037-11-23T13:06:59.126000Z",
        "created_at": "2037-11-23T13:06:59.126000Z",
    }
    assert answer == expected


@pytest.mark.parametrize("team_id", [None, ""])
def test_a_team_without_an_id_gets_one(api: Api, team_id: str | None) -> None:
    assert UUID(api.post("/team/new", team_id=team_id)["team_id"])


def test_update_changes_what_it_names_and_answers_with_the_row(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.post("/team/new", team_id="a.b:c@d_e-F", team_alias="T1", budget_limits=WINDOWS)
    ledger_says("a.b:c@d_e-F", spent=1_500_000_000)
    stop_clock(monkeypatch, at=NOW + timedelta(hours=1))
    answer = api.post("/team/update", team_id="a.b:c@d_e-F", budget_limits=[{**WINDOWS[0], "max_budget": 20}])
    assert answer.keys() == {"team_id", "data"}
    data = answer["data"]
    assert (data["team_alias"], data["spend"]) == ("T1", Decimal("1.5"))
    assert data["budget_limits"] == [
        {"budget_duration": "1h", "max_budget": Decimal("20.0"), "reset_at": "2037-11-23T15:00:00Z"}
    ]
    assert (data["created_at"], data["updated_at"]) == ("2037-11-23T13:06:59.126000Z", "2037-11-23T14:06:59.126000Z")
    assert Team.objects.get().counted_since == {"usd/1h": "2037-11-23T13:06:59.126000Z"}


@pytest.mark.parametrize("nothing", [None, []])
def test_nothing_clears_the_limits_of_a_team(api: Api, nothing: list[object] | None) -> None:
    api.post("/team/new", team_id="t1", budget_limits=WINDOWS)
    assert api.post("/team/update", team_id="t1", budget_limits=nothing)["data"]["budget_limits"] == []


def test_spend_of_a_team_with_a_single_window_is_that_of_the_window(api: Api) -> None:
    api.post("/team/new", team_id="t1", max_budget=5, budget_duration="30d")
    month = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ledger_says("t1", spent=2_000_000_000, start_ms=ms_of(month))
    ledger_says("t1", spent=9_000_000_000)
    data = api.post("/team/update", team_id="t1")["data"]
    assert (data["spend"], data["total_spend"]) == (Decimal("2.0"), Decimal("9.0"))
