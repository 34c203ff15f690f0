"""Settling calls from a task: what the ledger holds for each goes into its counters, and its hold comes out.

The gateway does the same for its own calls (proxy/settler.py); here it is done for calls whose gateway is gone.
"""

import logging
from collections.abc import Sequence

from django.db import DataError, IntegrityError

from budgets.gate.sync import SyncGate
from budgets.rules.settlement import Settlement, postings_of
from ledger.posting import post_entries

logger = logging.getLogger(__name__)


def post_and_settle(settlements: Sequence[Settlement], *, gate: SyncGate, now_ms: int) -> set[str]:
    """Posts the entries, then settles each call with what the ledger holds for it. Safe to repeat.

    Returns the ids of calls that the database will never take as they are; they do not hold up the others.
    """
    try:
        posted = post_entries([settlement.entry for settlement in settlements])
    except (DataError, IntegrityError):
        if len(settlements) > 1:  # one of them, and the database does not say which
            return set().union(*(post_and_settle([one], gate=gate, now_ms=now_ms) for one in settlements))
        logger.exception("the ledger refuses call %s", settlements[0].entry.id)
        return {settlements[0].entry.id}
    for settlement in settlements:
        entry = posted[settlement.entry.id]
        for group in settlement.groups:
            gate.settle(
                group.root,
                call_id=settlement.entry.id,
                postings=postings_of(group.windows, cost_nanousd=entry.cost_nanousd, tokens=entry.tokens),
                birth_ms=group.birth_ms,
                transaction=entry.transaction,
                now_ms=now_ms,
            )
    return set()
