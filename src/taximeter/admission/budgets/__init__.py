"""Budgets: how much an organisation, a project, a key or an end user may use in a day, a month or any stretch of time."""

from taximeter.admission.budgets.errors import BudgetExceeded, BudgetExists, TooManyBudgets
from taximeter.admission.budgets.model import BUDGETS_MAX, DEFAULT_THRESHOLDS, BudgetState, NewBudget, Scope, Window
from taximeter.admission.budgets.rules import budget_legs
from taximeter.admission.budgets.service import Budgets
from taximeter.admission.budgets.store import BudgetStore
from taximeter.admission.budgets.tasks import BudgetKeeper

__all__ = [
    "BUDGETS_MAX",
    "DEFAULT_THRESHOLDS",
    "BudgetExceeded",
    "BudgetExists",
    "BudgetKeeper",
    "BudgetState",
    "BudgetStore",
    "Budgets",
    "NewBudget",
    "Scope",
    "TooManyBudgets",
    "Window",
    "budget_legs",
]
