"""The data plane: the life of a call. No Django, no HTTP server, no database: what it needs of them it is given.

    authenticate -> estimate -> admit -> forward -> settle

The middleware does the first three, the view forwards, and whoever reads the end of the answer settles.
"""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from budgets.gate.aio import AsyncGate
from budgets.gate.windows import Amounts, run_window
from budgets.rules.calls import new_call_id
from budgets.rules.labels import LabelError
from budgets.rules.scopes import KeyProfile
from catalog.routing import ResolvedRoute
from proxy import errors
from proxy.access import barred, model_denied, spellings_of, target_of
from proxy.adapters import openai
from proxy.adapters.demo import demo_answer
from proxy.admitting import Admitter
from proxy.cache import DatabaseDown
from proxy.calls import Call, cost_of, group_of, now_ms, settled
from proxy.errors import ApiError
from proxy.estimate import Estimate, EstimateError, estimate_chat
from proxy.labels import NO_HEADERS, Labels, labels_of, without_our_tags
from proxy.metering import Measured, estimated
from proxy.payload import payload_of
from proxy.profiles import CachedKey, GuestCache, ProfileCache
from proxy.refusals import needed_output_bound
from proxy.seeding import ReadSpends
from proxy.settler import Settler
from proxy.upstream import Answer, Upstream, UpstreamBroken, UpstreamError, UpstreamTimeout

logger = logging.getLogger(__name__)


class Routes(Protocol):
    """Which public model names there are, and where they go. No I/O."""

    def resolve(self, model: str) -> ResolvedRoute | None: ...
    def names(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class PlaneSettings:
    """What an operator can choose of the data plane."""

    master_key_hash: str
    output_tokens_default: int
    admit_while_store_down: bool
    admit_unpriced: bool
    demo_chunk_delay_s: float
    budget_status: int = 429


def _hash_of(presented: str) -> str:
    return hashlib.sha256(presented.encode()).hexdigest()


class DataPlane:
    """Everything between a request and a provider."""

    def __init__(
        self,
        *,
        settings: PlaneSettings,
        gate: AsyncGate,
        profiles: ProfileCache,
        guests: GuestCache,
        routes: Routes,
        read_spends: ReadSpends,
        settler: Settler,
        upstream: Upstream,
    ) -> None:
        self.settings = settings
        self.gate = gate
        self.profiles = profiles
        self.guests = guests
        self.routes = routes
        self.settler = settler
        self.upstream = upstream
        self._admitter = Admitter(
            gate=gate,
            guests=guests,
            read_spends=read_spends,
            settler=settler,
            admits_unchecked=settings.admit_while_store_down,
            budget_status=settings.budget_status,
        )

    # --- authenticate ---------------------------------------------------------------------------------

    async def authenticate(self, presented: str | None) -> CachedKey | ApiError:
        """The key that a caller presents, if it may make calls now."""
        if not presented:
            return errors.no_key()
        if not presented.startswith("sk-"):
            return errors.malformed_key()
        token_hash = _hash_of(presented)
        if self._is_of_master_key(token_hash):
            return errors.master_key_calls()
        at_ms = now_ms()
        try:
            key = await self.profiles.get(token_hash, now_ms=at_ms)
        except DatabaseDown:
            return errors.database_down()
        if key is None:
            return errors.unknown_key()
        return barred(key.profile, at_ms=at_ms) or key

    def is_master_key(self, presented: str | None) -> bool:
        """Whether it is the key that manages: it makes no calls, but sees what there is to call."""
        return presented is not None and presented.startswith("sk-") and self._is_of_master_key(_hash_of(presented))

    def _is_of_master_key(self, token_hash: str) -> bool:
        return hmac.compare_digest(token_hash, self.settings.master_key_hash)

    # --- estimate -------------------------------------------------------------------------------------

    def estimate(self, key: CachedKey, body: bytes, *, headers: Mapping[str, str] = NO_HEADERS) -> Call | ApiError:
        """What the call asks for, where it goes, and the most it can cost."""
        parsed = payload_of(body)
        if isinstance(parsed, ApiError):
            return parsed
        payload, body = parsed
        asked = payload["model"]
        assert isinstance(asked, str), "payload_of lets only texts through"
        route = self._route(key.profile, asked=asked)
        if isinstance(route, ApiError):
            return route
        try:
            labels = labels_of(payload, headers=headers)
            if (changed := without_our_tags(payload)) is not None:
                payload, body = changed, orjson.dumps(changed)
            default = self.settings.output_tokens_default
            estimate = estimate_chat(payload, body=body, route=route, output_tokens_default=default)
        except (EstimateError, LabelError) as error:
            return errors.bad_request(str(error), param=error.field)
        return self._call(key, asked=asked, route=route, payload=payload, body=body, estimate=estimate, labels=labels)

    def _route(self, profile: KeyProfile, *, asked: str) -> ResolvedRoute | ApiError:
        target = target_of(profile, asked=asked)
        route = self.routes.resolve(target)
        denied = model_denied(profile, asked=asked, names={target} if route is None else {target, route.model})
        if denied is not None:
            return denied
        if route is None:
            return errors.unknown_model(asked)
        if route.card is None and not self.settings.admit_unpriced:
            return errors.unpriced_model(asked)
        return route

    def _call(
        self,
        key: CachedKey,
        *,
        asked: str,
        route: ResolvedRoute,
        payload: dict[str, object],
        body: bytes,
        estimate: Estimate,
        labels: Labels,
    ) -> Call:
        profile, at_ms = key.profile, now_ms()
        windows = key.windows(at_ms)
        if key.has_models:
            spellings = spellings_of(profile, asked=asked, route=route, resolve=self.routes.resolve)
            windows = key.windows_for(at_ms, spellings=spellings, model=route.model)
        if labels.run is not None:
            names = self.gate.names
            run = run_window(labels.run, key_id=profile.key_id, names=names, root=key.root, now_ms=at_ms)
            windows = (*windows, run)
        tags = tuple(dict.fromkeys((*profile.tags, *labels.tags))) if labels.tags else profile.tags
        amounts = Amounts(estimate.cost_nanousd, estimate.tokens)
        home = group_of(key.root, windows, amounts)
        call_id = new_call_id(at_ms)
        return Call(call_id, key, asked, route, payload, body, estimate, labels, tags, amounts, [home], at_ms)

    # --- admit ----------------------------------------------------------------------------------------

    async def admit(self, call: Call) -> ApiError | None:
        """Holds the estimate in every window of the call, or says which window refuses it."""
        if call.tags or call.labels.customer_id is not None:
            denied = await self._admitter.invite(call)
            if denied is not None:
                return denied
        return await self._admitter.admit(call)

    # --- forward --------------------------------------------------------------------------------------

    async def forward(self, call: Call) -> Answer | ApiError:
        """The provider's answer. Where nothing came of it, the hold is released and the call costs nothing."""
        try:
            answer = await self._send(call)
        except UpstreamTimeout as error:
            self._give_up(call, error, http_status=504)
            return errors.upstream_timeout(call.route.provider)
        except UpstreamBroken as error:
            self._give_up(call, error, http_status=502)
            return errors.upstream_unreachable(call.route.provider)
        call.first_byte_ms = now_ms() - call.admitted_ms
        return answer

    def _give_up(self, call: Call, error: UpstreamError, *, http_status: int) -> None:
        """A provider that had begun to answer has read the request at least, and will ask for that."""
        logger.info("call %s: %s broke off: %s", call.id, call.route.provider, error)
        if error.begun:
            self.settle(call, estimated(request_bytes=len(call.body), answer_bytes=0), http_status=http_status)
        else:
            self.release(call)

    async def _send(self, call: Call) -> Answer:
        outgoing = openai.outgoing(
            call.payload, body=call.body, route=call.route, output_bound=needed_output_bound(call)
        )
        call.usage_added = outgoing.usage_added
        if call.route.provider == "demo":
            payload = orjson.loads(outgoing.body)
            return await demo_answer(payload, chunk_delay_s=self.settings.demo_chunk_delay_s)
        headers = openai.request_headers(call.route, call_id=call.id, stream=call.is_streamed)
        return await self.upstream.send(
            call.route, path=openai.PATH, body=outgoing.body, headers=headers, stream=call.is_streamed
        )

    # --- settle ---------------------------------------------------------------------------------------

    def settle(self, call: Call, measured: Measured, *, http_status: int) -> None:
        """Charges what the call used. The client never waits for it."""
        if call.is_settled:
            return
        call.is_settled = True
        call.cost_nanousd = cost_of(call, measured)
        self.settler.charge(settled(call, measured, http_status=http_status))

    def release(self, call: Call) -> None:
        """Takes the holds out of a call that the provider did nothing for."""
        self._admitter.release(call)
