"""What budgets need of the Lua scripts, on a real store; that they do all that is specified, test_admission.py says."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from budgets.gate.protocol import (
    COUNTER_GRACE_MS,
    HOLD_LIFE_MS,
    IDLE_LIFE_MS,
    MARK_LIFE_MS,
    Names,
    counter_expires_ms,
    settle_command,
)
from budgets.gate.sync import CounterReading, SyncGate
from budgets.rules.admission import MARGIN_MS, Admission, Posting, Reading, Status, Verdict
from budgets.rules.calls import new_call_id
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.windows import END_OF_TIME_MS, LIFETIME, Calendar, Window, window_at
from budgets.tests.claims import HOUR_MS, ROOT, admit, claim_on, counter_name

# --- admission -----------------------------------------------------------------------------------


def test_strict_window_for_twenty_admits_exactly_twenty_of_fifty(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, maximum=20)
    gate.seed(claim, spent=0, snapshot="1:1:")

    def call(_: int) -> Status:
        return gate.admit(ROOT, call_id=new_call_id(now_ms), record=b"", claims=[claim], now_ms=now_ms).status

    statuses = at_once(call)
    assert statuses.count(Status.ADMITTED) == 20
    assert statuses.count(Status.REFUSED) == 30
    assert gate.read([claim.counter]) == [CounterReading(0, 20, 0)]


def test_reading_then_writing_admits_all_fifty(valkey: Any, names: Names) -> None:
    """The negative control: what a gateway does that decides in its own process."""
    everybody_has_read = threading.Barrier(50)

    def call(_: int) -> Status:
        held = int(valkey.get(names.spill) or 0)
        everybody_has_read.wait(timeout=30)
        if held + 1 > 20:
            return Status.REFUSED
        valkey.incr(names.spill)
        return Status.ADMITTED

    assert at_once(call).count(Status.ADMITTED) == 50


def at_once(call: Callable[[int], Status]) -> list[Status]:
    start = threading.Barrier(50)

    def wait_and_call(number: int) -> Status:
        start.wait(timeout=30)
        return call(number)

    with ThreadPoolExecutor(50) as pool:
        return list(pool.map(wait_and_call, range(50)))


def dump(client: Any, names: Names) -> dict[bytes, tuple[bytes, int]]:
    keys = client.keys(f"{names.prefix}:*")
    return {key: (client.dump(key), client.pexpiretime(key)) for key in keys}


@pytest.mark.parametrize(
    ("changed", "status", "verdict"),
    [
        ({"maximum": 10, "amount": 1}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 12, "amount": 3}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 12, "amount": 13}, Status.REFUSED, Verdict.TOO_LARGE),
        ({"maximum": 14, "amount": 2}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 12, "amount": 2}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 12, "amount": 12}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"maximum": 13, "amount": 1, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 13, "amount": 5, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 13, "amount": 14, "strict": False}, Status.REFUSED, Verdict.IN_FLIGHT),
        ({"maximum": 10, "amount": 0, "strict": False}, Status.REFUSED, Verdict.EXHAUSTED),
        ({"since_ms": 1}, Status.UNKNOWN, Verdict.UNKNOWN),
    ],
)
def test_refused_call_changes_nothing(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int, changed: dict[str, Any], status: Status, verdict: Verdict
) -> None:
    free, full = (claim_on(counter_name(names, number), now_ms=now_ms, amount=3) for number in (1, 2))
    for claim in (free, full):
        gate.seed(claim, spent=10, snapshot="1:1:")
    assert admit(gate, [free, full], now_ms=now_ms).status is Status.ADMITTED
    before = dump(valkey, names)
    answer = admit(gate, [free, full._replace(**changed), free], now_ms=now_ms + 5)
    assert answer.status is status
    assert answer.readings[1] == Reading(verdict, 0 if verdict is Verdict.UNKNOWN else 10, 3)
    assert dump(valkey, names) == before


def test_refused_call_on_an_empty_store_writes_nothing(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    fresh = claim_on(counter_name(names), now_ms=now_ms, maximum=0, start_ms=now_ms + MARGIN_MS + 1)
    assert admit(gate, [fresh], now_ms=now_ms).status is Status.REFUSED
    assert valkey.keys(f"{names.prefix}:*") == []


def test_call_admitted_before_holds_once(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=3, maximum=4)
    gate.seed(claim, spent=0, snapshot="1:1:")
    assert admit(gate, [claim], now_ms=now_ms, call_id="c").status is Status.ADMITTED
    before = dump(valkey, names)
    again = admit(gate, [claim], now_ms=now_ms + 7, call_id="c")
    assert again == Admission(Status.ADMITTED_BEFORE, now_ms, (Reading(Verdict.IN_FLIGHT, 0, 3),))
    assert dump(valkey, names) == before


@pytest.mark.parametrize(("birth", "since"), [(0, -HOUR_MS), (-HOUR_MS, 0)])
@pytest.mark.parametrize(("after", "verdict"), [(MARGIN_MS + 1, Verdict.ROOM), (MARGIN_MS, Verdict.UNKNOWN)])
def test_missing_counter_is_zero_only_of_a_window_that_began_well_after_store_and_limit(
    gate: SyncGate, names: Names, now_ms: int, birth: int, since: int, after: int, verdict: Verdict
) -> None:
    admit(gate, [], now_ms=now_ms + birth)
    claim = claim_on(counter_name(names), now_ms=now_ms, start_ms=now_ms + after, since_ms=now_ms + since)
    assert admit(gate, [claim], now_ms=now_ms + after).readings[0].verdict is verdict


def test_amounts_of_sixteen_digits_stay_exact_to_the_unit(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, maximum=AMOUNT_MAX, amount=1_234_567_890_123_457)
    assert gate.seed(claim, spent=5_000_000_000_000_001, snapshot="1:1:") == 5_000_000_000_000_001
    assert admit(gate, [claim], now_ms=now_ms, call_id="a").status is Status.ADMITTED
    assert admit(gate, [claim._replace(amount=999_999_999_999_999)], now_ms=now_ms, call_id="b").readings == (
        Reading(Verdict.ROOM, 5_000_000_000_000_001, 1_234_567_890_123_457),
    )
    left = AMOUNT_MAX - 5_000_000_000_000_001 - 1_234_567_890_123_457 - 999_999_999_999_999
    assert admit(gate, [claim._replace(amount=left + 1)], now_ms=now_ms).status is Status.REFUSED
    assert admit(gate, [claim._replace(amount=left)], now_ms=now_ms, call_id="c").status is Status.ADMITTED
    assert gate.read([claim.counter])[0].held == AMOUNT_MAX - 5_000_000_000_000_001
    for call_id, hold in (("a", 1_234_567_890_123_457), ("b", 999_999_999_999_999)):
        posting = Posting(claim.counter, hold, hold - 1, claim.expires_ms)
        assert gate.settle(ROOT, call_id=call_id, postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert gate.read([claim.counter])[0] == CounterReading(
        5_000_000_000_000_001 + 1_234_567_890_123_456 + 999_999_999_999_998, left, 0
    )


# --- settlement ----------------------------------------------------------------------------------


def test_settle_replies_with_what_each_window_says_now(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    known, unknown = (claim_on(counter_name(names, number), now_ms=now_ms, amount=9) for number in (1, 2))
    gate.seed(known, spent=100, snapshot="1:1:")
    admit(gate, [known], now_ms=now_ms, call_id="a")
    admit(gate, [known], now_ms=now_ms, call_id="b")
    postings = [Posting(known.counter, 9, 7, known.expires_ms), Posting(unknown.counter, 0, 7, unknown.expires_ms)]
    command = settle_command(names, ROOT, call_id="a", postings=postings, birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert valkey.execute_command(*command) == [1, 107, 9, -1, 0]
    assert valkey.execute_command(*command) == [0, 107, 9, -1, 0]
    foreign = settle_command(names, ROOT, call_id="z", postings=postings, birth_ms=1, transaction=5, now_ms=now_ms)
    assert valkey.execute_command(*foreign) == [2, 114, 9, -1, 0]
    assert valkey.execute_command(*foreign) == [0, 114, 9, -1, 0]


def test_release_takes_the_hold_out_and_puts_nothing_in(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=9)
    gate.seed(claim, spent=100, snapshot="1:1:")
    admit(gate, [claim], now_ms=now_ms, call_id="a")
    posting = Posting(claim.counter, 9, 0, claim.expires_ms)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=0, now_ms=now_ms)
    assert gate.read([claim.counter]) == [CounterReading(100, 0, 0)]


def test_hold_that_is_more_than_is_held_leaves_nothing_held(gate: SyncGate, names: Names, now_ms: int) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms, amount=9)
    gate.seed(claim, spent=100, snapshot="1:1:")
    admit(gate, [claim], now_ms=now_ms, call_id="a")
    posting = Posting(claim.counter, 10, 7, claim.expires_ms)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert gate.read([claim.counter]) == [CounterReading(107, 0, 0)]


def test_release_makes_no_counter_where_there_is_none(gate: SyncGate, valkey: Any, names: Names, now_ms: int) -> None:
    """It would have no expiry."""
    admit(gate, [], now_ms=now_ms, call_id="a")
    posting = Posting(counter_name(names), 10, 0, now_ms + HOUR_MS)
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=0, now_ms=now_ms)
    assert not valkey.exists(posting.counter)


def test_settlement_after_its_counter_expired_leaves_no_counter_behind(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    claim = claim_on(counter_name(names), now_ms=now_ms)
    gate.seed(claim, spent=0, snapshot="1:1:")
    admit(gate, [claim], now_ms=now_ms, call_id="a")
    valkey.delete(claim.counter)
    posting = Posting(claim.counter, 1, 5, claim.expires_ms)
    late = claim.expires_ms
    assert gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=late)
    assert not valkey.exists(claim.counter)
    assert valkey.zcard(names.holds(ROOT)) == 0


# --- lives of keys -------------------------------------------------------------------------------


def test_counters_expire_a_grace_after_their_window_ends(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    window = Window(now_ms - HOUR_MS, now_ms + HOUR_MS)
    expires_ms = counter_expires_ms(window, now_ms=now_ms)
    assert expires_ms == window.end_ms + COUNTER_GRACE_MS
    seeded, fresh, pending = (
        claim_on(counter_name(names, number), now_ms=now_ms, expires_ms=expires_ms) for number in (1, 2, 3)
    )
    fresh = fresh._replace(start_ms=now_ms + MARGIN_MS + 1)
    gate.seed(seeded, spent=0, snapshot="1:1:")
    assert admit(gate, [seeded, fresh], now_ms=now_ms, call_id="a").status is Status.ADMITTED
    later = [claim._replace(expires_ms=expires_ms + HOUR_MS) for claim in (seeded, fresh)]
    assert admit(gate, later, now_ms=now_ms).status is Status.ADMITTED
    posting = Posting(pending.counter, 0, 5, expires_ms)
    gate.settle(ROOT, call_id="a", postings=[posting], birth_ms=now_ms, transaction=5, now_ms=now_ms)
    assert {valkey.pexpiretime(claim.counter) for claim in (seeded, fresh, pending)} == {expires_ms}


def test_lifetime_counters_and_birth_marks_live_on_with_their_use(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    window = window_at(LIFETIME, now_ms, calendar=Calendar())
    assert window.end_ms == END_OF_TIME_MS
    claim = claim_on(counter_name(names), now_ms=now_ms, start_ms=window.start_ms, expires_ms=now_ms + HOUR_MS)
    gate.seed(claim, spent=0, snapshot="1:1:")
    admit(gate, [claim], now_ms=now_ms)
    assert valkey.pttl(names.birth(ROOT)) > IDLE_LIFE_MS - HOUR_MS
    valkey.pexpire(names.birth(ROOT), HOUR_MS)
    used = claim._replace(expires_ms=counter_expires_ms(window, now_ms=now_ms))
    assert used.expires_ms == now_ms + IDLE_LIFE_MS
    assert admit(gate, [used], now_ms=now_ms + 9).birth_ms == now_ms
    assert valkey.pexpiretime(claim.counter) == now_ms + IDLE_LIFE_MS
    assert valkey.pttl(names.birth(ROOT)) > IDLE_LIFE_MS - HOUR_MS
    assert gate.birth_ms(ROOT) == now_ms


def test_mark_of_a_call_settled_without_its_hold_expires(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    assert gate.settle(ROOT, call_id="a", postings=[], birth_ms=1, transaction=5, now_ms=now_ms)
    assert 0 < valkey.pttl(names.mark(ROOT, "a")) <= MARK_LIFE_MS


def test_holds_do_not_expire_by_themselves_but_are_found(
    gate: SyncGate, valkey: Any, names: Names, now_ms: int
) -> None:
    for number in range(3):
        gate.admit(ROOT, call_id=f"c{number}", record=b"r%d" % number, claims=[], now_ms=now_ms + number)
    assert valkey.pttl(names.hold(ROOT, "c0")) == -1
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOLD_LIFE_MS - 1, most=5) == {}
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOLD_LIFE_MS + 1, most=5) == {"c0": b"r0", "c1": b"r1"}
    assert gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=2) == {"c0": b"r0", "c1": b"r1"}
    assert gate.extend(ROOT, call_ids=["c1", "gone", "c0"], now_ms=now_ms + HOUR_MS) == [1, 0, 1]
    assert list(gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=5)) == ["c2"]
    gate.extend(ROOT, call_ids=["c1"], now_ms=now_ms)
    assert list(gate.expired_holds(ROOT, now_ms=now_ms + HOUR_MS, most=5)) == ["c2"]
