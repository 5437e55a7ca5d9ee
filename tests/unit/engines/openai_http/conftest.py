"""The adapter and a real HTTP upstream."""

from collections.abc import AsyncIterator

import pytest

from taximeter.engines.openai_http import OpenAIEngine, UpstreamLimits
from tests.support.mock_openai import MockOpenAI


@pytest.fixture
async def upstream() -> AsyncIterator[MockOpenAI]:
    async with MockOpenAI() as mock:
        yield mock


@pytest.fixture
async def engine(upstream: MockOpenAI) -> AsyncIterator[OpenAIEngine]:
    engine = OpenAIEngine("mock", upstream.url, limits=UpstreamLimits(connect_s=0.5, silence_s=5.0))
    yield engine
    await engine.close()
