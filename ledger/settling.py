"""Settling calls from a task: what the ledger holds for each goes into its counters, and its hold comes out.

The gateway does the same for its own calls (proxy/settler.py); here it is done for calls whose gateway is gone.
"""

from collections.abc import Sequence

from budgets.gate.sync import SyncGate
from budgets.rules.settlement import Settlement, postings_of
from ledger.posting import post_entries


def post_and_settle(settlements: Sequence[Settlement], *, gate: SyncGate, now_ms: int) -> None:
    """Posts the entries, then settles each call with what the ledger holds for it. Safe to repeat."""
    posted = post_entries([settlement.entry for settlement in settlements])
    for settlement in settlements:
        entry = posted[settlement.entry.id]
        gate.settle(
            settlement.root,
            call_id=settlement.entry.id,
            postings=postings_of(settlement.windows, cost_nanousd=entry.cost_nanousd, tokens=entry.tokens),
            birth_ms=settlement.birth_ms,
            transaction=entry.transaction,
            now_ms=now_ms,
        )
