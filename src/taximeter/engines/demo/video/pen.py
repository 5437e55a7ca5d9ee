"""Draws smooth flat shapes: a large canvas in unit coordinates, reduced at the end so that edges are antialiased."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from taximeter.engines.demo.video.colours import Colour

Point = tuple[float, float]

SUPERSAMPLE = 4


class Pen:
    """A canvas around (0, 0), y pointing down; one unit is half of ``size_px``.

    Args:
        size_px: pixels of the shorter side of the finished image, which spans -1 to 1.
        wide: how many times wider than high the canvas is.
        sample: supersampling factor per axis.
    """

    def __init__(self, size_px: int, *, wide: float = 1.0, sample: int = SUPERSAMPLE) -> None:
        self._sample = sample
        height = max(2, size_px) * sample
        width = max(2, round(size_px * wide)) * sample
        self._unit = height / 2
        self._centre = (width / 2, height / 2)
        self._image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, point: Point) -> Point:
        return (self._centre[0] + point[0] * self._unit, self._centre[1] + point[1] * self._unit)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """A filled circle."""
        self.oval(centre, (radius, radius), fill)

    def oval(self, centre: Point, radii: Point, fill: Colour, turn: float = 0.0) -> None:
        """A filled ellipse; ``turn`` in degrees, clockwise."""
        if turn:
            angle = math.radians(turn)
            cos, sin = math.cos(angle), math.sin(angle)
            points = []
            for index in range(64):
                phase = math.tau * index / 64
                x, y = radii[0] * math.cos(phase), radii[1] * math.sin(phase)
                points.append((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos))
            self.poly(points, fill)
            return
        low = self._at((centre[0] - radii[0], centre[1] - radii[1]))
        high = self._at((centre[0] + radii[0], centre[1] + radii[1]))
        self._draw.ellipse((*low, *high), fill=fill)

    def slice(self, centre: Point, radii: Point, angles: tuple[float, float], fill: Colour) -> None:
        """The part of an ellipse between two angles (degrees, 0 to the right, clockwise), closed by its chord."""
        low = self._at((centre[0] - radii[0], centre[1] - radii[1]))
        high = self._at((centre[0] + radii[0], centre[1] + radii[1]))
        self._draw.chord((*low, *high), angles[0], angles[1], fill=fill)

    def box(self, low: Point, high: Point, fill: Colour, radius: float = 0.0) -> None:
        """A rectangle, with rounded corners when ``radius`` is given."""
        corners = (*self._at(low), *self._at(high))
        if radius > 0:
            self._draw.rounded_rectangle(corners, radius * self._unit, fill=fill)
        else:
            self._draw.rectangle(corners, fill=fill)

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        """A polygon with straight edges."""
        self._draw.polygon([self._at(point) for point in points], fill=fill)

    def blob(self, points: Sequence[Point], fill: Colour) -> None:
        """A closed smooth curve through the points."""
        self.poly(smooth(points, closed=True), fill)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour, *, curve: bool = True) -> None:
        """A line with round ends through the points."""
        path = smooth(points, closed=False) if curve and len(points) > 2 else list(points)  # noqa: PLR2004 - two points are straight
        pixels = [self._at(point) for point in path]
        thick = max(1, round(width * self._unit))
        self._draw.line(pixels, fill=fill, width=thick, joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=fill)

    def clear(self, points: Sequence[Point]) -> None:
        """Cut a polygon out of what was drawn."""
        self._draw.polygon([self._at(point) for point in points], fill=(0, 0, 0, 0))

    def clear_disc(self, centre: Point, radius: float) -> None:
        """Cut a circle out of what was drawn."""
        low = self._at((centre[0] - radius, centre[1] - radius))
        high = self._at((centre[0] + radius, centre[1] + radius))
        self._draw.ellipse((*low, *high), fill=(0, 0, 0, 0))

    def image(self) -> Image.Image:
        """The finished picture (RGBA)."""
        return self._image.reduce(self._sample)


def smooth(points: Sequence[Point], *, closed: bool, pieces: int = 12) -> list[Point]:
    """A Catmull-Rom curve through the points as short straight pieces."""
    count = len(points)
    path: list[Point] = []
    last = count if closed else count - 1
    for index in range(last):
        if closed:
            a, b, c, d = (points[(index + shift) % count] for shift in (-1, 0, 1, 2))
        else:
            a, b, c, d = (points[min(max(index + shift, 0), count - 1)] for shift in (-1, 0, 1, 2))
        for piece in range(pieces):
            t = piece / pieces
            path.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    if not closed:
        path.append(points[-1])
    return path


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t)


def star_points(centre: Point, outer: float, inner: float, tips: int, turn: float = 0.0) -> list[Point]:
    """The corners of a star, first tip up; ``turn`` in radians."""
    points = []
    for index in range(tips * 2):
        radius = inner if index % 2 else outer
        angle = -math.pi / 2 + math.pi * index / tips + turn
        points.append((centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)))
    return points
