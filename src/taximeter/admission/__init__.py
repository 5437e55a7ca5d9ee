"""Who may ride, how much and how fast.

limits    requests and Tokens in a time, requests at the same time
wallets   from which accounts a request is paid
"""

from taximeter.admission.errors import AboveRateLimit, ConcurrencyLimited, RateLimited
from taximeter.admission.model import Ask
from taximeter.admission.wallets import wallet_legs

__all__ = ["AboveRateLimit", "Ask", "ConcurrencyLimited", "RateLimited", "wallet_legs"]
