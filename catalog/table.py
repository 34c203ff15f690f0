"""The table that turns a model name into a route without any I/O.

It must not touch the database or the environment in `resolve`: that is on the path of every call. It reads them in
`reload`, which a change of routes or a new day (prices can start on a date) calls. Prices are nano-USD per million
tokens, timeouts seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

from django.conf import settings
from django.utils import timezone

from catalog.accounts import NoAccount, Provider, account_of
from catalog.models import Route
from catalog.price_list import chat_models, listed_model
from catalog.pricing import PriceCard, Rates
from catalog.route_rules import DEMO_PROVIDER, NAME
from catalog.routing import ResolvedRoute

logger = logging.getLogger(__name__)

DEMO_MODEL = "demo"
DEMO_OUTPUT_TOKENS_MAX = 1024
DEMO_CARD = PriceCard(
    rates=Rates.of(input=150_000_000, output=600_000_000, cache_read=75_000_000), source="built-in demo"
)
MODEL_NAME_CHARS_MAX = 200
RESOLVED_MAX = 4096
"""Names whose answer is kept: callers choose the names, so the memory for them is bounded."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One state of the table, replaced as a whole, so that a reader in another thread sees all of it or none."""

    rows: Mapping[str, ResolvedRoute | None]
    names: tuple[str, ...]
    built_in: Callable[[str], ResolvedRoute | None]


class RouteTable:
    """Rows of the database first, then `demo`, then the models of every provider whose key is set."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        connect_timeout_s: float,
        read_timeout_s: float,
        clock: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._providers = providers
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._clock = clock
        self._table = self._build([])

    @classmethod
    def from_settings(cls) -> RouteTable:
        """Knows the built-in models at once, and the rows after the first `reload`."""
        return cls(
            providers=settings.PROVIDERS,
            connect_timeout_s=settings.UPSTREAM_CONNECT_TIMEOUT_S,
            read_timeout_s=settings.UPSTREAM_READ_TIMEOUT_S,
        )

    def reload(self) -> None:
        """Reads the rows and the keys that they name. Synchronous: an async caller uses a thread."""
        self.use(list(Route.objects.select_related("credential").order_by("model_name")))

    def use(self, rows: list[Route]) -> None:
        """Takes these rows, read with their credentials."""
        self._table = self._build(rows)

    def resolve(self, model: str) -> ResolvedRoute | None:
        """The route of a name, or None. `openai/gpt-4o` and `gpt-4o` are two spellings of one name: a row of either
        decides for both, or its price and its switch could be walked around.
        """
        table = self._table
        if len(model) > MODEL_NAME_CHARS_MAX:
            return None
        for name in self._spellings(model):
            if name in table.rows:
                return table.rows[name]
        return table.built_in(model)

    def names(self) -> list[str]:
        """What GET /v1/models lists."""
        return list(self._table.names)

    def built_ins(self) -> list[ResolvedRoute]:
        """The models that work without a row."""
        table = self._table
        return [route for name in table.names if name not in table.rows and (route := table.built_in(name))]

    def _spellings(self, model: str) -> tuple[str, ...]:
        provider, _, bare = model.partition("/")
        if bare:
            return (model, bare) if provider in self._providers else (model,)
        return (model, *(f"{each}/{model}" for each in self._providers))

    def _build(self, rows: list[Route]) -> _Table:
        now = self._clock()
        resolved = {row.model_name: self._row(row, now=now) for row in rows}
        names = [name for name, route in resolved.items() if route]
        names += [name for name in self._built_in_names() if resolved.keys().isdisjoint(self._spellings(name))]
        built_in = lru_cache(maxsize=RESOLVED_MAX)(partial(self._built_in, now=now))
        return _Table(rows=resolved, names=tuple(names), built_in=built_in)

    def _built_in_names(self) -> list[str]:
        keyed = [provider for provider, account in self._providers.items() if account["api_key"]]
        return [DEMO_MODEL, *(name for provider in keyed for name in chat_models(provider))]

    def _built_in(self, name: str, *, now: datetime) -> ResolvedRoute | None:
        """A name goes into headers and into the ledger, which take no control signs: no model has such a name."""
        if not NAME.fullmatch(name):
            return None
        if name == DEMO_MODEL:
            return self._demo()
        provider, _, bare = name.partition("/")
        if bare and provider in self._providers:
            return self._of_provider(bare, provider=provider, now=now, explicit=True)
        found = (self._of_provider(name, provider=each, now=now, explicit=False) for each in self._providers)
        return next(filter(None, found), None)

    def _demo(self) -> ResolvedRoute:
        return ResolvedRoute(
            model=DEMO_MODEL,
            provider=DEMO_PROVIDER,
            upstream_model=DEMO_MODEL,
            base_url="",
            api_key="",
            card=DEMO_CARD,
            output_tokens_max=DEMO_OUTPUT_TOKENS_MAX,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
        )

    def _of_provider(self, name: str, *, provider: str, now: datetime, explicit: bool) -> ResolvedRoute | None:
        """A name that the price list does not know is taken, unpriced, only when the caller named the provider."""
        account = self._providers[provider]
        listed = listed_model(name, provider=provider, now=now)
        if not account["api_key"] or (listed is None and not explicit):
            return None
        return ResolvedRoute(
            model=name if listed else f"{provider}/{name}",
            provider=provider,
            upstream_model=name,
            base_url=account["base_url"],
            api_key=account["api_key"],
            card=listed.card if listed else None,
            output_tokens_max=None,
            connect_timeout_s=self._connect_timeout_s,
            read_timeout_s=self._read_timeout_s,
        )

    def _row(self, row: Route, *, now: datetime) -> ResolvedRoute | None:
        """None for a row that is off or cannot work: its name then answers like one that does not exist."""
        if not row.enabled:
            return None
        account = account_of(row, providers=self._providers)
        if isinstance(account, NoAccount):
            logger.warning("route %s is off: %s", row.model_name, account.reason)
            return None
        return ResolvedRoute(
            model=row.model_name,
            provider=row.provider,
            upstream_model=row.upstream_model,
            base_url=account.base_url,
            api_key=account.api_key.text,
            card=card_of_row(row, now=now),
            output_tokens_max=row.output_tokens_max or _output_tokens_max(row.provider),
            connect_timeout_s=row.connect_timeout_s or self._connect_timeout_s,
            read_timeout_s=row.read_timeout_s or self._read_timeout_s,
        )


def _output_tokens_max(provider: str) -> int | None:
    return DEMO_OUTPUT_TOKENS_MAX if provider == DEMO_PROVIDER else None


def card_of_row(row: Route, *, now: datetime) -> PriceCard | None:
    """The row's own prices, all of them; else the price list's."""
    if row.input_nanousd_per_mtok is not None and row.output_nanousd_per_mtok is not None:
        rates = Rates.of(
            input=row.input_nanousd_per_mtok,
            output=row.output_nanousd_per_mtok,
            cache_read=row.cache_read_nanousd_per_mtok,
            cache_write=row.cache_write_nanousd_per_mtok,
        )
        return PriceCard(rates=rates, source="route")
    if row.provider == DEMO_PROVIDER:
        return DEMO_CARD
    listed = listed_model(row.upstream_model, provider=row.provider, now=now)
    return listed.card if listed else None
