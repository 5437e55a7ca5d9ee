"""Refusals of surge prices.

MultiplierAboveMaximum   412 multiplier_above_maximum   may be sent again when the price has come down: Retry-After
FlexUnavailable          429 flex_unavailable           may be sent again: Retry-After
"""

from taximeter.kernel.errors import Refusal


class MultiplierAboveMaximum(Refusal):
    """The request costs more for each Token consumed than its sender takes now."""

    code = "multiplier_above_maximum"
    status = 412


class FlexUnavailable(Refusal):
    """A cheap tier runs in the time that nobody else wants, and its engine has none now."""

    code = "flex_unavailable"
    status = 429
    openai_type = "rate_limit_error"
