"""What an import asks the ledger for, and what the ledger shows afterwards."""

import io

from django.core.management import call_command

from budgetgate.litellm.planned import Spent
from budgetgate.litellm.spends import Wanted
from budgetgate.tests.litellm.source import LiteLLM
from budgets.rules.limits import LimitUnit
from budgets.rules.windows import LIFETIME, parse_period
from budgets.usage import usage_of
from keys.models import Key
from keys.profiles import limits_of_key
from ledger.adjustments import Shown
from tests.api import NOW


def shown(*durations: str, unit: LimitUnit = LimitUnit.USD, model: str | None = None, spent: int = 0) -> Shown:
    periods = frozenset(LIFETIME if text == "lifetime" else parse_period(text) for text in durations)
    return Shown(unit, periods, model, spent)


def test_longer_windows_show_at_least_what_shorter_ones_do() -> None:
    wanted = Wanted(Spent(50, {"usd/1h": 3, "usd/1mo": 20}))
    assert [wanted(shown(text)) for text in ("1m", "1h", "1d", "1mo", "3mo", "lifetime")] == [0, 3, 3, 20, 20, 50]


def test_only_dollars_of_all_models_are_brought() -> None:
    wanted = Wanted(Spent(50, {"usd/1h": 3}))
    assert wanted(shown("1h", unit=LimitUnit.TOKENS, spent=7)) == 7
    assert wanted(shown("1h", model="gpt-4o", spent=8)) == 8


def test_windows_show_what_they_did_in_litellm(litellm: LiteLLM) -> None:
    limits = [{"budget_duration": "1h", "max_budget": 10}, {"budget_duration": "30d", "max_budget": 500}]
    token = litellm.key("sk-a-a-a-a-a-a-a-a", spend=70.0, budget_limits=limits)
    for duration, started_at, spend in (("1h", "2037-11-23 13:00", 3.5), ("30d", "2037-11-01", 12.25)):
        litellm.add(
            "BudgetWindowSpend",
            entity_type="key",
            entity_id=token,
            window_duration=duration,
            window_start=started_at,
            spend=spend,
        )
    litellm.add("TeamTable", team_id="t1", spend=4.0, max_budget=10.0)
    litellm.add("EndUserTable", user_id="c1", spend=1.0)
    litellm.add("TagTable", tag_name="prod", spend=2.0)
    call_command("import_litellm", "--database-url", litellm.url, stdout=io.StringIO())
    key = Key.objects.get()
    usage = usage_of(limits_of_key(key), root=f"key:{key.id}", now=NOW)
    assert {each.active.limit.identity: each.spent for each in usage} == {
        "usd/1h": 3_500_000_000,
        "usd/1mo": 12_250_000_000,
    }
