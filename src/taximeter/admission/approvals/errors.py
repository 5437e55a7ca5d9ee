"""Refusals of caps and approvals.

AbovePlanCap     403 above_plan_cap        never fits this plan: no use in sending it again
NeedsApproval    403 needs_approval        waits for an operator
ApprovalNotFound 404 approval_not_found
ApprovalDecided  409 approval_decided      decided, withdrawn or expired before
AskerGone        409 approval_key_revoked  the key that asked may not run anything any more
"""

from taximeter.kernel.errors import NotFound, Refusal


class AbovePlanCap(Refusal):
    """The request may cost more than one request on the project's plan may."""

    code = "above_plan_cap"
    status = 403


class NeedsApproval(Refusal):
    """The request may cost more than its plan allows without an operator's approval, and waits for that."""

    code = "needs_approval"
    status = 403


class ApprovalNotFound(NotFound):
    """There is no such approval, or it is somebody else's."""

    code = "approval_not_found"


class ApprovalDecided(Refusal):
    """The approval does not wait any more."""

    code = "approval_decided"
    status = 409


class AskerGone(Refusal):
    """The key that asked for the job was revoked or has expired since."""

    code = "approval_key_revoked"
    status = 409
