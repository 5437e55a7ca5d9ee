"""Who may ride, how much and how fast: the rate limits of keys; budgets have a face of their own."""

from taximeter.admission.errors import AboveRateLimit, RateLimited
from taximeter.admission.model import Ask
from taximeter.admission.rules import given_back, refusal, taken
from taximeter.admission.wallets import wallet_legs

__all__ = ["AboveRateLimit", "Ask", "RateLimited", "given_back", "refusal", "taken", "wallet_legs"]
