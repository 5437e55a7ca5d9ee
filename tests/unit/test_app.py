"""The composition root: when hosted engines make the gateway ready, and what it does to its process."""

import gc
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from taximeter.app import GARBAGE_OBJECTS, HostedEngines, calm_collector
from taximeter.engines import EngineUnavailable, Event, Job, Modality

pytestmark = pytest.mark.anyio


class Engine:
    """An engine that is up or down."""

    modalities: frozenset[Modality] = frozenset({"chat"})
    slots: int | None = None

    def __init__(self, name: str, *, up: bool) -> None:
        self.name = name
        self.up = up

    def run(self, job: Job) -> AsyncIterator[Event]:
        raise AssertionError(job)

    async def check(self) -> Mapping[str, Any]:
        if not self.up:
            message = "down"
            raise EngineUnavailable(message)
        return {}

    async def close(self) -> None:
        pass


async def test_the_gateway_is_ready_once_each_engine_has_answered() -> None:
    text, video = Engine("text", up=True), Engine("video", up=False)
    hosted = HostedEngines([text, video])
    with pytest.raises(EngineUnavailable, match="video"):
        await hosted.check()
    text.up, video.up = False, True
    # They need not be up at the same moment: the other was seen before.
    assert await hosted.check() == {"text": "down", "video": "up"}


async def test_an_engine_that_goes_down_later_is_told_and_no_more() -> None:
    engine = Engine("text", up=True)
    hosted = HostedEngines([engine])
    await hosted.check()
    engine.up = False
    assert await hosted.check() == {"text": "down"}


async def test_without_hosted_engines_it_is_ready_at_once() -> None:
    assert await HostedEngines([]).check() == {}


async def test_the_collector_does_less_while_a_gateway_serves_and_is_given_back_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with calm_collector():
        assert gc.isenabled()
        assert gc.get_threshold()[0] == GARBAGE_OBJECTS
        assert gc.get_freeze_count() > frozen
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
