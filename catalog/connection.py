"""One smallest call to a provider, to see whether a route would work. It costs a few tokens, charged to nobody.

Every wait is short, the answer is read within a bound, and what is told of it does not hold the key.
"""

from __future__ import annotations

import time

import httpx
from django.conf import settings

from budgets.answers import Answer
from catalog.accounts import Account, NoAccount, account_of
from catalog.models import Route
from catalog.route_rules import DEMO_PROVIDER

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
TOTAL_TIMEOUT_S = 30
ANSWER_BYTES_MAX = 64 * 1024
TOLD_CHARS_MAX = 500


def try_route(route: Route) -> Answer:
    """What LiteLLM's clients read: `status` is success or error, `result` says more."""
    account = account_of(route, providers=settings.PROVIDERS)
    if isinstance(account, NoAccount):
        return _error(account.reason)
    if route.provider == DEMO_PROVIDER:
        return _success(route, status_code=200, took_s=0.0)
    began = time.monotonic()
    try:
        status_code, body = _call(route, account)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: no host can have that name
        return _error(_told(f"{type(error).__name__}: {error}", account=account))
    if status_code != httpx.codes.OK:
        return _error(_told(f"the provider answered {status_code}: {body}", account=account), status_code=status_code)
    return _success(route, status_code=status_code, took_s=time.monotonic() - began)


def _call(route: Route, account: Account) -> tuple[int, str]:
    """The status and the first part of the body; a body that drips is left when the time is over."""
    bound = "max_completion_tokens" if route.provider == "openai" else "max_tokens"
    payload = {"model": route.upstream_model, "messages": [{"role": "user", "content": "hi"}], bound: 16}
    headers = {"accept-encoding": "identity", "user-agent": "budgetgate"}
    if account.api_key.text:
        headers["authorization"] = f"Bearer {account.api_key.text}"
    url = f"{account.base_url.rstrip('/')}/chat/completions"
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    deadline = time.monotonic() + TOTAL_TIMEOUT_S
    body = bytearray()
    with (
        httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", url, json=payload, headers=headers) as answer,
    ):
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX or time.monotonic() > deadline:
                break
        return answer.status_code, body[:ANSWER_BYTES_MAX].decode(errors="replace")


def _told(text: str, *, account: Account) -> str:
    """Without the key, which some servers repeat, before it is cut: half a key is too much."""
    hidden = text.replace(account.api_key.text, "***") if account.api_key.text else text
    return hidden if len(hidden) <= TOLD_CHARS_MAX else f"{hidden[:TOLD_CHARS_MAX]}..."


def _success(route: Route, *, status_code: int, took_s: float) -> Answer:
    result = {
        "model": f"{route.provider}/{route.upstream_model}",
        "status_code": status_code,
        "response_time_ms": round(took_s * 1000),
    }
    return {"status": "success", "result": result}


def _error(message: str, *, status_code: int | None = None) -> Answer:
    return {"status": "error", "result": {"error": message, "status_code": status_code}}
