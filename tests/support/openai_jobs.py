"""Jobs for the OpenAI adapter, and what is asked of their events."""

import pytest

from taximeter.engines.errors import EngineError
from taximeter.engines.model import Chunk, Done, Event, Job
from taximeter.engines.openai_http import OpenAIEngine


def chat(bound: int = 100, deadline_s: float = 10.0, **request: object) -> Job:
    body = {"messages": [{"role": "user", "content": "tell me more"}], "max_tokens": bound, **request}
    return Job(id="job", modality="chat", model="mock-model", request=body, bound={"output_tokens": bound}, deadline_s=deadline_s)


def embed(*inputs: str, bound: int = 1000) -> Job:
    return Job(id="job", modality="embeddings", model="mock-model", request={"input": list(inputs)}, bound={"prompt_tokens": bound}, deadline_s=10.0)


async def collect(engine: OpenAIEngine, job: Job) -> list[Event]:
    return [event async for event in engine.run(job)]


def done_of(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def text_of(events: list[Event]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events if isinstance(event, Chunk) for choice in event.choices)


async def failure_of(engine: OpenAIEngine, job: Job) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await collect(engine, job)
    return caught.value
