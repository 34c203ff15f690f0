"""Texts of keys, providers' keys and passwords stay out of answers, audit rows, stored rows and log lines."""

import json
import logging
from typing import Any

import pytest
import redis
from django.apps import apps
from django.conf import LazySettings

from tests.api import Api, use_told_ledger

PROVIDER, OTHER_PROVIDER = "sk-canary-of-a-provider-1", "sk-canary-of-a-provider-2"
KEY, NEW_KEY = "sk-canary-of-a-virtual-key-1", "sk-canary-of-a-virtual-key-2"
PASSWORD, OTHER_PASSWORD = "canary-Password-1!", "canary-Password-2!"
CANARY = "canary-"


@pytest.fixture(autouse=True)
def _surroundings(valkey: redis.Redis, settings: LazySettings, db: None) -> None:
    use_told_ledger(settings)


def calls() -> list[tuple[str, str, Any, bool]]:
    """Method, address, body, and whether the answer may have a key's text. Wrong calls are among them."""
    params = {"model": "openai/gpt-4o", "api_key": PROVIDER}
    named = {"credential_name": "c1", "credential_values": {"api_key": PROVIDER}}
    return [
        ("POST", "/credentials", named, False),
        ("POST", "/credentials", named, False),
        ("POST", "/credentials", {**named, "credential_name": "c2", "unknown": PROVIDER}, False),
        ("POST", "/credentials", {"credential_name": "c3", "credential_values": {"api_key": [PROVIDER]}}, False),
        ("PATCH", "/credentials/c1", {"credential_values": {"api_key": OTHER_PROVIDER}}, False),
        ("GET", "/credentials", None, False),
        ("GET", "/credentials/by_name/c1", None, False),
        ("POST", "/model/new", {"model_name": "m1", "litellm_params": params}, False),
        ("POST", "/model/new", {"model_name": "m2", "litellm_params": {**params, "model": 5}}, False),
        ("POST", "/model/new", {"model_name": "m3", "litellm_params": {**params, "api_key": [PROVIDER]}}, False),
        ("GET", "/model/info", None, False),
        ("GET", "/v2/model/info", None, False),
        ("POST", "/key/generate", {"key": KEY, "key_alias": "k", "metadata": {"secret": "x"}}, True),
        ("POST", "/key/generate", {"key": KEY}, False),
        ("POST", "/key/generate", {"key": KEY + " "}, False),
        ("POST", "/key/generate", {"key": KEY[3:]}, False),
        ("POST", "/key/regenerate", {"key": "hash", "new_key": KEY}, False),
        ("POST", "/key/regenerate", {"key": "hash", "new_key": [NEW_KEY]}, False),
        ("POST", "/key/regenerate", {"key": "hash", "new_key": NEW_KEY, "grace_period": "1d"}, True),
        ("GET", "/key/list?return_full_object=true", None, False),
        ("POST", "/user/new", {"user_id": "u1", "password": PASSWORD, "auto_create_key": False}, False),
        ("POST", "/user/new", {"user_id": "u2", "password": [PASSWORD]}, False),
        ("POST", "/user/update", {"user_id": "u1", "password": OTHER_PASSWORD}, False),
        ("POST", "/user/update", {"user_id": "u1", "password": "canary-1"}, False),
        ("POST", "/user/bulk_update", {"users": [{"user_id": "u1", "password": PASSWORD}]}, False),
        ("POST", "/user/bulk_update", {"users": [{"user_id": "nobody", "password": PASSWORD}]}, False),
        ("POST", "/user/password/change", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}, False),
        ("GET", "/user/info?user_id=u1", None, False),
        ("POST", "/key/delete", {"key_aliases": ["k"]}, False),
        ("GET", "/audit/changes", None, False),
        ("DELETE", "/credentials/c1", None, False),
        ("GET", "/audit/changes", None, False),
    ]


def test_no_secret_is_told_audited_kept_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api, token, statuses = Api(), "", []
    for method, path, body, has_text in calls():
        if isinstance(body, dict) and body.get("key") == "hash":
            body = {**body, "key": token}
        response = api.send(path, body, method=method)
        statuses.append(response.status_code)
        answer = response.content.decode()
        assert response.status_code < 500, (path, answer)
        if has_text:
            assert response.status_code == 200, answer
            token = json.loads(answer)["token"]
        else:
            assert CANARY not in answer, (method, path, answer)
    assert statuses.count(200) >= 15
    assert CANARY not in caplog.text.replace("key_alias", "")
    for model in apps.get_models():
        for row in model._default_manager.values():
            assert CANARY not in repr(row), (model, row)
