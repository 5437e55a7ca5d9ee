"""The text engine with its real model: it streams, stops, obeys its settings, and refuses what it cannot do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taximeter.engines.demo import text as text_module
from taximeter.engines.demo.text import DemoText, TextTuning, normalise, packaged_model
from taximeter.engines.errors import EngineRefused, EngineUnavailable
from taximeter.engines.model import Chunk, Done, Event, Job
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
QUESTION = [{"role": "user", "content": "Tell me a story about a taxi."}]
NO_END_MARK = {"2": -100}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[DemoText]:
    engine = DemoText(tuning=TextTuning(context_size=2048, share_prompts=True))
    yield engine
    await engine.close()


def chat(bound: int, messages: list[dict[str, Any]] = QUESTION, **request: object) -> Job:
    body = {"messages": messages, "temperature": 0, **request}
    return Job(id="job", modality="chat", model="smollm2-135m-instruct", request=body, bound={"output_tokens": bound}, deadline_s=60.0)


async def collect(engine: DemoText, job: Job) -> list[Event]:
    return [event async for event in engine.run(job)]


def said(events: list[Event]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events if isinstance(event, Chunk) for choice in event.choices)


def done_of(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


async def test_it_streams_token_by_token_and_stops_at_the_bound(engine: DemoText) -> None:
    events = await collect(engine, chat(12, max_tokens=500))
    counts = [event.output_tokens for event in events if isinstance(event, Chunk)]
    assert counts == [0, *range(1, 13), 12]
    last = events[-2]
    assert isinstance(last, Chunk)
    assert last.choices[0]["finish_reason"] == "length"
    done = done_of(events)
    assert done.measured
    assert done.truncated
    assert done.work["output_tokens"] == 12
    assert "taxi" in said(events)


async def test_it_ends_by_itself_and_counts_the_end_mark(engine: DemoText) -> None:
    done = done_of(events := await collect(engine, chat(200, [{"role": "user", "content": "Say hi"}])))
    assert not done.truncated
    assert 1 < done.work["output_tokens"] < 200
    assert said(events)


async def test_the_prompt_is_the_models_template_over_the_messages(engine: DemoText) -> None:
    # The default system prompt and the marks around a message are 30 tokens; "Hello" is one.
    async def prompt(messages: list[dict[str, Any]]) -> int:
        return done_of(await collect(engine, chat(1, messages))).work["prompt_tokens"]

    assert await prompt([{"role": "user", "content": ""}]) == 30
    assert await prompt([{"role": "user", "content": "Hello"}]) == 31
    assert await prompt([{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "World"}]}]) == 33
    assert await prompt([{"role": "developer", "content": "be nice"}, {"role": "user", "content": "c"}]) == 17
    assert await prompt([{"role": "user", "content": "a"}, {"role": "assistant", "content": "The answer"}]) == 39


async def test_a_prompt_seen_before_is_reported_as_cached(engine: DemoText) -> None:
    messages = [{"role": "user", "content": "What does a taximeter show?"}]
    first = done_of(await collect(engine, chat(2, messages)))
    again = done_of(await collect(engine, chat(2, messages)))
    assert again.work["prompt_tokens"] == first.work["prompt_tokens"]
    assert again.work["cached_tokens"] == first.work["prompt_tokens"] - 1


async def test_by_default_nothing_of_one_prompt_is_kept_for_the_next() -> None:
    """What is cached would tell one tenant how another's prompt began."""
    private = DemoText(tuning=TextTuning(context_size=1024, slots=1))
    messages = [{"role": "user", "content": "My secret is 42."}]
    for _ in range(2):
        assert done_of(await collect(private, chat(1, messages))).work["cached_tokens"] == 0
    await private.close()


async def test_stop_words_seed_and_temperature_are_obeyed(engine: DemoText) -> None:
    assert "taxi" not in said(await collect(engine, chat(30, stop=["taxi"])))
    one, same, other = [said(await collect(engine, chat(12, seed=seed, temperature=1.5, top_p=0.95))) for seed in (1, 1, 2)]
    assert one == same != other


async def test_closing_the_iterator_stops_the_model(engine: DemoText) -> None:
    events = engine.run(chat(1500, logit_bias=NO_END_MARK))
    async for event in events:
        if isinstance(event, Chunk) and event.output_tokens == 5:
            break
    assert await engine.busy() == 1
    await events.aclose()
    await until(_idle(engine))


async def test_a_plain_request_that_is_cancelled_stops_the_model_too(engine: DemoText) -> None:
    task = asyncio.create_task(collect(engine, chat(1500, stream=False, logit_bias=NO_END_MARK)))
    await until(_busy(engine))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(_idle(engine))


async def test_a_long_prompt_is_dropped_before_it_is_read_to_its_end(engine: DemoText) -> None:
    task = asyncio.create_task(collect(engine, chat(500, [{"role": "user", "content": "fare " * 500}], logit_bias=NO_END_MARK)))
    await until(_busy(engine))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(_idle(engine))
    # Had the prompt been read to its end, all of it but one token would be in the cache now.
    again = done_of(await collect(engine, chat(1, [{"role": "user", "content": "fare " * 500}])))
    assert again.work["cached_tokens"] < again.work["prompt_tokens"] - 64


async def test_a_prompt_beyond_the_context_is_refused(engine: DemoText) -> None:
    with pytest.raises(EngineRefused, match="context"):
        await collect(engine, chat(5, [{"role": "user", "content": "fare " * 3000}]))


async def test_two_chats_at_once_do_not_mix(engine: DemoText) -> None:
    topics = ["cats", "the sea", "bread"]
    jobs = [chat(16, [{"role": "user", "content": f"Tell me about {topic}."}]) for topic in topics]
    together = await asyncio.gather(*(collect(engine, job) for job in jobs))
    for job, events in zip(jobs, together, strict=True):
        assert done_of(events).work["output_tokens"] == 16
        assert said(events).split()[0] == said(await collect(engine, job)).split()[0]


async def test_health_tells_the_model_and_its_room(engine: DemoText) -> None:
    assert await engine.check() == {"model": "smollm2-135m-instruct", "slots": 2, "slots_busy": 0, "context_size": 2048}


async def test_the_log_of_the_library_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    engine = DemoText(tuning=TextTuning(context_size=512, slots=1))
    await collect(engine, chat(2))
    await engine.close()
    assert capfd.readouterr() == ("", "")


async def test_it_can_be_used_again_after_it_was_closed() -> None:
    engine = DemoText(tuning=TextTuning(context_size=512, slots=1))
    for _ in range(2):
        assert done_of(await collect(engine, chat(2))).work["output_tokens"] == 2
        await engine.close()
        assert await engine.busy() == 0


async def test_a_file_that_is_no_model_is_unavailable(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    for path in (tmp_path / "none.gguf", broken):
        engine = DemoText(model_path=path)
        with pytest.raises(EngineUnavailable):
            await engine.check()
        await engine.close()


def test_a_packaged_file_that_is_not_the_pinned_one_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packaged_model().name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    monkeypatch.setattr(text_module, "MODEL_SHA256", "0" * 64)
    with pytest.raises(EngineUnavailable, match="tested"):
        packaged_model()
    monkeypatch.setattr(text_module, "MODEL_PACKAGE", "no-such-package")
    with pytest.raises(EngineUnavailable, match="install the package"):
        packaged_model()


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages"),
        ({"messages": ["a"]}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "a"}, "messages"),
        ({"messages": QUESTION, "n": 2}, "n"),
        ({"messages": QUESTION, "tools": [{"type": "function"}]}, "tools"),
    ],
)
def test_what_the_model_cannot_do_is_refused(request_body: dict[str, Any], param: str) -> None:
    with pytest.raises(EngineRefused) as caught:
        normalise(request_body)
    assert caught.value.param == param


def test_only_fields_meant_for_callers_reach_the_server() -> None:
    request = {"messages": QUESTION, "n_predict": 9, "id_slot": 1, "cache_prompt": False, "grammar": "x", "user": "u", "top_p": 0.5, "tools": []}
    assert normalise(request) == {"messages": QUESTION, "top_p": 0.5, "return_progress": True}


def _busy(engine: DemoText) -> Any:  # noqa: ANN401 - an async condition
    async def busy() -> bool:
        return await engine.busy() > 0

    return busy


def _idle(engine: DemoText) -> Any:  # noqa: ANN401 - an async condition
    async def idle() -> bool:
        return await engine.busy() == 0

    return idle
