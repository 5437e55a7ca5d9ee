"""Rate limits of keys: what the posting function is asked to take and to give back.  Pure.

The limits themselves are decided in the database, in the transaction of the hold (migration 0072), by the generic cell rate
algorithm: a full minute may be used at once, and comes back evenly.
"""

from typing import Any

from taximeter.admission.errors import AboveRateLimit, RateLimited
from taximeter.identity import Caller
from taximeter.kernel.units import format_tokens

NEVER_NS = -1
_NS_PER_S = 1_000_000_000


def taken(caller: Caller, maximum_utok: int) -> dict[str, Any] | None:
    """What a hold takes from its key's limits: one request and its maximum; None for a key without limits."""
    if caller.requests_per_minute is None and caller.tokens_per_minute_utok is None:
        return None
    return {
        "key_id": str(caller.key_id),
        "requests_per_minute": caller.requests_per_minute,
        "tokens_per_minute_utok": caller.tokens_per_minute_utok,
        "amount_utok": maximum_utok,
    }


def given_back(caller: Caller, maximum_utok: int, charged_utok: int) -> dict[str, Any] | None:
    """What a resolution gives back: the Tokens that were taken and not charged."""
    if caller.tokens_per_minute_utok is None or charged_utok >= maximum_utok:
        return None
    return {
        "key_id": str(caller.key_id),
        "tokens_per_minute_utok": caller.tokens_per_minute_utok,
        "amount_utok": maximum_utok - charged_utok,
    }


def refusal(caller: Caller, maximum_utok: int, wait_ns: int) -> RateLimited | AboveRateLimit:
    """What a caller is told whose request its key's limits do not allow now.

    Args:
        caller: whose key it is.
        maximum_utok: what the request may cost at most.
        wait_ns: how long until it would be allowed; NEVER_NS when it would not be.
    """
    limits = []
    if caller.requests_per_minute is not None:
        limits.append(f"{caller.requests_per_minute:,} requests")
    if caller.tokens_per_minute_utok is not None:
        limits.append(f"{format_tokens(caller.tokens_per_minute_utok)} Tokens")
    allowed = " and ".join(limits)
    if wait_ns == NEVER_NS:
        message = f"this request may cost up to {format_tokens(maximum_utok)} Tokens and the key is limited to {allowed} a minute; ask for less"
        return AboveRateLimit(message)
    wait_s = max(-(-wait_ns // _NS_PER_S), 1)
    message = f"the key is limited to {allowed} a minute; nothing was run or charged, try again in {wait_s} s"
    return RateLimited(message, headers={"retry-after": str(wait_s)})
