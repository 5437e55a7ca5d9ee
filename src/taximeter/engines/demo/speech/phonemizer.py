"""Keeps the phonemizer's process: starts it at the first text, starts it again when it dies, ends it at the end."""

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from taximeter.engines.errors import EngineFailed, EngineUnavailable

_PROGRAM = Path(__file__).with_name("phonemizer_process.py")
_ANSWER_BYTES_MAX = 1 << 24
_TRIES = 2


class _Answer(msgspec.Struct):
    id: int
    phonemes: list[str] = []
    error: str | None = None


class Phonemizer:
    """Text to phonemes, in another process.

    Args:
        timeout_s: seconds to wait for one answer; espeak-ng needs milliseconds.
    """

    def __init__(self, timeout_s: float = 15.0) -> None:
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._last_id = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return None if self._process is None else self._process.pid

    async def phonemes(self, texts: list[str], language: str) -> list[str]:
        """The sounds of some texts.

        Args:
            texts: one clause each.
            language: an espeak-ng voice such as ``en-us``.

        Raises:
            EngineUnavailable: the process cannot be started, or died twice.
            EngineFailed: it does not accept this text, or the phonemizer was closed.
        """
        async with self._lock:
            if self._closed:
                # A process started now would have nobody to end it.
                message = "The speech engine was closed; nothing usable was delivered."
                raise EngineFailed(message)
            for _ in range(_TRIES):
                answer = await self._ask(texts, language)
                if answer is not None:
                    break
                await self._stop()
            else:
                message = "The phonemizer's process does not answer; check that the package espeakng-loader is installed."
                raise EngineUnavailable(message)
        if answer.error is not None:
            raise EngineFailed(answer.error)
        return answer.phonemes

    async def close(self) -> None:
        """End the process, for good."""
        self._closed = True
        async with self._lock:
            await self._stop()

    async def _ask(self, texts: list[str], language: str) -> _Answer | None:
        """One question; None when the process is gone, silent, or out of step."""
        self._last_id += 1
        line = msgspec.json.encode({"id": self._last_id, "language": language, "texts": texts}) + b"\n"
        try:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(line)
            async with asyncio.timeout(self._timeout_s):
                await process.stdin.drain()
                answer = msgspec.json.decode(await process.stdout.readuntil(), type=_Answer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, msgspec.DecodeError):
            return None
        except asyncio.CancelledError:
            # The answer is still under way and would be taken for the next one's.
            self._kill()
            raise
        return answer if answer.id == self._last_id else None

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-X",
                "utf8",
                str(_PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_ANSWER_BYTES_MAX,
            )
        return self._process

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _stop(self) -> None:
        if self._process is not None:
            self._kill()
            await self._process.wait()
            self._process = None
