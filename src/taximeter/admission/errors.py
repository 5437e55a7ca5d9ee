"""Refusals of admission.

RateLimited          429 rate_limit_exceeded          may be sent again: Retry-After
ConcurrencyLimited   429 concurrency_limit_exceeded   likewise
AboveRateLimit       400 above_rate_limit             never fits: no use in sending it again
TooManyLimits        400 too_many_limits              to operators
"""

from taximeter.kernel.errors import InvalidRequest, Refusal


class RateLimited(Refusal):
    """A limit of requests or Tokens in a time is used up for now."""

    code = "rate_limit_exceeded"
    status = 429
    openai_type = "rate_limit_error"


class ConcurrencyLimited(Refusal):
    """As many requests as may run at the same time are running."""

    code = "concurrency_limit_exceeded"
    status = 429
    openai_type = "rate_limit_error"


class AboveRateLimit(InvalidRequest):
    """The request alone may use more Tokens than a limit has in all its time."""

    code = "above_rate_limit"


class TooManyLimits(InvalidRequest):
    """A key, project or model has as many limits as may be told to a caller."""

    code = "too_many_limits"
