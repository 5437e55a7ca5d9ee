"""Drawings of plants, lights in the sky, and the abstract shapes that stand for words nobody drew."""

import math

from taximeter.engines.demo.video.colours import CREAM, Colour, dark, light
from taximeter.engines.demo.video.pen import Pen, star_points

TRUNK: Colour = (128, 86, 60)
LEAF: Colour = (66, 165, 92)


def tree(pen: Pen, colour: Colour, phase: float) -> None:
    """A round broadleaf tree."""
    sway = 0.025 * math.sin(math.tau * phase)
    pen.blob([(-0.09, 0.0), (0.09, 0.0), (0.11, 0.6), (0.22, 0.92), (-0.22, 0.92), (-0.11, 0.6)], TRUNK)
    pen.stroke([(0.0, 0.4), (0.24, 0.14)], 0.07, TRUNK)
    leaves = ((-0.36, 0.02, 0.34), (0.38, 0.0, 0.33), (-0.2, -0.4, 0.36), (0.24, -0.42, 0.35), (0.02, -0.12, 0.44), (0.02, -0.62, 0.3))
    for x, y, radius in leaves:
        pen.disc((x + sway, y + 0.05), radius, dark(colour, 0.2))
    for x, y, radius in leaves:
        pen.disc((x - 0.03 + sway, y), radius * 0.94, colour)
    for x, y, radius in ((-0.3, -0.42, 0.15), (0.0, -0.68, 0.13), (-0.42, -0.06, 0.12)):
        pen.disc((x + sway, y), radius, light(colour, 0.18))


def pine(pen: Pen, colour: Colour, phase: float) -> None:
    """A fir in three storeys."""
    sway = 0.02 * math.sin(math.tau * phase)
    pen.box((-0.09, 0.6), (0.09, 0.92), TRUNK)
    for low, high, half in ((0.72, -0.02, 0.6), (0.3, -0.42, 0.48), (-0.14, -0.92, 0.36)):
        pen.poly([(-half, low), (sway, high), (half, low)], colour)
        pen.poly([(0.06, low), (sway, high), (half, low)], dark(colour, 0.16))


def palm(pen: Pen, colour: Colour, phase: float) -> None:
    """A palm tree."""
    sway = 0.05 * math.sin(math.tau * phase)
    pen.stroke([(0.12, 0.88), (0.02, 0.4), (-0.04, 0.0), (0.0, -0.4)], 0.13, TRUNK)
    for index in range(7):
        angle = math.pi * (1.0 + index / 6)
        x, y = math.cos(angle), math.sin(angle)
        tip = (0.78 * x + sway, -0.38 + 0.5 * y + 0.3 * abs(x))
        middle = (0.44 * x + sway / 2, -0.44 + 0.46 * y)
        pen.blob([(0.0, -0.36), middle, tip, (middle[0], middle[1] + 0.17)], dark(colour, 0.06 * (index % 3)))
    for x in (-0.07, 0.08):
        pen.disc((x, -0.3), 0.08, (112, 70, 44))


def flower(pen: Pen, colour: Colour, phase: float) -> None:
    """A flower that sways on its stem."""
    sway = 0.08 * math.sin(math.tau * phase)
    pen.stroke([(0.0, 0.92), (0.02, 0.4), (sway, -0.24)], 0.07, (72, 150, 84))
    pen.blob([(0.02, 0.66), (0.3, 0.4), (0.52, 0.42), (0.3, 0.66)], LEAF)
    pen.blob([(0.0, 0.76), (-0.3, 0.52), (-0.5, 0.54), (-0.28, 0.76)], dark(LEAF, 0.12))
    for ring, shade in ((0.0, dark(colour, 0.12)), (0.5, colour)):
        for index in range(6):
            angle = math.tau * (index + ring) / 6
            pen.disc((sway + 0.27 * math.cos(angle), -0.4 + 0.27 * math.sin(angle)), 0.22, shade)
    pen.disc((sway, -0.4), 0.19, (252, 205, 55) if colour != (252, 205, 55) else TRUNK)


def cactus(pen: Pen, colour: Colour, phase: float) -> None:
    """A cactus with two arms."""
    del phase
    for points in ([(-0.1, 0.4), (-0.46, 0.34), (-0.5, -0.06)], [(0.1, 0.16), (0.46, 0.1), (0.5, -0.3)]):
        pen.stroke(points, 0.2, dark(colour, 0.1))
    pen.stroke([(0.0, 0.78), (0.0, -0.62)], 0.36, colour, curve=False)
    pen.box((-0.18, 0.6), (0.18, 0.92), colour)
    for x in (-0.08, 0.08):
        pen.stroke([(x, -0.6), (x, 0.86)], 0.025, light(colour, 0.3), curve=False)
    for index in range(5):
        angle = math.tau * index / 5
        pen.disc((0.08 * math.cos(angle), -0.82 + 0.08 * math.sin(angle)), 0.07, (247, 130, 168))
    pen.disc((0.0, -0.82), 0.05, (252, 205, 55))


def mushroom(pen: Pen, colour: Colour, phase: float) -> None:
    """A dotted mushroom."""
    squash = 0.02 * math.sin(math.tau * phase)
    pen.blob([(-0.18, 0.0), (0.18, 0.0), (0.26, 0.8), (0.0, 0.92), (-0.26, 0.8)], CREAM)
    pen.slice((0.0, 0.14), (0.8, 0.9 - squash), (180, 360), colour)
    pen.oval((0.0, 0.14), (0.8, 0.12), dark(colour, 0.2))
    pen.oval((0.0, 0.15), (0.52, 0.07), (244, 226, 198))
    for x, y, radius in ((-0.4, -0.16, 0.12), (0.05, -0.46, 0.14), (0.46, -0.12, 0.11), (0.02, -0.06, 0.08)):
        pen.disc((x, y), radius, CREAM)


def apple(pen: Pen, colour: Colour, phase: float) -> None:
    """An apple with a leaf."""
    del phase
    pen.stroke([(0.0, -0.4), (0.04, -0.62), (0.12, -0.78)], 0.07, TRUNK)
    pen.blob([(0.06, -0.56), (0.3, -0.82), (0.58, -0.74), (0.36, -0.52)], LEAF)
    pen.blob([(0.0, -0.38), (0.42, -0.5), (0.74, -0.1), (0.56, 0.58), (0.2, 0.86), (-0.2, 0.86), (-0.56, 0.58), (-0.74, -0.1), (-0.42, -0.5)], colour)
    pen.oval((-0.42, -0.06), (0.1, 0.22), light(colour, 0.45), 16)


def sun(pen: Pen, colour: Colour, phase: float) -> None:
    """A sun whose rays turn slowly."""
    turn = math.tau * phase / 12
    pen.poly(star_points((0.0, 0.0), 0.96, 0.72, 12, turn), light(colour, 0.35))
    pen.disc((0.0, 0.0), 0.7, light(colour, 0.16))
    pen.disc((0.0, 0.0), 0.62, colour)


def moon(pen: Pen, colour: Colour, phase: float) -> None:
    """A crescent moon."""
    del phase
    pen.disc((0.0, 0.0), 0.8, colour)
    pen.disc((-0.42, 0.1), 0.12, dark(colour, 0.1))
    pen.disc((-0.24, 0.5), 0.08, dark(colour, 0.1))
    pen.disc((-0.5, -0.28), 0.07, dark(colour, 0.1))
    pen.clear_disc((0.42, -0.22), 0.66)


def full_moon(pen: Pen, colour: Colour, phase: float) -> None:
    """A full moon with craters."""
    del phase
    pen.disc((0.0, 0.0), 0.8, colour)
    for x, y, radius in ((-0.3, -0.2, 0.2), (0.32, 0.26, 0.16), (0.2, -0.42, 0.1), (-0.26, 0.42, 0.1), (0.5, -0.1, 0.07)):
        pen.disc((x, y), radius, dark(colour, 0.1))


def star(pen: Pen, colour: Colour, phase: float) -> None:
    """A twinkling star."""
    size = 0.84 + 0.1 * math.sin(math.tau * phase)
    pen.poly(star_points((0.0, 0.0), size, size * 0.46, 5), colour)
    pen.poly(star_points((0.0, 0.0), size * 0.56, size * 0.26, 5), light(colour, 0.4))


def planet(pen: Pen, colour: Colour, phase: float) -> None:
    """A ringed planet."""
    tilt = -18 + 3 * math.sin(math.tau * phase)
    pen.oval((0.0, 0.0), (0.98, 0.3), light(colour, 0.55), tilt)
    pen.oval((0.0, 0.0), (0.82, 0.2), dark(colour, 0.5), tilt)
    pen.disc((0.0, 0.0), 0.58, colour)
    pen.slice((0.0, 0.0), (0.58, 0.58), (20, 130), dark(colour, 0.16))
    pen.oval((-0.2, -0.26), (0.18, 0.08), light(colour, 0.3), tilt)
    angle = math.radians(tilt)
    ring = []
    for index in range(25):
        t = math.pi * index / 24
        x, y = 0.9 * math.cos(t), 0.25 * math.sin(t)
        ring.append((x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)))
    pen.stroke(ring, 0.08, light(colour, 0.55), curve=False)


def cloud(pen: Pen, colour: Colour, phase: float) -> None:
    """A soft cloud with a flat base."""
    breathe = 0.02 * math.sin(math.tau * phase)
    shade = dark(colour, 0.07)
    for x, y, radius in ((-0.52, 0.14, 0.28), (0.54, 0.16, 0.26), (-0.16, -0.08, 0.4), (0.24, -0.02, 0.34)):
        pen.disc((x, y + 0.04), radius, shade)
    pen.box((-0.78, 0.14), (0.78, 0.46), shade, 0.16)
    for x, y, radius in ((-0.52, 0.1, 0.26), (0.54, 0.12, 0.24), (-0.16, -0.1 - breathe, 0.38), (0.24, -0.05 + breathe, 0.32)):
        pen.disc((x, y), radius, colour)
    pen.box((-0.72, 0.1), (0.72, 0.38), colour, 0.14)


def rainbow(pen: Pen, colour: Colour, phase: float) -> None:
    """A rainbow with clouds at its feet."""
    del phase
    bands: tuple[Colour, ...] = ((226, 74, 70), (247, 150, 60), (252, 214, 84), (98, 190, 110), (70, 140, 226), (136, 94, 206))
    for index, band in enumerate(bands):
        radius = 0.94 - index * 0.09
        pen.slice((0.0, 0.5), (radius, radius * 1.3), (180, 360), band)
    pen.clear([(0.4 * math.cos(math.pi * i / 40), 0.51 - 0.52 * math.sin(math.pi * i / 40)) for i in range(41)])
    for side in (-1, 1):
        for x, radius in ((-0.12, 0.12), (0.02, 0.16), (0.14, 0.11)):
            pen.disc((side * 0.66 + x, 0.5), radius, light(colour, 0.9))


def abstract(pen: Pen, colour: Colour, kind: int) -> None:
    """One of eight tidy shapes."""
    outlines = {
        0: [(0.0, -0.9), (0.84, 0.6), (-0.84, 0.6)],
        1: [(0.0, -0.92), (0.7, 0.0), (0.0, 0.92), (-0.7, 0.0)],
        2: [(0.86 * math.cos(math.tau * i / 6), 0.86 * math.sin(math.tau * i / 6)) for i in range(6)],
        3: star_points((0.0, 0.0), 0.92, 0.5, 8),
    }
    if kind in outlines:
        pen.poly(outlines[kind], colour)
        pen.poly([(x * 0.5, y * 0.5) for x, y in outlines[kind]], light(colour, 0.4))
    elif kind == 4:  # noqa: PLR2004 - numbered shapes
        pen.disc((0.0, 0.0), 0.84, colour)
        pen.clear_disc((0.0, 0.0), 0.44)
        pen.disc((0.0, 0.0), 0.24, light(colour, 0.4))
    elif kind == 5:  # noqa: PLR2004 - numbered shapes
        pen.box((-0.76, -0.76), (0.76, 0.76), colour, 0.24)
        pen.disc((0.0, 0.0), 0.36, light(colour, 0.5))
    elif kind == 6:  # noqa: PLR2004 - numbered shapes
        pen.blob([(0.0, -0.95), (0.34, -0.3), (0.58, 0.26), (0.0, 0.84), (-0.58, 0.26), (-0.34, -0.3)], colour)
        pen.oval((-0.22, 0.3), (0.1, 0.2), light(colour, 0.5), 12)
    else:
        spiral = [(0.1 + i / 60) * 0.8 for i in range(56)]
        pen.stroke([(r * math.cos(i * 0.28), r * math.sin(i * 0.28)) for i, r in enumerate(spiral)], 0.18, colour, curve=False)
