"""Runs video jobs: claim, produce, store, settle.  At least once, and charged at most once."""

import asyncio
import logging
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from taximeter import engines
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.engines import Done, EngineError, EngineFailed, EngineTimeout, EngineUnavailable, Media, Progress
from taximeter.jobs import Job, JobStore
from taximeter.kernel.errors import Refusal
from taximeter.kernel.faults import reach
from taximeter.kernel.ids import encode_id
from taximeter.ledger import Kind, Operation, SettleCode, Status
from taximeter.metering.desk import Desk
from taximeter.metering.model import Outcome
from taximeter.metering.objects import Objects
from taximeter.metering.rules import NOTHING, Terms, bill, encode_fact, receipt_fact
from taximeter.metering.videos import KIND, Payload
from taximeter.meters import BadReport, Estimate

log = logging.getLogger(__name__)

POLL_S = 0.25
BEAT_S = 1.0


@dataclass
class _Take:
    """What one attempt has produced so far."""

    progress: int = 0
    pieces: list[bytes] = field(default_factory=list)
    done: Done | None = None
    settling: bool = False
    """The result is stored and its settlement on the way: the job is not to be made again."""


class VideoRunner:
    """Claims video jobs and runs ``settings.jobs_parallel`` of them at a time."""

    def __init__(self, desk: Desk, jobs: JobStore, objects: Objects) -> None:
        self._desk = desk
        self._jobs = jobs
        self._objects = objects

    async def run(self) -> None:
        """Work until cancelled; a job that is cut short then goes back into the queue."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._desk.settings.jobs_parallel):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            try:
                job = await self._jobs.claim(KIND, self._desk.settings.job_lease_s)
                if job is not None:
                    await self.run_job(job)
                    continue
            except DATABASE_ERRORS as error:
                log.warning("cannot claim a job: %s", error)
                await asyncio.sleep(BEAT_S)
            await asyncio.sleep(POLL_S)

    async def run_job(self, job: Job) -> None:
        """One attempt at a job that this worker has claimed."""
        payload = msgspec.convert(job.payload, Payload)
        attempts_max = self._desk.settings.video_attempts_max
        if job.attempt - job.given_back > attempts_max:
            message = f"its worker died {attempts_max} times while making it; nothing was charged"
            await self._fail(job, payload, EngineFailed(message))
            return
        take = _Take()
        making = asyncio.create_task(self._make(job, payload, take))
        try:
            ours = await self._watch(job, making, take)
            if ours:
                await making
                await self._deliver(job, payload, take)
        except asyncio.CancelledError:
            if not take.settling:
                await asyncio.shield(self._put_back(job, making))
            raise
        except EngineUnavailable as error:
            log.warning("video %s waits: %s", job.id, error.message)
            # Not an attempt: nothing ran.  It waits for the engine to come back, at most until its hold ends.
            await self._jobs.release(job)
            await asyncio.sleep(BEAT_S)
        except (EngineError, BadReport) as error:
            await self._fail(job, payload, error)

    async def _watch(self, job: Job, making: asyncio.Task[None], take: _Take) -> bool:
        """Renew the lease until the work ends; False when the job was taken away meanwhile."""
        while not making.done():
            await asyncio.wait({making}, timeout=BEAT_S)
            try:
                ours = await self._jobs.heartbeat(job, self._desk.settings.job_lease_s, take.progress)
            except DATABASE_ERRORS as error:
                log.warning("video %s: no heartbeat: %s", job.id, error)
                continue
            if not ours:
                log.info("video %s was cancelled or taken over", job.id)
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
                return False
        return True

    async def _make(self, job: Job, payload: Payload, take: _Take) -> None:
        engine = self._desk.engines.get(payload.engine)
        if engine is None:
            message = f"no engine {payload.engine!r} is known to this worker"
            raise EngineUnavailable(message)
        timeout_s = self._desk.settings.video_timeout_s
        order = engines.Job(
            id=encode_id("req", job.id),
            modality="video",
            model=payload.engine_model,
            request=payload.request,
            bound=payload.bound,
            deadline_s=timeout_s,
        )
        try:
            async with asyncio.timeout(timeout_s):
                async for event in engine.run(order):
                    if isinstance(event, Progress):
                        # 100 is for the moment when the file can be fetched.
                        take.progress = min(99, event.done * 100 // max(event.total, 1))
                    elif isinstance(event, Media):
                        take.pieces.append(event.data)
                    elif isinstance(event, Done):
                        take.done = event
        except TimeoutError as error:
            message = f"it was not finished within {timeout_s:g} seconds; nothing was charged"
            raise EngineTimeout(message) from error
        if take.done is None or not take.pieces:
            message = "the engine ended without a result; nothing was charged"
            raise EngineFailed(message)

    async def _deliver(self, job: Job, payload: Payload, take: _Take) -> None:
        done = take.done
        assert done is not None
        reach("metering.video.made")
        charge = bill(self._terms(payload), done.work, measured=done.measured)
        data = b"".join(take.pieces)
        key = f"videos/{job.id}/{job.attempt}.mp4"
        try:
            await self._objects.put(key, data)
        except OSError as error:
            log.exception("video %s cannot be stored", job.id)
            message = "the finished video could not be stored; nothing was charged"
            raise EngineFailed(message) from error
        outcome: Outcome = "truncated" if done.truncated else "completed"
        fact: dict[str, Any] = {
            "receipt": receipt_fact(charge, outcome, None, done.detail, done.engine_ms),
            "job": {"state": "completed", "object_key": key, "object_bytes": len(data), "result": done.detail, "keep_s": payload.keep_s},
        }
        take.settling = True
        reach("metering.video.stored")
        status = await self._resolve(job, payload, Kind.SETTLE, charge.charged_utok, fact)
        if status is not Status.APPLIED and not await self._is_result(job, key):
            # Deleted, expired or finished by another attempt in the meantime: this file belongs to nobody.
            await self._objects.remove(key)

    async def _is_result(self, job: Job, key: str) -> bool:
        """Whether the file is the one that the job's row names: true when only the answer to our settlement was lost."""
        return await self._jobs.object_key(job.id) == key

    async def _fail(self, job: Job, payload: Payload, error: Refusal) -> None:
        reason = f"{error.code}: {error.message}"
        fact: dict[str, Any] = {
            "receipt": receipt_fact(NOTHING, "failed", reason, {"reported_work": getattr(error, "work", {})}, 0),
            "job": {"state": "failed", "error_code": error.code, "error_message": error.message},
        }
        await self._resolve(job, payload, Kind.VOID, 0, fact)
        log.warning("video %s failed: %s", job.id, reason)

    async def _resolve(self, job: Job, payload: Payload, kind: Kind, amount_utok: int, fact: dict[str, Any]) -> Status:
        # A video whose hold was released has failed for its owner: it cannot be fetched, so it is not charged late.
        operation = Operation(id=job.id, kind=kind, lane=payload.lane, amount_utok=amount_utok, code=SettleCode.NEVER_LATE, fact=encode_fact(fact))
        # While the database is away there is nothing else to do than to wait; the spool keeps the result if this worker dies.
        return (await self._desk.settlements.settle_and_wait(operation)).status

    async def _put_back(self, job: Job, making: asyncio.Task[None]) -> None:
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        try:
            await self._jobs.release(job)
        except DATABASE_ERRORS as error:
            log.warning("video %s was not put back, its lease will run out: %s", job.id, error)

    def _terms(self, payload: Payload) -> Terms:
        return Terms(
            card=self._desk.catalog.cards[payload.rate_card],
            meter=payload.meter,
            profile=payload.profile,
            estimate=Estimate(expected=payload.expected, maximum=payload.maximum, bound=payload.bound, request=payload.request),
            multiplier=Decimal(payload.multiplier),
            maximum_utok=payload.maximum_utok,
        )
