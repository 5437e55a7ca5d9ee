"""The demo video engine: sketch-video, a small iterative renderer that needs no GPU and no model file."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from taximeter.engines.demo.video.clip import Clip, ClipStopped, Order
from taximeter.engines.demo.video.encode import ENCODERS, EncodingFailed, choose_encoder
from taximeter.engines.errors import EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.model import Done, Event, Job, Media, Modality, Progress, Started
from taximeter.kernel.clock import Clock

MODEL = "sketch-video"
SIDE_PX = (64, 1920)
FPS = (1, 60)
STEPS = (1, 200)
FRAMES = (1, 480)
# Holds one job's memory below about 600 MB: 8 seconds of 1280x720 at 24 frames per second fit.
VOLUME_MAX = 1280 * 720 * 200
PIECE_BYTES = 256 * 1024


class DemoVideo:
    """Makes H.264 films from prompts by real refinement passes, one job at a time.

    Args:
        clock: for busy time and deadlines.
        parallel: jobs at the same time; each takes one core while it runs.
        encoders: FFmpeg encoders to try, in order.
        font_file: font for captions in Chinese; None leaves such captions away.
    """

    def __init__(self, clock: Clock, *, parallel: int = 1, encoders: Sequence[str] = ENCODERS, font_file: Path | None = None) -> None:
        self._clock = clock
        self._encoders = tuple(encoders)
        self._font_file = font_file
        self._parallel = parallel
        self._room = asyncio.Semaphore(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="sketch-video")
        self._activated = False

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        return "demo-video"

    @property
    def modalities(self) -> frozenset[Modality]:
        """Video only."""
        return frozenset({"video"})

    @property
    def slots(self) -> int | None:
        """Films that are made at the same time."""
        return self._parallel

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Draw, refine step by step, encode.

        Raises EngineRefused for a request it cannot draw, EngineFailed (with the work so far) when encoding
        fails or the deadline passes.  Closing the iterator stops before the next step.
        """
        accepted_s = self._clock.monotonic_s()
        order, truncated = plan(job)
        yield Started()
        async with self._room:
            started_s = self._clock.monotonic_s()
            clip = Clip(order, self._encoder(order), self._font_file, activations=self._activate())
            try:
                await self._in_thread(clip.draw, clip)
                for step in range(order.steps):
                    self._hurry(job, accepted_s, clip)
                    await self._in_thread(clip.refine, clip)
                    yield Progress(step + 1, order.steps)
                with tempfile.TemporaryDirectory(prefix="sketch-video-") as folder:
                    film = Path(folder) / "film.mp4"
                    await self._in_thread(lambda: clip.write(film), clip)
                    with film.open("rb") as file:
                        while piece := file.read(PIECE_BYTES):
                            yield Media(piece)
            except EncodingFailed as error:
                raise EngineFailed(str(error), work=clip.work()) from error
            engine_ms = round((self._clock.monotonic_s() - started_s) * 1000)
            yield Done(work=clip.work(), truncated=truncated, engine_ms=engine_ms, detail=clip.detail())

    def _encoder(self, order: Order) -> str:
        try:
            return choose_encoder(self._encoders)
        except EncodingFailed as error:
            none = {"steps": 0, "passes": 0, "frames": 0, "width": order.width, "height": order.height, "latent_tokens": 0, "activations": 0}
            raise EngineFailed(str(error), work=none) from error

    def _activate(self) -> int:
        """1 for the first film since the engine started, 0 for every other: it is resident then."""
        first, self._activated = not self._activated, True
        return int(first)

    def _hurry(self, job: Job, accepted_s: float, clip: Clip) -> None:
        if self._clock.monotonic_s() - accepted_s > job.deadline_s:
            message = f"the video was not ready within {job.deadline_s:g} s; ask for fewer frames, fewer steps or a smaller size"
            raise EngineFailed(message, work=clip.work())

    async def _in_thread(self, work: Callable[[], None], clip: Clip) -> None:
        """Run one step off the event loop.  When cancelled, the step ends before its next frame, and only then do we leave."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as error:
            # The pool refuses work once it is shut down.
            message = "the engine was closed while it made this film"
            raise EngineFailed(message, work=clip.work()) from error
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            clip.stop()
            await asyncio.wait([future])
            future.exception()  # Seen: a stopped clip is what was asked for.
            raise
        except ClipStopped:
            assert False, "only a cancelled run stops its clip"  # noqa: B011, PT015 - a bug, not a refusal

    async def check(self) -> Mapping[str, Any]:
        """Raises EngineUnavailable when no H.264 encoder is installed, else says which one is used, and how many films are made at once."""
        try:
            encoder = choose_encoder(self._encoders)
        except EncodingFailed as error:
            raise EngineUnavailable(str(error)) from error
        return {"model": MODEL, "encoder": encoder, "slots": self._parallel}

    async def close(self) -> None:
        """End the worker threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def plan(job: Job) -> tuple[Order, bool]:
    """The order within the job's bound, and whether the bound cut it.  Raises EngineRefused."""
    if job.modality != "video" or job.model != MODEL:
        message = f"this engine runs the video model {MODEL}, not {job.model} ({job.modality})"
        raise EngineRefused(message, param="model")
    request = job.request
    prompt = request.get("prompt", "")
    if not isinstance(prompt, str):
        message = "prompt must be text"
        raise EngineRefused(message, param="prompt")
    width, height = _number(request, "width", SIDE_PX), _number(request, "height", SIDE_PX)
    if width % 2 or height % 2:
        message = f"the size {width}x{height} must have even sides"
        raise EngineRefused(message, param="size")
    asked = _number(request, "frames", FRAMES), _number(request, "steps", STEPS)
    frames, steps = min(asked[0], job.bound.get("frames", asked[0])), min(asked[1], job.bound.get("steps", asked[1]))
    if frames < 1 or steps < 1:
        message = "the bound leaves no frame or no step to make; raise the limit of the request"
        raise EngineRefused(message)
    if frames * width * height > VOLUME_MAX:
        message = f"{frames} frames of {width}x{height} are too many at once; ask for fewer seconds or a smaller size"
        raise EngineRefused(message, param="seconds")
    fps = _number(request, "fps", FPS)
    seed = request.get("seed")
    order = Order(prompt=prompt, width=width, height=height, frames=frames, fps=fps, steps=steps, seed=seed if isinstance(seed, int) else 0)
    return order, (frames, steps) != asked


def _number(request: Mapping[str, Any], field: str, limits: tuple[int, int]) -> int:
    value = request.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not limits[0] <= value <= limits[1]:
        message = f"{field} must be a whole number from {limits[0]} to {limits[1]}"
        raise EngineRefused(message, param=field)
    return value
