"""Refusals of the fair queue.

QueueTimeout         503 queue_timeout       nothing was run or charged; Retry-After says when the queue is likely shorter
DeadlineTooNear      400 deadline_too_near   the tier promises no such haste
"""

from taximeter.kernel.errors import InvalidRequest, Unavailable


class QueueTimeout(Unavailable):
    """The engine's slots were taken for as long as the request could wait."""

    code = "queue_timeout"


class DeadlineTooNear(InvalidRequest):
    """The request may wait, by its service tier, and its deadline leaves no time for that."""

    code = "deadline_too_near"
