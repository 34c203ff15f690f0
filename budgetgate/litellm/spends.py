"""What objects of LiteLLM have spent, as corrections in our ledger. In nano-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from budgetgate.litellm.planned import Spent
from budgets.actors import Actor
from budgets.rules.limits import LimitUnit
from ledger.adjustments import Correction, Shown, correct
from ledger.owners import owners_of

REASON = "spend in LiteLLM"


@dataclass(slots=True)
class Wanted:
    """Says for each window of a scope what it shall show; the ledger asks for those that began last first.

    Of windows that LiteLLM has no number of a longer one shows what is known to be spent within it.
    """

    spent: Spent
    least: int = 0

    def __call__(self, shown: Shown) -> int:
        if shown.unit is not LimitUnit.USD or shown.model is not None:
            return shown.spent
        if shown.is_lifetime:
            return max(self.least, self.spent.lifetime_nanousd)
        known = [self.spent.windows.get(f"{LimitUnit.USD.value}/{period}", 0) for period in shown.periods]
        self.least = max(self.least, *known, 0)
        return self.least


def bring_spends(kind: str, spends: Mapping[str, Spent], *, by: Actor, now: datetime) -> None:
    """Lets new scopes of one kind have spent this, by their ids, in the caller's transaction."""
    owners = owners_of(kind, list(spends), now=now)
    corrections = [Correction(owners[scope_id], Wanted(spent)) for scope_id, spent in spends.items()]
    if corrections:
        correct(corrections, by=by, reason=REASON, now=now)
