"""Keys, entries and calls for the ledger's tests: every field has a value that works, the test names its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any, TypeVar, cast

from django.db import connection

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.rules.admission import Admission, Status
from budgets.rules.calls import new_call_id
from budgets.rules.settlement import Entry, HeldGroup, Settlement, encode
from budgets.services import instant_of, ms_of, parsed_limits
from budgets.usage import query_of
from keys.fields import KeyFields
from keys.models import Key
from keys.profiles import profiles_for
from keys.services import create_key
from ledger.posting import post_entries
from ledger.spends import read_spends
from teams.models import Team
from teams.services import TeamFields, create_team

# In the future, because the store drops counters whose windows have ended by its own clock. A Tuesday.
NOW = datetime(2040, 3, 6, 12, 30, 0, tzinfo=UTC)
NOW_MS = ms_of(NOW)
HOUR_MS = 3600_000
KEY_ID = "11111111-1111-4111-8111-111111111111"

ResultT = TypeVar("ResultT")


def at(text: str) -> datetime:
    """An instant of 2040 in UTC, such as `03-06 12:30` or `03-06 12:30:05`."""
    return datetime.fromisoformat(f"2040-{text}").replace(tzinfo=UTC)


def make_entry(*, at_ms: int = NOW_MS, **fields: Any) -> Entry:
    """Not posted."""
    values: dict[str, Any] = {
        "id": new_call_id(at_ms),
        "kind": "call",
        "finished_ms": at_ms + 1000,
        "key_id": KEY_ID,
        "team_id": None,
        "user_id": None,
        "customer_id": None,
        "run_id": None,
        "tags": (),
        "model": "demo",
        "provider": "demo",
        "upstream_model": "demo",
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "cost_nanousd": 100,
        "hold_nanousd": 200,
        "price_source": "test",
        "is_estimated": False,
        "is_unpriced": False,
        "is_streamed": False,
        "http_status": 200,
        "first_byte_ms": None,
    }
    return Entry(**values | fields)


def posted_entry(**fields: Any) -> Entry:
    entry = make_entry(**fields)
    post_entries([entry])
    return entry


def limits(*entries: tuple[str, float | int], field: str = "max_budget") -> Any:
    """`limits(("1h", 10), ("30d", 500))`: windows and their maxima, in dollars unless `field` says otherwise."""
    return parsed_limits([{"budget_duration": duration, field: maximum} for duration, maximum in entries])


def saved_team(*, now: datetime = NOW, team_id: str | None = None, **fields: Any) -> Team:
    return create_team(cast(TeamFields, fields), now=now, team_id=team_id)


def saved_key(*, now: datetime = NOW, **fields: Any) -> Key:
    return create_key(cast(KeyFields, fields), now=now).key


def windows_of(key: Key, *, at_ms: int = NOW_MS) -> tuple[ActiveWindow, ...]:
    """Every window that a call of the key at that instant would be admitted to."""
    profile = profiles_for([str(key.id)], now=instant_of(at_ms))[str(key.id)]
    return active_windows(profile.scopes, names=names(), root=profile.root, now_ms=at_ms)


def seed(gate: SyncGate, windows: Sequence[ActiveWindow]) -> None:
    """What the gateway does with windows that the store does not know."""
    for active in windows:
        gate.forget(active.counter, since_ms=active.since_ms)
    reading = read_spends([query_of(active) for active in windows])
    for active, spent in zip(windows, reading.sums, strict=True):
        gate.seed(active.claim(Amounts(0, 0)), spent=spent, snapshot=reading.snapshot)


def admitted_call(
    gate: SyncGate, key: Key, *, at_ms: int = NOW_MS, cost: int = 100, hold: int = 200, **fields: Any
) -> Settlement:
    """A call that the gate has admitted, holding `hold`, whose real cost will be `cost`."""
    root = f"team:{key.team_id}" if key.team_id is not None else f"key:{key.id}"
    call = make_entry(
        at_ms=at_ms, key_id=str(key.id), team_id=key.team_id, cost_nanousd=cost, hold_nanousd=hold, **fields
    )
    amounts = Amounts(hold, 1000)
    windows = windows_of(key, at_ms=at_ms)
    held = tuple(active.held(amounts) for active in windows)
    unsettled = make_entry(
        at_ms=at_ms,
        id=call.id,
        kind="unsettled",
        key_id=call.key_id,
        team_id=call.team_id,
        cost_nanousd=hold,
        hold_nanousd=hold,
        is_estimated=True,
        http_status=0,
    )
    record = encode(Settlement(unsettled, (HeldGroup(root, 0, held),)))
    gate._client.zadd(gate.names.roots, {root: at_ms}, gt=True)

    def admit() -> Admission:
        claims = [active.claim(amounts) for active in windows]
        return gate.admit(root, call_id=call.id, record=record, claims=claims, now_ms=at_ms)

    admission = admit()
    while admission.status is Status.UNKNOWN:
        seed(gate, windows)
        admission = admit()
    assert admission.status is Status.ADMITTED
    return Settlement(call, (HeldGroup(root, admission.birth_ms, held),))


def differences(gate: SyncGate, windows: Sequence[ActiveWindow]) -> list[int | None]:
    """Ledger minus counter, of each window; None where the store does not know it."""
    sums = read_spends([query_of(active) for active in windows]).sums
    readings = gate.read([active.counter for active in windows])
    return [
        None if reading.spent is None else spent - reading.spent for spent, reading in zip(sums, readings, strict=True)
    ]


def at_once(*works: Callable[[], ResultT], within_s: float = 60) -> list[ResultT]:
    """Runs each work in a thread of its own, all from the same moment; raises what the first of them raised."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], ResultT]) -> ResultT:
        try:
            barrier.wait(within_s)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(run, work) for work in works]
        return [future.result(timeout=within_s) for future in running]
