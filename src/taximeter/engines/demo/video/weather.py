"""Rain and snow: tiles of drops that fall without a seam."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from taximeter.engines.demo.video.scene import Scene

SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Fall:
    """One sheet of drops.

    Attributes:
        tile: as large as the frame, seamless both ways.
        speed: heights per second.
        drift: widths per second, constant.
        sway: widths to and fro.
    """

    tile: Image.Image
    speed: float
    drift: float
    sway: float

    def lay(self, canvas: Image.Image, moment_s: float) -> None:
        """Draw the sheet as it stands at a moment."""
        width, height = self.tile.size
        down = round(self.speed * moment_s * height) % height
        along = round((self.drift * moment_s + self.sway * math.sin(moment_s * 1.7)) * width) % width
        for x in (along - width, along):
            for y in (down - height, down):
                canvas.paste(self.tile, (x, y), self.tile)


def sheets(scene: Scene, width: int, height: int) -> tuple[Fall, ...]:
    """The weather of a scene: bubbles under water, none in space."""
    rng = np.random.default_rng(scene.variety + 1)
    if scene.place == "underwater":
        return (Fall(_bubbles(width, height, 26, rng), -0.16, 0.0, 0.01),)
    if scene.place == "space" or not scene.weather:
        return ()
    if scene.weather == "rain":
        return (Fall(_rain(width, height, 70, rng), 1.6, -0.16, 0.0),)
    return (
        Fall(_snow(width, height, 70, 0.0045, rng), 0.13, 0.01, 0.012),
        Fall(_snow(width, height, 34, 0.0085, rng), 0.22, 0.02, 0.02),
    )


def _rain(width: int, height: int, count: int, rng: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", (width * SAMPLE, height * SAMPLE), (222, 236, 250, 0))
    draw = ImageDraw.Draw(layer)
    unit = min(width, height) * SAMPLE
    thick = max(2, unit // 260)
    for _ in range(count):
        x, y = float(rng.uniform(0, width)) * SAMPLE, float(rng.uniform(0, height)) * SAMPLE
        length = unit * float(rng.uniform(0.035, 0.07))
        for dx in (-layer.width, 0, layer.width):
            for dy in (-layer.height, 0):
                draw.line((x + dx, y + dy, x + dx - length * 0.2, y + dy + length), fill=(222, 236, 250, 170), width=thick)
    return layer.reduce(SAMPLE)


def _bubbles(width: int, height: int, count: int, rng: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", (width * SAMPLE, height * SAMPLE), (226, 246, 252, 0))
    draw = ImageDraw.Draw(layer)
    unit = min(width, height) * SAMPLE
    for _ in range(count):
        radius = unit * float(rng.uniform(0.006, 0.018))
        x = float(rng.uniform(radius, layer.width - radius))
        y = float(rng.uniform(radius, layer.height - radius))
        around = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(around, fill=(226, 246, 252, 60), outline=(226, 246, 252, 190), width=max(1, unit // 360))
    return layer.reduce(SAMPLE)


def _snow(width: int, height: int, count: int, size: float, rng: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", (width * SAMPLE, height * SAMPLE), (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    unit = min(width, height) * SAMPLE
    for _ in range(count):
        radius = unit * size * float(rng.uniform(0.7, 1.3))
        # Kept off the edges, so that no flake is cut by the seam.
        x = float(rng.uniform(radius, layer.width - radius))
        y = float(rng.uniform(radius, layer.height - radius))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255, 225))
    return layer.reduce(SAMPLE)
