"""Claims on counters of one root, and what else the tests of the store have in common."""

import itertools
from collections.abc import Sequence

from budgets.gate.protocol import Names
from budgets.gate.sync import SyncGate
from budgets.rules.admission import Admission, Claim, Snapshot
from budgets.rules.calls import new_call_id

ROOT = "team:t1"
HOUR_MS = 3600_000
PREFIXES = itertools.count()
"""Numbers that no other test of this process has had."""


def counter_name(names: Names, number: int = 0) -> str:
    return names.counter(ROOT, kind="key", scope_id="k1", identity=f"usd/{number}h", start_ms=0)


def claim_on(
    counter: str,
    *,
    now_ms: int,
    amount: int = 1,
    maximum: int | None = None,
    strict: bool = True,
    start_ms: int | None = None,
    since_ms: int = 0,
    expires_ms: int | None = None,
) -> Claim:
    """By default a claim on a window that began long after its limit did, but before the store's birth."""
    return Claim(
        counter=counter,
        maximum=maximum,
        amount=amount,
        strict=strict,
        start_ms=now_ms - HOUR_MS if start_ms is None else start_ms,
        since_ms=since_ms,
        expires_ms=now_ms + 6 * HOUR_MS if expires_ms is None else expires_ms,
    )


def snapshot_text(snapshot: Snapshot) -> str:
    return f"{snapshot.xmin}:{snapshot.xmax}:{','.join(str(each) for each in sorted(snapshot.open))}"


EMPTY = Snapshot(1, 1)


def admit(gate: SyncGate, claims: Sequence[Claim], *, now_ms: int, call_id: str | None = None) -> Admission:
    """Admits a call with an id and a record that do not matter."""
    return gate.admit(ROOT, call_id=call_id or new_call_id(now_ms), record=b"r", claims=claims, now_ms=now_ms)
