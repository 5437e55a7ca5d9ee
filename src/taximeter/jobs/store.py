"""The job queue's SQL.

A claim leases a job for some seconds and raises its ``attempt``.  A worker renews the lease while it works;
when it dies, the lease runs out and the next claim takes the job over.  The old worker, should it still
live, holds a stale attempt and can neither report progress nor release the job.

A job that was ordered from a provider is claimed by ``claim_ordered`` alone, and is never queued again.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.jobs.model import NO_VERDICT, AtProviders, Job, State, Verdict

_SQL = sql.load("taximeter.jobs")


class JobStore:
    """Reads and moves jobs; each call is one short statement."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim(
        self,
        kind: str,
        lease_s: float,
        slots: Mapping[str, int] | None = None,
        *,
        calm_s: float = 0.0,
        without: Sequence[str] = (),
        among: tuple[Sequence[str], bool] | None = None,
    ) -> Job | None:
        """Lease a job whose worker is gone, or the next one in fair order (see ``admission.fairness``); None when there is none.

        Args:
            kind: of the job.
            lease_s: how long the claim lasts.
            slots: engines that are not given more jobs than so many at once.
            calm_s: a flex or batch job of an engine whose price surges is left until it is so old, or its deadline leaves no more time.
            without: jobs of these engines and models (``engine name@version``) are left where they are.
            among: jobs of these engines alone or, when it says False, of all but these; None: of all.
        """
        engines = dict(slots or {})
        names, these = among or (None, True)
        row = await self._pool.fetchrow(_SQL["claim"], kind, lease_s, list(engines), list(engines.values()), calm_s, list(without), names, not these)
        return None if row is None else _from_row(row)

    async def claim_late(self, kind: str, lease_s: float) -> Job | None:
        """Lease a job that was not begun when its deadline passed: it is not to be begun any more.  None when there is none."""
        row = await self._pool.fetchrow(_SQL["claim_late"], kind, lease_s)
        return None if row is None else _from_row(row)

    async def claim_ordered(self, kind: str, lease_s: float) -> tuple[Job, float] | None:
        """Lease the job at a provider that is due to be asked about, with the seconds that the provider still has; None when there is none."""
        row = await self._pool.fetchrow(_SQL["claim_ordered"], kind, lease_s)
        return None if row is None else (_from_row(row), row["left_s"])

    async def mark_ordered(self, job: Job, max_s: float) -> bool:
        """Put on record that an order for this job is about to go out; False when it is not this claim's any more.

        The same claim may say so again, as long as it has not sent the order.

        Args:
            job: as it was claimed.
            max_s: how long the provider will be asked what became of it.
        """
        return bool(await self._pool.fetchval(_SQL["mark_ordered"], job.id, job.attempt, max_s))

    async def record_provider_job(self, job_id: UUID, provider_job: str) -> None:
        """Put the provider's name of the job on record, whoever has the claim and also when the job has ended."""
        await self._pool.execute(_SQL["record_provider_job"], job_id, provider_job)

    async def park(self, job: Job, after_s: float) -> bool:
        """Put a job at a provider down; the next claim may come after so many seconds."""
        return bool(await self._pool.fetchval(_SQL["park"], job.id, job.attempt, after_s))

    async def mark_unknown(self, job: Job, retry_s: float, reason: str) -> bool:
        """Put a job down whose provider gives no answer: after ``retry_s`` it may be asked again, later the longer it has been silent.

        Returns whether the time is over for which the provider is asked.
        """
        return bool(await self._pool.fetchval(_SQL["mark_unknown"], job.id, job.attempt, retry_s, reason))

    async def mark_known(self, job: Job) -> None:
        """The provider answers again."""
        await self._pool.execute(_SQL["mark_known"], job.id, job.attempt)

    async def set_verdict(self, job_id: UUID, verdict: Verdict) -> None:
        """Note what the provider made of a job."""
        await self._pool.execute(_SQL["set_verdict"], job_id, verdict)

    async def to_call_off(self, kind: str, limit: int) -> list[tuple[Job, bool]]:
        """Jobs that have failed for us and may still run at their provider, with whether its time is over."""
        return [(_from_row(row), row["overdue"]) for row in await self._pool.fetch(_SQL["to_call_off"], kind, limit)]

    async def list_unknown(self, kind: str, after: UUID | None, limit: int) -> list[Job]:
        """Jobs of all projects whose provider gives no answer, newest first."""
        return [_from_row(row) for row in await self._pool.fetch(_SQL["list_unknown"], kind, after, limit)]

    async def list_never_known(self, kind: str, after: UUID | None, limit: int) -> list[Job]:
        """Jobs of all projects that were given up because their provider never said what became of them, newest first."""
        return [_from_row(row) for row in await self._pool.fetch(_SQL["list_never_known"], kind, after, limit, NO_VERDICT)]

    async def list_unpaid(self, kind: str, after: UUID | None, limit: int) -> list[Job]:
        """Jobs of all projects that a provider completed and nobody was charged for, newest first."""
        return [_from_row(row) for row in await self._pool.fetch(_SQL["list_unpaid"], kind, after, limit)]

    async def at_providers(self) -> AtProviders:
        """How things stand with the providers, for the metrics page."""
        row = await self._pool.fetchrow(_SQL["at_providers"], NO_VERDICT)
        assert row is not None
        return AtProviders(**row)

    async def heartbeat(self, job: Job, lease_s: float, progress: int) -> bool:
        """Renew the lease; False when the job is not this claim's any more (taken over, cancelled, expired)."""
        return bool(await self._pool.fetchval(_SQL["heartbeat"], job.id, job.attempt, lease_s, progress))

    async def release(self, job: Job, rest_max_s: float = 0.0) -> bool:
        """Put a job back that could not run, or whose worker stops; the claim does not count as a try.

        An order that a provider has not taken is as if it had never been sent; one that it has taken cannot be put back.

        Args:
            job: as it was claimed.
            rest_max_s: its engine is away.  It is left for half a second to a second, and for twice as long each time in a row, at most
                for so long; others are claimed meanwhile.  0: it may be claimed at once.
        """
        return bool(await self._pool.fetchval(_SQL["release"], job.id, job.attempt, rest_max_s))

    async def find(self, job_id: UUID, project_id: UUID) -> Job | None:
        """A project's job, unless it was deleted."""
        row = await self._pool.fetchrow(_SQL["find"], job_id, project_id)
        return None if row is None else _from_row(row)

    async def made_at(self, job_id: UUID, project_id: UUID, kind: str) -> datetime | None:
        """When a project's job was queued; a deleted one too marks where a page begins.  None: it never had this job."""
        found: datetime | None = await self._pool.fetchval(_SQL["made_at"], job_id, project_id, kind)
        return found

    async def list_page(self, project_id: UUID, kind: str, after: tuple[UUID, datetime] | None, limit: int, *, newest_first: bool) -> list[Job]:
        """A page of a project's jobs, without deleted ones; ``after`` is an id and its time, whether there is such a job or not."""
        name = "list_newest_first" if newest_first else "list_oldest_first"
        place, made_at = after or (None, None)
        rows = await self._pool.fetch(_SQL[name], project_id, kind, place, limit, made_at)
        return [_from_row(row) for row in rows]

    async def mark_deleted(self, job_id: UUID, project_id: UUID) -> bool:
        """Hide a job from its owner; its receipt stays."""
        return bool(await self._pool.fetchval(_SQL["mark_deleted"], job_id, project_id))

    async def objects_to_remove(self, limit: int) -> list[tuple[UUID, str]]:
        """Results that have expired or whose job was deleted."""
        return [(row["id"], row["object_key"]) for row in await self._pool.fetch(_SQL["objects_to_remove"], limit)]

    async def object_key(self, job_id: UUID) -> str | None:
        """The file that is a job's result, when it has one."""
        key: str | None = await self._pool.fetchval(_SQL["object_key"], job_id)
        return key

    async def mark_object_gone(self, job_id: UUID) -> None:
        """Note that the result was removed."""
        await self._pool.execute(_SQL["mark_object_gone"], job_id)

    async def waiting(self) -> tuple[int, int]:
        """How many jobs are queued and running."""
        row = await self._pool.fetchrow(_SQL["waiting"])
        assert row is not None
        return row["queued"], row["running"]


def _from_row(row: asyncpg.Record) -> Job:
    silent = row["state"] == "in_progress" and row["unknown_since"] is not None
    state: State = "unknown" if silent else row["state"]
    return Job(
        id=row["id"],
        project_id=row["project_id"],
        kind=row["kind"],
        state=state,
        payload=json.loads(row["payload"]),
        progress=row["progress"],
        attempt=row["attempt"],
        given_back=row["given_back"],
        ordered=row["ordered_at"] is not None,
        provider_job=row["provider_job"],
        provider_until=row["provider_until"],
        unknown_since=row["unknown_since"],
        unknown_reason=row["unknown_reason"],
        provider_verdict=row["provider_verdict"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        object_key=row["object_key"],
        object_bytes=row["object_bytes"],
        object_gone=row["object_gone_at"] is not None,
        result=None if row["result"] is None else json.loads(row["result"]),
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        expires_at=row["expires_at"],
    )
