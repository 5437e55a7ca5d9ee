"""Between pictures and latents: YCbCr planes at half the picture's resolution, and back.

A latent frame holds luma at one cell per 2x2 pixels and each chroma plane at one cell per 4x4
pixels, as 8-bit video levels (luma 16 to 235).  A *token* is the patch of one frame that covers
16x16 pixels, the unit in which video transformers of this family count.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TOKEN_PX = 16
SCALE = 2

Levels = NDArray[np.uint8]
Cells = NDArray[np.float32]

# Full-range YCbCr (what Pillow makes) -> video range: luma 16..235, chroma 16..240.
_VIDEO_RANGE = [round(16 + value * 219 / 255) for value in range(256)] + [round(128 + (value - 128) * 224 / 255) for value in range(256)] * 2


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes of one frame's planes.  Width and height must be even."""

    width: int
    height: int

    @property
    def pixels(self) -> tuple[tuple[int, int], ...]:
        """Size (width, height) of the picture's planes in 4:2:0: luma, Cb, Cr."""
        chroma = (self.width // 2, self.height // 2)
        return ((self.width, self.height), chroma, chroma)

    @property
    def latent(self) -> tuple[tuple[int, int], ...]:
        """Size (width, height) of the latent's planes."""
        return tuple((-(-wide // SCALE), -(-high // SCALE)) for wide, high in self.pixels)

    @property
    def cells(self) -> int:
        """Latent cells of one frame."""
        return sum(wide * high for wide, high in self.latent)

    @property
    def tokens(self) -> int:
        """Patches of one frame that a pass works on."""
        return -(-self.width // TOKEN_PX) * -(-self.height // TOKEN_PX)

    def split(self, row: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """A frame's flat latent as its planes (views, rows first)."""
        planes, start = [], 0
        for wide, high in self.latent:
            planes.append(row[start : start + wide * high].reshape(high, wide))
            start += wide * high
        return planes


def to_planes(picture: Image.Image) -> list[Image.Image]:
    """An RGB picture as 4:2:0 planes in video range (BT.601 matrix)."""
    luma, blue, red = picture.convert("YCbCr").point(_VIDEO_RANGE).split()
    return [luma, blue.reduce(2), red.reduce(2)]


def encode(picture: Image.Image, out: Levels) -> None:
    """Write a picture's latent into a flat row of levels."""
    start = 0
    for plane in to_planes(picture):
        small = np.asarray(plane.reduce(SCALE))
        out[start : start + small.size] = small.ravel()
        start += small.size


def decode(latent: Cells, ideal: Levels, picture: Image.Image, trust: float, grid: Grid) -> Levels:
    """The latent as a 4:2:0 frame, shape (height * 3 / 2, width), levels in video range.

    Detail finer than a latent cell comes from the drawing itself, weighted by ``trust`` (0 to 1): the
    less the latent has settled, the less detail is added, and whatever error the latent still has
    is seen in the picture.
    """
    residual = latent - np.float32(trust) * ideal
    frame = np.empty(grid.width * grid.height * 3 // 2, np.uint8)
    start = 0
    for cells, plane, (wide, high) in zip(grid.split(residual), to_planes(picture), grid.pixels, strict=True):
        grown = np.asarray(Image.fromarray(cells.astype(np.float32, copy=False)).resize((wide, high), Image.Resampling.BILINEAR))
        levels = grown + np.float32(trust) * np.asarray(plane, np.float32)
        np.rint(levels, out=levels)
        np.clip(levels, 0, 255, out=levels)
        frame[start : start + wide * high] = levels.ravel()
        start += wide * high
    return frame.reshape(grid.height * 3 // 2, grid.width)
