"""Reconciliation: counters against the ledger, which is right.

A counter lags behind the ledger for the moment between a posting and its settlement, and of a busy key some call is
always in that moment: only what differs in every one of several looks is wrong. It is mended by forgetting the counter
and seeding it anew, which is exact whatever is settled meanwhile, also where the counter was right after all.
"""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from budgets.gate.store import names
from budgets.gate.sync import SyncGate
from budgets.gate.windows import ActiveWindow, Amounts, active_windows
from budgets.rules.limits import LimitUnit
from budgets.rules.money import AMOUNT_MAX
from budgets.rules.scopes import CUSTOMER, KEY, TAG
from budgets.services import ms_of
from budgets.usage import query_of, read_spends
from keys.profiles import profiles_for
from ledger.models import Adjustment, Rollup
from ledger.owners import MODELS, Owner, owners_of
from ledger.spends import models_called

logger = logging.getLogger(__name__)

BATCH = 500
WINDOWS_OF_ONE_LOOK = 200
LOOKS = 5
LOOK_AGAIN_S = 0.2
ACTIVE = timedelta(hours=2)
SCOPES_MAX = 10_000


def repair_counters(*, gate: SyncGate, now: datetime) -> int:
    """Compares the open windows of every scope that was used or adjusted lately; returns how many had to be mended."""
    scopes = _in_turn(_active_scopes(now=now), now=now)
    suspects: list[ActiveWindow] = []
    for start in range(0, len(scopes), BATCH):
        suspects += _differing(_windows_of(scopes[start : start + BATCH], now=now), gate=gate)
    for _ in range(LOOKS - 1):
        if suspects:
            time.sleep(LOOK_AGAIN_S)
            suspects = _differing(suspects, gate=gate)
    for active in suspects:
        mend(active, gate=gate)
    return len(suspects)


def _active_scopes(*, now: datetime) -> list[tuple[str, str]]:
    """Kinds and ids. A key brings its team, its user and the membership with it."""
    recent = Rollup.objects.filter(scope_kind__in=(KEY, CUSTOMER, TAG), hour_at__gte=now - ACTIVE)
    adjusted = Adjustment.objects.filter(made_at__gte=now - ACTIVE)
    both = recent.values_list("scope_kind", "scope_id").union(adjusted.values_list("scope_kind", "scope_id"))
    return sorted(both)


def _in_turn(scopes: list[tuple[str, str]], *, now: datetime) -> list[tuple[str, str]]:
    """With more scopes than one run can look at, each minute the next ones."""
    if len(scopes) <= SCOPES_MAX:
        return scopes
    first = ms_of(now) // 60_000 * SCOPES_MAX % len(scopes)
    return (scopes + scopes)[first : first + SCOPES_MAX]


def _windows_of(scopes: Sequence[tuple[str, str]], *, now: datetime) -> list[ActiveWindow]:
    by_kind: dict[str, list[str]] = {}
    for kind, scope_id in scopes:
        by_kind.setdefault(kind, []).append(scope_id)
    owners: list[Owner] = []
    for profile in profiles_for(by_kind.pop(KEY, ()), now=now).values():
        owners += [Owner(limits, profile.root, profile.aliases) for limits in profile.scopes]
    for kind, ids in by_kind.items():
        owners += owners_of(kind, ids, now=now).values() if kind in MODELS else ()
    models = models_called(owner.limits for owner in owners)
    windows: dict[str, ActiveWindow] = {}
    for owner in owners:
        parts = owner.parts(models.get(owner.limits.scope, ()))
        for active in active_windows(parts, names=names(), root=owner.root, now_ms=ms_of(now)):
            if active.limit.unit is not LimitUnit.PARALLEL:
                windows[active.counter] = active
    return list(windows.values())


def _differing(windows: Sequence[ActiveWindow], *, gate: SyncGate) -> list[ActiveWindow]:
    """Known counters that say something else than the ledger, which is asked after them: what is settled in between
    can make a counter look too low, never too high."""
    differing: list[ActiveWindow] = []
    for start in range(0, len(windows), WINDOWS_OF_ONE_LOOK):
        some = windows[start : start + WINDOWS_OF_ONE_LOOK]
        readings = gate.read([active.counter for active in some])
        sums = read_spends([query_of(active) for active in some]).sums
        differing += [
            active
            for active, reading, spent in zip(some, readings, sums, strict=True)
            if reading.spent is not None and min(reading.spent, AMOUNT_MAX) != min(spent, AMOUNT_MAX)
        ]
    return differing


def mend(active: ActiveWindow, *, gate: SyncGate) -> None:
    """Sets a counter right from the ledger, and says by how much it was wrong."""
    (before,) = gate.read([active.counter])
    if before.spent is None or not gate.forget(active.counter, since_ms=0, spent=before.spent):
        return
    reading = read_spends([query_of(active)])
    after = gate.seed(active.claim(Amounts(0, 0)), spent=reading.sums[0], snapshot=reading.snapshot)
    logger.warning("counter %s was wrong by %d: %d, now %d", active.counter, before.spent - after, before.spent, after)
