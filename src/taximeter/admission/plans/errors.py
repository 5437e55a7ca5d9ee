"""Refusals of plans and wallets.

NotSubscribed           404 not_subscribed
CorrectionAboveBalance  409 correction_above_balance
NotPostpaid             409 not_postpaid
CreditLineInUse         409 credit_line_in_use
"""

from taximeter.kernel.errors import NotFound, Refusal


class NotSubscribed(NotFound):
    """The project has not subscribed to a plan."""

    code = "not_subscribed"


class CorrectionAboveBalance(Refusal):
    """The wallet does not have what the correction takes."""

    code = "correction_above_balance"
    status = 409


class NotPostpaid(Refusal):
    """The project has no credit line, and owes nothing."""

    code = "not_postpaid"
    status = 409


class CreditLineInUse(Refusal):
    """More is owed than the new credit line allows."""

    code = "credit_line_in_use"
    status = 409
