"""Who may ride, how much and how fast.

limits     requests and Tokens in a time, requests at the same time
wallets    from which accounts a request is paid
plans      grants, subscriptions and their renewals, credit lines
budgets    bounds on what may be spent
approvals  caps on single requests, and what waits for an operator
events     who is told what happened
"""

from taximeter.admission import approvals, events
from taximeter.admission.errors import AboveRateLimit, ConcurrencyLimited, RateLimited
from taximeter.admission.model import Ask
from taximeter.admission.wallets import wallet_legs

__all__ = ["AboveRateLimit", "Ask", "ConcurrencyLimited", "RateLimited", "approvals", "events", "wallet_legs"]
