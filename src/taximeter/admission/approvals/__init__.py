"""Caps on single requests by plan, and the approvals that requests above them wait for.

What a request is held to, and how a job begins when it is approved, is metering's (``metering.approvals``).
"""

from taximeter.admission.approvals.errors import AbovePlanCap, ApprovalDecided, ApprovalNotFound, AskerGone, NeedsApproval
from taximeter.admission.approvals.model import APPROVAL_PREFIX, STATES, Approval, State
from taximeter.admission.approvals.rules import cap_utok, needs_approval, shown

__all__ = [
    "APPROVAL_PREFIX",
    "STATES",
    "AbovePlanCap",
    "Approval",
    "ApprovalDecided",
    "ApprovalNotFound",
    "AskerGone",
    "NeedsApproval",
    "State",
    "cap_utok",
    "needs_approval",
    "shown",
]
