from django.apps import AppConfig


class BudgetgateConfig(AppConfig):
    name = "budgetgate"
