"""Events, webhooks, and deliveries of the one to the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from taximeter.kernel.ids import encode_id

EVENT_PREFIX = "evt"
WEBHOOK_PREFIX = "whk"
DELIVERY_PREFIX = "dlv"

DeliveryState = Literal["pending", "delivered", "failed"]

TYPES = (
    "approval.decided",
    "approval.requested",
    "breaker.changed",
    "budget.threshold",
    "credit.low",
    "grant.expired",
    "grant.expiring",
    "limit.changed",
    "plan.changed",
    "subscription.renewed",
    "surge.changed",
    "wallet.low",
    "webhook.disabled",
    "webhook.test",
)
"""Every type of event that there is; whatever calls ``admission.emit`` names one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Attributes:
        type: such as ``budget.threshold``.
        project_id: whom it is about; None: the whole installation, or an organisation that ``data`` names.
    """

    id: UUID
    type: str
    project_id: UUID | None
    data: Mapping[str, Any]
    created_at: datetime

    @property
    def public_id(self) -> str:
        """``evt_...``."""
        return encode_id(EVENT_PREFIX, self.id)

    def payload(self) -> dict[str, Any]:
        """The body of a webhook, by the Standard Webhooks."""
        project = {} if self.project_id is None else {"project": encode_id("prj", self.project_id)}
        return {"type": self.type, "timestamp": self.created_at.isoformat(), "data": {**project, **self.data}}

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/admin/events``."""
        return {"id": self.public_id, "object": "event", **self.payload()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Somebody who is told.

    Attributes:
        project_id: tell what happens to this project; with neither it nor the next: everything.
        organisation_id: tell what happens to all projects of this organisation.
        types: what to tell; ``approval.*`` means all that begin so; empty: everything.
        secret: that signs, ``whsec_...``.
        old_secret: that signs as well, until ``old_secret_until``.
        disabled_reason: why nothing is sent to it.
    """

    id: UUID
    project_id: UUID | None
    organisation_id: UUID | None
    url: str
    types: tuple[str, ...]
    secret: str
    old_secret: str | None
    old_secret_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime

    @property
    def public_id(self) -> str:
        """``whk_...``."""
        return encode_id(WEBHOOK_PREFIX, self.id)

    def to_api(self, *, with_secret: bool = False) -> dict[str, Any]:
        """One entry of ``GET /v1/admin/webhooks``; its secret is shown when it was made, and never again."""
        view = {
            "id": self.public_id,
            "object": "webhook",
            "url": self.url,
            "types": list(self.types),
            "project_id": None if self.project_id is None else encode_id("prj", self.project_id),
            "organisation_id": None if self.organisation_id is None else encode_id("org", self.organisation_id),
            "disabled": self.disabled_at is not None,
            "disabled_at": None if self.disabled_at is None else self.disabled_at.isoformat(),
            "disabled_reason": self.disabled_reason,
            "old_secret_until": None if self.old_secret_until is None else self.old_secret_until.isoformat(),
            "created_at": self.created_at.isoformat(),
        }
        return {**view, "secret": self.secret} if with_secret else view


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one webhook.

    Attributes:
        attempts: how many were begun.
        next_at: when the next one is made, while it is pending.
        response_status: of the last answer; None: there was none.
        error: what was wrong with the last attempt.
        history: every attempt that came to an end, oldest first.
    """

    id: UUID
    event_id: UUID
    type: str
    state: DeliveryState
    attempts: int
    next_at: datetime
    response_status: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    history: tuple[Mapping[str, Any], ...] = ()

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/admin/webhooks/{id}/deliveries``."""
        return {
            "id": encode_id(DELIVERY_PREFIX, self.id),
            "object": "webhook.delivery",
            "event": encode_id(EVENT_PREFIX, self.event_id),
            "type": self.type,
            "state": self.state,
            "attempts": self.attempts,
            "next_at": self.next_at.isoformat() if self.state == "pending" else None,
            "response_status": self.response_status,
            "error": self.error,
            "history": [dict(attempt) for attempt in self.history],
            "created_at": self.created_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A delivery that a worker has claimed: what to send, and where.

    Attributes:
        attempt: which one this is, from 1 up; also the fence that its report must name.
        secrets: that sign it.
    """

    id: UUID
    webhook_id: UUID
    url: str
    secrets: tuple[str, ...]
    attempt: int
    event: Event


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one attempt.

    Attributes:
        status: of the answer; None: there was none.
        error: what went wrong; None: nothing.
        retry_after_s: what the receiver asks for.
        duration_ms: from the first byte out to the last one that was waited for.
    """

    status: int | None
    error: str | None
    retry_after_s: float | None = None
    duration_ms: int = 0
