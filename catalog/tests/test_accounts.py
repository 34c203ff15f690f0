"""Whose key goes where: the route's before its credential's before the settings', and never the settings' elsewhere."""

from typing import Any

import pytest

from catalog.accounts import Account, NoAccount, account_of
from catalog.models import Credential
from catalog.secrets import Secret, seal
from catalog.tests.factories import make_route

PROVIDERS = {"openai": {"api_key": "sk-settings", "base_url": "https://openai.example/v1"}}
OWN = "http://own.example/v1"
SHARED = "http://shared.example/v1"


def credential(*, api_key: str = "sk-shared", base_url: str = SHARED) -> Credential:
    return Credential(name="shared", base_url=base_url, sealed_api_key=seal(Secret(api_key)) if api_key else "")


def found(**fields: Any) -> tuple[str, str]:
    account = account_of(make_route(**fields), providers=PROVIDERS)
    assert isinstance(account, Account)
    return account.base_url, account.api_key.text


def missing(**fields: Any) -> str:
    account = account_of(make_route(**fields), providers=PROVIDERS)
    assert isinstance(account, NoAccount)
    return account.reason


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_API_KEY", "sk-env")


def test_the_routes_own_key_and_address_come_first() -> None:
    assert found(base_url=OWN, api_key="sk-own", credential=credential()) == (OWN, "sk-own")
    assert found(base_url=OWN, api_key_env="OWN_API_KEY", credential=credential()) == (OWN, "sk-env")


def test_a_credential_fills_what_the_route_lacks() -> None:
    assert found(base_url="", credential=credential()) == (SHARED, "sk-shared")
    assert found(base_url="", api_key="sk-own", credential=credential()) == (SHARED, "sk-own")
    assert found(base_url=OWN, credential=credential()) == (OWN, "sk-shared")
    assert found(base_url="", provider="openai", credential=credential(base_url="")) == (
        "https://openai.example/v1",
        "sk-shared",
    )


def test_the_settings_come_last_and_their_key_goes_nowhere_else() -> None:
    assert found(base_url="", provider="openai") == ("https://openai.example/v1", "sk-settings")
    assert found(base_url=OWN, provider="openai") == (OWN, "")
    assert found(base_url="", provider="openai", credential=credential(api_key="")) == (SHARED, "")


def test_what_is_missing_is_said() -> None:
    assert missing(base_url="") == "its base URL is not set"
    assert missing(base_url="", credential=credential(base_url="")) == "its base URL is not set"
    assert missing(api_key_env="OTHER_API_KEY") == "the environment variable OTHER_API_KEY is not set"


def test_no_repr_shows_a_key() -> None:
    account = account_of(make_route(api_key="sk-own"), providers=PROVIDERS)
    assert "sk-own" not in repr(account)
