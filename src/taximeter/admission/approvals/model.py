"""An approval: a request above its plan's cap, as it was asked for, and what became of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

APPROVAL_PREFIX = "apr"
State = Literal["pending", "approved", "declined", "expired", "withdrawn", "used"]
STATES: tuple[State, ...] = ("pending", "approved", "declined", "expired", "withdrawn", "used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One row of ``admission.approvals``.

    Attributes:
        id: of a job: also the id that the job will have.
        is_job: the server runs it when it is approved; otherwise its sender sends it again, with the quote.
        request: the body; of what is no job shortened.
        normal: of a job: the request as its engine would get it.
        fingerprint: of the job that it is for, as in its quote.
        idempotency_key: its sender's name for it.
        key_fingerprint: of the body that came with that.
        plan: the plan whose cap it is above.
        cap_utok: that cap.
        maximum_utok: what it may cost at most, by its quote.
        quote: the signed document.
        state: ``used``: a request has run on it and was not released.
        problem: why it could not be started when an operator last approved it.
        used_by: the request that has used it.
    """

    id: UUID
    project_id: UUID
    key_id: UUID
    model: str
    modality: str
    is_job: bool
    request: Mapping[str, Any]
    normal: Mapping[str, Any] | None
    fingerprint: bytes
    idempotency_key: str | None
    key_fingerprint: bytes | None
    plan: str
    cap_utok: int
    maximum_utok: int
    quote_id: UUID
    quote: str
    state: State
    operator: str | None
    reason: str | None
    problem: str | None
    created_at: datetime
    decided_at: datetime | None
    expires_at: datetime
    used_by: UUID | None = None

    @property
    def public_id(self) -> str:
        """``apr_...``."""
        return encode_id(APPROVAL_PREFIX, self.id)

    @property
    def public_quote_id(self) -> str:
        """``quo_...``."""
        return encode_id("quo", self.quote_id)

    @property
    def offer(self) -> dict[str, Any]:
        """The quote, read."""
        offer: dict[str, Any] = json.loads(self.quote)
        return offer

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/approvals``."""
        return {
            "id": self.public_id,
            "object": "approval",
            "state": self.state,
            "project": encode_id("prj", self.project_id),
            "key": encode_id("key", self.key_id),
            "model": self.model,
            "modality": self.modality,
            "plan": self.plan,
            "cap": format_tokens(self.cap_utok),
            "tokens_max": format_tokens(self.maximum_utok),
            "quote": self.public_quote_id,
            "video": encode_id("video", self.id) if self.is_job else None,
            "receipt": None if self.used_by is None else encode_id("rcp", self.used_by),
            "request": self.request,
            "operator": self.operator,
            "reason": self.reason,
            "problem": self.problem,
            "created_at": self.created_at.isoformat(),
            "decided_at": None if self.decided_at is None else self.decided_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }
