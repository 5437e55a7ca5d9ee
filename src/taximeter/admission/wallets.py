"""From which accounts a request is paid.  Pure."""

from taximeter.admission.model import Ask
from taximeter.ledger import AccountCode, Leg, operator_account


def wallet_legs(ask: Ask) -> tuple[Leg, ...]:
    """The legs of a hold on the caller's wallet, in the order in which its accounts are spent."""
    revenue = operator_account(AccountCode.REVENUE, ask.caller.lane)
    return (Leg(ask.caller.allowance_account, revenue), Leg(ask.caller.prepaid_account, revenue))
