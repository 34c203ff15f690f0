"""Reconciliation: counters against the ledger, which is right.

A counter lags behind the ledger for the moment between a posting and its settlement, so only a difference that two
looks show is one. It is mended by forgetting the counter and seeding it anew, which is exact whatever is settled
meanwhile.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.services import ms_of
from budgets.usage import query_of, read_spends
from keys.profiles import profiles_for
from ledger.models import Rollup

logger = logging.getLogger(__name__)

BATCH = 500
LOOK_AGAIN_S = 1.0
ACTIVE = timedelta(hours=2)


def repair_counters(*, gate: SyncGate, now: datetime) -> int:
    """Compares the open windows of every key that was used lately; returns how many had to be mended."""
    recent = Rollup.objects.filter(scope_kind="key", hour_at__gte=now - ACTIVE)
    key_ids = list(recent.values_list("scope_id", flat=True).distinct())
    return sum(
        _repair(_windows_of(key_ids[start : start + BATCH], now=now), gate=gate)
        for start in range(0, len(key_ids), BATCH)
    )


def _windows_of(key_ids: Iterable[str], *, now: datetime) -> list[ActiveWindow]:
    windows: dict[str, ActiveWindow] = {}
    for profile in profiles_for(key_ids).values():
        for active in active_windows(profile.scopes, names=names(), root=profile.root, now_ms=ms_of(now)):
            windows[active.counter] = active
    return list(windows.values())


def _repair(windows: Sequence[ActiveWindow], *, gate: SyncGate) -> int:
    suspects = _differing(windows, gate=gate)
    if not suspects:
        return 0
    time.sleep(LOOK_AGAIN_S)
    wrong = _differing(list(suspects.values()), gate=gate)
    for active in wrong.values():
        mend(active, gate=gate)
    return len(wrong)


def _differing(windows: Sequence[ActiveWindow], *, gate: SyncGate) -> dict[str, ActiveWindow]:
    readings = gate.read([active.counter for active in windows])
    sums = read_spends([query_of(active) for active in windows]).sums
    return {
        active.counter: active
        for active, reading, spent in zip(windows, readings, sums, strict=True)
        if reading.spent is not None and reading.spent != spent
    }


def mend(active: ActiveWindow, *, gate: SyncGate) -> None:
    """Sets a counter right from the ledger, and says by how much it was wrong."""
    (before,) = gate.read([active.counter])
    if before.spent is None or not gate.forget(active.counter, since_ms=0, spent=before.spent):
        return
    reading = read_spends([query_of(active)])
    after = gate.seed(active.claim(Amounts(0, 0)), spent=reading.sums[0], snapshot=reading.snapshot)
    logger.warning("counter %s was wrong by %d: %d, now %d", active.counter, before.spent - after, before.spent, after)
