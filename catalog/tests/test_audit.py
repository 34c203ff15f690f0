"""The audit of routes and credentials: who changed what, and never a key."""

import json
from datetime import UTC, datetime

import pytest

from budgets.actors import Actor, Role
from budgets.models import Change
from catalog.credential_services import create_credential, delete_credential, update_credential
from catalog.secrets import Secret
from catalog.services import create_route, delete_route, update_route

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALICE = Actor("alice", Role.PROXY_ADMIN, address="10.0.0.1")
KEY = "sk-provider-secret-1"


def changes() -> list[tuple[str, str, str]]:
    assert KEY not in json.dumps(list(Change.objects.values("before", "after")))
    return list(Change.objects.order_by("id").values_list("actor", "action", "subject_kind"))


def test_a_route_s_making_changing_and_deleting_are_noted_without_its_key() -> None:
    route = create_route(
        {
            "model_name": "m",
            "provider": "house",
            "upstream_model": "m",
            "base_url": "https://house.example/v1",
            "api_key": Secret(KEY),
        },
        now=NOW,
        by=ALICE,
    )
    update_route(route.public_id, {"enabled": False}, now=NOW, by=ALICE)
    change = Change.objects.latest("id")
    assert (change.before, change.after) == ({"enabled": True}, {"enabled": False})
    update_route(route.public_id, {"api_key": Secret(KEY + "2")}, now=NOW, by=ALICE)
    change = Change.objects.latest("id")
    assert change.before.keys() == change.after.keys() == {"own_api_key"}
    delete_route(route.public_id, now=NOW, by=ALICE)
    assert changes() == [("alice", action, "route") for action in ("create", "update", "update", "delete")]


def test_a_change_that_changes_nothing_is_not_noted() -> None:
    create_credential({"name": "house", "api_key": Secret(KEY)}, now=NOW, by=ALICE)
    update_credential("house", {"api_key": Secret(KEY)}, now=NOW, by=ALICE)
    update_credential("house", {"base_url": "https://house.example/v1"}, now=NOW, by=ALICE)
    delete_credential("house", now=NOW, by=ALICE)
    assert changes() == [("alice", action, "credential") for action in ("create", "update", "delete")]
