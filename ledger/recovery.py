"""Recovery: calls of gateways that died, and entries that waited for the database.

A hold that nobody extends any more is charged from its own record, at its estimate, unless the ledger already has the
call. Entries that a gateway could not post lie in the store's stream, or in journal files where the store was down too.
Nothing is dropped: what cannot be read or posted (a defect, or a worker older than the gateway) is reported and kept.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from budgets.gate.sync import SyncGate
from budgets.rules.settlement import Settlement, decode
from ledger.settling import post_and_settle

logger = logging.getLogger(__name__)

BATCH = 500
ROOT_IDLE_MS = 15 * 60_000


def charge_expired_holds(*, gate: SyncGate, now_ms: int) -> int:
    """Charges holds whose time is over, of each root its oldest ones; returns how many."""
    charged = 0
    for root in gate.roots_with_expired_holds(now_ms=now_ms):
        birth_ms = gate.ensured_birth_ms(root, now_ms=now_ms)
        records = gate.expired_holds(root, now_ms=now_ms, most=BATCH)
        taken = _take(list(records.values()), gate=gate, now_ms=now_ms, birth_ms=birth_ms)
        left = [call_id for call_id, is_taken in zip(records, taken, strict=True) if not is_taken]
        if left:
            # Behind all others, and again when it would have expired.
            gate.extend(root, call_ids=left, now_ms=now_ms)
        charged += sum(taken)
        logger.warning("charged %d calls of %s whose gateway is gone", sum(taken), root)
    gate.drop_idle_roots(before_ms=now_ms - ROOT_IDLE_MS)
    return charged


def drain_stream(*, gate: SyncGate, now_ms: int) -> int:
    """Posts entries that wait in the store's stream; returns how many."""
    drained = 0
    last: bytes | None = None
    while messages := gate.spilled(most=BATCH, after=last):
        taken = _take([payload for _, payload in messages], gate=gate, now_ms=now_ms)
        gate.unspill([message_id for (message_id, _), is_taken in zip(messages, taken, strict=True) if is_taken])
        last = messages[-1][0]
        drained += sum(taken)
    return drained


def drain_journals(directory: Path, *, gate: SyncGate, now_ms: int) -> int:
    """Posts entries of journal files that no gateway writes any more; returns how many.

    A gateway closes a journal by renaming it to `*.closed`; a file is removed once the ledger has all of it. What the
    ledger does not take goes to `*.rejected` beside it.
    """
    drained = 0
    for path in sorted(directory.glob("*.closed")):
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:  # another task was faster
            continue
        rejected: list[bytes] = []
        for start in range(0, len(lines), BATCH):
            some = lines[start : start + BATCH]
            taken = _take(some, gate=gate, now_ms=now_ms)
            rejected += [line for line, is_taken in zip(some, taken, strict=True) if not is_taken]
        if rejected:
            path.with_suffix(".rejected").write_bytes(b"\n".join(rejected))
        path.unlink(missing_ok=True)
        drained += len(lines) - len(rejected)
    return drained


def _take(payloads: Sequence[bytes], *, gate: SyncGate, now_ms: int, birth_ms: int | None = None) -> list[bool]:
    """Posts and settles what each payload says; says of each whether the ledger has it."""
    read = [_decoded(payload) for payload in payloads]
    settlements = [settlement for settlement in read if settlement is not None]
    if birth_ms is not None:
        settlements = [_born(settlement, birth_ms=birth_ms) for settlement in settlements]
    refused = post_and_settle(settlements, gate=gate, now_ms=now_ms) if settlements else set()
    return [settlement is not None and settlement.entry.id not in refused for settlement in read]


def _born(settlement: Settlement, *, birth_ms: int) -> Settlement:
    """A hold's record was written before the birth mark was known; it names the windows of its own root only."""
    return replace(settlement, groups=tuple(replace(group, birth_ms=birth_ms) for group in settlement.groups))


def _decoded(payload: bytes) -> Settlement | None:
    try:
        return decode(payload)
    except ValueError:
        logger.exception("a settlement of %d bytes cannot be read", len(payload))
        return None
