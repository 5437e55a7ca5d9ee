"""An engine whose every step a test decides, and that remembers what was done to it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from taximeter.engines import Event, Job, Modality


class ScriptedEngine:
    """Plays a script of events, exceptions to raise, and asyncio.Events to wait for."""

    def __init__(self, name: str, modality: Modality) -> None:
        self._name = name
        self._modality = modality
        self.slots: int | None = None
        self.script: Sequence[Event | Exception | asyncio.Event] = ()
        self.jobs: list[Job] = []
        self.running = asyncio.Event()
        self.closed_early = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def modalities(self) -> frozenset[Modality]:
        return frozenset({self._modality})

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        self.jobs.append(job)
        finished = False
        try:
            for step in tuple(self.script):
                if isinstance(step, asyncio.Event):
                    self.running.set()
                    await step.wait()
                elif isinstance(step, Exception):
                    finished = True
                    raise step
                else:
                    yield step
            finished = True
        finally:
            self.closed_early += not finished

    async def check(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        return
