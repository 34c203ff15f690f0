from django.apps import AppConfig

from budgetgate import checks  # noqa: F401 - importing registers them


class BudgetgateConfig(AppConfig):
    name = "budgetgate"
