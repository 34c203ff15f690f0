"""The composition root of BudgetGate."""

__version__ = "0.1.0"
