"""Recovery: calls of gateways that died, and entries that waited for the database.

A hold that nobody extends any more is charged from its own record, at its estimate, unless the ledger already has the
call. Entries that a gateway could not post lie in the store's stream, or in journal files where the store was down too.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from budgets.gate.sync import SyncGate
from budgets.rules.settlement import Settlement, decode
from ledger.settling import post_and_settle

logger = logging.getLogger(__name__)

BATCH = 500
ROOT_IDLE_MS = 15 * 60_000


def charge_expired_holds(*, gate: SyncGate, now_ms: int) -> int:
    """Charges every hold whose time is over; returns how many there were."""
    charged = 0
    for root in gate.noted_roots():
        birth_ms = gate.birth_ms(root)
        records = gate.expired_holds(root, now_ms=now_ms, most=BATCH)
        if not records or birth_ms is None:
            continue
        settlements = [replace(settlement, birth_ms=birth_ms) for settlement in _decoded(records.values())]
        post_and_settle(settlements, gate=gate, now_ms=now_ms)
        charged += len(settlements)
        logger.warning("charged %d calls of %s whose gateway is gone", len(settlements), root)
    gate.drop_idle_roots(before_ms=now_ms - ROOT_IDLE_MS)
    return charged


def drain_stream(*, gate: SyncGate, now_ms: int) -> int:
    """Posts entries that wait in the store's stream; returns how many."""
    drained = 0
    while messages := gate.spilled(most=BATCH):
        post_and_settle(list(_decoded(payload for _, payload in messages)), gate=gate, now_ms=now_ms)
        gate.unspill([message_id for message_id, _ in messages])
        drained += len(messages)
    return drained


def drain_journals(directory: Path, *, gate: SyncGate, now_ms: int) -> int:
    """Posts entries of journal files that no gateway writes any more; returns how many.

    A gateway closes a journal by renaming it to `*.closed`; a file is removed once the ledger has all of it.
    """
    drained = 0
    for path in sorted(directory.glob("*.closed")):
        settlements = list(_decoded(path.read_bytes().splitlines()))
        for start in range(0, len(settlements), BATCH):
            post_and_settle(settlements[start : start + BATCH], gate=gate, now_ms=now_ms)
        path.unlink(missing_ok=True)
        drained += len(settlements)
    return drained


def _decoded(payloads: Iterable[bytes]) -> Iterator[Settlement]:
    for payload in payloads:
        try:
            yield decode(payload)
        except ValueError:
            logger.exception("a settlement cannot be read and is left out: %d bytes", len(payload))
