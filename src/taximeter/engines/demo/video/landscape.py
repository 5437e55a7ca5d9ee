"""Strips of landscape that repeat without a seam: ridges, waves, rows of trees, rows of houses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from taximeter.engines.demo.video.colours import Colour, dark, light, mix
from taximeter.engines.demo.video.nature import pine
from taximeter.engines.demo.video.pen import Pen

SAMPLE = 2
BRIGHTER = 0.7
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Strip:
    """A picture as wide as the frame whose right edge continues at its left edge.

    Attributes:
        image: RGBA pixels.
        top: its first row in the frame.
        speed: widths per second at which it passes to the left.
    """

    image: Image.Image
    top: int
    speed: float = 0.0

    @classmethod
    def blank(cls, width: int, height: int, top: int, speed: float) -> "Strip":
        """An empty strip."""
        return cls(Image.new("RGBA", (width, max(1, height)), (0, 0, 0, 0)), top, speed)

    def at(self, speed: float) -> "Strip":
        """The same strip at another speed."""
        return Strip(self.image, self.top, speed)

    def stamp(self, sprite: Image.Image, x: float, centre_y: float) -> None:
        """Put a picture on the strip, continued over its edge; ``centre_y`` is a row of the frame."""
        left, upper = round(x - sprite.width / 2), round(centre_y - sprite.height / 2) - self.top
        for shift in (-self.image.width, 0, self.image.width):
            self.image.paste(sprite, (left + shift, upper), sprite)

    def lay(self, canvas: Image.Image, moment_s: float) -> None:
        """Draw the strip as it stands at a moment."""
        shift = round(self.speed * moment_s * self.image.width) % self.image.width
        canvas.paste(self.image, (-shift, self.top), self.image)
        if shift:
            canvas.paste(self.image, (self.image.width - shift, self.top), self.image)


def gradient(width: int, height: int, stops: Sequence[Colour], end: float) -> Image.Image:
    """Vertical blend through the stops, complete at ``end`` of the height."""
    rows = np.clip(np.arange(height) / max(1.0, height * end), 0, 1) * (len(stops) - 1)
    table = np.array(stops, dtype=np.float64)
    low = np.minimum(rows.astype(int), max(0, len(stops) - 2))
    high = np.minimum(low + 1, len(stops) - 1)
    share = (rows - low)[:, None]
    column = table[low] * (1 - share) + table[high] * share
    pixels = np.broadcast_to(np.round(column).astype(np.uint8)[:, None, :], (height, width, 3))
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGBA")


def ridge(size: Size, line: float, swell: float, colour: Colour, rng: np.random.Generator) -> Strip:
    """Rolling land whose edge lies around ``line`` (a share of the height), with room above it for what grows there."""
    width, height = size
    phases = rng.uniform(0, math.tau, 3)
    points = []
    for x in range(0, width + 8, 8):
        turn = math.tau * x / width
        wave = 0.55 * math.sin(turn + phases[0]) + 0.3 * math.sin(2 * turn + phases[1]) + 0.15 * math.sin(5 * turn + phases[2])
        points.append((x, (line + swell * wave) * height))
    return _filled(size, points, colour, round(0.22 * min(size)))


def _filled(size: Size, edge: Sequence[tuple[float, float]], colour: Colour, room: int = 2) -> Strip:
    """Everything below an edge, smooth at the edge."""
    width, height = size
    top = max(0, int(min(y for _, y in edge)) - room)
    layer = Image.new("RGBA", (width * SAMPLE, (height - top) * SAMPLE), (*colour, 0))
    outline = [(x * SAMPLE, (y - top) * SAMPLE) for x, y in edge]
    ImageDraw.Draw(layer).polygon([*outline, (outline[-1][0], layer.height), (0, layer.height)], fill=(*colour, 255))
    return Strip(layer.reduce(SAMPLE), top)


def wave_rows(size: Size, lines: Sequence[float], colours: Sequence[Colour], speed: float) -> list[Strip]:
    """Bands of scalloped waves, neighbours going opposite ways; the first band is a straight horizon."""
    width, height = size
    rows = []
    for index, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        crests = max(4, round(width / height * (7 - index)))
        depth = 0.012 * (0.25 if index == 0 and line < 0.7 else 1.0)  # noqa: PLR2004 - far water looks flat
        edge = [(x, (line + depth * abs(math.sin(math.pi * crests * x / width + index))) * height) for x in range(0, width + 4, 4)]
        # |sin| repeats after half a turn, so a whole number of crests closes the seam.
        strip = _filled(size, edge, colour)
        glints = ImageDraw.Draw(strip.image)
        for number in range(crests):
            x = width * (number + 0.5) / crests
            y = (line + 0.035 + 0.012 * (number % 3)) * height - strip.top
            length, thick = width * 0.016 * (1 + number % 3), max(1, height // 240)
            glints.rounded_rectangle((x - length, y, x + length, y + thick), thick, fill=(*light(colour, 0.22), 255))
        rows.append(strip.at(speed * (1 if index % 2 else -1)))
    return rows


def pine_row(size: Size, line: float, tall: float, colour: Colour, rng: np.random.Generator) -> Strip:
    """A dense row of firs standing on ``line``."""
    width, height = size
    unit = min(width, height)
    strip = Strip.blank(width, height, 0, 0.0)
    count = max(6, round(width / unit * 7))
    for index in range(count):
        high = round(unit * tall * float(rng.uniform(0.7, 1.0)))
        pen = Pen(high)
        pine(pen, colour, 0.0)
        strip.stamp(pen.image(), width * (index + float(rng.uniform(0.2, 0.8))) / count, line * height - high * 0.42)
    draw = ImageDraw.Draw(strip.image)
    draw.rectangle((0, round(line * height), width, height), fill=(*colour, 255))
    return strip


def city_rows(size: Size, time: str, tint: Colour | None, line: float, rng: np.random.Generator, scroll: float) -> list[Strip]:
    """Two rows of houses, a pavement and a road with a dashed line."""
    width, height = size
    far_colours, near_colours = _WALLS[time]
    if tint is not None:
        near_colours = tuple(mix(colour, tint, 0.45) for colour in near_colours)
    far = _houses(size, line, (0.30, 0.52), far_colours, rng)
    near = _houses(size, line, (0.16, 0.36), near_colours, rng, windows=_WINDOWS[time])
    pavement, road, dash = _STREET[time]
    street = Strip.blank(width, height - round(line * height), round(line * height), 0.0)
    draw = ImageDraw.Draw(street.image)
    deep = street.image.height
    draw.rectangle((0, 0, width, deep), fill=(*pavement, 255))
    draw.rectangle((0, deep * 0.2, width, deep), fill=(*dark(pavement, 0.2), 255))
    draw.rectangle((0, deep * 0.26, width, deep), fill=(*road, 255))
    count = max(4, round(width / height * 4))
    for index in range(count):
        x = width * index / count
        draw.rectangle((x, deep * 0.64, x + width / count * 0.5, deep * 0.69), fill=(*dash, 255))
    return [far.at(0.08 * scroll), near.at(0.3 * scroll), street.at(scroll)]


_Walls = tuple[Colour, ...]
_WALLS: dict[str, tuple[_Walls, _Walls]] = {
    "day": (
        ((178, 206, 226), (188, 212, 230), (170, 198, 222)),
        ((240, 178, 138), (226, 140, 120), (246, 214, 160), (150, 178, 206), (196, 162, 196)),
    ),
    "sunset": (((214, 132, 142), (204, 122, 140), (222, 142, 144)), ((140, 82, 120), (118, 72, 116), (160, 92, 118), (104, 68, 118))),
    "night": (((48, 54, 108), (54, 60, 116), (44, 50, 100)), ((40, 42, 84), (50, 48, 92), (36, 38, 78), (58, 52, 98))),
}
_Windows = tuple[Colour, Colour, float]
"""Usual and brighter light, and the share of windows that are lit."""
_WINDOWS: dict[str, _Windows] = {
    "day": ((224, 240, 250), (244, 250, 254), 1.0),
    "sunset": ((255, 206, 120), (255, 226, 160), 0.7),
    "night": ((255, 214, 110), (255, 236, 170), 0.6),
}
_STREET: dict[str, tuple[Colour, Colour, Colour]] = {
    "day": ((206, 206, 212), (104, 108, 122), (250, 246, 232)),
    "sunset": ((170, 120, 136), (92, 74, 102), (255, 224, 170)),
    "night": ((84, 84, 122), (48, 50, 78), (214, 208, 180)),
}


def _houses(
    size: Size,
    line: float,
    tall: tuple[float, float],
    colours: Sequence[Colour],
    rng: np.random.Generator,
    windows: _Windows | None = None,
) -> Strip:
    """Boxes of varied height side by side, with lit windows when asked."""
    width, height = size
    strip = Strip.blank(width, round(line * height) + 1, 0, 0.0)
    draw = ImageDraw.Draw(strip.image)
    unit = min(width, height)
    count = max(5, round(width / unit * 5.5))
    lots = np.cumsum(rng.uniform(0.75, 1.25, count))
    edges = [0, *(round(float(lot) / float(lots[-1]) * width) for lot in lots)]
    for index, (left, right) in enumerate(pairwise(edges)):
        roof = line * height - float(rng.uniform(*tall)) * unit
        colour = colours[(index + int(rng.integers(2))) % len(colours)]
        draw.rectangle((left, roof, right - 1, strip.image.height), fill=(*colour, 255))
        draw.rectangle((left, roof, right - 1, roof + unit * 0.012), fill=(*light(colour, 0.2), 255))
        if windows is None:
            continue
        draw.rectangle((right - (right - left) * 0.12, roof, right - 1, strip.image.height), fill=(*dark(colour, 0.12), 255))
        columns = max(2, round((right - left) / (unit * 0.055)))
        step = (right - left) * 0.86 / columns
        for row in range(int((line * height - roof) / (unit * 0.062))):
            for column in range(columns):
                if float(rng.uniform()) > windows[2]:
                    continue
                x, y = left + step * (column + 0.36), roof + unit * (0.036 + 0.062 * row)
                light_colour = windows[1] if float(rng.uniform()) > BRIGHTER else windows[0]
                draw.rectangle((x, y, x + step * 0.45, y + unit * 0.032), fill=(*light_colour, 255))
    return strip
