"""The engine: one job at a time, each line of speech sent on as soon as it is made, never past the bound."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from onnxruntime import RunOptions
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from taximeter.engines.demo.speech import model_files
from taximeter.engines.demo.speech.encode import Encoder, Samples, encoder
from taximeter.engines.demo.speech.kokoro import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Kokoro, run_options, tokens_per_call
from taximeter.engines.demo.speech.offer import FORMATS, VOICES, Speaker, speakers
from taximeter.engines.demo.speech.phonemizer import Phonemizer
from taximeter.engines.demo.speech.script import ENGLISH, Line, lines
from taximeter.engines.errors import EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.model import Done, Event, Job, Media, Modality, Started
from taximeter.kernel.clock import Clock

SPEED_MIN = Decimal("0.25")
SPEED_MAX = Decimal(4)
_DEFAULT_FORMAT = "mp3"
_DEFAULT_VOICE = "alloy"
_CLOSED = "The speech engine was closed; nothing usable was delivered."
_ONNX_ERRORS = (onnx_errors.Fail, onnx_errors.InvalidArgument, onnx_errors.RuntimeException)

T = TypeVar("T")


class _Plan(msgspec.Struct, frozen=True):
    """A request that can be done."""

    text: str
    voice: str
    speaker: Speaker
    response_format: str
    speed: Decimal


class _Tally(msgspec.Struct):
    """What was done so far; ``styles`` in the order of their first words."""

    phoneme_tokens: int = 0
    audio_samples: int = 0
    skipped: int = 0
    busy_s: float = 0.0
    truncated: bool = False
    styles: dict[str, None] = msgspec.field(default_factory=dict)

    def work(self, text: str) -> dict[str, int]:
        return {
            "characters": len(text),
            "phoneme_tokens": self.phoneme_tokens,
            "audio_frames": self.audio_samples // SAMPLES_PER_FRAME,
            "audio_samples": self.audio_samples,
            "audio_ms": self.audio_samples * 1000 // SAMPLE_RATE_HZ,
        }


class DemoSpeech:
    """Kokoro-82M behind the engine's protocol.

    Args:
        clock: for ``engine_ms`` and the deadline.
        threads: cores that one job may use.
        model_path: an ONNX export of Kokoro-82M v1.0; None takes the one in the packages.
        styles_path: an ``.npz`` of voice styles; None takes the ones in the package, and the native ones when they are there.
    """

    name = "demo-speech"
    modalities: frozenset[Modality] = frozenset({"speech"})
    slots: int | None = 1

    def __init__(self, clock: Clock, *, threads: int = 2, model_path: Path | None = None, styles_path: Path | None = None) -> None:
        self._clock = clock
        self._threads = threads
        self._model_path = model_path
        self._styles_path = styles_path
        self._kokoro: Kokoro | None = None
        self._load_s = 0.0
        self._voices: Mapping[str, Speaker] = VOICES
        self._phonemizer = Phonemizer()
        # One thread: a cancelled call that is still winding down delays the next one and never runs beside it.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kokoro")
        self._one_job = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._closed = False
        self._options: RunOptions | None = None

    @property
    def voices(self) -> Mapping[str, Speaker]:
        """The names this engine accepts, with the styles behind each."""
        return self._voices

    async def start(self) -> None:
        """Load the model and start the phonemizer; does nothing when that is done.

        Raises:
            EngineUnavailable: a model file or the phonemizer is missing or broken.
            EngineFailed: the engine was closed.
        """
        async with self._loading:
            if self._kokoro is None:
                began_s = self._clock.monotonic_s()
                kokoro = await self._in_thread(self._load)
                await self._phonemizer.phonemes(["ready"], ENGLISH)
                self._voices = speakers(tuple(kokoro.styles))
                self._load_s = self._clock.monotonic_s() - began_s
                self._kokoro = kokoro

    async def check(self) -> Mapping[str, Any]:
        """Facts for the health page.

        Raises:
            EngineUnavailable: the model is not loaded.
        """
        if self._kokoro is None:
            message = "The speech model is not loaded yet; try again in a few seconds."
            raise EngineUnavailable(message)
        return {
            "model": self._kokoro.file_name,
            "voices": sorted(self._voices),
            "formats": list(FORMATS),
            "load_ms": round(self._load_s * 1000),
            "busy": self._one_job.locked(),
            "slots": 1,
        }

    async def close(self) -> None:
        """End the phonemizer, stop the model and let go of it; a job that still runs fails."""
        self._closed = True
        if self._options is not None:
            self._options.terminate = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._phonemizer.close()
        self._kokoro = None

    async def run(self, job: Job) -> AsyncIterator[Event]:
        """Speak: ``Started``, the file in ``Media`` pieces, ``Done``.

        The request has ``input``, ``voice``, ``response_format`` and ``speed`` (a decimal string); the bound has
        ``audio_frames`` (600 samples, 25 ms, each).

        Raises:
            EngineRefused: another modality, unknown voice or format, a speed out of range, nothing that can be spoken.
            EngineUnavailable: the model or the phonemizer is missing, or no turn came before the deadline.
            EngineFailed: the model failed, the deadline passed while speaking, or the engine was closed.
        """
        if job.modality != "speech":
            message = f"engine {self.name} does speech, not {job.modality}"
            raise EngineRefused(message, param="model")
        await self.start()
        if self._kokoro is None:
            raise EngineFailed(_CLOSED)
        model_file = self._kokoro.file_name
        plan = self._plan(job.request)
        deadline_s = self._clock.monotonic_s() + job.deadline_s
        await self._turn(job.deadline_s)
        try:
            yield Started()
            tally = _Tally()
            async with aclosing(self._pieces(plan, job.bound["audio_frames"], tally, deadline_s)) as pieces:
                async for piece in pieces:
                    yield Media(piece)
            yield _done(plan, tally, model_file)
        finally:
            self._one_job.release()

    async def _turn(self, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await self._one_job.acquire()
        except TimeoutError as error:
            message = "The speech engine was busy with other requests for the whole time allowed; try again later."
            raise EngineUnavailable(message) from error

    async def _pieces(self, plan: _Plan, frames_max: int, tally: _Tally, deadline_s: float) -> AsyncGenerator[bytes, None]:
        sink = encoder(plan.response_format, SAMPLE_RATE_HZ)
        async with aclosing(lines(plan.text, self._phonemizer, tokens_per_call(float(plan.speed)), part=not plan.speaker.is_one)) as script:
            while not tally.truncated:
                began_s = self._clock.monotonic_s()
                if began_s > deadline_s:
                    message = "The speech was not finished in the time allowed and was stopped; send a shorter input."
                    raise EngineFailed(message, work=tally.work(plan.text))
                line = await anext(script, None)
                if line is None:
                    break
                piece = await self._piece(line, plan, frames_max, tally, sink)
                tally.busy_s += self._clock.monotonic_s() - began_s
                if piece:
                    yield piece
        if tally.audio_samples == 0 and not tally.truncated:
            message = "There is nothing in the input that this engine can say; it speaks English and Chinese."
            raise EngineRefused(message, param="input")
        if rest := sink.finish():
            yield rest

    async def _piece(self, line: Line, plan: _Plan, frames_max: int, tally: _Tally, sink: Encoder) -> bytes:
        """Speak one line as far as the bound allows."""
        tally.skipped += line.skipped
        if not line.phonemes:
            return b""
        room = frames_max * SAMPLES_PER_FRAME - tally.audio_samples
        if room <= 0:
            tally.truncated = True
            return b""
        style = plan.speaker.style(line.languages)
        tally.styles.setdefault(style)
        samples = await self._speak(line.phonemes, style, float(plan.speed))
        tally.truncated = len(samples) > room
        tally.phoneme_tokens += len(line.phonemes)
        tally.audio_samples += min(len(samples), room)
        return sink.add(samples[:room])

    async def _speak(self, phonemes: str, style: str, speed: float) -> Samples:
        """One call of the model in its thread; being cancelled, or the engine's being closed, stops the model."""
        kokoro, options = self._kokoro, run_options()
        if kokoro is None:
            raise EngineFailed(_CLOSED)
        self._options = options
        try:
            return await self._in_thread(lambda: kokoro.say(phonemes, style, speed, options))
        except asyncio.CancelledError:
            options.terminate = True
            raise
        except _ONNX_ERRORS as error:
            message = _CLOSED if self._closed else f"The speech model failed: {error}"
            raise EngineFailed(message) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run something in the model's thread.  Raises EngineFailed when the engine was closed before its turn."""
        try:
            call = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:
            # The pool refuses work once it is shut down.
            raise EngineFailed(_CLOSED) from error
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError as error:
            if call.cancelled() and self._closed:
                raise EngineFailed(_CLOSED) from error
            # Its exception says only that it was told to stop.
            call.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def _load(self) -> Kokoro:
        files = model_files.read(self._model_path, self._styles_path)
        try:
            return Kokoro(files, self._threads)
        except (*_ONNX_ERRORS, onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph) as error:
            message = f"{files.name} is not a model that onnxruntime can run: {error}"
            raise EngineUnavailable(message) from error

    def _plan(self, request: dict[str, Any]) -> _Plan:
        voice = str(request.get("voice", _DEFAULT_VOICE))
        if voice not in self._voices:
            message = f"This engine has no voice {voice!r}; choose one of {', '.join(sorted(self._voices))}."
            raise EngineRefused(message, param="voice")
        response_format = str(request.get("response_format", _DEFAULT_FORMAT))
        if response_format not in FORMATS:
            message = f"This engine cannot make {response_format!r}; choose one of {', '.join(FORMATS)}."
            raise EngineRefused(message, param="response_format")
        return _Plan(
            text=str(request["input"]),
            voice=voice,
            speaker=self._voices[voice],
            response_format=response_format,
            speed=_speed(str(request.get("speed", "1.0"))),
        )


def _done(plan: _Plan, tally: _Tally, model_file: str) -> Done:
    detail: dict[str, Any] = {
        "voice": plan.voice,
        "styles": list(tally.styles),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "model_file": model_file,
        "response_format": plan.response_format,
    }
    if tally.skipped:
        detail["characters_not_spoken"] = tally.skipped
    return Done(work=tally.work(plan.text), truncated=tally.truncated, engine_ms=round(tally.busy_s * 1000), detail=detail)


def _speed(text: str) -> Decimal:
    try:
        speed = Decimal(text)
    except InvalidOperation:
        speed = Decimal(0)
    # A NaN compares false with everything, so it is refused here too.
    if not (speed.is_finite() and SPEED_MIN <= speed <= SPEED_MAX):
        message = f"The speed must be a number from {SPEED_MIN} to {SPEED_MAX}, not {text!r}."
        raise EngineRefused(message, param="speed")
    return speed
