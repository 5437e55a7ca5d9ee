"""The speech engine as the platform sees it: events, bounds, cancelling, refusing, and odd input."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taximeter.engines.demo.speech import FORMATS, NATIVE_VOICES, OPENAI_VOICES, PACKAGE_VOICES, VOICES, model_files
from taximeter.engines.demo.speech.engine import DemoSpeech
from taximeter.engines.demo.speech.kokoro import Kokoro
from taximeter.engines.demo.speech.offer import speakers
from taximeter.engines.errors import EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.model import Done, Engine, Event, Job, Media, Started
from taximeter.kernel.clock import ManualClock, SystemClock

pytestmark = pytest.mark.anyio

TWO_SENTENCES = "The meter starts when the ride begins. It stops when the ride is over."


def job(bound: int = 2_000, *, deadline_s: float = 120, **changes: Any) -> Job:  # noqa: ANN401 - wrong types are tried too
    request: dict[str, Any] = {"input": "Good morning.", "voice": "alloy", "response_format": "pcm", "speed": "1.0"} | changes
    return Job(id="job", modality="speech", model="kokoro-82m", request=request, bound={"audio_frames": bound}, deadline_s=deadline_s)


async def collect(engine: Engine, order: Job) -> tuple[bytes, Done]:
    events: list[Event] = [event async for event in engine.run(order)]
    assert isinstance(events[0], Started)
    done = events[-1]
    assert isinstance(done, Done)
    assert sum(isinstance(event, Done) for event in events) == 1
    return b"".join(event.data for event in events if isinstance(event, Media)), done


@pytest.fixture(scope="module")
def kokoro() -> Kokoro:
    """The model, loaded once for all tests of this file."""
    return Kokoro(model_files.read(None, None), threads=2)


@pytest.fixture
async def engine(kokoro: Kokoro, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DemoSpeech]:
    monkeypatch.setattr(DemoSpeech, "_load", lambda _: kokoro)
    made = DemoSpeech(SystemClock())
    yield made
    await made.close()


class Calls(list[str]):
    """What the model was really given, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    said = Calls()
    say: Callable[..., Any] = Kokoro.say

    def counted(kokoro: Kokoro, phonemes: str, *rest: Any) -> Any:  # noqa: ANN401 - passed through
        said.append(phonemes)
        said.began.set()
        return say(kokoro, phonemes, *rest)

    monkeypatch.setattr(Kokoro, "say", counted)
    return said


@pytest.fixture
def voices_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The style of each call of the model."""
    styles: list[str] = []
    say: Callable[..., Any] = Kokoro.say

    def noted(kokoro: Kokoro, phonemes: str, style: str, *rest: Any) -> Any:  # noqa: ANN401 - passed through
        styles.append(style)
        return say(kokoro, phonemes, style, *rest)

    monkeypatch.setattr(Kokoro, "say", noted)
    return styles


async def test_a_job_reports_the_work_that_its_samples_show(engine: DemoSpeech) -> None:
    content, done = await collect(engine, job(input="Hello there."))
    samples = len(content) // 2
    assert samples > 0
    assert samples % 600 == 0
    assert done.work == {
        "characters": 12,
        "phoneme_tokens": done.work["phoneme_tokens"],
        "audio_frames": samples // 600,
        "audio_samples": samples,
        "audio_ms": samples * 1000 // 24_000,
    }
    assert 5 <= done.work["phoneme_tokens"] <= 20
    assert done.measured
    assert not done.truncated
    assert done.engine_ms > 0
    assert done.detail["voice"] == "alloy"
    assert done.detail["styles"] == ["af_alloy"]
    assert done.detail["sample_rate_hz"] == 24_000
    assert done.detail["model_file"] == "kokoro-v1.0.int8.onnx"


async def test_the_same_request_gives_the_same_work(engine: DemoSpeech) -> None:
    (_, first), (_, second) = await collect(engine, job()), await collect(engine, job())
    assert first.work == second.work


async def test_each_sentence_is_sent_as_soon_as_it_is_made(engine: DemoSpeech, calls: Calls) -> None:
    async with aclosing(engine.run(job(input=TWO_SENTENCES))) as events:  # type: ignore[type-var]  # an async generator behind the protocol
        assert isinstance(await anext(events), Started)
        assert isinstance(await anext(events), Media)
        assert len(calls) == 1


async def test_closing_stops_before_the_next_sentence_and_frees_the_engine(engine: DemoSpeech, calls: Calls) -> None:
    async with aclosing(engine.run(job(input=TWO_SENTENCES))) as events:  # type: ignore[type-var]  # as above
        async for event in events:
            if isinstance(event, Media):
                break
    assert len(calls) == 1
    _, done = await collect(engine, job())
    assert done.work["audio_frames"] > 0


async def test_cancelling_stops_the_model_in_the_middle_of_a_sentence(engine: DemoSpeech, calls: Calls) -> None:
    await engine.start()
    running = asyncio.create_task(collect(engine, job(input=TWO_SENTENCES.replace(".", ","))))
    assert await asyncio.to_thread(calls.began.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    _, done = await collect(engine, job())
    assert done.work["audio_frames"] > 0


async def test_the_bound_is_never_passed(engine: DemoSpeech, calls: Calls) -> None:
    content, done = await collect(engine, job(bound=30, input=TWO_SENTENCES))
    assert done.truncated
    assert done.work["audio_frames"] == 30
    assert len(content) == 30 * 600 * 2
    assert len(calls) == 1


async def test_a_bound_of_exactly_the_work_is_not_a_truncation(engine: DemoSpeech) -> None:
    _, free = await collect(engine, job())
    _, done = await collect(engine, job(bound=free.work["audio_frames"]))
    assert not done.truncated
    assert done.work == free.work


async def test_a_bound_of_nothing_makes_nothing(engine: DemoSpeech, calls: Calls) -> None:
    content, done = await collect(engine, job(bound=0))
    assert (content, done.work["audio_frames"], done.truncated, calls) == (b"", 0, True, [])


async def test_speech_twice_as_fast_takes_about_half_the_frames(engine: DemoSpeech) -> None:
    _, normal = await collect(engine, job(input=TWO_SENTENCES))
    _, fast = await collect(engine, job(input=TWO_SENTENCES, speed="2.0"))
    assert 0.4 <= fast.work["audio_frames"] / normal.work["audio_frames"] <= 0.65


async def test_chinese_english_and_both_are_spoken(engine: DemoSpeech) -> None:
    for text in ("你好，世界。", "Hello, world.", "你好 world"):
        _, done = await collect(engine, job(input=text))
        assert done.work["audio_frames"] > 20


async def test_each_sentence_is_read_by_a_voice_of_its_language(engine: DemoSpeech, voices_used: list[str]) -> None:
    for voice, english, chinese in (("alloy", "af_alloy", "zf_xiaoxiao"), ("echo", "am_michael", "zm_yunxi")):
        voices_used.clear()
        _, done = await collect(engine, job(voice=voice, input="Hello, dear passengers. 我们到公园了，请下车。他说 good morning。"))
        assert voices_used == done.detail["styles"] == [english, chinese, f"{english}+{chinese}"]


async def test_a_voice_asked_for_by_its_own_name_reads_everything(engine: DemoSpeech) -> None:
    _, done = await collect(engine, job(voice="bm_fable", input="Hello, dear passengers. 我们到公园了，请下车。"))
    assert done.detail["styles"] == ["bm_fable"]


async def test_long_words_are_cut_to_what_the_model_takes(engine: DemoSpeech, calls: Calls) -> None:
    _, done = await collect(engine, job(bound=100, input="la" * 150))
    assert done.truncated
    assert all(len(call) <= 200 for call in calls)


@pytest.mark.parametrize("text", ["7", "!?a", "😀", "$%", "x.io/?q", "a\n\n \n\tb", "W\0W", "<b>bold</b>", "二〇"])
async def test_odd_input_is_spoken(engine: DemoSpeech, text: str) -> None:
    _, done = await collect(engine, job(input=text))
    assert done.work["audio_frames"] > 0


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "...", "，。！", "\u200b", "Привет", "()"])
async def test_input_that_cannot_be_said_is_refused(engine: DemoSpeech, text: str) -> None:
    with pytest.raises(EngineRefused) as refusal:
        await collect(engine, job(input=text))
    assert refusal.value.param == "input"


async def test_letters_left_out_are_on_the_receipt(engine: DemoSpeech) -> None:
    _, done = await collect(engine, job(input="Привет hello"))
    assert done.detail["characters_not_spoken"] == 6


async def test_unknown_voices_are_refused_with_the_list(engine: DemoSpeech) -> None:
    with pytest.raises(EngineRefused) as refusal:
        await collect(engine, job(voice="robot"))
    assert refusal.value.param == "voice"
    assert all(name in refusal.value.message for name in VOICES)


@pytest.mark.parametrize(("field", "value"), [("response_format", "midi"), ("speed", "0"), ("speed", "9"), ("speed", "fast"), ("speed", "nan")])
async def test_what_the_engine_cannot_do_is_refused(engine: DemoSpeech, field: str, value: str) -> None:
    with pytest.raises(EngineRefused) as refusal:
        await collect(engine, job(**{field: value}))  # type: ignore[arg-type]  # the two fields are strings of the request
    assert refusal.value.param == field


async def test_another_modality_is_refused(engine: DemoSpeech) -> None:
    with pytest.raises(EngineRefused) as refusal:
        await collect(engine, msgspec.structs.replace(job(), modality="chat"))
    assert refusal.value.param == "model"


async def test_closing_stops_the_model_and_fails_the_jobs_that_run_or_wait(engine: DemoSpeech, calls: Calls) -> None:
    await engine.start()
    running = [asyncio.create_task(collect(engine, job(input=TWO_SENTENCES * 5))) for _ in range(2)]
    assert await asyncio.to_thread(calls.began.wait, 60)
    await engine.close()
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(end) for end in ended] == [EngineFailed, EngineFailed]
    with pytest.raises(EngineFailed):
        await collect(engine, job())
    assert engine._phonemizer.pid is None


async def test_jobs_wait_for_their_turn(engine: DemoSpeech) -> None:
    results = await asyncio.gather(*(collect(engine, job()) for _ in range(3)))
    assert len({content for content, _ in results}) == 1


async def test_a_job_that_gets_no_turn_in_time_is_turned_away(engine: DemoSpeech) -> None:
    async with aclosing(engine.run(job())) as busy:  # type: ignore[type-var]  # as above
        assert isinstance(await anext(busy), Started)
        with pytest.raises(EngineUnavailable):
            await collect(engine, job(deadline_s=0.05))


async def test_a_job_past_its_deadline_stops_and_says_what_was_done(kokoro: Kokoro, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DemoSpeech, "_load", lambda _: kokoro)
    clock = ManualClock()
    engine = DemoSpeech(clock)
    try:
        events = engine.run(job(input=TWO_SENTENCES, deadline_s=60))
        assert isinstance(await anext(events), Started)
        assert isinstance(await anext(events), Media)
        clock.advance(61)
        with pytest.raises(EngineFailed) as failure:
            await anext(events)
        assert failure.value.work["audio_frames"] > 0
    finally:
        await engine.close()


async def test_the_phonemizer_dying_between_jobs_is_not_noticed(engine: DemoSpeech) -> None:
    _, before = await collect(engine, job())
    process = engine._phonemizer._process
    assert process is not None
    process.kill()
    _, after = await collect(engine, job())
    assert after.work == before.work


async def test_health_says_ready_only_when_the_model_is_loaded(engine: DemoSpeech) -> None:
    with pytest.raises(EngineUnavailable):
        await engine.check()
    await engine.start()
    facts = await engine.check()
    assert facts["voices"] == sorted(VOICES)
    assert facts["formats"] == list(FORMATS)
    assert not facts["busy"]


async def test_a_missing_or_broken_model_is_unavailable(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"not a model")
    for path in (tmp_path / "none.onnx", broken):
        engine = DemoSpeech(SystemClock(), model_path=path)
        try:
            with pytest.raises(EngineUnavailable):
                await engine.start()
        finally:
            await engine.close()


def test_a_packaged_file_that_was_changed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "STYLES_SHA256", "0" * 64)
    with pytest.raises(EngineUnavailable, match="SHA-256"):
        model_files.read(None, None)


def test_native_styles_that_were_changed_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "NATIVE_STYLES_SHA256", "0" * 64)
    with pytest.raises(EngineUnavailable, match=r"styles\.npz"):
        model_files.read(None, None)


def test_without_the_native_styles_the_packaged_ones_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "NATIVE_STYLES", tmp_path / "styles.npz")
    styles = tuple(model_files.read(None, None).styles)
    assert styles == PACKAGE_VOICES
    table = speakers(styles)
    assert set(table) == {*OPENAI_VOICES, *PACKAGE_VOICES}
    assert table["alloy"] == ("jf_alpha", "jf_alpha")
    assert table["echo"] == ("jm_kumo", "jm_kumo")


def test_the_native_styles_and_the_packaged_ones_are_all_there() -> None:
    styles = model_files.read(None, None).styles
    assert set(styles) == {*NATIVE_VOICES, *PACKAGE_VOICES}
    assert {style.shape for style in styles.values()} == {(510, 256)}


@pytest.mark.parametrize("content", [b"", b"not styles", b"PK"])
def test_a_broken_file_of_styles_is_unavailable(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_packaged_model", lambda: b"")
    file = tmp_path / "styles.npz"
    file.write_bytes(content)
    with pytest.raises(EngineUnavailable, match="styles"):
        model_files.read(None, file)


def test_every_name_of_openai_has_a_voice() -> None:
    assert {"alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"} <= set(OPENAI_VOICES)
    assert set(VOICES) == {*OPENAI_VOICES, *NATIVE_VOICES, *PACKAGE_VOICES}
    for name in OPENAI_VOICES:
        english, chinese = VOICES[name]
        assert english[0] in "ab"
        assert chinese == ("zf_xiaoxiao" if english[1] == "f" else "zm_yunxi")


def test_checking_a_voice_loads_no_model_library() -> None:
    program = "import sys, taximeter.engines.demo.speech as s; s.VOICES; print(sorted({'onnxruntime', 'av', 'pypinyin', 'numpy'} & set(sys.modules)))"
    source = str(Path(model_files.__file__).parents[4])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}, timeout=60)
    assert done.stdout.strip() == "[]"
