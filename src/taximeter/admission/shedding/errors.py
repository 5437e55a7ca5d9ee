"""Refusals of load shedding.

Overloaded           503 overloaded   nothing was held: Retry-After
"""

from taximeter.kernel.errors import Unavailable


class Overloaded(Unavailable):
    """More work is in flight than could start within the patience of the request's service tier."""

    code = "overloaded"
