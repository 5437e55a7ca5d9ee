"""The phonemizer is another process: it answers, comes back when it dies, and ends with its owner."""

# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant

import ast
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taximeter.engines.demo import speech
from taximeter.engines.demo.speech.phonemizer import Phonemizer
from taximeter.engines.errors import EngineFailed, EngineUnavailable

pytestmark = pytest.mark.anyio

FOLDER = Path(speech.__file__).parent
PROGRAM = FOLDER / "phonemizer_process.py"
GPL = {"espeakng_loader", "phonemizer", "kokoro_onnx", "misaki"}


def imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}}


async def test_text_becomes_phonemes_in_order() -> None:
    phonemizer = Phonemizer()
    try:
        hello, empty, number = await phonemizer.phonemes(["hello", "", "42"], "en-us")
        assert hello == "həlˈo^ʊ"
        assert empty == ""
        assert number.startswith("fˈ")
    finally:
        await phonemizer.close()


async def test_it_comes_back_after_it_was_killed() -> None:
    phonemizer = Phonemizer()
    try:
        before = await phonemizer.phonemes(["hello"], "en-us")
        first = phonemizer.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await phonemizer.phonemes(["hello"], "en-us") == before
        assert phonemizer.pid != first
    finally:
        await phonemizer.close()


async def test_a_silent_process_is_given_up() -> None:
    phonemizer = Phonemizer(timeout_s=5)
    try:
        await phonemizer.phonemes(["hello"], "en-us")
        assert phonemizer.pid is not None
        os.kill(phonemizer.pid, signal.SIGSTOP)
        phonemizer._timeout_s = 0.01
        with pytest.raises(EngineUnavailable):
            await phonemizer.phonemes(["hello"], "en-us")
        phonemizer._timeout_s = 15
        assert await phonemizer.phonemes(["hello"], "en-us") == ["həlˈo^ʊ"]
    finally:
        await phonemizer.close()


async def test_a_cancelled_question_does_not_answer_the_next_one() -> None:
    phonemizer = Phonemizer()
    try:
        await phonemizer.phonemes(["hello"], "en-us")
        question = asyncio.create_task(phonemizer.phonemes(["one two three"] * 2_000, "en-us"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        assert await phonemizer.phonemes(["hello"], "en-us") == ["həlˈo^ʊ"]
    finally:
        await phonemizer.close()


async def test_an_unknown_language_is_an_error_and_not_the_end() -> None:
    phonemizer = Phonemizer()
    try:
        with pytest.raises(EngineFailed):
            await phonemizer.phonemes(["hello"], "xx-nowhere")
        assert await phonemizer.phonemes(["hello"], "en-us") == ["həlˈo^ʊ"]
    finally:
        await phonemizer.close()


async def test_odd_text_is_answered() -> None:
    phonemizer = Phonemizer()
    odd = ["\0", "a\nb", "x" * 5_000, "😀" * 100, "\u200d", "[[h@l'oU]]", "<speak>hi</speak>", "9" * 500, "\ud7ff\U0010ffff"]
    try:
        assert len(await phonemizer.phonemes(odd, "en-us")) == len(odd)
    finally:
        await phonemizer.close()


async def test_closing_ends_the_process() -> None:
    phonemizer = Phonemizer()
    await phonemizer.phonemes(["hello"], "en-us")
    pid = phonemizer.pid
    assert pid is not None
    await phonemizer.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_when_its_input_ends() -> None:
    done = subprocess.run([sys.executable, "-I", str(PROGRAM)], input=b"", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_only_the_program_of_its_own_touches_gpl_code_and_it_touches_nothing_of_ours() -> None:
    assert {path.name for path in FOLDER.glob("*.py") if imports(path) & GPL} == {PROGRAM.name}
    assert imports(PROGRAM) == {"ctypes", "json", "sys", "collections", "espeakng_loader"}
    assert not any("phonemizer_process" in path.read_text(encoding="utf-8").replace("phonemizer_process.py", "") for path in FOLDER.glob("*.py"))
