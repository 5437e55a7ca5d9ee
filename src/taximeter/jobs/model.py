"""A durable job as its row tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

State = Literal["queued", "in_progress", "unknown", "completed", "failed"]
Verdict = Literal["completed", "failed", "gone", "cancelled", "none"]
NO_VERDICT = "engine_timeout"
"""The error code of a job that was given up because its provider never said what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtProviders:
    """How things stand with jobs that were ordered from providers.

    Attributes:
        ordered: at a provider now.
        unknown: those of them that give no answer.
        oldest_s: for how long the oldest of these has given none.
        never_known: given up without a verdict, so far.
        unpaid: completed by their provider although nobody was charged, so far: the operator bears these.
    """

    ordered: int
    unknown: int
    oldest_s: float
    never_known: int
    unpaid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of ``jobs.jobs``.

    Attributes:
        id: also the id of the hold that pays for it.
        state: ``unknown``: it is at a provider that gives no answer; in the row it is in progress.
        attempt: the fence; only the claim that made this attempt may report.
        given_back: claims that do not count as a try.
        progress: percent.
        ordered: an order for it went to a provider, or was about to; it is never sent again.
        provider_job: the provider's name of the job.
        provider_until: how long the provider is asked.
        unknown_since: since when the provider gives no answer (or gave none, when the job has ended).
        provider_verdict: what the provider made of it; ``none``: it never said.
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
    ordered: bool = False
    provider_job: str | None = None
    provider_until: datetime | None = None
    unknown_since: datetime | None = None
    unknown_reason: str | None = None
    provider_verdict: Verdict | None = None
