"""One video job without the event loop: draw the latents, refine them pass by pass, write the film.

Every method runs in a worker thread and looks at the stop flag before each frame.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taximeter.engines.demo.video import encode, latent
from taximeter.engines.demo.video.latent import Grid, Levels
from taximeter.engines.demo.video.refine import Sampler
from taximeter.engines.demo.video.render import Renderer
from taximeter.engines.demo.video.scene import compose


class ClipStopped(Exception):
    """The job was cancelled while a thread worked on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make; sizes in pixels, already checked and already cut to the job's bound."""

    prompt: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    seed: int


class Clip:
    """The state of one job between its steps.

    Memory: 5 bytes per latent cell, 1.9 bytes per pixel and frame (the state and the drawn latents);
    pictures are made and used one at a time.
    """

    def __init__(self, order: Order, encoder: str, font_file: Path | None, *, activations: int = 0) -> None:
        self.order = order
        self.encoder = encoder
        self.grid = Grid(order.width, order.height)
        self.scene = compose(order.prompt, order.seed, width=order.width, height=order.height)
        self._font_file = font_file
        self._activations = activations
        self._stop = threading.Event()
        self._renderer: Renderer | None = None
        self._ideal: Levels | None = None
        self._sampler: Sampler | None = None

    def stop(self) -> None:
        """Make whatever runs end before its next frame."""
        self._stop.set()

    def _check(self) -> None:
        if self._stop.is_set():
            raise ClipStopped

    def draw(self) -> None:
        """Draw the scene once into latents and lay the noise."""
        order = self.order
        self._renderer = Renderer(self.scene, (order.width, order.height), order.frames / order.fps, self._font_file)
        ideal = np.empty((order.frames, self.grid.cells), np.uint8)
        for number, row in enumerate(ideal):
            self._check()
            latent.encode(self._renderer.frame(number / order.fps), row)
        self._ideal = ideal
        self._sampler = Sampler(ideal, self.grid, order.steps, order.seed)

    def refine(self) -> None:
        """One pass over all frames."""
        assert self._sampler is not None, "draw() comes first"
        self._sampler.advance(self._check)

    def write(self, path: Path) -> None:
        """Decode the latents and write the film.  Raises EncodingFailed."""
        size = (self.order.width, self.order.height)
        encode.write_mp4(path, self._decoded(), size=size, fps=self.order.fps, encoder=self.encoder)

    def _decoded(self) -> Iterator[Levels]:
        assert self._renderer is not None
        assert self._ideal is not None
        assert self._sampler is not None
        trust = self._sampler.trust()
        for number in range(self.order.frames):
            self._check()
            picture = self._renderer.frame(number / self.order.fps)
            yield latent.decode(self._sampler.frame(number), self._ideal[number], picture, trust, self.grid)

    def work(self) -> dict[str, int]:
        """What was done so far, by quantity name; ``latent_tokens`` are those of one pass."""
        passes = self._sampler.passes if self._sampler else 0
        frames = self.order.frames if self._sampler else 0
        return {
            "steps": passes,
            "passes": passes,
            "frames": frames,
            "width": self.order.width,
            "height": self.order.height,
            "latent_tokens": frames * self.grid.tokens,
            "activations": self._activations,
        }

    def detail(self) -> dict[str, Any]:
        """Facts for the receipt."""
        return {
            "container": "mp4",
            "codec": "h264",
            "encoder": self.encoder,
            "fps": self.order.fps,
            "seed": self.order.seed,
            "scene": self.scene.summary(),
            "token": f"{latent.TOKEN_PX}x{latent.TOKEN_PX} pixels of one frame",
        }
