"""What tests/test_permissions.py sends to each address: one line for each row of the table of rights.

`{key}`, `{user}`, `{team}` and so on stand for objects of the caller or, for the same call once more, of a stranger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from budgetgate.permissions import COLUMNS, Address

PASSWORD = "the password of everybody"
DAYS = {"start_date": "2037-11-01", "end_date": "2037-11-30"}


@dataclass(frozen=True, slots=True)
class Case:
    """One call. `path` is needed where the route has parts. Where `filters`, what is named only narrows an answer, and
    a stranger's gives an empty one. `missing` has the callers for whom the object is not there: 404 refuses nothing.
    Where `by_400`, what does not exist is a wrong value of a field, and so is what a stranger has."""

    body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    filters: bool = False
    missing: frozenset[str] = frozenset()
    by_400: bool = False

    @property
    def names(self) -> set[str]:
        """The kinds of objects that the call names."""
        parts = (
            name for text in _texts([self.path, self.query, self.body]) for _, name, _, _ in Formatter().parse(text)
        )
        return {name for name in parts if name}


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def filled(value: Any, objects: Mapping[str, str]) -> Any:
    """The same with names in place of what stands for them."""
    if isinstance(value, Mapping):
        return {name: filled(item, objects) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, objects) for item in value]
    return value.format(**objects) if isinstance(value, str) else value


KEY = Case({"key": "{key}"})
TEAM = Case({"team_id": "{team}"})
MEMBER = {"team_id": "{team}", "user_id": "{member}"}
MODEL_PARAMS = {"model": "openai/gpt-4o", "api_base": "http://127.0.0.1:1/v1", "api_key": "sk-made-up"}
REPORT = Case(query=DAYS)

KEYS: dict[Address, Case] = {
    ("POST", "key/generate"): Case({"user_id": "{user}"}),
    ("POST", "key/service-account/generate"): Case({"team_id": "{team}", "key_alias": "robot"}, by_400=True),
    ("POST", "key/update"): Case({"key": "{key}", "metadata": {"a": 1}}),
    ("POST", "key/bulk_update"): Case({"keys": [{"key": "{key}", "max_budget": 5}]}),
    ("POST", "team/key/bulk_update"): Case(
        {"team_id": "{team}", "key_ids": ["{key}"], "update_fields": {"max_budget": 5}}
    ),
    ("POST", "key/delete"): Case({"keys": ["{key}"]}),
    ("GET", "key/info"): Case(query={"key": "{key}"}),
    ("POST", "v2/key/info"): Case({"keys": ["{key}"]}, filters=True),
    ("GET", "key/list"): Case(query={"return_full_object": "true"}),
    ("GET", "key/aliases"): Case(),
    ("POST", "key/block"): KEY,
    ("POST", "key/unblock"): KEY,
    ("POST", "key/regenerate"): KEY,
    ("POST", "key/<str:key>/regenerate"): Case(path="key/{key}/regenerate"),
    ("POST", "key/<str:key>/reset_spend"): Case({"reset_to": 0}, path="key/{key}/reset_spend"),
    ("POST", "key/health"): Case(),
}

TEAMS: dict[Address, Case] = {
    ("POST", "team/new"): Case({"team_alias": "New"}),
    ("POST", "team/update"): Case({"team_id": "{team}", "metadata": {"a": 1}}),
    ("PATCH", "team/<str:team_id>"): Case({"metadata": {"a": 1}}, path="team/{team}"),
    ("POST", "team/delete"): Case({"team_ids": ["{team}"]}),
    ("POST", "team/block"): TEAM,
    ("POST", "team/unblock"): TEAM,
    ("GET", "team/info"): Case(query={"team_id": "{team}"}),
    ("GET", "team/list"): Case(),
    ("GET", "v2/team/list"): Case(),
    ("GET", "team/available"): Case(),
    ("POST", "team/member_add"): Case({"team_id": "{joined}", "member": {"role": "user", "user_id": "{joining}"}}),
    ("POST", "team/member_update"): Case(MEMBER | {"max_budget_in_team": 5}),
    ("POST", "team/member_delete"): Case(MEMBER),
    ("POST", "team/bulk_member_add"): Case(
        {"team_id": "{team}", "members": [{"role": "user", "user_id": "nobody-yet"}]}
    ),
    ("GET", "team/<str:team_id>/members/me"): Case(
        path="team/{team}/members/me", missing=frozenset({"proxy_admin_viewer", "proxy_admin"})
    ),
    ("POST", "team/<str:team_id>/member/<str:user_id>/reset_spend"): Case(
        {"reset_to": 0}, path="team/{team}/member/{member}/reset_spend"
    ),
    ("POST", "team/<str:team_id>/member/<str:user_id>/reset_budget"): Case(
        path="team/{team}/member/{member}/reset_budget"
    ),
    ("POST", "team/model/add"): Case({"team_id": "{team}", "models": ["gpt-4o"]}),
    ("POST", "team/model/delete"): Case({"team_id": "{team}", "models": ["gpt-4o"]}),
    ("GET", "team/permissions_list"): Case(query={"team_id": "{team}"}),
    ("POST", "team/permissions_update"): Case({"team_id": "{team}", "team_member_permissions": ["/key/info"]}),
    ("GET", "team/daily/activity"): Case(query=DAYS | {"team_ids": "{team}"}, filters=True),
}

USERS: dict[Address, Case] = {
    ("POST", "user/new"): Case({"user_id": "nobody-yet", "auto_create_key": False}),
    ("POST", "user/update"): Case({"user_id": "{user}", "user_alias": "A"}),
    ("POST", "user/bulk_update"): Case({"users": [{"user_id": "{user}", "user_alias": "A"}]}),
    ("POST", "user/delete"): Case({"user_ids": ["{user}"]}),
    ("GET", "user/info"): Case(query={"user_id": "{user}"}),
    ("GET", "v2/user/info"): Case(query={"user_id": "{user}"}),
    ("GET", "user/list"): Case(),
    ("GET", "user/available_roles"): Case(),
    ("POST", "user/password/change"): Case({"current_password": PASSWORD, "new_password": "long enough, is it not"}),
    ("GET", "user/daily/activity"): Case(query=DAYS | {"user_id": "{user}"}, filters=True),
}


def _customers(noun: str) -> dict[Address, Case]:
    """The same for both names that customers have."""
    some = Case({"user_ids": ["{customer}"]})
    return {
        ("POST", f"{noun}/new"): Case({"user_id": "new-customer"}),
        ("POST", f"{noun}/update"): Case({"user_id": "{customer}", "alias": "A"}),
        ("POST", f"{noun}/delete"): some,
        ("POST", f"{noun}/block"): some,
        ("POST", f"{noun}/unblock"): some,
        ("GET", f"{noun}/info"): Case(query={"end_user_id": "{customer}"}),
        ("GET", f"{noun}/list"): Case(),
        ("GET", f"{noun}/daily/activity"): REPORT,
    }


BUDGETS: dict[Address, Case] = {
    ("POST", "budget/new"): Case({"budget_id": "new-tier", "max_budget": 5}),
    ("POST", "budget/update"): Case({"budget_id": "{budget}", "max_budget": 5}),
    ("POST", "budget/delete"): Case({"id": "{unused_budget}"}),
    ("POST", "budget/info"): Case({"budgets": ["{budget}"]}),
    ("GET", "budget/list"): Case(),
    ("GET", "budget/settings"): Case(query={"budget_id": "{budget}"}),
    ("POST", "budget/grant"): Case({"scope": "key", "scope_id": "{key}", "amount": 5, "until": "2100-01-01T00:00:00Z"}),
    ("POST", "budget/grant/revoke"): Case({"id": 123456789}, missing=frozenset(COLUMNS)),
    ("GET", "budget/grants"): Case(query={"scope": "key", "scope_id": "{key}"}, filters=True),
    ("POST", "budget/explain"): Case({"key": "{key}", "model": "demo"}),
    ("GET", "audit/changes"): Case(),
}

TAGS: dict[Address, Case] = {
    ("POST", "tag/new"): Case({"name": "new-tag"}),
    ("POST", "tag/update"): Case({"name": "{tag}", "description": "A"}),
    ("POST", "tag/delete"): Case({"name": "{tag}"}),
    ("POST", "tag/info"): Case({"names": ["{tag}"]}),
    ("GET", "tag/list"): Case(),
    ("GET", "tag/daily/activity"): REPORT,
}

SPEND: dict[Address, Case] = {
    ("GET", "spend/logs"): Case(query={"api_key": "{key}"}, filters=True),
    ("GET", "spend/logs/v2"): REPORT,
    ("GET", "spend/export"): REPORT,
    ("GET", "spend/tags"): REPORT,
    ("GET", "spend/keys"): Case(),
    ("GET", "spend/users"): Case(),
    ("POST", "spend/calculate"): Case({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}),
    ("POST", "spend/adjust"): Case({"scope": "key", "scope_id": "{key}", "amount": -1, "reason": "A test"}),
    ("GET", "spend/adjustments"): Case(query={"scope": "key", "scope_id": "{key}"}, filters=True),
    ("GET", "global/spend"): Case(),
    ("GET", "global/spend/keys"): Case(),
    ("GET", "global/spend/teams"): Case(),
    ("GET", "global/spend/models"): Case(),
    ("GET", "global/spend/tags"): Case(),
    ("GET", "global/spend/report"): REPORT,
    ("POST", "global/spend/reset"): Case(),
}

MODELS: dict[Address, Case] = {
    ("GET", "model/info"): Case(),
    ("GET", "v1/model/info"): Case(),
    ("GET", "model_group/info"): Case(),
    ("POST", "model/new"): Case({"model_name": "new-model", "litellm_params": MODEL_PARAMS}),
    ("POST", "model/update"): Case({"model_info": {"id": "{model}"}, "litellm_params": MODEL_PARAMS}),
    ("PATCH", "model/<str:id>/update"): Case({"litellm_params": MODEL_PARAMS}, path="model/{model}/update"),
    ("POST", "model/delete"): Case({"id": "{model}"}),
    ("POST", "model/block"): Case({"id": "{model}"}),
    ("POST", "model/unblock"): Case({"id": "{model}"}),
    ("GET", "credentials"): Case(),
    ("POST", "credentials"): Case({"credential_name": "new", "credential_values": {"api_key": "sk-made-up"}}),
    ("GET", "credentials/by_name/<path:name>"): Case(path="credentials/by_name/{credential}"),
    ("PATCH", "credentials/<path:name>"): Case({"credential_info": {"a": 1}}, path="credentials/{credential}"),
    ("DELETE", "credentials/<path:name>"): Case(path="credentials/{credential}"),
}

HEALTH: dict[Address, Case] = {
    ("GET", "health/liveliness"): Case(),
    ("GET", "health/liveness"): Case(),
    ("GET", "health/readiness"): Case(),
    ("GET", "health/readiness/details"): Case(),
    ("GET", "health/services"): Case(query={"service": "database"}),
    ("GET", "health"): Case(query={"model": "demo"}),
    ("POST", "health/test_connection"): Case({"litellm_params": MODEL_PARAMS}),
    ("GET", "openapi.json"): Case(),
    ("GET", "docs"): Case(),
}

CASES: Mapping[Address, Case] = {
    **KEYS,
    **TEAMS,
    **USERS,
    **_customers("customer"),
    **_customers("end_user"),
    **BUDGETS,
    **TAGS,
    **SPEND,
    **MODELS,
    **HEALTH,
}
