"""Which address and key the calls of a route get. Reads settings, environment and sealed keys; no database.

The key from the settings goes only to the address from the settings. A route that cannot work says why in words that
never hold a secret: the table logs them, the API shows them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from catalog.models import Route
from catalog.route_rules import DEMO_PROVIDER
from catalog.secrets import LostSecretError, Secret, is_sendable, unseal

Provider = Mapping[str, str]
"""`api_key` and `base_url` of one provider in the settings."""

NO_SECRET = Secret("")


@dataclass(frozen=True, slots=True)
class Account:
    """Where calls go, and with which key; an empty one where the server asks for none."""

    base_url: str
    api_key: Secret


@dataclass(frozen=True, slots=True)
class NoAccount:
    """The route cannot work."""

    reason: str


def account_of(route: Route, *, providers: Mapping[str, Provider]) -> Account | NoAccount:
    """The route's own address and key come first, then its credential's, then the settings'."""
    if route.provider == DEMO_PROVIDER:
        return Account("", NO_SECRET)
    given_url = route.base_url or (route.credential.base_url if route.credential else "")
    base_url = given_url or providers.get(route.provider, {}).get("base_url", "")
    if not base_url:
        return NoAccount("its base URL is not set")
    source = key_source(route)
    try:
        api_key = _given_key(route)
    except LostSecretError as error:
        return NoAccount(f"{source} is lost: {error}")
    if not source and not given_url:
        api_key, source = Secret(providers[route.provider]["api_key"]), f"the key of {route.provider}"
    if source and not api_key.text:
        return NoAccount(f"{source} is not set")
    if api_key.text and not is_sendable(api_key.text):
        return NoAccount(f"{source} has characters that no header can carry")
    return Account(base_url, api_key)


def key_source(route: Route) -> str:
    """Where the key comes from, in words; empty where neither the route nor its credential has one."""
    if route.sealed_api_key:
        return "the stored key"
    if route.api_key_env:
        return f"the environment variable {route.api_key_env}"
    if route.credential and route.credential.sealed_api_key:
        return f"the key of the credential {route.credential.name}"
    return ""


def _given_key(route: Route) -> Secret:
    if route.sealed_api_key:
        return unseal(route.sealed_api_key)
    if route.api_key_env:
        return Secret(os.environ.get(route.api_key_env, ""))
    if route.credential and route.credential.sealed_api_key:
        return unseal(route.credential.sealed_api_key)
    return NO_SECRET
