"""One call: what is known of it from its estimate to its settlement, and the entry that it becomes."""

import time
from dataclasses import dataclass

from budgets.gate.windows import ActiveWindow, Amounts
from budgets.rules.admission import Admission, Claim, Reading, Status
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.settlement import Entry, HeldGroup, HeldWindow, Settlement, encode
from catalog.pricing import Usage, at_service_tier, cost_nanousd
from catalog.routing import ResolvedRoute
from proxy.estimate import Estimate
from proxy.labels import Labels
from proxy.metering import Measured
from proxy.profiles import CachedKey


def now_ms() -> int:
    """The clock of the data plane: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Group:
    """The windows of one root that a call must fit into, and what they said.

    `is_held` False says that the store certainly has no hold of the call there. `is_hidden`: the caller did not name
    this scope and need not know it.
    """

    root: str
    windows: tuple[ActiveWindow, ...]
    held: tuple[HeldWindow, ...]
    readings: tuple[Reading, ...] = ()
    birth_ms: int = 0
    status: Status | None = None
    is_held: bool = False
    is_hidden: bool = False

    def claims(self, amounts: Amounts) -> list[Claim]:
        return [active.claim(amounts) for active in self.windows]

    def take(self, admission: Admission) -> None:
        """What the store answered."""
        self.status, self.birth_ms, self.readings = admission.status, admission.birth_ms, admission.readings
        self.is_held = admission.status in (Status.ADMITTED, Status.ADMITTED_BEFORE)

    def as_held(self) -> HeldGroup:
        return HeldGroup(self.root, self.birth_ms, self.held)


@dataclass(slots=True)
class Call:
    """One call until it is settled. The first of its groups is that of its key; the others are its guests'.

    `asked` is the caller's name of the model, `tags` are the key's and the caller's.
    """

    id: str
    key: CachedKey
    asked: str
    route: ResolvedRoute
    payload: dict[str, object]
    body: bytes
    estimate: Estimate
    labels: Labels
    tags: tuple[str, ...]
    amounts: Amounts
    groups: list[Group]
    admitted_ms: int
    usage_added: bool = False
    first_byte_ms: int | None = None
    cost_nanousd: int | None = None
    is_settled: bool = False

    @property
    def is_streamed(self) -> bool:
        return self.payload.get("stream") is True


def group_of(root: str, windows: tuple[ActiveWindow, ...], amounts: Amounts, *, is_hidden: bool = False) -> Group:
    """A group that nobody was asked about yet."""
    return Group(root, windows, tuple([active.held(amounts) for active in windows]), is_hidden=is_hidden)


def cost_of(call: Call, measured: Measured) -> int:
    """At the service tier that the answer names. Where it names none, at the dearer of the one asked for and the
    standard one, as the hold was reckoned."""
    card = call.route.card
    if card is None:
        return 0
    tier = measured.service_tier or str(call.payload.get("service_tier") or "")
    tier_card = at_service_tier(card, service_tier=tier)
    cost = cost_nanousd(tier_card, measured.usage)
    if tier_card is not card and not measured.service_tier:
        cost = max(cost, cost_nanousd(card, measured.usage))
    return min(cost, AMOUNT_MAX)


def settled(call: Call, measured: Measured, *, http_status: int) -> Settlement:
    """What an ended call, whose cost is known, does to ledger and counters."""
    assert call.cost_nanousd is not None, "the cost is worked out first"
    entry = _entry(call, measured, kind="call", cost_nanousd=call.cost_nanousd, http_status=http_status)
    return Settlement(entry, tuple([group.as_held() for group in call.groups]))


def unsettled(call: Call) -> Entry:
    """What is charged if this gateway dies before the call ends: all that the call may cost."""
    usage = Usage(input_tokens=call.estimate.input_tokens, output_tokens=call.estimate.output_tokens)
    measured = Measured(usage, is_estimated=True)
    return _entry(call, measured, kind="unsettled", cost_nanousd=call.estimate.cost_nanousd, http_status=0)


def record_of(entry: Entry, group: Group) -> bytes:
    """A hold's record names the windows of its own root only: whichever is recovered first posts the entry, each takes
    out its own hold."""
    return encode(Settlement(entry, (HeldGroup(group.root, 0, group.held),)))


def _entry(call: Call, measured: Measured, *, kind: str, cost_nanousd: int, http_status: int) -> Entry:
    profile, labels, usage = call.key.profile, call.labels, measured.usage
    return Entry(
        id=call.id,
        kind=kind,
        finished_ms=now_ms(),
        key_id=profile.key_id,
        team_id=profile.team_id,
        user_id=profile.user_id,
        customer_id=labels.customer_id,
        run_id=None if labels.run is None else labels.run.id,
        tags=call.tags,
        model=call.route.model,
        provider=call.route.provider,
        upstream_model=call.route.upstream_model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_nanousd=cost_nanousd,
        hold_nanousd=call.estimate.cost_nanousd,
        price_source=call.route.card.source if call.route.card is not None else "",
        is_estimated=measured.is_estimated,
        is_unpriced=call.route.card is None,
        is_streamed=call.is_streamed,
        http_status=http_status,
        first_byte_ms=call.first_byte_ms,
    )
