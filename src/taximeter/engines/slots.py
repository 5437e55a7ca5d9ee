"""Learns how many jobs the engines behind hosts do at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from taximeter.engines.errors import EngineError
from taximeter.engines.model import Engine
from taximeter.engines.remote import RemoteEngine

ASK_S = 1.0
ASK_AGAIN_S = 30.0


@asynccontextmanager
async def keeping_slots(engines: Mapping[str, Engine]) -> AsyncIterator[None]:
    """Ask every host until it has answered, and from time to time after that."""
    asking = asyncio.create_task(_keep([engine for engine in engines.values() if isinstance(engine, RemoteEngine)]), name="slots")
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _keep(hosted: list[RemoteEngine]) -> None:
    unknown = list(hosted)
    while hosted:
        for engine in unknown:
            with contextlib.suppress(EngineError):
                await engine.check()
        unknown = [engine for engine in hosted if not engine.asked]
        await asyncio.sleep(ASK_S if unknown else ASK_AGAIN_S)
        unknown = unknown or list(hosted)
