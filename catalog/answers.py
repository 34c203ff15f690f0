"""How the management API shows models and credentials. Prices are exact decimals in USD per token; no secret is shown.

`problem` says why a model cannot be called at the moment, in words without secrets; null where it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings

from budgets.answers import Answer
from budgets.documents import anything, flag, instant, listing, names, nullable, number, record, text
from catalog.accounts import NoAccount, account_of, key_source
from catalog.models import Credential, Route
from catalog.price_list import context_window
from catalog.pricing import PriceCard
from catalog.routing import ResolvedRoute
from catalog.secrets import LostSecretError, unseal
from catalog.table import card_of_row

_OWN_PRICES = {
    "input_cost_per_token": "input_nanousd_per_mtok",
    "output_cost_per_token": "output_nanousd_per_mtok",
    "cache_read_input_token_cost": "cache_read_nanousd_per_mtok",
    "cache_creation_input_token_cost": "cache_write_nanousd_per_mtok",
}
_KEPT_FIRST = ("max_input_tokens", "max_tokens", "mode")
"""What somebody may know better than the price list; it decides nothing."""


_PRICE = "USD per token; null where nobody knows it."
_COUNT = "Tokens; null where nobody knows it."
MODEL_INFO = record(
    "ModelInfo",
    {
        "id": text("The id of the model: its route's, or its name where it needs none."),
        "db_model": flag("Whether it is a route that somebody made."),
        "key": text("The provider's name of the model."),
        "litellm_provider": text("The provider."),
        "mode": anything("What the model does; chat unless the route says otherwise."),
        "max_tokens": anything(_COUNT),
        "max_input_tokens": anything(_COUNT),
        "max_output_tokens": anything(_COUNT),
        "input_cost_per_token": nullable(number(_PRICE, minimum=0)),
        "output_cost_per_token": nullable(number(_PRICE, minimum=0)),
        "cache_read_input_token_cost": nullable(number(_PRICE, minimum=0)),
        "cache_creation_input_token_cost": nullable(number(_PRICE, minimum=0)),
        "price_source": nullable(text("Where the prices come from.")),
        "blocked": flag("Whether the route is switched off."),
        "problem": nullable(text("Why the model cannot be called now; null where it can.")),
        "api_key_from": nullable(text("Where the provider's key comes from; never the key.")),
        "created_at": instant("When the route was made."),
        "updated_at": instant("When it was changed last."),
    },
    required=["id", "db_model", "key", "litellm_provider", "mode", "blocked", "problem"],
    d="What is known of a model, with whatever was given in `model_info`.",
)
_MODEL_FIELDS = {
    "model_name": text("The name that callers use."),
    "litellm_params": anything("Where its calls go, in the words in which it was given; without keys."),
    "model_info": MODEL_INFO,
}
MODEL = record("ModelShown", _MODEL_FIELDS, d="One model.")
MODEL_LIST = record("ModelsShown", {"data": listing(MODEL)}, d="Models.")
ROUTE_ROW = record(
    "RouteRow",
    {
        **_MODEL_FIELDS,
        "model_id": text("The id of the model."),
        "blocked": flag("Whether the route is switched off."),
        "created_at": instant("When it was made."),
        "created_by": nullable(text("Always null; GET /audit/changes says who.")),
        "updated_at": instant("When it was changed last."),
        "updated_by": nullable(text("Always null; GET /audit/changes says who.")),
    },
    d="A route after a change.",
)
GROUP_LIST = record(
    "ModelGroupList",
    {
        "data": listing(
            record(
                "ModelGroup",
                {
                    "model_group": text("The name that callers use."),
                    "providers": names("Where its calls may go."),
                    "max_input_tokens": anything(_COUNT),
                    "max_output_tokens": anything(_COUNT),
                    "input_cost_per_token": nullable(number(_PRICE, minimum=0)),
                    "output_cost_per_token": nullable(number(_PRICE, minimum=0)),
                    "mode": anything("What the model does."),
                    "tpm": anything("Means nothing here: always null."),
                    "rpm": anything("Means nothing here: always null."),
                },
                d="All routes of one name.",
            )
        )
    },
    d="Models by name.",
)
CREDENTIAL = record(
    "CredentialShown",
    {
        "credential_name": text("Its name."),
        "credential_values": anything("`api_base`, where it has one; never the key."),
        "credential_info": anything("Kept as it was given."),
        "has_api_key": flag("Whether it has a key."),
        "problem": nullable(text("Why its key cannot be used; null where it can.")),
        "created_at": instant("When it was made."),
        "updated_at": instant("When it was changed last."),
    },
    d="A credential without its key.",
)
CREDENTIAL_LIST = record(
    "CredentialList",
    {"success": flag("Always true."), "credentials": listing(CREDENTIAL)},
    d="All credentials.",
)
CONNECTION = record(
    "ConnectionTried",
    {
        "status": text("Whether the provider answered.", choices=["success", "error"]),
        "result": anything("What it answered, or why it did not."),
    },
    d="What came of the smallest call.",
)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the lists."""

    provider: str
    works: bool
    answer: Answer


def usd_per_token(nanousd_per_mtok: int) -> Decimal:
    """Exact, without trailing zeros."""
    return Decimal(nanousd_per_mtok).scaleb(-15).normalize()


def route_entry(route: Route, *, now: datetime) -> ModelEntry:
    """A route, with the prices that its calls cost."""
    problem = _problem(route)
    info = _model_info(route.provider, route.upstream_model, card=card_of_row(route, now=now))
    kept = {name: route.info[name] for name in _KEPT_FIRST if name in route.info}
    answer = {
        "model_name": route.model_name,
        "litellm_params": _params(route),
        "model_info": {
            **route.info,
            **info,
            "id": route.public_id,
            "db_model": True,
            "max_tokens": route.output_tokens_max,
            "max_output_tokens": route.output_tokens_max,
            **kept,
            "api_key_from": key_source(route) or None,
            "blocked": not route.enabled,
            "problem": problem,
            "created_at": route.created_at,
            "updated_at": route.updated_at,
        },
    }
    return ModelEntry(route.provider, works=problem is None, answer=answer)


def built_in_entry(route: ResolvedRoute) -> ModelEntry:
    """A model that works without a route, because its provider's key is set."""
    info = _model_info(route.provider, route.upstream_model, card=route.card)
    bounds = {"max_tokens": route.output_tokens_max, "max_output_tokens": route.output_tokens_max}
    answer = {
        "model_name": route.model,
        "litellm_params": {"model": f"{route.provider}/{route.upstream_model}"},
        "model_info": info | bounds | {"id": route.model, "db_model": False, "blocked": False, "problem": None},
    }
    return ModelEntry(route.provider, works=True, answer=answer)


def route_row(route: Route, *, now: datetime) -> Answer:
    """A route as the answer to a write."""
    return route_entry(route, now=now).answer | {
        "model_id": route.public_id,
        "blocked": not route.enabled,
        "created_at": route.created_at,
        "created_by": None,
        "updated_at": route.updated_at,
        "updated_by": None,
    }


def group_answer(entry: ModelEntry) -> Answer:
    """A model as the group of its routes, of which there is one."""
    info: Mapping[str, object] = entry.answer["model_info"]
    names = ("max_input_tokens", "max_output_tokens", "input_cost_per_token", "output_cost_per_token", "mode")
    return {
        "model_group": entry.answer["model_name"],
        "providers": [entry.provider],
        **{name: info[name] for name in names},
        "tpm": None,
        "rpm": None,
    }


def credential_answer(credential: Credential) -> Answer:
    """A credential without its key."""
    values = {"api_base": credential.base_url} if credential.base_url else {}
    return {
        "credential_name": credential.name,
        "credential_values": values,
        "credential_info": credential.info,
        "has_api_key": bool(credential.sealed_api_key),
        "problem": _problem_of_key(credential),
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
    }


def _problem(route: Route) -> str | None:
    if not route.enabled:
        return "it is blocked"
    account = account_of(route, providers=settings.PROVIDERS)
    return account.reason if isinstance(account, NoAccount) else None


def _problem_of_key(credential: Credential) -> str | None:
    try:
        if credential.sealed_api_key:
            unseal(credential.sealed_api_key)
    except LostSecretError as error:
        return f"the key is lost: {error}"
    return None


def _params(route: Route) -> Answer:
    """What was given, in the words in which it was."""
    given: Answer = {
        "model": f"{route.provider}/{route.upstream_model}",
        "api_base": route.base_url,
        "litellm_credential_name": route.credential.name if route.credential else None,
        "timeout": route.read_timeout_s,
    }
    for name, field in _OWN_PRICES.items():
        price = getattr(route, field)
        given[name] = None if price is None else usd_per_token(price)
    return {name: value for name, value in given.items() if value not in (None, "")}


def _model_info(provider: str, upstream_model: str, *, card: PriceCard | None) -> Answer:
    rates = card.rates if card else None
    return {
        "key": upstream_model,
        "litellm_provider": provider,
        "mode": "chat",
        "max_input_tokens": context_window(upstream_model, provider=provider),
        "input_cost_per_token": usd_per_token(rates.input) if rates else None,
        "output_cost_per_token": usd_per_token(rates.output) if rates else None,
        "cache_read_input_token_cost": usd_per_token(rates.cache_read) if rates else None,
        "cache_creation_input_token_cost": usd_per_token(rates.cache_write) if rates else None,
        "price_source": card.source if card else None,
    }
