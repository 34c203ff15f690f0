"""What a route and a credential may say. One message per field: the field, its value, and what is allowed.

Reads the fields of an unsaved row, writes nothing; the services refuse to save a row with problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.conf import settings

from catalog.models import OUTPUT_TOKENS_MAX, PRICE_FIELDS, PRICE_NANOUSD_MAX, TIMEOUT_S_MAX, Credential, Route

HTTP_URL = "an http or https address with a host and without a query"
DEMO_PROVIDER = "demo"
NAME = re.compile(r"[!-~]{1,200}")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
# The ending keeps the gateway's own secrets out of reach, and catches a key pasted in place of its name.
_KEY_ENV = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")


def is_credential_name(text: str) -> bool:
    """Whether a text may name a credential. In addresses, by_name/ and by_model/ mean something else."""
    return 1 <= len(text) <= 255 and text.isprintable() and not text.startswith(("by_name/", "by_model/"))


def credential_problems(credential: Credential, *, routes: Iterable[Route]) -> dict[str, str]:
    """Messages by field name; empty when the credential can be saved beside the routes that use it."""
    problems = {}
    name, base_url = credential.name, credential.base_url
    if not is_credential_name(name):
        problems["name"] = f"{name!r} is not allowed; allowed are 1 to 255 printable characters, not by_name/..."
    if base_url and not is_http_url(base_url):
        problems["base_url"] = f"{base_url!r} is not allowed; allowed is {HTTP_URL}, or empty"
    if not (base_url or credential.sealed_api_key):
        problems["api_key"] = "there is neither a key nor a base URL; allowed is one of them or both"
    if not base_url:
        for route in routes:
            route.credential = credential
            if "base_url" in route_problems(route):
                problems["base_url"] = f"it is empty; allowed is an address, because {route} has none of its own"
    return problems


def route_problems(route: Route) -> dict[str, str]:
    """Messages by field name; empty when the route can be saved."""
    return _name_problems(route) | _address_problems(route) | _price_problems(route) | _bound_problems(route)


def _name_problems(route: Route) -> dict[str, str]:
    problems = {}
    for field in ("model_name", "upstream_model"):
        if not NAME.fullmatch(getattr(route, field)):
            problems[field] = _message(route, field, allowed="1 to 200 visible ASCII characters without spaces")
    if not _PROVIDER.fullmatch(route.provider):
        problems["provider"] = _message(route, "provider", allowed="up to 50 lower-case letters, digits, - and _")
    return problems


def _address_problems(route: Route) -> dict[str, str]:
    problems = {}
    built_in = route.provider in settings.PROVIDERS or route.provider == DEMO_PROVIDER
    may_be_empty = built_in or bool(route.credential and route.credential.base_url)
    if not (may_be_empty if route.base_url == "" else is_http_url(route.base_url)):
        allowed = f"{HTTP_URL}, or empty" if may_be_empty else HTTP_URL
        problems["base_url"] = _message(route, "base_url", allowed=allowed)
    if route.api_key_env and not (len(route.api_key_env) <= 100 and _KEY_ENV.fullmatch(route.api_key_env)):
        # The value is not repeated: it may be the key itself.
        problems["api_key_env"] = (
            "api_key_env is not the name of an environment variable; allowed is a name like MISTRAL_API_KEY, "
            "in capital letters and ending in _API_KEY, or empty"
        )
    return problems


def is_http_url(text: str) -> bool:
    """Whether a text can be the base of a provider's addresses."""
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False
    return url.scheme in {"http", "https"} and has_host and not (url.query or url.fragment)


def _price_problems(route: Route) -> dict[str, str]:
    problems = {}
    for field in PRICE_FIELDS:
        price = getattr(route, field)
        if price is not None and not 0 <= price <= PRICE_NANOUSD_MAX:
            problems[field] = _message(route, field, allowed=f"0 to {PRICE_NANOUSD_MAX} nano-USD, or empty")
    given = [field for field in PRICE_FIELDS if getattr(route, field) is not None]
    for field in PRICE_FIELDS[:2]:
        if given and field not in given:
            problems[field] = f"{field} is empty; allowed is a price, because {given[0]} has one"
    return problems


def _bound_problems(route: Route) -> dict[str, str]:
    limits = {
        "output_tokens_max": OUTPUT_TOKENS_MAX,
        "connect_timeout_s": TIMEOUT_S_MAX,
        "read_timeout_s": TIMEOUT_S_MAX,
    }
    return {
        field: _message(route, field, allowed=f"a whole number from 1 to {maximum}, or empty")
        for field, maximum in limits.items()
        if getattr(route, field) is not None and not 1 <= getattr(route, field) <= maximum
    }


def _message(route: Route, field: str, *, allowed: str) -> str:
    return f"{field} is {getattr(route, field)!r}; allowed is {allowed}"
