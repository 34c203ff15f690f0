"""Keys, entries and calls for the ledger's tests: every field has a value that works, the test names those it is about."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import connection

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.rules.admission import Admission, Status
from budgets.rules.calls import new_call_id
from budgets.rules.settlement import Entry, Settlement, encode
from budgets.services import ms_of, parsed_limits
from budgets.usage import query_of
from keys.models import Key
from keys.profiles import profiles_for
from keys.services import KeyFields, create_key
from ledger.posting import post_entries
from ledger.spends import read_spends
from teams.models import Team
from teams.services import TeamFields, create_team

NOW = datetime(2026, 3, 10, 12, 30, 0, tzinfo=UTC)
NOW_MS = ms_of(NOW)
HOUR_MS = 3600_000
KEY_ID = "11111111-1111-4111-8111-111111111111"

ResultT = TypeVar("ResultT")


def at(text: str) -> datetime:
    """An instant of 2026 in UTC, such as `03-10 12:30` or `03-10 12:30:05`."""
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def make_entry(*, at_ms: int = NOW_MS, **fields: Any) -> Entry:
    """Not posted."""
    values: dict[str, Any] = {
        "id": new_call_id(at_ms),
        "kind": "call",
        "finished_ms": at_ms + 1000,
        "key_id": KEY_ID,
        "team_id": None,
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
    return create_team(TeamFields(**fields), now=now, team_id=team_id)


def saved_key(*, now: datetime = NOW, **fields: Any) -> Key:
    return create_key(KeyFields(**fields), now=now).key


def windows_of(key: Key, *, at_ms: int = NOW_MS) -> tuple[ActiveWindow, ...]:
    """Every window that a call of the key at that instant would be admitted to."""
    profile = profiles_for([str(key.id)])[str(key.id)]
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
    record = encode(Settlement(unsettled, root, 0, held))
    gate._client.zadd(gate.names.roots, {root: at_ms}, gt=True)

    def admit() -> Admission:
        claims = [active.claim(amounts) for active in windows]
        return gate.admit(root, call_id=call.id, record=record, claims=claims, now_ms=at_ms)

    admission = admit()
    while admission.status is Status.UNKNOWN:
        seed(gate, windows)
        admission = admit()
    assert admission.status is Status.ADMITTED
    return Settlement(call, root, admission.birth_ms, held)


def differences(gate: SyncGate, windows: Sequence[ActiveWindow]) -> list[int | None]:
    """Ledger minus counter, of each window; None where the store does not know it."""
    sums = read_spends([query_of(active) for active in windows]).sums
    readings = gate.read([active.counter for active in windows])
    return [
        None if reading.spent is None else spent - reading.spent for spent, reading in zip(sums, readings, strict=True)
    ]


def at_once(*works: Callable[[], ResultT], within_s: float = 60) -> list[ResultT]:
    """Runs each work in a thread of its own, all from the same moment; raises what the first of them raised."""
    barrier = threading.Barrier(len(works))
    results: dict[int, ResultT] = {}
    errors: list[BaseException] = []

    def run(index: int, work: Callable[[], ResultT]) -> None:
        try:
            barrier.wait(within_s)
            results[index] = work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within_s)
        assert not thread.is_alive(), "a thread did not come back: a deadlock, or far too slow"
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(works))]
