"""What the limits of single models have spent, for answers. Spends are counted under the name of the model's route."""

from collections.abc import Mapping
from datetime import datetime

from budgets.answers import Answer, usage_answer
from budgets.rules.scopes import Scope, ScopeLimits
from budgets.usage import usages_of
from catalog.table import RouteTable


def model_usage(limits: ScopeLimits, *, root: str, now: datetime, aliases: Mapping[str, str]) -> Answer:
    """`model_max_budget_usage`: the windows of each model that has limits, by the name under which they were given.

    `aliases` are the scope's own names for models.
    """
    if not limits.by_model:
        return {}
    table = RouteTable.from_settings()
    table.reload()
    scopes = []
    for name, counted in limits.by_model.items():
        route = table.resolve(aliases.get(name, name))
        scope = Scope(limits.scope.kind, limits.scope.id, name if route is None else route.model)
        scopes.append((ScopeLimits(scope, limits.calendar, counted), root))
    usages = usages_of(scopes, now=now)
    return {name: usage_answer(usage) for name, usage in zip(limits.by_model, usages, strict=True)}
