"""Engines that do what the dice say: work, fail, hang, leave without a word, report nonsense."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from taximeter.engines import Chunk, Done, EngineFailed, EngineUnavailable, Event, Job, Media, Modality, Vectors
from tests.support.simulator.dice import Dice

TEXT = [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]


class SimEngine:
    """One engine of the catalog."""

    def __init__(self, name: str, modality: Modality, dice: Dice) -> None:
        self._name = name
        self._modality = modality
        self._dice = dice

    @property
    def name(self) -> str:
        return self._name

    @property
    def modalities(self) -> frozenset[Modality]:
        return frozenset({self._modality})

    @property
    def slots(self) -> int | None:
        return None

    async def check(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        return

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        dice = self._dice
        await asyncio.sleep(dice.delay_s())
        if dice.strikes("engine unavailable", 0.05):
            message = "no room"
            raise EngineUnavailable(message)
        if dice.strikes("engine failed", 0.05):
            message = "it broke"
            raise EngineFailed(message)
        pieces = dice.rng.randint(1, 5)
        for number in range(1, pieces + 1):
            await asyncio.sleep(dice.rng.random() * 0.6)
            if dice.strikes("engine failed in the middle", 0.02):
                message = "it broke later"
                raise EngineFailed(message, work={"output_tokens": number})
            if dice.strikes("engine hung", 0.01):
                await asyncio.sleep(1000)
            if self._modality == "chat":
                yield Chunk(choices=TEXT, output_tokens=number)
            elif self._modality == "embeddings":
                yield Vectors(vectors=[b"\0\0\0\0"])
            else:
                yield Media(data=b"ftyp")
        if dice.strikes("engine gave no report", 0.03):
            return
        if dice.strikes("engine gave nonsense", 0.03):
            yield Done(work={"output_tokens": -1})
            return
        yield Done(work=self._work(job, pieces), truncated=False, engine_ms=7)

    def _work(self, job: Job, pieces: int) -> dict[str, int]:
        if self._modality == "chat":
            # Sometimes far above what was estimated: a charge stays within its quote.
            prompt = self._dice.rng.choice([3, 10, 10_000])
            return {"prompt_tokens": prompt, "cached_tokens": 0, "output_tokens": pieces, "reasoning_tokens": 0}
        if self._modality == "embeddings":
            return {"prompt_tokens": self._dice.rng.randint(1, 12), "inputs": 2}
        request = job.request
        return {**{name: request[name] for name in ("steps", "frames", "width", "height")}, "passes": request["steps"], "latent_tokens": 1}
