"""Jobs that go on at a provider whatever becomes of us: what is put on record, what no answer means, and calling off.

An order is sent once.  That it is about to be sent is recorded before, the provider's name of the job right after, and before
anybody waits for it.  No answer is no verdict: the hold stays and the provider is asked again, until it says what became of
the job or its time is over.
"""

import asyncio
import logging
from typing import Any, cast

import msgspec

from taximeter import engines
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.engines import Done, EngineError, EngineTimeout, EngineUnavailable, Started
from taximeter.jobs import Job, JobStore, Verdict
from taximeter.kernel.ids import encode_id
from taximeter.metering.desk import Desk
from taximeter.metering.payload import KIND, Payload

log = logging.getLogger(__name__)

RECORD_AGAIN_S = 1.0
CALL_OFF_S = 30.0
CALL_OFFS = 50


class Providers:
    """What the runner does differently for a job that a provider makes."""

    def __init__(self, desk: Desk, jobs: JobStore) -> None:
        self._desk = desk
        self._jobs = jobs

    def order(self, job: Job, payload: Payload, *, deadline_s: float, stop: bool = False) -> engines.Job:
        """The job as its engine gets it."""
        return engines.Job(
            id=encode_id("req", job.id),
            modality="video",
            model=payload.engine_model,
            request=payload.request,
            bound=payload.bound,
            deadline_s=deadline_s,
            ordered=job.ordered,
            provider_job=job.provider_job,
            stop=stop,
        )

    async def about_to_order(self, job: Job) -> bool:
        """Record that an order goes out now; False when the job is not this claim's any more, and must not be ordered.

        Asks the database until it answers: a mark whose answer was lost would make an order that was never sent look like one
        that nobody can find.
        """
        while True:
            try:
                return await self._jobs.mark_ordered(job, self._desk.settings.provider_max_s)
            except DATABASE_ERRORS as error:
                log.warning("video %s is not ordered yet: %s", job.id, error)
                await asyncio.sleep(RECORD_AGAIN_S)

    async def taken(self, job: Job, provider_job: str) -> None:
        """Record the provider's name of a job, however long the database takes: without it nobody can ask about the job."""
        log.info("video %s is %s at its provider", job.id, provider_job)
        while True:
            try:
                await self._jobs.record_provider_job(job.id, provider_job)
            except DATABASE_ERRORS as error:
                log.warning("video %s is %s at its provider, which cannot be recorded yet: %s", job.id, provider_job, error)
                await asyncio.sleep(RECORD_AGAIN_S)
            else:
                return

    async def no_answer(self, job: Job, error: EngineError) -> EngineTimeout | None:
        """Put a job down until its provider is asked again; once its time is over, what to give it up with."""
        overdue = await self._jobs.mark_unknown(job, self._desk.settings.provider_poll_s, error.message)
        if not overdue:
            log.warning("video %s: its state at the provider is unknown: %s", job.id, error.message)
            return None
        log.error("video %s is given up: its provider (job %s) gave no verdict in time: %s", job.id, job.provider_job, error.message)
        return EngineTimeout(f"its provider gave no verdict within {self._desk.settings.provider_max_s} seconds; nothing was charged")

    async def call_off_all(self) -> None:
        """Call off what has ended for us and may still run at a provider, until cancelled."""
        while True:
            try:
                for job, overdue in await self._jobs.to_call_off(KIND, CALL_OFFS):
                    await self.call_off(job, overdue=overdue)
            except DATABASE_ERRORS as error:
                log.warning("cannot look for jobs to call off: %s", error)
            await asyncio.sleep(self._desk.settings.provider_poll_s)

    async def call_off(self, job: Job, *, overdue: bool) -> None:
        """Ask the provider to stop, and record how the job stands there.  Without an answer it is asked again, until its time is over."""
        payload = msgspec.convert(job.payload, Payload)
        try:
            verdict = await self._ask_to_stop(job, payload)
        except EngineError as error:
            if not overdue:
                log.info("video %s is not called off yet: %s", job.id, error.message)
                return
            verdict = "none"
        await self._jobs.set_verdict(job.id, verdict)
        if verdict == "completed":
            log.error("video %s was completed by its provider (job %s), which may bill it; nobody was charged", job.id, job.provider_job)
        else:
            log.info("video %s was called off at its provider: %s", job.id, verdict)

    async def _ask_to_stop(self, job: Job, payload: Payload) -> Verdict:
        engine = self._desk.engines.get(payload.engine)
        if engine is None:
            message = f"no engine {payload.engine!r} is known to this worker"
            raise EngineUnavailable(message)
        detail: dict[str, Any] = {}
        async for event in engine.run(self.order(job, payload, deadline_s=CALL_OFF_S, stop=True)):
            if isinstance(event, Done):
                detail = event.detail
            elif isinstance(event, Started) and event.provider_job is not None and job.provider_job is None:
                await self.taken(job, event.provider_job)
        return cast("Verdict", detail["provider"])
