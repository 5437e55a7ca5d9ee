"""Who may ride, how much and how fast: the rate limits of keys."""

from taximeter.admission.errors import AboveRateLimit, RateLimited
from taximeter.admission.rules import given_back, refusal, taken

__all__ = ["AboveRateLimit", "RateLimited", "given_back", "refusal", "taken"]
