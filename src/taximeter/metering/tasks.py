"""Runs video jobs: claim, produce, store, settle.  At least once, and charged at most once.

A job that its engine orders from a provider is ordered by whoever claims it first, beside the films that are made here, and then
watched by ``claim_ordered``.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.admission import breakers, fairness
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.engines import Done, EngineError, EngineFailed, EngineTimeout, EngineUnavailable, Event, Media, Progress, Started
from taximeter.jobs import Job, JobStore
from taximeter.kernel.errors import Refusal
from taximeter.kernel.faults import reach
from taximeter.ledger import Kind, Operation, SettleCode, Status
from taximeter.metering.claims import Claims
from taximeter.metering.desk import Desk
from taximeter.metering.guard import Passage
from taximeter.metering.model import Outcome
from taximeter.metering.objects import Objects
from taximeter.metering.payload import Payload
from taximeter.metering.providers import Providers
from taximeter.metering.rules import NOTHING, Terms, bill, encode_fact, receipt_fact
from taximeter.meters import BadReport, Estimate
from taximeter.pricing import Factors

log = logging.getLogger(__name__)

POLL_S = 0.25
LATE_S = 2.0
BEAT_S = 1.0
ORDER_GRACE_S = 5.0
"""How long the answer to an order is waited for when the worker is told to stop, or the job was deleted."""
WATCH_S = 30.0
"""How long a job at a provider is watched before it gives way to others that are due."""


@dataclass
class _Take:
    """What one attempt has produced so far."""

    progress: int = 0
    pieces: list[bytes] = field(default_factory=list)
    done: Done | None = None
    settling: bool = False
    """The result is stored and its settlement on the way: the job is not to be made again."""
    ordering: bool = False
    """An order is on its way to a provider, or was taken by this attempt."""
    taken: bool = False
    """The provider has taken the order of this attempt: from here on it is watched."""
    lost: bool = False
    """The job was taken away before it was ordered."""
    answered: bool = False
    """The provider has said how the job stands."""
    watch_ends_s: float = 0.0
    """When this watch of a job at a provider is over, on the event loop's clock."""


class VideoRunner:
    """Claims video jobs and runs ``settings.jobs_parallel`` of them at a time."""

    def __init__(self, desk: Desk, jobs: JobStore, objects: Objects) -> None:
        self._desk = desk
        self._jobs = jobs
        self._objects = objects
        self._providers = Providers(desk, jobs)
        self._claims = Claims(desk, jobs)

    async def run(self) -> None:
        """Work until cancelled; a job that is cut short then goes back into the queue, or is watched by another worker."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._desk.settings.jobs_parallel):
                group.create_task(self._work())
            # Ordering and watching take nothing but patience: no film that is made here keeps them waiting.
            group.create_task(self._side_by_side(group, self._claims.to_order))
            group.create_task(self._side_by_side(group, self._claims.ordered))
            group.create_task(self._providers.call_off_all())
            group.create_task(self._give_up_late())

    async def _side_by_side(self, group: asyncio.TaskGroup, claim: Callable[[], Awaitable[tuple[Job, float] | None]]) -> None:
        """Claim jobs of providers, and wait for them side by side."""
        waiting: set[asyncio.Task[None]] = set()
        while True:
            claimed = None
            if len(waiting) < self._desk.settings.provider_jobs_parallel:
                try:
                    claimed = await claim()
                except DATABASE_ERRORS as error:
                    log.warning("cannot claim a job of a provider: %s", error)
                    await asyncio.sleep(BEAT_S)
            if claimed is None:
                await asyncio.sleep(POLL_S)
                continue
            task = group.create_task(self._wait_for_one(*claimed))
            waiting.add(task)
            task.add_done_callback(waiting.discard)

    async def _wait_for_one(self, job: Job, left_s: float) -> None:
        try:
            await self._try_job(job, left_s)
        except DATABASE_ERRORS as error:
            log.warning("video %s of a provider: %s; its lease will run out", job.id, error)

    async def _work(self) -> None:
        while True:
            try:
                job = await self._claims.to_make()
                if job is not None:
                    await self._try_job(job)
                    continue
            except DATABASE_ERRORS as error:
                log.warning("cannot claim a job: %s", error)
                await asyncio.sleep(BEAT_S)
            await asyncio.sleep(POLL_S)

    async def _give_up_late(self) -> None:
        while True:
            try:
                while (job := await self._claims.late()) is not None:
                    await self.give_up_late(job)
            except DATABASE_ERRORS as error:
                log.warning("cannot give up jobs that come too late: %s", error)
            await asyncio.sleep(LATE_S)

    async def give_up_late(self, job: Job) -> None:
        """Release the hold of a job that was not begun when its deadline passed."""
        message = "its deadline passed before it could be begun; nothing was run or charged"
        await self._fail(job, msgspec.convert(job.payload, Payload), fairness.DeadlinePassed(message))

    async def _try_job(self, job: Job, left_s: float = 0.0) -> None:
        """As ``run_job``; a bug that one job meets must not take the other jobs, and then the server, along."""
        try:
            await self.run_job(job, left_s)
        except DATABASE_ERRORS:
            raise
        except Exception:
            # Its lease runs out, and it is tried again as often as if its worker had died.
            log.exception("video %s met a bug", job.id)
            await asyncio.sleep(BEAT_S)

    async def run_job(self, job: Job, left_s: float = 0.0) -> None:
        """One attempt at a job that this worker has claimed.

        Args:
            job: queued, or taken over from a worker that died; or one at a provider.
            left_s: for how long the provider is still to be asked.
        """
        payload = msgspec.convert(job.payload, Payload)
        attempts_max = self._desk.settings.video_attempts_max
        if not job.ordered and job.attempt - job.given_back > attempts_max:
            message = f"its worker died {attempts_max} times while making it; nothing was charged"
            await self._fail(job, payload, EngineFailed(message))
            return
        try:
            passage = self._enter(job, payload)
        except breakers.EngineCircuitOpen:
            # Another job was the probe in the meantime.  Not an attempt: nothing ran.
            await self._jobs.release(job)
            return
        try:
            await self._run_under(passage, job, payload, left_s)
        finally:
            passage.given_back()

    def _enter(self, job: Job, payload: Payload) -> Passage:
        """Leave to call the job's engine.  Raises EngineCircuitOpen."""
        guard = self._desk.guard
        if job.ordered:
            return guard.watched(payload.engine, payload.model_id, job.project_id)
        return guard.claimed(payload.engine, payload.model_id, self._desk.settings.video_timeout_s, job.project_id)

    async def _run_under(self, passage: Passage, job: Job, payload: Payload, left_s: float) -> None:
        take = _Take()
        making = asyncio.create_task(self._make(job, payload, take, left_s))
        try:
            ours = await self._watch(job, making, take)
            if ours:
                await making
                if take.taken:
                    passage.succeeded()
                    await self._jobs.park(job, 0.0)
                elif not take.lost:
                    await self._deliver(job, payload, take, passage)
        except asyncio.CancelledError:
            if not take.settling:
                await asyncio.shield(self._put_back(job, making, take))
            raise
        except (EngineError, BadReport) as error:
            if not (job.ordered and self._is_still_made(take, left_s)):
                passage.failed(error)
            await self._end_without_result(job, payload, take, error, left_s)

    async def _end_without_result(self, job: Job, payload: Payload, take: _Take, error: EngineError | BadReport, left_s: float) -> None:
        at_provider = job.ordered or take.ordering
        nothing_taken = isinstance(error, EngineUnavailable) and not job.ordered and not take.taken
        if nothing_taken:
            log.warning("video %s waits: %s", job.id, error.message)
            # Not an attempt: nothing ran.  It waits for the engine to come back, at most until its hold ends, and others go first.
            await self._jobs.release(job, self._desk.settings.job_rest_max_s)
            await asyncio.sleep(POLL_S)
            return
        if at_provider and isinstance(error, (EngineTimeout, EngineUnavailable)):
            if job.ordered and self._is_still_made(take, left_s):
                await self._jobs.park(job, self._desk.settings.provider_poll_s)
                return
            given_up = await self._providers.no_answer(job, error)
            if given_up is not None:
                await self._fail(job, payload, given_up)
            return
        if at_provider:
            # Work that was done will be on the provider's bill, whatever became of the result.
            await self._jobs.set_verdict(job.id, "completed" if take.done is not None or getattr(error, "work", None) else "failed")
        await self._fail(job, payload, error)

    def _is_still_made(self, take: _Take, left_s: float) -> bool:
        """Whether the watch was long enough, the provider answered to its end, and has time left."""
        return take.answered and asyncio.get_running_loop().time() >= take.watch_ends_s and left_s > min(self._desk.settings.video_timeout_s, WATCH_S)

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
                await self._let_order_through(making, take)
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
                return False
        return True

    async def _let_order_through(self, making: asyncio.Task[None], take: _Take) -> None:
        """An order that is on its way is not cut off: its answer names the job that may have to be called off."""
        if take.ordering and not take.taken:
            await asyncio.wait({making}, timeout=ORDER_GRACE_S)

    async def _make(self, job: Job, payload: Payload, take: _Take, left_s: float) -> None:
        engine = self._desk.engines.get(payload.engine)
        if engine is None:
            message = f"no engine {payload.engine!r} is known to this worker"
            raise EngineUnavailable(message)
        timeout_s = self._desk.settings.video_timeout_s
        # At a provider, the time limit ends the questions; what is finished may still be fetched after it.
        patience_s = min(timeout_s, WATCH_S, max(0.0, left_s)) if job.ordered else timeout_s
        take.watch_ends_s = asyncio.get_running_loop().time() + patience_s
        run = engine.run(self._providers.order(job, payload, deadline_s=patience_s))
        try:
            async with asyncio.timeout(timeout_s + patience_s if job.ordered else timeout_s), _closing(run):
                async for event in run:
                    if not await self._take_in(job, take, event):
                        return
        except TimeoutError as error:
            message = f"it was not finished within {timeout_s:g} seconds; nothing was charged"
            raise EngineTimeout(message) from error
        if take.done is None or not take.pieces:
            message = "the engine ended without a result; nothing was charged"
            raise EngineFailed(message)

    async def _take_in(self, job: Job, take: _Take, event: Event) -> bool:
        """Note one event of the engine; False when this claim has nothing more to hear."""
        if isinstance(event, Started):
            return not event.detached or await self._started(job, take, event)
        if isinstance(event, Progress):
            # 100 is for the moment when the file can be fetched.
            take.progress = min(99, event.done * 100 // max(event.total, 1))
            take.answered = True
            if job.state == "unknown":
                await self._jobs.mark_known(job)
        elif isinstance(event, Media):
            take.pieces.append(event.data)
        elif isinstance(event, Done):
            take.done = event
        return True

    async def _started(self, job: Job, take: _Take, event: Started) -> bool:
        """Put on record what the engine says of its provider; False when there is nothing more to do for this claim."""
        if event.provider_job is None:
            take.lost = not await self._providers.about_to_order(job)
            take.ordering = not take.lost
            return not take.lost
        if job.provider_job is None:
            await self._providers.taken(job, event.provider_job)
        # Whoever ordered is free for the next job: watching is done side by side.
        take.taken = not job.ordered
        return job.ordered

    async def _deliver(self, job: Job, payload: Payload, take: _Take, passage: Passage) -> None:
        done = take.done
        assert done is not None
        reach("metering.video.made")
        charge = bill(self._terms(payload), done.work, measured=done.measured)
        passage.succeeded()
        data = b"".join(take.pieces)
        key = f"videos/{job.id}/{job.attempt}.mp4"
        try:
            await self._objects.put(key, data)
        except OSError as error:
            log.exception("video %s cannot be stored", job.id)
            if job.ordered:
                # The provider still has it, and bills it: it is fetched again later.
                message = "the finished video could not be stored"
                raise EngineTimeout(message) from error
            message = "the finished video could not be stored; nothing was charged"
            raise EngineFailed(message) from error
        outcome: Outcome = "truncated" if done.truncated else "completed"
        fact: dict[str, Any] = {
            "receipt": receipt_fact(charge, outcome, None, done.detail, done.engine_ms),
            "job": {"state": "completed", "object_key": key, "object_bytes": len(data), "result": done.detail, "keep_s": payload.keep_s},
        }
        if payload.budgets:
            fact["budgets"] = True
        take.settling = True
        reach("metering.video.stored")
        status = await self._resolve(job, payload, Kind.SETTLE, charge.charged_utok, fact)
        if status is not Status.APPLIED and not await self._is_result(job, key):
            # Deleted, expired or finished by another attempt in the meantime: this file belongs to nobody.
            await self._objects.remove(key)
        if job.ordered:
            await self._jobs.set_verdict(job.id, "completed")

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

    async def _put_back(self, job: Job, making: asyncio.Task[None], take: _Take) -> None:
        await self._let_order_through(making, take)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        try:
            if job.ordered or take.ordering:
                await self._jobs.park(job, 0.0)
            else:
                await self._jobs.release(job)
        except DATABASE_ERRORS as error:
            log.warning("video %s was not put back, its lease will run out: %s", job.id, error)

    def _terms(self, payload: Payload) -> Terms:
        return Terms(
            card=self._desk.catalog.cards[payload.rate_card],
            meter=payload.meter,
            profile=payload.profile,
            estimate=Estimate(expected=payload.expected, maximum=payload.maximum, bound=payload.bound, request=payload.request),
            factors=Factors.base(Fraction(payload.multiplier)) if payload.factors is None else payload.factors,
            maximum_utok=payload.maximum_utok,
        )


@contextlib.asynccontextmanager
async def _closing(run: AsyncIterator[Event]) -> AsyncIterator[None]:
    """Close an engine's iterator at the end: only generators can be."""
    try:
        yield
    finally:
        close = getattr(run, "aclose", None)
        if close is not None:
            await close()
