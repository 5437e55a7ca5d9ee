"""Drawings of made things, facing right; ``phase`` (0 to 1) turns wheels, flickers flames and sways lamps."""

import math

from taximeter.engines.demo.video.colours import CREAM, INK, WHITE, Colour, dark, light, mix
from taximeter.engines.demo.video.pen import Pen, Point, smooth

GLASS: Colour = (196, 230, 244)
LAMP: Colour = (255, 240, 170)
WOOD: Colour = (150, 98, 62)


def _wheel(pen: Pen, centre: Point, radius: float, phase: float) -> None:
    pen.disc(centre, radius, INK)
    pen.disc(centre, radius * 0.56, (214, 220, 230))
    for index in range(3):
        angle = math.tau * phase / 3 + math.pi * index / 3
        x, y = math.cos(angle) * radius * 0.5, math.sin(angle) * radius * 0.5
        pen.stroke([(centre[0] - x, centre[1] - y), (centre[0] + x, centre[1] + y)], radius * 0.16, (128, 136, 152))
    pen.disc(centre, radius * 0.18, INK)


def car(pen: Pen, colour: Colour, phase: float) -> None:
    """A small saloon car."""
    pen.blob([(-0.62, 0.18), (-0.46, -0.24), (-0.3, -0.36), (0.2, -0.36), (0.36, -0.24), (0.6, 0.18)], colour)
    pen.poly([(-0.46, 0.06), (-0.34, -0.22), (-0.06, -0.25), (-0.06, 0.06)], GLASS)
    pen.poly([(0.02, 0.06), (0.02, -0.25), (0.24, -0.22), (0.46, 0.06)], GLASS)
    pen.poly([(-0.3, 0.06), (-0.2, -0.23), (-0.12, -0.24), (-0.22, 0.06)], WHITE)
    pen.box((-0.95, 0.06), (0.95, 0.52), colour, 0.16)
    pen.box((-0.95, 0.34), (0.95, 0.52), dark(colour, 0.22), 0.09)
    pen.box((0.84, 0.16), (0.95, 0.28), LAMP, 0.05)
    pen.box((-0.95, 0.16), (-0.87, 0.28), (226, 72, 72), 0.04)
    pen.box((-0.04, 0.15), (0.1, 0.19), dark(colour, 0.4), 0.02)
    pen.stroke([(-0.02, 0.08), (-0.02, 0.46)], 0.018, dark(colour, 0.3))
    for x in (-0.54, 0.54):
        pen.disc((x, 0.54), 0.25, dark(colour, 0.5))
        _wheel(pen, (x, 0.56), 0.21, phase)


def taxi(pen: Pen, colour: Colour, phase: float) -> None:
    """A car with a roof sign and a chequered band."""
    pen.box((-0.2, -0.54), (0.16, -0.34), CREAM, 0.05)
    pen.box((-0.15, -0.49), (0.11, -0.4), INK, 0.02)
    car(pen, colour, phase)
    for index in range(12):
        x = -0.84 + index * 0.14
        pen.box((x, 0.22 + 0.05 * (index % 2)), (x + 0.14, 0.27 + 0.05 * (index % 2)), INK)
    for x in (-0.54, 0.54):
        pen.disc((x, 0.54), 0.25, dark(colour, 0.5))
        _wheel(pen, (x, 0.56), 0.21, phase)


def bus(pen: Pen, colour: Colour, phase: float) -> None:
    """A city bus."""
    pen.box((-0.96, -0.46), (0.96, 0.56), colour, 0.14)
    pen.box((-0.96, 0.3), (0.96, 0.56), dark(colour, 0.22), 0.1)
    for x in (-0.84, -0.48, -0.12, 0.24):
        pen.box((x, -0.3), (x + 0.29, 0.06), GLASS, 0.05)
        pen.poly([(x + 0.04, 0.06), (x + 0.14, -0.3), (x + 0.2, -0.3), (x + 0.1, 0.06)], WHITE)
    pen.box((0.64, -0.3), (0.93, 0.22), GLASS, 0.05)
    pen.box((0.86, 0.32), (0.96, 0.42), LAMP, 0.04)
    pen.box((-0.9, 0.14), (0.58, 0.19), light(colour, 0.5))
    for x in (-0.54, 0.54):
        _wheel(pen, (x, 0.58), 0.22, phase)


def train(pen: Pen, colour: Colour, phase: float) -> None:
    """A small steam engine."""
    puff = phase % 1.0
    for index in range(3):
        rise = (puff + index / 3) % 1.0
        grey = mix((226, 228, 236), (246, 247, 250), rise)
        pen.disc((0.5 - 0.5 * rise, -0.56 - 0.34 * rise), 0.07 + 0.09 * rise, grey)
    pen.poly([(0.4, -0.1), (0.36, -0.44), (0.66, -0.44), (0.62, -0.1)], dark(colour, 0.5))
    pen.box((-0.9, -0.56), (-0.2, 0.42), colour, 0.06)
    pen.box((-0.98, -0.64), (-0.1, -0.5), dark(colour, 0.35), 0.05)
    pen.box((-0.76, -0.4), (-0.36, -0.06), GLASS, 0.05)
    pen.box((-0.3, -0.16), (0.86, 0.42), dark(colour, 0.14), 0.18)
    for x in (0.0, 0.34):
        pen.box((x, -0.16), (x + 0.06, 0.42), (240, 182, 48))
    pen.disc((0.84, 0.04), 0.1, LAMP)
    pen.poly([(0.84, 0.42), (1.0, 0.78), (0.7, 0.78), (0.7, 0.42)], dark(colour, 0.5))
    pen.box((-0.94, 0.38), (0.86, 0.54), INK, 0.04)
    for x in (-0.62, -0.1, 0.36):
        _wheel(pen, (x, 0.62), 0.24, phase)


def boat(pen: Pen, colour: Colour, phase: float) -> None:
    """A sailing boat."""
    wind = 0.04 * math.sin(math.tau * phase)
    pen.stroke([(0.0, 0.4), (0.0, -0.92)], 0.05, WOOD)
    pen.blob([(0.06, -0.86), (0.44 + wind, -0.3), (0.66 + wind, 0.24), (0.3, 0.28), (0.06, 0.26)], WHITE)
    pen.poly([(-0.06, -0.72), (-0.06, 0.26), (-0.52 - wind, 0.26)], light(colour, 0.55))
    pen.poly([(0.0, -0.96), (0.0, -0.8), (-0.22 - wind, -0.88)], colour)
    pen.blob([(-0.92, 0.36), (0.0, 0.42), (0.94, 0.34), (0.66, 0.82), (-0.62, 0.82)], colour)
    pen.blob([(-0.78, 0.58), (0.0, 0.64), (0.82, 0.56), (0.64, 0.82), (-0.62, 0.82)], dark(colour, 0.22))
    for x in (-0.3, 0.04, 0.38):
        pen.disc((x, 0.54), 0.06, CREAM)


def rocket(pen: Pen, colour: Colour, phase: float) -> None:
    """A rocket pointing up, flame burning."""
    flame = 0.1 * math.sin(math.tau * phase * 3)
    pen.blob([(-0.2, 0.5), (-0.24, 0.72), (0.0, 0.98 + flame), (0.24, 0.72), (0.2, 0.5)], (247, 140, 43))
    pen.blob([(-0.1, 0.5), (-0.12, 0.66), (0.0, 0.82 + flame), (0.12, 0.66), (0.1, 0.5)], (255, 224, 110))
    for side in (-1, 1):
        pen.blob([(side * 0.2, 0.1), (side * 0.56, 0.42), (side * 0.54, 0.68), (side * 0.22, 0.5)], colour)
    pen.blob([(-0.26, -0.56), (0.26, -0.56), (0.34, -0.1), (0.24, 0.52), (-0.24, 0.52), (-0.34, -0.1)], (244, 246, 250))
    pen.blob([(0.18, -0.52), (0.27, -0.5), (0.34, -0.1), (0.24, 0.5), (0.1, 0.5), (0.22, -0.1)], (216, 222, 234))
    nose = smooth([(-0.29, -0.5), (-0.2, -0.74), (0.0, -0.98), (0.2, -0.74), (0.29, -0.5)], closed=False)
    pen.poly(nose, colour)
    pen.disc((0.0, -0.16), 0.17, colour)
    pen.disc((0.0, -0.16), 0.12, GLASS)
    pen.box((-0.26, 0.36), (0.26, 0.52), dark(colour, 0.2), 0.04)


def plane(pen: Pen, colour: Colour, phase: float) -> None:
    """A propeller plane."""
    spin = abs(math.sin(math.tau * phase * 2))
    pen.blob([(-0.9, -0.42), (-0.74, -0.44), (-0.54, -0.06), (-0.84, 0.0)], dark(colour, 0.2))
    pen.blob([(-0.92, -0.08), (-0.3, -0.24), (0.5, -0.24), (0.84, 0.0), (0.6, 0.24), (-0.2, 0.24), (-0.84, 0.08)], colour)
    pen.blob([(-0.7, 0.1), (0.7, 0.1), (0.6, 0.24), (-0.2, 0.25)], light(colour, 0.6))
    pen.slice((0.22, -0.2), (0.26, 0.22), (180, 360), GLASS)
    for x in (-0.4, -0.2, 0.0):
        pen.disc((x, -0.06), 0.06, GLASS)
    pen.blob([(-0.14, 0.06), (0.3, 0.06), (0.02, 0.5), (-0.3, 0.5)], dark(colour, 0.25))
    pen.oval((0.88, 0.0), (0.035, 0.1 + 0.34 * spin), (128, 136, 152))
    pen.disc((0.87, 0.0), 0.07, INK)


def balloon(pen: Pen, colour: Colour, phase: float) -> None:
    """A hot-air balloon."""
    sway = 0.02 * math.sin(math.tau * phase)
    for x in (-0.14, 0.14):
        pen.stroke([(x * 1.5, 0.32), (x + sway, 0.68)], 0.02, WOOD)
    shape = [(0.0, -0.96), (0.48, -0.76), (0.64, -0.32), (0.44, 0.12), (0.2, 0.4), (-0.2, 0.4), (-0.44, 0.12), (-0.64, -0.32), (-0.48, -0.76)]
    pen.blob(shape, colour)
    pen.blob([(x * 0.62, y) for x, y in shape], light(colour, 0.6))
    pen.blob([(x * 0.26, y) for x, y in shape], colour)
    pen.box((-0.21, 0.36), (0.21, 0.42), dark(colour, 0.3), 0.02)
    pen.box((-0.17 + sway, 0.66), (0.17 + sway, 0.9), WOOD, 0.05)
    pen.box((-0.19 + sway, 0.64), (0.19 + sway, 0.71), dark(WOOD, 0.3), 0.03)


def house(pen: Pen, colour: Colour, phase: float) -> None:
    """A cottage with a smoking chimney; the colour is the roof's."""
    rise = phase % 1.0
    for index in range(3):
        high = (rise + index / 3) % 1.0
        pen.disc((0.44 + 0.12 * high, -0.72 - 0.2 * high), 0.05 + 0.05 * high, (236, 238, 242))
    pen.box((0.34, -0.66), (0.54, -0.2), dark(colour, 0.35))
    wall = mix(CREAM, colour, 0.06)
    pen.box((-0.68, -0.12), (0.68, 0.9), wall)
    pen.box((0.36, -0.12), (0.68, 0.9), mix(wall, INK, 0.06))
    pen.poly([(-0.88, -0.06), (0.0, -0.8), (0.88, -0.06)], colour)
    pen.poly([(0.0, -0.8), (0.88, -0.06), (0.62, -0.06), (0.0, -0.62)], dark(colour, 0.14))
    pen.box((-0.16, 0.34), (0.2, 0.9), WOOD, 0.05)
    pen.disc((0.12, 0.64), 0.03, LAMP)
    for x in (-0.54, 0.32):
        pen.box((x - 0.02, 0.2), (x + 0.26, 0.54), dark(WOOD, 0.1), 0.03)
        pen.box((x + 0.01, 0.23), (x + 0.23, 0.51), (255, 226, 140))
        pen.box((x + 0.105, 0.23), (x + 0.135, 0.51), dark(WOOD, 0.1))
        pen.box((x + 0.01, 0.355), (x + 0.23, 0.385), dark(WOOD, 0.1))
    pen.disc((0.0, -0.34), 0.12, (255, 226, 140))


def castle(pen: Pen, colour: Colour, phase: float) -> None:
    """A castle with flags."""
    flag = 0.05 * math.sin(math.tau * phase)
    stone: Colour = mix((214, 210, 218), colour, 0.25)
    for x in (-0.66, 0.66):
        pen.box((x - 0.22, -0.3), (x + 0.22, 0.9), mix(stone, INK, 0.1))
        pen.poly([(x - 0.28, -0.28), (x, -0.72), (x + 0.28, -0.28)], colour)
        pen.box((x - 0.06, -0.06), (x + 0.06, 0.16), INK, 0.05)
        pen.stroke([(x, -0.7), (x, -0.94)], 0.025, WOOD)
        pen.poly([(x, -0.94), (x + 0.2, -0.88 + flag), (x, -0.8)], light(colour, 0.2))
    pen.box((-0.5, -0.02), (0.5, 0.9), stone)
    for index in range(4):
        pen.box((-0.5 + index * 0.28, -0.14), (-0.34 + index * 0.28, 0.0), stone)
    pen.slice((0.0, 0.6), (0.2, 0.24), (180, 360), WOOD)
    pen.box((-0.2, 0.6), (0.2, 0.9), WOOD)
    for x in (-0.3, 0.3):
        pen.box((x - 0.05, 0.14), (x + 0.05, 0.34), INK, 0.05)


def lighthouse(pen: Pen, colour: Colour, phase: float) -> None:
    """A striped lighthouse with a turning lamp."""
    glow = 0.5 + 0.5 * math.sin(math.tau * phase)
    pen.blob([(-0.62, 0.9), (-0.4, 0.7), (0.4, 0.7), (0.62, 0.9)], (120, 116, 126))
    pen.poly([(-0.2, -0.46), (0.2, -0.46), (0.34, 0.78), (-0.34, 0.78)], WHITE)
    for low, high in ((-0.3, -0.06), (0.18, 0.44)):
        left, right = 0.2 + (low + 0.46) * 0.113, 0.2 + (high + 0.46) * 0.113
        pen.poly([(-left, low), (left, low), (right, high), (-right, high)], colour)
    pen.box((-0.27, -0.52), (0.27, -0.44), INK, 0.02)
    pen.box((-0.16, -0.76), (0.16, -0.52), mix((255, 214, 90), WHITE, glow * 0.7), 0.03)
    pen.poly([(-0.22, -0.74), (0.0, -0.96), (0.22, -0.74)], colour)
    pen.box((-0.08, 0.56), (0.08, 0.78), WOOD, 0.04)


def umbrella(pen: Pen, colour: Colour, phase: float) -> None:
    """An open umbrella."""
    sway = 0.02 * math.sin(math.tau * phase)
    pen.stroke([(0.0, -0.3), (0.0, 0.62), (0.06, 0.8), (0.2, 0.8), (0.24, 0.68)], 0.06, WOOD)
    pen.slice((sway, 0.06), (0.92, 0.86), (180, 360), colour)
    pen.slice((sway, 0.06), (0.34, 0.86), (180, 360), light(colour, 0.3))
    for x in (-0.62, 0.0, 0.62):
        pen.clear([(x + sway + 0.31 * math.cos(a), 0.07 - 0.14 * math.sin(a)) for a in (0.0, 0.5, 1.0, 1.57, 2.1, 2.6, 3.1416)])
    pen.stroke([(sway, -0.8), (sway, -0.92)], 0.05, WOOD)
    pen.stroke([(0.0, -0.1), (0.0, 0.3)], 0.06, WOOD)


def ball(pen: Pen, colour: Colour, phase: float) -> None:
    """A striped ball, rolling."""
    del phase
    pen.disc((0.0, 0.0), 0.86, colour)
    pen.blob([(-0.3, -0.8), (0.3, -0.8), (0.42, 0.0), (0.3, 0.8), (-0.3, 0.8), (-0.42, 0.0)], light(colour, 0.8))
    pen.disc((0.0, 0.0), 0.2, dark(colour, 0.15))
    pen.oval((-0.44, -0.42), (0.16, 0.1), light(colour, 0.5), -40)


def heart(pen: Pen, colour: Colour, phase: float) -> None:
    """A beating heart."""
    beat = 0.92 + 0.07 * math.sin(math.tau * phase)
    points = []
    for index in range(60):
        t = math.tau * index / 60
        x = 16 * math.sin(t) ** 3
        y = -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
        points.append((x / 18 * beat, y / 18 * beat))
    pen.poly(points, colour)
    pen.oval((-0.44 * beat, -0.42 * beat), (0.2, 0.12), light(colour, 0.5), -40)


def gift(pen: Pen, colour: Colour, phase: float) -> None:
    """A present with a bow."""
    del phase
    ribbon = light(colour, 0.7)
    pen.box((-0.6, -0.1), (0.6, 0.9), colour, 0.05)
    pen.box((-0.7, -0.32), (0.7, 0.02), dark(colour, 0.12), 0.05)
    pen.box((-0.12, -0.32), (0.12, 0.9), ribbon)
    for side in (-1, 1):
        pen.blob([(0.0, -0.32), (side * 0.2, -0.7), (side * 0.52, -0.62), (side * 0.4, -0.36)], ribbon)
        pen.oval((side * 0.27, -0.5), (0.1, 0.06), colour, side * -35)
    pen.disc((0.0, -0.36), 0.1, dark(ribbon, 0.1))


def cup(pen: Pen, colour: Colour, phase: float) -> None:
    """A steaming cup."""
    for index, x in enumerate((-0.24, 0.02, 0.28)):
        bend = 0.07 * math.sin(math.tau * (phase + index / 3))
        pen.stroke([(x, -0.2), (x + bend, -0.42), (x - bend, -0.62), (x, -0.84)], 0.06, (240, 240, 244))
    pen.disc((0.58, 0.22), 0.26, dark(colour, 0.15))
    pen.clear_disc((0.58, 0.22), 0.14)
    pen.blob([(-0.62, -0.1), (0.0, -0.06), (0.62, -0.1), (0.56, 0.5), (0.3, 0.74), (-0.3, 0.74), (-0.56, 0.5)], colour)
    pen.oval((0.0, -0.1), (0.6, 0.12), dark(colour, 0.3))
    pen.oval((0.0, -0.08), (0.52, 0.08), (110, 70, 44))
    pen.oval((0.0, 0.82), (0.8, 0.1), light(colour, 0.4))


def lantern(pen: Pen, colour: Colour, phase: float) -> None:
    """A paper lantern with a tassel."""
    sway = 0.05 * math.sin(math.tau * phase)
    pen.stroke([(0.0, -0.94), (0.0, -0.6)], 0.03, (240, 182, 48))
    pen.oval((0.0, -0.1), (0.68, 0.5), colour)
    pen.oval((0.0, -0.1), (0.44, 0.5), light(colour, 0.16))
    pen.oval((0.0, -0.1), (0.18, 0.5), light(colour, 0.34))
    pen.box((-0.26, -0.66), (0.26, -0.54), (240, 182, 48), 0.03)
    pen.box((-0.26, 0.34), (0.26, 0.46), (240, 182, 48), 0.03)
    for x in (-0.08, 0.0, 0.08):
        pen.stroke([(x, 0.46), (x * 1.4 + sway, 0.92)], 0.04, (226, 120, 48))
