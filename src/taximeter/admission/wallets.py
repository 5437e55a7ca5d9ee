"""From which accounts a request is paid.  Pure."""

from taximeter.admission.model import Ask
from taximeter.admission.plans.rules import usable
from taximeter.ledger import AccountCode, Leg, operator_account


def wallet_legs(ask: Ask, now_ms: int) -> tuple[Leg, ...]:
    """The legs of a hold on the caller's wallet, in the order in which its accounts are spent; at most ten.

    Grants that are in force and fit the request come first, then the allowance, what was bought, and the credit line.
    """
    caller = ask.caller
    revenue = operator_account(AccountCode.REVENUE, caller.lane)
    legs: tuple[Leg, ...] = (Leg(caller.allowance_account, revenue), Leg(caller.prepaid_account, revenue))
    terms = caller.terms
    if terms.grants:
        legs = (*(Leg(grant.account, revenue) for grant in usable(terms.grants, ask.modality, now_ms)), *legs)
    if terms.postpaid is not None:
        legs = (*legs, Leg(terms.postpaid, revenue))
    return legs
