"""The job queue's SQL.

A claim leases a job for some seconds and raises its ``attempt``.  A worker renews the lease while it works;
when it dies, the lease runs out and the next claim takes the job over.  The old worker, should it still
live, holds a stale attempt and can neither report progress nor release the job.
"""

import json
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.jobs.model import Job

_SQL = sql.load("taximeter.jobs")


class JobStore:
    """Reads and moves jobs; each call is one short statement."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim(self, kind: str, lease_s: float) -> Job | None:
        """Lease the oldest job that waits, or whose worker is gone; None when there is none."""
        row = await self._pool.fetchrow(_SQL["claim"], kind, lease_s)
        return None if row is None else _from_row(row)

    async def heartbeat(self, job: Job, lease_s: float, progress: int) -> bool:
        """Renew the lease; False when the job is not this claim's any more (taken over, cancelled, expired)."""
        return bool(await self._pool.fetchval(_SQL["heartbeat"], job.id, job.attempt, lease_s, progress))

    async def release(self, job: Job) -> bool:
        """Put a job back that could not run, or whose worker stops; the claim does not count as a try."""
        return bool(await self._pool.fetchval(_SQL["release"], job.id, job.attempt))

    async def find(self, job_id: UUID, project_id: UUID) -> Job | None:
        """A project's job, unless it was deleted."""
        row = await self._pool.fetchrow(_SQL["find"], job_id, project_id)
        return None if row is None else _from_row(row)

    async def was_made(self, job_id: UUID, project_id: UUID, kind: str) -> bool:
        """Whether a project ever had this job; a deleted one too marks where a page begins."""
        return bool(await self._pool.fetchval(_SQL["was_made"], job_id, project_id, kind))

    async def list_page(self, project_id: UUID, kind: str, after: UUID | None, limit: int, *, newest_first: bool) -> list[Job]:
        """A page of a project's jobs, without deleted ones; ``after`` may have been deleted."""
        name = "list_newest_first" if newest_first else "list_oldest_first"
        rows = await self._pool.fetch(_SQL[name], project_id, kind, after, limit)
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
    return Job(
        id=row["id"],
        project_id=row["project_id"],
        kind=row["kind"],
        state=row["state"],
        payload=json.loads(row["payload"]),
        progress=row["progress"],
        attempt=row["attempt"],
        given_back=row["given_back"],
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
