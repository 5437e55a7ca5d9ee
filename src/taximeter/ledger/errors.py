"""Refusals of the ledger.

InsufficientBalance   402 insufficient_balance
AccountClosed         403 account_closed
LedgerBusy            503 ledger_busy            the queue is full
LedgerUnavailable     503 ledger_unavailable     the database does not answer
DifferentBody         409 id_reused              an id came back with another body
"""

from taximeter.kernel.errors import Refusal, Unavailable


class InsufficientBalance(Refusal):
    """The wallet does not have what the request may cost at most.

    402 and not 429: the official client sends a 429 three times.
    """

    code = "insufficient_balance"
    status = 402
    openai_type = "insufficient_quota"


class AccountClosed(Refusal):
    """The wallet takes no new holds."""

    code = "account_closed"
    status = 403
    openai_type = "permission_error"


class LedgerBusy(Unavailable):
    """More operations wait than the queue may hold."""

    code = "ledger_busy"


class LedgerUnavailable(Unavailable):
    """The database does not answer; no new request is accepted meanwhile."""

    code = "ledger_unavailable"


class DifferentBody(Refusal):
    """The id of an earlier operation came with another body."""

    code = "id_reused"
    status = 409
