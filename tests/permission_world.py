"""A small company for the test of permissions: two teams, a caller of every kind, and a stranger with all he has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.hashers import make_password
from django.test import Client

from budgets.actors import Role
from budgets.models import Budget
from budgets.services import changed_limits, set_limits
from keys.models import Key
from keys.parsing import hash_key, key_name_of
from teams.models import Customer, Member, Tag, Team, User
from tests.api import NOW, Api
from tests.permission_cases import MODEL_PARAMS, PASSWORD
from tests.services import MASTER_KEY

ROLES = {
    "internal_user_viewer": Role.INTERNAL_USER_VIEWER,
    "internal_user": Role.INTERNAL_USER,
    "team_member": Role.INTERNAL_USER,
    "team_admin": Role.INTERNAL_USER,
    "proxy_admin_viewer": Role.PROXY_ADMIN_VIEWER,
    "proxy_admin": Role.PROXY_ADMIN,
}
TEAMLESS = frozenset({"key", "internal_user"})
IN_OWN_TEAM = ("internal_user_viewer", "team_member", "team_admin")
OTHER_USER, OTHER_TEAM, OTHER_ALIAS = "sam-of-the-others", "team-of-the-others", "key-of-the-others"
OTHER_EMAIL, OTHER_TEAM_ALIAS = "sam@others.example", "Others"
OWNED = frozenset({"key", "user", "team", "member", "joined"})
"""What may belong to somebody. Tiers, customers, tags and models are the admins' alone."""


@dataclass(frozen=True, slots=True)
class World:
    """The keys by their owners, the text of a caller's key, and what is nobody's."""

    keys: Mapping[str, Key]
    common: Mapping[str, str]

    def own(self, column: str) -> dict[str, str]:
        """What the calls of that caller name where they are about his own things."""
        user = column if column in ROLES else "team_member"
        key = self.keys["team_member" if column == "team_admin" else column if column in self.keys else "team_member"]
        joined = ("own-team", "joining-user") if column in ("team_admin", "proxy_admin") else ("open-team", user)
        return self._objects(key, user=user, team="own-team", member="team_member", joining=joined)

    def foreign(self, column: str) -> dict[str, str]:
        """The same where they are about the stranger's."""
        joining = (OTHER_TEAM, "joining-user" if column == "proxy_admin" else column)
        return self._objects(
            self.keys[OTHER_USER], user=OTHER_USER, team=OTHER_TEAM, member=OTHER_USER, joining=joining
        )

    def _objects(self, key: Key, *, user: str, team: str, member: str, joining: tuple[str, str]) -> dict[str, str]:
        named = {"key": key.token_hash, "user": user, "team": team, "member": member}
        return {**self.common, **named, "joined": joining[0], "joining": joining[1]}

    def client(self, column: str) -> Client:
        """Calls as that caller."""
        if column == "anonymous":
            return Client(raise_request_exception=False)
        return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {text_of(column)}"})

    def secrets(self) -> set[str]:
        """What tells of the stranger, wherever it stands."""
        return {OTHER_USER, OTHER_TEAM, OTHER_ALIAS, OTHER_EMAIL, self.keys[OTHER_USER].token_hash}


def text_of(owner: str) -> str:
    """The text of that one's key."""
    return f"sk-{owner}-of-this-test"


def make_world(*, models: bool) -> World:
    """Writes all of it past the services, which have tests of their own; a model and a credential over the API."""
    _make_teams()
    _make_users()
    keys = _make_keys()
    Budget.objects.bulk_create(
        Budget(budget_id=name, max_budget_nanousd=10**9, created_at=NOW, updated_at=NOW) for name in ("tier", "unused")
    )
    Customer.objects.create(customer_id="customer", created_at=NOW, updated_at=NOW)
    Tag.objects.create(name="tag", created_at=NOW, updated_at=NOW)
    common = {"customer": "customer", "budget": "tier", "unused_budget": "unused", "tag": "tag"}
    return World(keys, common | (_make_models() if models else {"model": "none", "credential": "none"}))


def _make_teams() -> None:
    times = {"created_at": NOW, "updated_at": NOW}
    Team.objects.bulk_create(
        [
            Team(team_id="own-team", team_alias="Own", allowed_models=["gpt-4o", "demo"], **times),
            Team(team_id="open-team", team_alias="Open", is_available=True, **times),
            Team(team_id=OTHER_TEAM, team_alias=OTHER_TEAM_ALIAS, allowed_models=["gpt-4o", "demo"], **times),
        ]
    )


def _make_users() -> None:
    password = make_password(PASSWORD)
    User.objects.bulk_create(User(username=name, role=role, password=password) for name, role in ROLES.items())
    User.objects.create(username="joining-user")
    User.objects.create(username=OTHER_USER, email=OTHER_EMAIL)
    Member.objects.bulk_create(
        Member(team_id="own-team", user_id=name, role="admin" if name == "team_admin" else "user", created_at=NOW)
        for name in IN_OWN_TEAM
    )
    Member.objects.create(team_id=OTHER_TEAM, user_id=OTHER_USER, created_at=NOW)


def _make_keys() -> dict[str, Key]:
    keys = {name: _key(name, user_id=name, team_id="own-team" if name in IN_OWN_TEAM else None) for name in ROLES}
    keys["key"] = _key("key", user_id=None, team_id="own-team")
    keys[OTHER_USER] = _key(OTHER_USER, user_id=OTHER_USER, team_id=OTHER_TEAM)
    keys[OTHER_USER].key_alias = OTHER_ALIAS
    Key.objects.bulk_create(keys.values())
    return keys


def _key(owner: str, *, user_id: str | None, team_id: str | None) -> Key:
    text = text_of(owner)
    key = Key(
        token_hash=hash_key(text),
        key_name=key_name_of(text),
        key_alias=f"alias-{owner}",
        user_id=user_id,
        team_id=team_id,
        created_by=user_id or "",
        rooted_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    set_limits(key, changed_limits(key, {"max_budget_nanousd": 10**10}), now=NOW)
    return key


def _make_models() -> dict[str, str]:
    api = Api(MASTER_KEY)
    credential = {"credential_name": "credential", "credential_values": {"api_key": "sk-made-up"}}
    api.post("/credentials", **credential)
    made: dict[str, Any] = api.post("/model/new", model_name="a-model", litellm_params=MODEL_PARAMS)
    return {"credential": "credential", "model": str(made["model_info"]["id"])}
