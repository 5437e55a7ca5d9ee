"""A durable job as its row tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

State = Literal["queued", "in_progress", "completed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of ``jobs.jobs``.

    Attributes:
        id: also the id of the hold that pays for it.
        attempt: the fence; only the claim that made this attempt may report.
        given_back: claims that do not count as a try.
        progress: percent.
        object_key: where the result lies in the object store, once there is one.
        object_gone: the result was removed (expired or deleted).
    """

    id: UUID
    project_id: UUID
    kind: str
    state: State
    payload: Mapping[str, Any]
    progress: int
    attempt: int
    given_back: int
    error_code: str | None
    error_message: str | None
    object_key: str | None
    object_bytes: int | None
    object_gone: bool
    result: Mapping[str, Any] | None
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
