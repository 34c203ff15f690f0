"""The clockwork's tasks: safe to run twice, late, or at once. budgetgate/celery.py schedules them."""

import time

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from budgets.gate.store import sync_gate
from ledger import closing, reconcile, recovery


@shared_task(name="ledger.close_windows")
def close_windows() -> int:
    """Writes the history of windows that have ended and moves the stored `reset_at` on."""
    return closing.close_expired_windows(gate=sync_gate(), now=timezone.now())


@shared_task(name="ledger.recover")
def recover() -> int:
    """Posts entries that waited for the database, then charges calls whose gateway is gone.

    In this order: an entry that waits knows the real cost, its hold only the estimate.
    """
    gate = sync_gate()
    now_ms = int(time.time() * 1000)
    drained = recovery.drain_stream(gate=gate, now_ms=now_ms)
    drained += recovery.drain_journals(settings.DATA_DIR / "journal", gate=gate, now_ms=now_ms)
    return drained + recovery.charge_expired_holds(gate=gate, now_ms=now_ms)


@shared_task(name="ledger.repair_counters")
def repair_counters() -> int:
    """Compares counters with the ledger and mends what differs. Each minute, and so what only has to be done then."""
    closing.make_members_and_customers_due(now=timezone.now())
    return reconcile.repair_counters(gate=sync_gate(), now=timezone.now())
