"""The data plane: the life of a call. No Django, no HTTP server, no database: what it needs of them it is given.

    authenticate -> estimate -> admit -> forward -> settle

The middleware does the first three, the view forwards, and whoever reads the end of the answer settles.
"""

import asyncio
import hashlib
import hmac
import logging
from dataclasses import dataclass
from typing import Protocol

import orjson

from budgets.gate.aio import AsyncGate
from budgets.gate.windows import Amounts
from budgets.gate.wire import StoreDown, StoreError
from budgets.rules.admission import Admission, Status, Verdict
from budgets.rules.calls import new_call_id
from budgets.rules.limits import LimitUnit
from budgets.rules.settlement import encode
from catalog.routing import ResolvedRoute
from proxy import errors
from proxy.access import barred, model_denied
from proxy.adapters import openai
from proxy.adapters.demo import demo_answer
from proxy.calls import Call, cost_of, now_ms, settled, unsettled
from proxy.errors import ApiError, Refused
from proxy.estimate import EstimateError, estimate_chat, output_bound_within
from proxy.metering import Measured, estimated
from proxy.payload import payload_of
from proxy.profiles import CachedKey, DatabaseDown, ProfileCache
from proxy.seeding import ReadSpends, Seeder
from proxy.settler import Settler
from proxy.upstream import Answer, Upstream, UpstreamBroken, UpstreamError, UpstreamTimeout

logger = logging.getLogger(__name__)

NOTE_ROOT_MS = 60_000
ROOTS_NOTED_MAX = 100_000
SEED_TRIES = 3


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


class DataPlane:
    """Everything between a request and a provider."""

    def __init__(
        self,
        *,
        settings: PlaneSettings,
        gate: AsyncGate,
        profiles: ProfileCache,
        routes: Routes,
        read_spends: ReadSpends,
        settler: Settler,
        upstream: Upstream,
    ) -> None:
        self.settings = settings
        self.gate = gate
        self.profiles = profiles
        self.routes = routes
        self.settler = settler
        self.upstream = upstream
        self._seeder = Seeder(gate, read_spends=read_spends)
        self._roots_noted: dict[str, int] = {}

    # --- authenticate ---------------------------------------------------------------------------------

    async def authenticate(self, presented: str | None) -> CachedKey | ApiError:
        """The key that a caller presents, if it may make calls now."""
        if not presented:
            return errors.no_key()
        if not presented.startswith("sk-"):
            return errors.malformed_key()
        token_hash = hashlib.sha256(presented.encode()).hexdigest()
        if hmac.compare_digest(token_hash, self.settings.master_key_hash):
            return errors.master_key_calls()
        at_ms = now_ms()
        try:
            key = await self.profiles.get(token_hash, now_ms=at_ms)
        except DatabaseDown:
            return errors.database_down()
        if key is None:
            return errors.unknown_key()
        return barred(key, at_ms=at_ms) or key

    # --- estimate -------------------------------------------------------------------------------------

    def estimate(self, key: CachedKey, body: bytes) -> Call | ApiError:
        """What the call asks for, where it goes, and the most it can cost."""
        parsed = payload_of(body)
        if isinstance(parsed, ApiError):
            return parsed
        payload, body = parsed
        model = payload["model"]
        assert isinstance(model, str), "payload_of lets only texts through"
        route = self.routes.resolve(model)
        denied = model_denied(key, {model} if route is None else {model, route.model})
        if denied is not None:
            return denied
        if route is None:
            return errors.unknown_model(model)
        if route.card is None and not self.settings.admit_unpriced:
            return errors.unpriced_model(model)
        try:
            default = self.settings.output_tokens_default
            estimate = estimate_chat(payload, body=body, route=route, output_tokens_default=default)
        except EstimateError as error:
            return errors.bad_request(str(error), param=error.field)
        at_ms = now_ms()
        amounts = Amounts(estimate.cost_nanousd, estimate.tokens)
        windows = key.windows(at_ms)
        held = tuple(active.held(amounts) for active in windows)
        return Call(new_call_id(at_ms), key, route, payload, body, estimate, windows, held, (), 0, at_ms)

    # --- admit ----------------------------------------------------------------------------------------

    async def admit(self, call: Call) -> ApiError | None:
        """Holds the estimate in every window of the call, or says which window refuses it."""
        try:
            admission = await self._admission(call)
        except StoreDown as error:
            call.is_held = error.perhaps_done
            return self._without_store(call)
        except StoreError:
            logger.exception("call %s: the counter store refuses to admit", call.id)
            self.release(call)
            return errors.store_down()
        except DatabaseDown:
            return errors.database_down()
        except asyncio.CancelledError:
            self.release(call)
            raise
        call.readings, call.birth_ms = admission.readings, admission.birth_ms
        if admission.status in (Status.ADMITTED, Status.ADMITTED_BEFORE):
            self.settler.opened(call.id, root=call.key.root)
            return None
        if admission.status is Status.UNKNOWN:
            return errors.store_down()
        return errors.budget_error(_refused(call), now_ms=call.admitted_ms)

    def _without_store(self, call: Call) -> ApiError | None:
        if not self.settings.admit_while_store_down:
            self.release(call)
            return errors.store_down()
        if call.is_held:
            self.settler.opened(call.id, root=call.key.root)
        return None

    async def _admission(self, call: Call) -> Admission:
        root = call.key.root
        if call.admitted_ms - self._roots_noted.get(root, 0) > NOTE_ROOT_MS:
            await self._note(root, at_ms=call.admitted_ms)
        amounts = Amounts(call.estimate.cost_nanousd, call.estimate.tokens)
        claims = [active.claim(amounts) for active in call.windows]
        record = encode(unsettled(call))
        for _ in range(SEED_TRIES):
            admission = await self.gate.admit(
                root, call_id=call.id, record=record, claims=claims, now_ms=call.admitted_ms
            )
            if admission.status is not Status.UNKNOWN:
                break
            await self._seeder.seed(call.windows, readings=admission.readings)
        if admission.status is Status.ADMITTED and admission.birth_ms > self._roots_noted.get(root, 0):
            await self._note_again(root, at_ms=admission.birth_ms)
        return admission

    async def _note(self, root: str, *, at_ms: int) -> None:
        """Tells the tasks where to look for lost holds; before the hold is there."""
        await self.gate.note_root(root, now_ms=at_ms)
        if len(self._roots_noted) > ROOTS_NOTED_MAX:
            self._roots_noted.clear()
        self._roots_noted[root] = at_ms

    async def _note_again(self, root: str, *, at_ms: int) -> None:
        """The store was emptied since: it has the hold, and must know where to look for it. The call is admitted
        whether or not that works; the next one tries again."""
        try:
            await self._note(root, at_ms=at_ms)
        except (StoreDown, StoreError):
            self._roots_noted.pop(root, None)

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
            call.payload, body=call.body, route=call.route, output_bound=_needed_output_bound(call)
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
        """Takes the hold out of a call that the provider did nothing for."""
        if call.is_settled:
            return
        call.is_settled = True
        if call.is_held:
            self.settler.release(call.id, root=call.key.root, birth_ms=call.birth_ms, windows=call.held)


def _refused(call: Call) -> Refused:
    index = errors.refusing(call.windows, readings=call.readings)
    active, reading = call.windows[index], call.readings[index]
    fits = None
    if active.limit.unit is LimitUnit.USD and reading.verdict is Verdict.TOO_LARGE:
        fits = output_bound_within(
            call.estimate, payload=call.payload, card=call.route.card, room_nanousd=active.limit.maximum or 0
        )
    return Refused(call.id, active, reading, call.held[index].hold, fits)


def _needed_output_bound(call: Call) -> int | None:
    """A strict limit holds only if the answer cannot outgrow the estimate: where the client set no bound, we do."""
    if call.estimate.bound_given or not any(active.limit.enforcement == "strict" for active in call.windows):
        return None
    return call.estimate.output_tokens // call.estimate.choices
