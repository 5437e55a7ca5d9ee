"""Refusals of the fair queue.

QueueTimeout         503 queue_timeout       nothing was run or charged; Retry-After says when the queue is likely shorter
DeadlineTooNear      400 deadline_too_near   the tier promises no such haste
DeadlinePassed       400 deadline_passed     it is too late, for the request or for a job that has not begun
"""

from taximeter.kernel.errors import InvalidRequest, Unavailable


class QueueTimeout(Unavailable):
    """The engine's slots were taken for as long as the request could wait."""

    code = "queue_timeout"


class DeadlineTooNear(InvalidRequest):
    """The request may wait, by its service tier, and its deadline leaves no time for that."""

    code = "deadline_too_near"


class DeadlinePassed(InvalidRequest):
    """The result would be worthless: nothing is begun, and nothing charged."""

    code = "deadline_passed"
