"""Refusals of budgets.

BudgetExceeded      402 budget_exceeded      no use in sending it again before the time that the message names
TooManyBudgets      400 too_many_budgets     a request would have to be held on more than six
BudgetExists        409 budget_exists        one of the kind is there: change that one
"""

from taximeter.kernel.errors import InvalidRequest, Refusal


class BudgetExceeded(Refusal):
    """A hard budget does not have what the request may cost at most.

    402 and not 429: the official client sends a 429 three times.
    """

    code = "budget_exceeded"
    status = 402
    openai_type = "insufficient_quota"


class TooManyBudgets(InvalidRequest):
    """With this budget, some request would be bounded by more budgets than a hold has legs for."""

    code = "too_many_budgets"


class BudgetExists(Refusal):
    """The owner has a budget with this window, hard or soft as wanted."""

    code = "budget_exists"
    status = 409
