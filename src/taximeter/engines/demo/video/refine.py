"""Iterative refinement: from Gaussian noise towards the drawn frames in S passes over all frames.

The state follows the straight path of flow matching: ``x = (1 - s) * drawing + s * noise``, with s
falling from 1 to 0 in S equal parts.  Each pass predicts the clean latent from what can be known at
its noise level (a drawing blurred by ``1 + BLUR * s^2`` cells plus a share ``LEAK * sqrt(s)`` of what
the state shows) and moves the state along the straight line towards that prediction (an Euler
step).  The last pass lands on its own prediction, made at s = 1/S: so few passes leave a soft and
grainy film, and many passes leave a clean one.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from taximeter.engines.demo.video.latent import Cells, Grid, Levels

BLUR = 14.0
LEAK = 0.5
NOISE_MEAN = 128.0
NOISE_SPREAD = 64.0
SHARP = 1.04
"""Below this blur radius (in cells) the prediction is the drawing itself."""

TRUST_LEVELS = 8.0
"""Error, in levels of 255, at which the decoder trusts fine detail by 1/e."""


class Sampler:
    """The state of one clip's refinement.

    Args:
        ideal: the drawn frames as latents, shape (frames, cells), levels 0 to 255; not changed.
        grid: the frames' sizes.
        steps: how many passes the schedule has.
        seed: of the noise; the same seed gives the same film.
    """

    def __init__(self, ideal: Levels, grid: Grid, steps: int, seed: int) -> None:
        assert steps >= 1
        self._ideal, self._grid, self._steps = ideal, grid, steps
        self.passes = 0
        self._state: Cells = np.empty(ideal.shape, np.float32)
        for number, row in enumerate(self._state):
            # One stream per frame: a frame's noise depends on the seed and its own number alone.
            np.random.Generator(np.random.SFC64([seed % 2**63, number])).standard_normal(out=row, dtype=np.float32)
            np.multiply(row, NOISE_SPREAD, out=row)
            np.add(row, NOISE_MEAN, out=row)

    def advance(self, check: Callable[[], None]) -> None:
        """One pass over all frames; ``check`` is called before each frame and may raise to stop."""
        assert self.passes < self._steps, "the schedule is finished"
        noise = 1 - self.passes / self._steps
        after = 1 - (self.passes + 1) / self._steps
        keep = np.float32(after / noise)
        share = np.float32(LEAK * noise**0.5)
        for row, ideal in zip(self._state, self._ideal, strict=True):
            check()
            known = self._known(ideal, noise)
            # The prediction is known + share of (state - known), and the state keeps ``keep`` of its distance from it; in one factor:
            np.subtract(row, known, out=row)
            np.multiply(row, share + keep * (1 - share), out=row)
            np.add(row, known, out=row)
        self.passes += 1

    def _known(self, ideal: Levels, noise: float) -> Cells:
        """What the drawing tells at a noise level: everything coarse, nothing finer than the blur."""
        factor = 1 + BLUR * noise**2
        if factor < SHARP:
            return ideal.astype(np.float32)
        known = np.empty(ideal.shape, np.float32)
        for source, out in zip(self._grid.split(ideal), self._grid.split(known), strict=True):
            high, wide = source.shape
            small = (max(1, round(wide / factor)), max(1, round(high / factor)))
            coarse = Image.fromarray(source).resize(small, Image.Resampling.BOX).resize((wide, high), Image.Resampling.BILINEAR)
            out[:] = np.asarray(coarse)
        return known

    def frame(self, number: int) -> Cells:
        """The state of one frame, flat."""
        row: Cells = self._state[number]
        return row

    def error(self) -> float:
        """Root mean square distance from the drawn frames, in levels of 255."""
        total = 0.0
        for row, ideal in zip(self._state, self._ideal, strict=True):
            difference = row - ideal
            total += float(np.dot(difference, difference))
        return float((total / self._state.size) ** 0.5)

    def trust(self) -> float:
        """How far the decoder may add detail finer than the latent: 1 when the state has settled."""
        return float(np.exp(-((self.error() / TRUST_LEVELS) ** 2)))
