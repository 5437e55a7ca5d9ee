"""Who may ride, how much and how fast: rate limits of keys, caps on requests, approvals; and who is told what happened."""

from taximeter.admission import approvals, events
from taximeter.admission.errors import AboveRateLimit, RateLimited
from taximeter.admission.model import Ask
from taximeter.admission.rules import given_back, refusal, taken
from taximeter.admission.wallets import wallet_legs

__all__ = ["AboveRateLimit", "Ask", "RateLimited", "approvals", "events", "given_back", "refusal", "taken", "wallet_legs"]
