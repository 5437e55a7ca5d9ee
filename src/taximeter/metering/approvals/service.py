"""Approvals as operators decide about them and callers look at them."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from taximeter.admission import approvals
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.ledger import Operation, Outcome
from taximeter.metering.approvals.store import ApprovalStore
from taximeter.metering.errors import QuoteUsed

log = logging.getLogger(__name__)

OPERATOR_CHARS_MAX = 200
REASON_CHARS_MAX = 500

Post = Callable[[Operation], Awaitable[Outcome]]
Start = Callable[[approvals.Approval, Post], Awaitable[None]]
"""Holds what a job may cost and queues it, through the given posting function."""


class Approvals:
    """The verbs of the approval routes and commands.

    Args:
        store: where they are.
        start: how a job is begun.
    """

    def __init__(self, store: ApprovalStore, start: Start) -> None:
        self._store = store
        self._start = start

    async def find(self, approval_id: UUID, project_id: UUID | None = None) -> approvals.Approval:
        """One approval, of this project if one is named.  Raises ApprovalNotFound."""
        found = await self._store.find(approval_id, project_id)
        if found is None:
            message = "there is no approval with this id"
            raise approvals.ApprovalNotFound(message)
        return found

    async def list(self, after: UUID | None, project_id: UUID | None, state: approvals.State | None, limit: int) -> Sequence[approvals.Approval]:
        """Newest first; of all projects when none is named."""
        return await self._store.page(after, project_id, state, limit)

    async def history(self, approval_id: UUID) -> Sequence[dict[str, Any]]:
        """Every state that it was in, oldest first."""
        return await self._store.history(approval_id)

    async def approve(self, approval_id: UUID, operator: str, reason: str | None = None) -> approvals.Approval:
        """Let it run at its quoted price: a job now, another request when its sender sends it again.  Once is as good as often.

        When a job cannot be held, it goes on waiting, and the reason stands in ``problem``: what ``hold`` raises is raised.
        Raises ApprovalNotFound, ApprovalDecided, AskerGone, InvalidRequest.
        """
        operator, reason = _text(operator, "operator", OPERATOR_CHARS_MAX), _optional(reason)
        approval = await self.find(approval_id)
        if approval.state == "pending" and approval.is_job:
            try:
                await self._start(approval, lambda operation: self._store.submit_approved(operator, reason, operation))
            except QuoteUsed:
                # Another operator was quicker; what follows tells.
                log.info("%s was started in this moment", approval.public_id)
            except Refusal as refusal:
                await self._store.set_problem(approval_id, refusal.message)
                raise
        elif approval.state == "pending":
            await self._store.decide(approval_id, "approved", operator, reason)
        return await self._as_wanted(approval_id, "approved", "used")

    async def decline(self, approval_id: UUID, operator: str, reason: str) -> approvals.Approval:
        """Do not let it run.  Once is as good as often.  Raises ApprovalNotFound, ApprovalDecided, InvalidRequest."""
        operator, reason = _text(operator, "operator", OPERATOR_CHARS_MAX), _text(reason, "reason", REASON_CHARS_MAX)
        await self.find(approval_id)
        await self._store.decide(approval_id, "declined", operator, reason)
        return await self._as_wanted(approval_id, "declined")

    async def withdraw(self, approval: approvals.Approval) -> bool:
        """Its owner does not want it any more; False when it does not wait any more."""
        return await self._store.decide(approval.id, "withdrawn", None, "withdrawn by its sender")

    async def _as_wanted(self, approval_id: UUID, *states: approvals.State) -> approvals.Approval:
        approval = await self.find(approval_id)
        if approval.state not in states:
            by = f" by {approval.operator}" if approval.operator else ""
            message = f"{approval.public_id} is {approval.state}{by} already; what was decided is not decided again"
            raise approvals.ApprovalDecided(message)
        return approval


def _text(text: str, name: str, chars_max: int) -> str:
    text = text.strip()
    if not 1 <= len(text) <= chars_max or "\0" in text:
        message = f"'{name}' must be a text of 1 to {chars_max} characters"
        raise InvalidRequest(message, param=name)
    return text


def _optional(reason: str | None) -> str | None:
    return None if reason is None or not reason.strip() else _text(reason, "reason", REASON_CHARS_MAX)
