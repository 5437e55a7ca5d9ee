"""Refusals of admission.

RateLimited          429 rate_limit_exceeded   may be sent again: Retry-After
AboveRateLimit       400 above_rate_limit      never fits: no use in sending it again
"""

from taximeter.kernel.errors import InvalidRequest, Refusal


class RateLimited(Refusal):
    """The key has used up this minute's requests or Tokens."""

    code = "rate_limit_exceeded"
    status = 429
    openai_type = "rate_limit_error"


class AboveRateLimit(InvalidRequest):
    """The request alone may use more Tokens than the key has in a minute."""

    code = "above_rate_limit"
