"""Drawings of living things, side view, facing right, feet at the lower edge; ``phase`` (0 to 1) is the place in their step."""

import math

from taximeter.engines.demo.video.colours import CREAM, INK, WHITE, Colour, dark, light
from taximeter.engines.demo.video.pen import Pen, Point, star_points

BLUSH: Colour = (246, 150, 150)
SKIN: Colour = (246, 204, 168)


def swing(phase: float, shift: float = 0.0) -> float:
    """-1 to 1 and back, once per cycle."""
    return math.sin(math.tau * (phase + shift))


def _eye(pen: Pen, centre: Point, radius: float) -> None:
    pen.disc(centre, radius, INK)
    pen.disc((centre[0] + radius * 0.3, centre[1] - radius * 0.35), radius * 0.36, WHITE)


def _legs(pen: Pen, colour: Colour, phase: float, places: tuple[float, float], width: float) -> None:
    """Four legs under a body: the far pair darker, the near pair opposite in step."""
    for depth, shift in ((dark(colour, 0.3), 0.5), (colour, 0.0)):
        for index, x in enumerate(places):
            reach = 0.13 * swing(phase, shift + 0.5 * index)
            pen.stroke([(x + (0.07 if shift else 0.0), 0.4), (x + reach, 0.9 - width / 2)], width, depth)


def cat(pen: Pen, colour: Colour, phase: float) -> None:
    """A striped cat with a waving tail."""
    wave = 0.1 * swing(phase)
    pen.stroke([(-0.5, 0.22), (-0.82, 0.05), (-0.84 + wave, -0.3), (-0.66 + wave, -0.52)], 0.13, dark(colour, 0.08))
    _legs(pen, colour, phase, (-0.42, 0.24), 0.15)
    pen.blob([(-0.62, 0.22), (-0.3, -0.02), (0.2, 0.0), (0.45, 0.2), (0.36, 0.5), (-0.1, 0.56), (-0.52, 0.52)], colour)
    for x in (-0.4, -0.2, 0.0):
        pen.stroke([(x, 0.02), (x + 0.03, 0.2)], 0.06, dark(colour, 0.25))
    nod = 0.02 * swing(phase, 0.25)
    for side in (-1, 1):
        pen.poly([(0.46 + side * 0.34, -0.12 + nod), (0.46 + side * 0.3, -0.66 + nod), (0.46 + side * 0.06, -0.4 + nod)], colour)
        pen.poly([(0.46 + side * 0.28, -0.22 + nod), (0.46 + side * 0.26, -0.54 + nod), (0.46 + side * 0.12, -0.36 + nod)], BLUSH)
    pen.oval((0.46, -0.14 + nod), (0.38, 0.33), colour)
    for x in (0.38, 0.46, 0.54):
        pen.stroke([(x, -0.44 + nod), (x, -0.34 + nod)], 0.04, dark(colour, 0.25))
    pen.oval((0.5, 0.0 + nod), (0.2, 0.14), light(colour, 0.65))
    for side in (-1, 1):
        _eye(pen, (0.48 + side * 0.17, -0.17 + nod), 0.065)
        pen.oval((0.48 + side * 0.26, -0.03 + nod), (0.06, 0.035), BLUSH)
        for drop in (-0.02, 0.05):
            pen.stroke([(0.5 + side * 0.18, 0.0 + drop / 2 + nod), (0.5 + side * 0.42, -0.02 + drop * 2 + nod)], 0.015, dark(colour, 0.5))
    pen.poly([(0.46, -0.07 + nod), (0.54, -0.07 + nod), (0.5, -0.02 + nod)], (214, 96, 110))
    pen.stroke([(0.43, 0.03 + nod), (0.47, 0.055 + nod), (0.5, 0.02 + nod), (0.53, 0.055 + nod), (0.57, 0.03 + nod)], 0.02, INK)


def dog(pen: Pen, colour: Colour, phase: float) -> None:
    """A dog with hanging ears and a collar."""
    wag = 0.14 * swing(phase * 2)
    pen.stroke([(-0.5, 0.2), (-0.72, -0.06), (-0.72 + wag, -0.3)], 0.14, colour)
    _legs(pen, colour, phase, (-0.42, 0.26), 0.17)
    pen.blob([(-0.6, 0.2), (-0.25, 0.0), (0.2, -0.04), (0.48, 0.16), (0.38, 0.5), (-0.1, 0.54), (-0.52, 0.5)], colour)
    pen.oval((-0.24, 0.2), (0.2, 0.15), dark(colour, 0.2), -10)
    nod = 0.03 * swing(phase, 0.25)
    pen.oval((0.4, -0.24 + nod), (0.33, 0.32), colour)
    pen.oval((0.66, -0.1 + nod), (0.24, 0.17), light(colour, 0.5))
    pen.oval((0.85, -0.17 + nod), (0.075, 0.06), INK)
    pen.stroke([(0.8, 0.0 + nod), (0.66, 0.03 + nod), (0.56, -0.01 + nod)], 0.025, dark(colour, 0.6))
    pen.blob([(0.66, 0.02 + nod), (0.74, 0.02 + nod), (0.74, 0.14 + nod), (0.68, 0.15 + nod)], (236, 110, 120))
    _eye(pen, (0.5, -0.28 + nod), 0.065)
    pen.oval((0.2, -0.16 + nod), (0.13, 0.32), dark(colour, 0.35), 14)
    pen.stroke([(0.16, 0.08), (0.34, 0.14), (0.5, 0.06)], 0.08, (214, 62, 70))
    pen.disc((0.38, 0.18), 0.06, (252, 205, 55))


def rabbit(pen: Pen, colour: Colour, phase: float) -> None:
    """A rabbit with tall ears."""
    lean = 0.05 * swing(phase)
    for x, shade in ((0.22, dark(colour, 0.12)), (0.42, colour)):
        pen.oval((x + lean, -0.62), (0.11, 0.36), shade, 6)
        pen.oval((x + lean, -0.6), (0.05, 0.26), BLUSH, 6)
    pen.disc((-0.6, 0.5), 0.15, WHITE)
    pen.blob([(-0.56, 0.46), (-0.3, 0.1), (0.15, 0.1), (0.4, 0.4), (0.3, 0.74), (-0.2, 0.8), (-0.5, 0.74)], colour)
    pen.oval((0.4, -0.08), (0.32, 0.29), colour)
    _eye(pen, (0.5, -0.13), 0.06)
    pen.oval((0.4, 0.03), (0.07, 0.045), BLUSH)
    pen.oval((0.7, -0.04), (0.045, 0.035), (214, 96, 110))
    pen.oval((-0.22, 0.62), (0.27, 0.2), dark(colour, 0.1))
    pen.oval((-0.14 + 0.08 * swing(phase), 0.82), (0.28, 0.08), dark(colour, 0.1))
    pen.oval((0.32 - 0.08 * swing(phase), 0.82), (0.17, 0.08), colour)


def panda(pen: Pen, colour: Colour, phase: float) -> None:
    """A sitting panda with a bamboo stick."""
    fur, patch = (colour if sum(colour) > 600 else WHITE), INK  # noqa: PLR2004 - only a pale fur makes a panda
    nod = 0.03 * swing(phase)
    pen.oval((0.0, 0.45), (0.56, 0.46), fur)
    for side in (-1, 1):
        pen.oval((side * 0.42, 0.8), (0.24, 0.15), patch, side * -18)
        pen.oval((side * 0.44, 0.82), (0.11, 0.07), BLUSH, side * -18)
        pen.disc((side * 0.4, -0.62 + nod), 0.17, patch)
    pen.oval((0.0, -0.26 + nod), (0.56, 0.47), fur)
    for side in (-1, 1):
        pen.oval((side * 0.22, -0.28 + nod), (0.13, 0.17), patch, side * 28)
        pen.disc((side * 0.2, -0.29 + nod), 0.055, WHITE)
        pen.disc((side * 0.19, -0.29 + nod), 0.032, INK)
        pen.oval((side * 0.36, -0.08 + nod), (0.09, 0.05), BLUSH)
    pen.oval((0.0, -0.11 + nod), (0.08, 0.055), patch)
    pen.stroke([(-0.09, 0.0 + nod), (-0.04, 0.03 + nod), (0.0, -0.02 + nod), (0.04, 0.03 + nod), (0.09, 0.0 + nod)], 0.025, patch)
    pen.stroke([(0.2, 0.66), (0.46 + nod, -0.16)], 0.07, (110, 176, 84), curve=False)
    pen.oval((0.58 + nod, -0.2), (0.16, 0.06), (86, 156, 76), -24)
    pen.oval((-0.36, 0.38), (0.3, 0.13), patch, 34)
    pen.oval((0.32, 0.36), (0.28, 0.13), patch, -30)


def bird(pen: Pen, colour: Colour, phase: float) -> None:
    """A bird on the wing."""
    flap = swing(phase)
    pen.poly([(-0.48, 0.08), (-0.95, -0.1), (-0.9, 0.12), (-0.98, 0.26)], dark(colour, 0.25))
    pen.blob([(-0.2, -0.04), (-0.42, -0.55 * flap - 0.02), (-0.1, -0.78 * flap), (0.2, -0.02)], dark(colour, 0.35))
    pen.blob([(-0.58, 0.08), (-0.2, -0.16), (0.3, -0.2), (0.58, -0.04), (0.4, 0.24), (-0.1, 0.32)], colour)
    pen.blob([(-0.3, 0.24), (0.1, 0.1), (0.44, 0.14), (0.1, 0.33)], light(colour, 0.55))
    pen.disc((0.5, -0.14), 0.25, colour)
    pen.poly([(0.7, -0.22), (0.98, -0.1), (0.7, -0.02)], (247, 160, 50))
    _eye(pen, (0.56, -0.2), 0.06)
    pen.blob([(-0.3, 0.04), (-0.52, -0.72 * flap + 0.02), (-0.1, -0.9 * flap), (0.24, 0.06)], dark(colour, 0.14))


def butterfly(pen: Pen, colour: Colour, phase: float) -> None:
    """A butterfly seen from above, opening and closing its wings."""
    spread = 0.55 + 0.45 * abs(swing(phase / 2))
    for side in (-1, 1):
        x = side * spread
        pen.blob([(0.0, -0.1), (0.35 * x, -0.75), (0.9 * x, -0.8), (0.85 * x, -0.2), (0.3 * x, 0.08)], colour)
        pen.blob([(0.0, 0.0), (0.6 * x, 0.02), (0.72 * x, 0.5), (0.36 * x, 0.72), (0.08 * x, 0.34)], dark(colour, 0.15))
        pen.oval((0.6 * x, -0.52), (0.16 * spread, 0.16), light(colour, 0.6))
        pen.oval((0.44 * x, 0.38), (0.12 * spread, 0.12), light(colour, 0.5))
        pen.stroke([(0.02 * side, -0.42), (0.12 * side, -0.66), (0.24 * side, -0.74)], 0.03, INK)
    pen.oval((0.0, -0.02), (0.07, 0.44), INK)
    pen.disc((0.0, -0.46), 0.09, INK)


def fish(pen: Pen, colour: Colour, phase: float) -> None:
    """A fish that beats its tail."""
    beat = 0.16 * swing(phase)
    pen.blob([(-0.42, 0.0), (-0.92, -0.38 + beat), (-0.78, beat), (-0.92, 0.38 + beat)], dark(colour, 0.2))
    pen.blob([(-0.3, -0.3), (0.0, -0.66), (0.3, -0.34)], dark(colour, 0.2))
    pen.blob([(-0.56, 0.0), (-0.2, -0.38), (0.35, -0.42), (0.82, -0.05), (0.82, 0.06), (0.35, 0.42), (-0.2, 0.36)], colour)
    pen.blob([(-0.3, 0.24), (0.3, 0.2), (0.66, 0.16), (0.35, 0.4), (-0.1, 0.37)], light(colour, 0.5))
    for x in (-0.22, 0.06):
        pen.stroke([(x, -0.3), (x + 0.08, 0.0), (x, 0.28)], 0.09, light(colour, 0.6))
    pen.blob([(0.12, 0.08), (-0.12, 0.2 + beat / 2), (-0.06, 0.34 + beat / 2), (0.2, 0.2)], dark(colour, 0.25))
    pen.disc((0.54, -0.1), 0.12, WHITE)
    _eye(pen, (0.56, -0.1), 0.075)
    pen.stroke([(0.8, 0.08), (0.7, 0.14), (0.62, 0.12)], 0.025, dark(colour, 0.5))


def whale(pen: Pen, colour: Colour, phase: float) -> None:
    """A whale with its fountain."""
    lift = 0.06 * swing(phase)
    spout: Colour = (206, 236, 250)
    for side in (-1, 1):
        pen.stroke([(0.34, -0.3), (0.34 + side * 0.04, -0.62 - lift), (0.34 + side * 0.24, -0.72 - lift)], 0.06, spout)
        pen.disc((0.34 + side * 0.28, -0.6 - lift), 0.05, spout)
    pen.blob([(-0.66, 0.1), (-0.96, -0.3 + lift), (-0.78, -0.3 + lift), (-0.68, -0.18 + lift), (-0.52, -0.36 + lift), (-0.5, -0.12)], colour)
    pen.blob([(-0.74, -0.05), (-0.4, 0.02), (0.0, -0.3), (0.5, -0.32), (0.9, 0.0), (0.86, 0.34), (0.3, 0.5), (-0.4, 0.36)], colour)
    pen.blob([(0.9, 0.12), (0.84, 0.34), (0.3, 0.5), (-0.3, 0.4), (0.2, 0.34)], light(colour, 0.7))
    for x in (0.2, 0.36, 0.52):
        pen.stroke([(x, 0.4), (x + 0.12, 0.31)], 0.02, light(colour, 0.4))
    pen.oval((0.12, 0.36), (0.13, 0.2), dark(colour, 0.2), 40)
    _eye(pen, (0.6, 0.02), 0.055)
    pen.oval((0.5, 0.13), (0.07, 0.04), BLUSH)


def person(pen: Pen, colour: Colour, phase: float) -> None:
    """A walking person; the colour is the coat."""
    step = swing(phase)
    trousers: Colour = (62, 74, 116)
    for side, shade in ((-1, dark(trousers, 0.3)), (1, trousers)):
        foot = 0.24 * step * side
        pen.stroke([(0.0, 0.3), (0.05 + foot * 0.5, 0.58), (foot, 0.85)], 0.17, shade)
        pen.oval((foot + 0.06, 0.88), (0.13, 0.06), INK)
    pen.stroke([(0.0, -0.2), (0.06 - 0.2 * step, 0.08), (0.14 - 0.24 * step, 0.28)], 0.13, dark(colour, 0.3))
    pen.blob([(-0.22, -0.24), (0.0, -0.36), (0.2, -0.24), (0.25, 0.34), (0.0, 0.4), (-0.25, 0.34)], colour)
    pen.stroke([(-0.02, -0.2), (-0.02 + 0.2 * step, 0.08), (0.08 + 0.24 * step, 0.26)], 0.13, dark(colour, 0.12))
    pen.disc((0.1 + 0.24 * step, 0.3), 0.07, SKIN)
    pen.disc((0.03, -0.6), 0.27, SKIN)
    pen.slice((0.0, -0.62), (0.3, 0.3), (150, 330), (92, 60, 44))
    pen.oval((-0.2, -0.58), (0.11, 0.2), (92, 60, 44))
    pen.disc((0.17, -0.58), 0.032, INK)
    pen.oval((0.12, -0.48), (0.05, 0.03), BLUSH)
    pen.stroke([(0.13, -0.42), (0.19, -0.41), (0.24, -0.45)], 0.025, dark(SKIN, 0.6))


def robot(pen: Pen, colour: Colour, phase: float) -> None:
    """A round-cornered robot that waves."""
    step = swing(phase)
    metal = dark(colour, 0.35)
    for side in (-1, 1):
        pen.box((side * 0.2 - 0.09, 0.5), (side * 0.2 + 0.09, 0.84 - 0.04 * max(0.0, step * side)), metal)
        pen.box((side * 0.2 - 0.15, 0.78 - 0.04 * max(0.0, step * side)), (side * 0.2 + 0.15, 0.9 - 0.04 * max(0.0, step * side)), INK, 0.06)
    pen.stroke([(-0.4, 0.02), (-0.6, 0.22), (-0.56, 0.42)], 0.11, metal)
    pen.stroke([(0.4, 0.02), (0.62, -0.1), (0.62 + 0.12 * step, -0.38)], 0.11, metal)
    pen.disc((0.62 + 0.12 * step, -0.4), 0.1, colour)
    pen.box((-0.42, -0.1), (0.42, 0.56), colour, 0.14)
    pen.box((-0.24, 0.08), (0.24, 0.36), light(colour, 0.7), 0.07)
    for index, lamp in enumerate(((226, 58, 62), (252, 205, 55), (66, 165, 92))):
        pen.disc((-0.14 + index * 0.14, 0.22), 0.045, lamp)
    pen.stroke([(0.0, -0.62), (0.0, -0.84)], 0.04, metal)
    pen.disc((0.0, -0.86), 0.08, (247, 140, 43))
    pen.box((-0.36, -0.66), (0.36, -0.16), light(colour, 0.2), 0.16)
    pen.box((-0.28, -0.56), (0.28, -0.28), INK, 0.12)
    for side in (-1, 1):
        pen.disc((side * 0.13, -0.42), 0.07, (120, 232, 236))


def astronaut(pen: Pen, colour: Colour, phase: float) -> None:
    """An astronaut; the colour is that of the stripes and the visor's rim."""
    lift = 0.05 * swing(phase)
    suit: Colour = (240, 243, 248)
    shade = dark(suit, 0.14)
    pen.box((-0.46, -0.22), (0.1, 0.42), dark(suit, 0.3), 0.12)
    for side, tone in ((-1, shade), (1, suit)):
        foot = 0.12 * side + lift * side
        pen.stroke([(0.1 * side, 0.34), (0.12 * side, 0.58), (foot, 0.8)], 0.22, tone)
        pen.box((foot - 0.13, 0.76), (foot + 0.2, 0.92), dark(suit, 0.35), 0.07)
    pen.stroke([(-0.2, -0.1), (-0.46, 0.08), (-0.54, 0.28 + lift)], 0.18, shade)
    pen.blob([(-0.28, -0.2), (0.28, -0.2), (0.32, 0.3), (0.2, 0.46), (-0.2, 0.46), (-0.32, 0.3)], suit)
    pen.box((-0.16, 0.02), (0.2, 0.2), shade, 0.05)
    for index, lamp in enumerate(((226, 58, 62), (66, 165, 92))):
        pen.disc((-0.06 + 0.14 * index, 0.11), 0.04, lamp)
    pen.stroke([(0.22, -0.1), (0.5, -0.22), (0.6, -0.46 + lift)], 0.18, suit)
    pen.disc((0.61, -0.5 + lift), 0.11, colour)
    pen.disc((0.0, -0.52), 0.42, suit)
    pen.oval((0.1, -0.5), (0.3, 0.27), colour)
    pen.oval((0.11, -0.5), (0.26, 0.23), (44, 56, 96))
    pen.oval((0.02, -0.58), (0.09, 0.06), (150, 190, 236), -30)


def horse(pen: Pen, colour: Colour, phase: float) -> None:
    """A trotting horse."""
    mane = dark(colour, 0.5)
    wave = 0.06 * swing(phase)
    pen.blob([(-0.56, -0.04), (-0.76, 0.04), (-0.84 + wave, 0.44), (-0.7 + wave, 0.46), (-0.6, 0.2)], mane)
    for depth, shift in ((dark(colour, 0.3), 0.5), (colour, 0.0)):
        for index, x in enumerate((-0.42, 0.28)):
            reach = 0.16 * swing(phase, shift + 0.5 * index)
            pen.stroke([(x + (0.06 if shift else 0.0), 0.24), (x + reach * 0.4 + 0.03, 0.54), (x + reach, 0.82)], 0.13, depth)
            pen.stroke([(x + reach, 0.84), (x + reach + 0.04, 0.84)], 0.12, INK)
    pen.blob([(-0.62, 0.06), (-0.3, -0.14), (0.1, -0.08), (0.4, -0.12), (0.46, 0.2), (0.2, 0.36), (-0.2, 0.38), (-0.54, 0.34)], colour)
    pen.blob([(0.22, -0.04), (0.36, -0.5), (0.5, -0.78), (0.68, -0.66), (0.6, -0.3), (0.48, 0.14)], colour)
    pen.blob([(0.46, -0.76), (0.62, -0.82), (0.9, -0.5), (0.9, -0.38), (0.78, -0.36), (0.56, -0.5)], colour)
    pen.oval((0.86, -0.44), (0.09, 0.1), light(colour, 0.4), -30)
    pen.blob([(0.54, -0.86), (0.4, -0.72), (0.26, -0.42), (0.14, -0.06), (0.3, -0.12), (0.42, -0.44), (0.56, -0.7)], mane)
    pen.poly([(0.5, -0.78), (0.54, -0.98), (0.62, -0.8)], dark(colour, 0.1))
    _eye(pen, (0.66, -0.62), 0.045)
    pen.disc((0.88, -0.44), 0.022, dark(colour, 0.6))


def snowman(pen: Pen, colour: Colour, phase: float) -> None:
    """A snowman; the colour is the scarf."""
    sway = 0.01 * swing(phase)
    snow: Colour = (250, 252, 255)
    pen.disc((0.0, 0.48), 0.42, (216, 228, 242))
    pen.disc((-0.03, 0.46), 0.39, snow)
    pen.stroke([(-0.28, 0.02), (-0.62, -0.12), (-0.74, -0.26)], 0.035, (110, 74, 50))
    pen.stroke([(0.28, 0.02), (0.62, -0.16), (0.72, -0.34)], 0.035, (110, 74, 50))
    pen.disc((0.0 + sway, 0.02), 0.31, (216, 228, 242))
    pen.disc((-0.02 + sway, 0.0), 0.29, snow)
    pen.disc((0.0 + sway, -0.42), 0.24, snow)
    pen.stroke([(-0.2 + sway, -0.2), (0.0 + sway, -0.15), (0.2 + sway, -0.2)], 0.1, colour)
    pen.stroke([(0.12 + sway, -0.17), (0.17 + sway, 0.12)], 0.1, dark(colour, 0.15))
    for x in (-0.08, 0.1):
        pen.disc((x + sway, -0.47), 0.035, INK)
    pen.poly([(0.0 + sway, -0.42), (0.28 + sway, -0.36), (0.0 + sway, -0.34)], (247, 140, 43))
    for y in (-0.02, 0.12):
        pen.disc((0.02 + sway, y), 0.03, INK)
    pen.box((-0.26 + sway, -0.66), (0.26 + sway, -0.6), INK, 0.03)
    pen.box((-0.17 + sway, -0.92), (0.17 + sway, -0.62), INK, 0.04)


def starfish(pen: Pen, colour: Colour, phase: float) -> None:
    """A soft five-armed star with a face."""
    turn = 0.08 * swing(phase)
    pen.blob(star_points((0.0, 0.0), 0.9, 0.42, 5, turn), colour)
    for index in range(5):
        angle = -math.pi / 2 + math.tau * index / 5 + turn
        pen.disc((0.52 * math.cos(angle), 0.52 * math.sin(angle)), 0.06, light(colour, 0.5))
    for side in (-1, 1):
        _eye(pen, (side * 0.14, -0.06), 0.06)
    pen.stroke([(-0.1, 0.12), (0.0, 0.18), (0.1, 0.12)], 0.035, CREAM)
