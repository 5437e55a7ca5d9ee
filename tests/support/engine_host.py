"""An engine host inside the test's event loop, and a scripted engine to put on it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from taximeter.engines.host import serve_host
from taximeter.engines.model import Done, Engine, Event, Job, Modality, Progress
from taximeter.engines.remote import RemoteEngine

SECRET = "only for this test"


@contextlib.asynccontextmanager
async def hosted(engines: Sequence[Engine], *, grace_s: float = 5.0) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve ``engines`` on a free port; yields the address and the event that stops the host."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve_host(engines, host="127.0.0.1", port=0, secret=SECRET, stop=stop, grace_s=grace_s, ready=address.set_result),
    )
    # Whichever comes first: the address, or the host's failure to start.
    task.add_done_callback(lambda _task: None if address.done() else address.cancel())
    try:
        yield await address, stop
    finally:
        stop.set()
        await task


def remote(engine: Engine, url: str) -> RemoteEngine:
    """The client of ``engine`` on the host at ``url``."""
    return RemoteEngine(engine.name, url, secret=SECRET, modalities=engine.modalities)


class StepEngine:
    """Does ``steps`` steps of ``step_s`` seconds; its request may hold an exception to raise ``at`` a step.

    Attributes:
        running: jobs at work now.
        steps_done: steps made in all.
        starts: how often ``start`` was called.
        closed: whether ``close`` was called.
    """

    name = "steps"
    modalities: frozenset[Modality] = frozenset({"video"})
    slots: int | None = 1

    def __init__(self, *, step_s: float = 0.0, fault: Exception | None = None, fault_at: int = 1, ill: Exception | None = None) -> None:
        self.running = 0
        self.steps_done = 0
        self.starts = 0
        self.closed = False
        self._step_s = step_s
        self._fault = fault
        self._fault_at = fault_at
        self._ill = ill

    async def start(self) -> None:
        self.starts += 1
        if self._ill is not None:
            raise self._ill

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        self.running += 1
        try:
            for step in range(job.bound["steps"]):
                if self._fault is not None and step == self._fault_at:
                    raise self._fault
                await asyncio.sleep(self._step_s)
                self.steps_done += 1
                yield Progress(done=step + 1, total=job.bound["steps"])
            yield Done(work={"steps": job.bound["steps"]}, detail={"id": job.id})
        finally:
            self.running -= 1

    async def check(self) -> Mapping[str, Any]:
        if self._ill is not None:
            raise self._ill
        return {"running": self.running}

    async def close(self) -> None:
        self.closed = True


def steps(count: int, *, id: str = "job", deadline_s: float = 30.0) -> Job:  # noqa: A002 - the job's own word
    """A job for StepEngine."""
    return Job(id=id, modality="video", model="steps", request={}, bound={"steps": count}, deadline_s=deadline_s)
