"""Every subject with its drawing, its place in a picture, its usual size, colour and motion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from taximeter.engines.demo.video import creatures, nature, things
from taximeter.engines.demo.video.pen import Pen

Anchor = Literal["ground", "water", "sky", "air", "float"]
Draw = Callable[[Pen, tuple[int, int, int], float], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """How a kind of thing appears.

    Attributes:
        draw: its drawing.
        anchor: ``ground`` stands, ``water`` swims at the surface, ``sky`` hangs far behind the land, ``air`` flies, ``float`` hovers in the middle.
        size: height as a share of the picture's shorter side, alone in the picture.
        colour: its colour when the prompt says none.
        motion: what it does when the prompt does not say.
        place: where it is at home when the prompt names no place.
        period_s: seconds of one cycle of its own movement (steps, wings, sway); 0 when it has none.
    """

    draw: Draw
    anchor: Anchor
    size: float
    colour: str
    motion: str
    place: str
    period_s: float


SUBJECTS: dict[str, Subject] = {
    "cat": Subject(creatures.cat, "ground", 0.40, "orange", "walk", "meadow", 1.0),
    "dog": Subject(creatures.dog, "ground", 0.42, "brown", "walk", "meadow", 0.9),
    "rabbit": Subject(creatures.rabbit, "ground", 0.34, "white", "jump", "meadow", 1.0),
    "panda": Subject(creatures.panda, "ground", 0.44, "white", "stay", "forest", 2.4),
    "bird": Subject(creatures.bird, "air", 0.22, "blue", "fly", "sky", 0.7),
    "butterfly": Subject(creatures.butterfly, "air", 0.20, "purple", "fly", "meadow", 0.8),
    "fish": Subject(creatures.fish, "water", 0.24, "orange", "swim", "underwater", 0.9),
    "whale": Subject(creatures.whale, "water", 0.50, "blue", "swim", "sea", 2.4),
    "person": Subject(creatures.person, "ground", 0.46, "red", "walk", "meadow", 1.1),
    "robot": Subject(creatures.robot, "ground", 0.46, "cyan", "walk", "city", 1.4),
    "astronaut": Subject(creatures.astronaut, "ground", 0.48, "orange", "walk", "space", 3.0),
    "horse": Subject(creatures.horse, "ground", 0.54, "brown", "walk", "meadow", 0.9),
    "snowman": Subject(creatures.snowman, "ground", 0.46, "red", "stay", "snow", 3.0),
    "starfish": Subject(creatures.starfish, "ground", 0.22, "orange", "stay", "beach", 3.0),
    "car": Subject(things.car, "ground", 0.40, "red", "drive", "city", 0.6),
    "taxi": Subject(things.taxi, "ground", 0.40, "yellow", "drive", "city", 0.6),
    "bus": Subject(things.bus, "ground", 0.46, "green", "drive", "city", 0.7),
    "train": Subject(things.train, "ground", 0.50, "red", "drive", "meadow", 0.8),
    "boat": Subject(things.boat, "water", 0.46, "red", "float", "sea", 3.0),
    "rocket": Subject(things.rocket, "air", 0.50, "red", "rise", "space", 0.6),
    "plane": Subject(things.plane, "air", 0.36, "red", "fly", "sky", 0.4),
    "balloon": Subject(things.balloon, "air", 0.40, "red", "rise", "sky", 3.0),
    "house": Subject(things.house, "ground", 0.52, "red", "stay", "meadow", 3.0),
    "castle": Subject(things.castle, "ground", 0.60, "purple", "stay", "meadow", 1.2),
    "lighthouse": Subject(things.lighthouse, "ground", 0.62, "red", "stay", "beach", 2.0),
    "umbrella": Subject(things.umbrella, "float", 0.36, "red", "sway", "studio", 2.4),
    "ball": Subject(things.ball, "ground", 0.24, "red", "jump", "meadow", 0.0),
    "heart": Subject(things.heart, "float", 0.40, "red", "float", "studio", 1.0),
    "gift": Subject(things.gift, "ground", 0.34, "red", "stay", "studio", 0.0),
    "cup": Subject(things.cup, "ground", 0.42, "teal", "stay", "studio", 2.4),
    "lantern": Subject(things.lantern, "air", 0.30, "red", "sway", "city", 2.4),
    "tree": Subject(nature.tree, "ground", 0.58, "green", "stay", "meadow", 3.6),
    "pine": Subject(nature.pine, "ground", 0.58, "green", "stay", "snow", 3.6),
    "palm": Subject(nature.palm, "ground", 0.60, "green", "stay", "beach", 3.2),
    "flower": Subject(nature.flower, "ground", 0.34, "pink", "stay", "meadow", 2.8),
    "cactus": Subject(nature.cactus, "ground", 0.42, "green", "stay", "desert", 0.0),
    "mushroom": Subject(nature.mushroom, "ground", 0.30, "red", "stay", "forest", 2.4),
    "apple": Subject(nature.apple, "ground", 0.32, "red", "stay", "studio", 0.0),
    "sun": Subject(nature.sun, "sky", 0.40, "yellow", "stay", "", 4.0),
    "moon": Subject(nature.moon, "sky", 0.34, "beige", "stay", "", 0.0),
    "full_moon": Subject(nature.full_moon, "sky", 0.34, "beige", "stay", "", 0.0),
    "star": Subject(nature.star, "sky", 0.11, "yellow", "stay", "", 1.6),
    "planet": Subject(nature.planet, "sky", 0.42, "orange", "stay", "space", 4.0),
    "cloud": Subject(nature.cloud, "sky", 0.30, "white", "drift", "", 4.0),
    "rainbow": Subject(nature.rainbow, "sky", 0.80, "white", "stay", "", 0.0),
}
"""``mountain`` is not here: it belongs to the land and is painted by the backdrop."""

SHAPES = 8
"""How many abstract shapes there are (see ``nature.abstract``)."""
