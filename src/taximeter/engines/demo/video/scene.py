"""Reading -> scene: who stands where, how large, in which colour, and what moves.  Pure; the same prompt, seed and size give the same scene."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from taximeter.engines.demo.video.colours import ABSTRACT, COLOURS, Colour, light, mix, stable_number
from taximeter.engines.demo.video.reading import Mention, Reading, read_prompt
from taximeter.engines.demo.video.subjects import SHAPES, SUBJECTS, Anchor

HORIZON = {"meadow": 0.64, "sea": 0.55, "beach": 0.50, "forest": 0.70, "desert": 0.62, "snow": 0.64, "city": 0.74, "studio": 0.72}
"""Where land or water begins, as a share of the height; places that are not here have none."""

FRONT_FOOT = 0.875
TRAVELLING = frozenset({"walk", "drive"})
LIFTING = frozenset({"fly", "fall", "rise", "float"})
NIGHTLY = frozenset({"moon", "full_moon", "star", "lantern"})
WATER_PLACES = frozenset({"sea", "beach", "underwater"})
GROUP_COLOURS = ("orange", "grey", "brown", "pink", "blue", "yellow", "green", "purple")
PACE = {"": 1.0, "fast": 1.9, "slow": 0.5}


@dataclass(frozen=True, slots=True)
class Actor:
    """One drawn thing.

    Attributes:
        kind: a subject's name, or ``abstract`` with ``shape`` set.
        shape: which abstract shape.
        colour: main colour.
        x: centre, as a share of the width.
        y: share of the height: the feet of what stands, the water line of what swims at the surface, the centre of all else.
        size: height as a share of the picture's shorter side.
        motion: see ``motion.place``.
        offset: seconds by which its cycle is ahead, so that a group does not move in step.
        depth: drawing order: 0 sky, 1 behind, 2 in front, 3 before the front water.
    """

    kind: str
    colour: Colour
    x: float
    y: float
    size: float
    motion: str
    offset: float
    depth: int
    anchor: Anchor
    shape: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture in motion, before anything is drawn.

    Attributes:
        prompt: the words as given, for the caption.
        place: one of ``HORIZON``, ``space``, ``sky`` or ``underwater``.
        tint: colour of the land or water when the prompt says one.
        time: ``day``, ``night`` or ``sunset``.
        weather: ``rain``, ``snow`` or ``""``.
        mountains: how many, with their colour; 0 for none.
        scroll: widths per second by which the near ground passes; negative when things go to the left.
        pace: factor on all speeds.
        left: whether things face left.
        variety: seed of the backdrop's own details.
    """

    prompt: str
    place: str
    tint: Colour | None
    time: str
    weather: str
    mountains: int
    mountain_colour: Colour | None
    scroll: float
    pace: float
    left: bool
    variety: int
    actors: tuple[Actor, ...]

    def summary(self) -> dict[str, Any]:
        """What was drawn, for the receipt's detail."""
        drawn: dict[str, int] = {}
        for actor in self.actors:
            name = f"{actor.kind}-{actor.shape}" if actor.kind == "abstract" else actor.kind
            drawn[name] = drawn.get(name, 0) + 1
        if self.mountains:
            drawn["mountain"] = self.mountains
        return {"place": self.place, "time": self.time, "weather": self.weather or "clear", "drawn": drawn}


def compose(prompt: str, seed: int, *, width: int, height: int) -> Scene:
    """The scene for a prompt at a picture size; ``seed`` varies positions and details."""
    reading = read_prompt(prompt)
    rng = np.random.default_rng([seed % 2**63, stable_number(prompt)])
    hills = [mention for mention in reading.mentions if mention.kind == "mountain"]
    mentions = [mention for mention in reading.mentions if mention.kind != "mountain"]
    place = _place(reading, mentions, mountains=bool(hills))
    time = "night" if place == "space" else reading.time or ("night" if any(m.kind in NIGHTLY for m in mentions) else "day")
    pace = PACE[reading.pace]
    stage = _Stage(place, time, width / min(width, height), height / min(width, height), rng)
    actors = [*stage.sky(mentions), *stage.air(mentions), *stage.ground(mentions), *stage.water(mentions), *stage.shapes(reading.unknown, mentions)]
    left = reading.way == "left"
    return Scene(
        prompt=prompt,
        place=place,
        tint=COLOURS[reading.tint] if reading.tint else None,
        time=time,
        weather=reading.weather,
        mountains=sum(mention.count for mention in hills),
        mountain_colour=COLOURS[hills[0].colour] if hills and hills[0].colour else None,
        scroll=_scroll(place, actors) * pace * (-1 if left else 1),
        pace=pace,
        left=left,
        variety=int(rng.integers(2**31)) ^ (stable_number(" ".join(reading.unknown)) & 0xFFFF),
        actors=tuple(sorted(actors, key=lambda actor: (actor.depth, actor.y if actor.depth > 1 else 0))),
    )


def _place(reading: Reading, mentions: list[Mention], *, mountains: bool) -> str:
    """Where it happens: what the prompt says, else where its first subject is at home."""
    standing = any(_anchor(m) == "ground" for m in mentions)
    if reading.place == "sea" and standing:
        return "beach"
    if reading.place == "sea" and {m.kind for m in mentions} == {"fish"}:
        return "underwater"
    if reading.place and not (reading.place == "sky" and (standing or not mentions)):
        return reading.place
    home = next((SUBJECTS[m.kind].place for m in mentions if SUBJECTS[m.kind].place), "")
    if not home and not mentions and not mountains and reading.unknown and not (reading.time or reading.weather):
        return "studio"
    # Land for what stands, and an outside for weather.
    if not home or mountains or (standing and home == "sky") or (reading.weather and home == "studio"):
        home = "meadow"
    return "snow" if home == "meadow" and reading.weather == "snow" else home


def _anchor(mention: Mention) -> Anchor:
    anchor = SUBJECTS[mention.kind].anchor
    return "air" if anchor == "ground" and mention.motion in LIFTING else anchor


def _scroll(place: str, actors: list[Actor]) -> float:
    """The world passes by when all that stands on the ground travels; else the travellers cross the picture."""
    grounded = [actor for actor in actors if actor.anchor == "ground" and actor.depth in (1, 2)]
    if place not in HORIZON or place in ("sea", "studio") or not grounded or any(actor.motion not in TRAVELLING for actor in grounded):
        return 0.0
    return 0.34 if any(actor.motion == "drive" for actor in grounded) else 0.13


class _Stage:
    """Places actors by where they belong."""

    def __init__(self, place: str, time: str, wide: float, high: float, rng: np.random.Generator) -> None:
        self._place, self._time, self._rng = place, time, rng
        self._wide, self._high = wide, high
        self._line = HORIZON.get(place, 0.88)

    def _jitter(self, reach: float) -> float:
        return float(self._rng.uniform(-reach, reach))

    def _fit(self, mentions: list[Mention], room: float = 0.92) -> float:
        """Factor that lets a group stand side by side."""
        total = sum(SUBJECTS[m.kind].size * m.count for m in mentions)
        return min(1.0, room * self._wide / total) if total else 1.0

    def sky(self, mentions: list[Mention]) -> list[Actor]:
        """Sun, moon, stars, clouds: far behind everything."""
        actors: list[Actor] = []
        group = [m for m in mentions if _anchor(m) == "sky"]
        big = [m for m in group if m.kind not in ("star", "cloud")]
        ceiling = self._line if self._place in HORIZON else 0.8
        slots = sum(m.count for m in big)
        slot = 0
        busy = any(_anchor(m) in ("air", "float") for m in mentions)
        for mention in group:
            size = SUBJECTS[mention.kind].size * (1.0 if mention.kind in ("star", "cloud") else self._fit(big, 0.7))
            for index in range(mention.count):
                if mention.kind in ("star", "cloud"):
                    step = index + self._rng.uniform(-0.15, 0.15)
                    x = (0.14 + step * 0.618) % 0.86 + 0.07
                    y = 0.09 + (ceiling * 0.55) * ((step * 0.382 + 0.1) % 1.0)
                    shrink = float(self._rng.uniform(0.75, 1.25))
                else:
                    x = (slot + 0.5) / slots + self._jitter(0.08 / slots) if slots > 1 else (0.24 if busy else 0.5) + self._jitter(0.06)
                    y = self._light_height(mention, size / self._high, ceiling)
                    slot, shrink = slot + 1, 1.0
                actors.append(self._actor(mention, index, (x, y), size * shrink, 0))
        return actors

    def _light_height(self, mention: Mention, size: float, ceiling: float) -> float:
        if mention.kind == "rainbow":
            return ceiling - size * 0.3
        low = mention.kind == "sun" and (self._time == "sunset" or self._place in ("sea", "beach"))
        if mention.motion == "rise" or low:
            return ceiling - size * 0.5 - 0.015
        return max(size / 2 + 0.04, ceiling * 0.42)

    def air(self, mentions: list[Mention]) -> list[Actor]:
        """What flies or hovers."""
        group = [m for m in mentions if _anchor(m) in ("air", "float") or (_anchor(m) == "water" and self._place not in WATER_PLACES)]
        fit = self._fit(group, 0.8)
        crowded = any(_anchor(m) in ("ground", "water") and m not in group for m in mentions)
        total = sum(m.count for m in group)
        actors: list[Actor] = []
        for mention in group:
            for index in range(mention.count):
                number = len(actors)
                x = (number + 0.5) / total + self._jitter(0.12 / total) if total > 1 else 0.5 + self._jitter(0.05)
                y = (0.27 if crowded else 0.44) + (0.09 * (-1) ** number if total > 1 else 0.0) + self._jitter(0.02)
                actors.append(self._actor(mention, index, (x, y), SUBJECTS[mention.kind].size * fit, 2))
        return actors

    def ground(self, mentions: list[Mention]) -> list[Actor]:
        """What stands on the land: still things behind, movers in front."""
        group = [m for m in mentions if _anchor(m) == "ground"]
        if self._place in ("space", "sky"):
            return self._hovering(group)
        actors: list[Actor] = []
        still = [m for m in group if self._motion(m) == "stay" and SUBJECTS[m.kind].size >= 0.5]  # noqa: PLR2004 - trees and buildings
        moving = [m for m in group if m not in still]
        back = self._line + (0.09 if self._place != "city" else 0.03)
        rows = ((still, back if moving else (back + FRONT_FOOT) / 2, 1), (moving, FRONT_FOOT if self._place != "underwater" else 0.93, 2))
        for members, foot, depth in rows:
            fit = self._fit(members)
            total = sum(m.count for m in members)
            number = 0
            for mention in members:
                for index in range(mention.count):
                    x = (number + 0.5) / total + self._jitter(0.08 / total) if total > 1 else self._alone(aside=depth == 1 and bool(moving))
                    y = foot - (0.025 * (number % 2) if total > 2 else 0.0)  # noqa: PLR2004 - a pair stands level
                    actors.append(self._actor(mention, index, (x, y), SUBJECTS[mention.kind].size * fit, depth))
                    number += 1
        return actors

    def _alone(self, *, aside: bool) -> float:
        return (0.72 if aside else 0.5) + self._jitter(0.05)

    def _hovering(self, group: list[Mention]) -> list[Actor]:
        actors: list[Actor] = []
        total = sum(m.count for m in group)
        fit = self._fit(group)
        for mention in group:
            for index in range(mention.count):
                x = (len(actors) + 0.5) / total
                actor = self._actor(mention, index, (x, 0.62 + self._jitter(0.05)), SUBJECTS[mention.kind].size * fit, 2)
                motion = actor.motion if actor.motion in ("spin", "fly", "fall", "rise") else "float"
                actors.append(Actor(actor.kind, actor.colour, actor.x, actor.y, actor.size, motion, actor.offset, 2, "float"))
        return actors

    def water(self, mentions: list[Mention]) -> list[Actor]:
        """What swims or sails."""
        group = [m for m in mentions if _anchor(m) == "water"]
        if self._place not in WATER_PLACES:
            return []
        fit = self._fit(group)
        total = sum(m.count for m in group)
        line = {"underwater": 0.48, "sea": 0.73, "beach": 0.62}[self._place]
        actors: list[Actor] = []
        for mention in group:
            below = mention.kind == "fish" and self._place == "sea"
            for index in range(mention.count):
                number = len(actors)
                x = (number + 0.5) / total + self._jitter(0.1 / total) if total > 1 else 0.5 + self._jitter(0.06)
                y = 0.86 if below else line + (0.12 * (-1) ** number if self._place == "underwater" and total > 1 else 0.0)
                size = SUBJECTS[mention.kind].size * fit * (0.6 if self._place == "beach" else 1.0)
                actors.append(self._actor(mention, index, (x, y), size, 3 if below else 2))
        return actors

    def shapes(self, unknown: dict[str, str | None], mentions: list[Mention]) -> list[Actor]:
        """Words that nobody drew: large with two satellites when alone, small ornaments beside known subjects."""
        actors: list[Actor] = []
        for index, (word, said) in enumerate(unknown.items()):
            number = stable_number(word)
            colour = COLOURS[said or ABSTRACT[number % len(ABSTRACT)]]
            motion = ("float", "spin", "sway")[number // 16 % 3]
            shape = number // 64 % SHAPES
            if mentions:
                x, y = 0.12 + 0.25 * index + self._jitter(0.03), 0.13 + 0.07 * (index % 2)
                actors.append(Actor("abstract", colour, x, y, 0.11, motion, number % 7 / 3, 2, "float", shape))
                continue
            # Side by side in a wide picture, one below the other in a tall one.
            slot, upright = (index + 0.5) / len(unknown), self._high > self._wide
            zigzag = (-1) ** index if len(unknown) > 1 else 0
            x, y = (0.5 + 0.17 * zigzag, 0.1 + 0.62 * slot) if upright else (slot, 0.44 + 0.06 * zigzag)
            size = min(0.46, 0.62 * max(self._wide, self._high) / len(unknown))
            actors.append(Actor("abstract", colour, x, y, size, motion, 0.0, 2, "float", shape))
            for side in (-1, 1):
                at = (x + side * (0.62 + self._jitter(0.06)) * size / self._wide, y - side * (0.5 + self._jitter(0.1)) * size / self._high)
                small = size * (0.2 + 0.06 * side)
                actors.append(Actor("abstract", light(colour, 0.35), *at, small, "float", 1.0 + side, 1, "float", (shape + 1 + side) % SHAPES))
        return actors

    def _motion(self, mention: Mention) -> str:
        subject = SUBJECTS[mention.kind]
        motion = mention.motion or subject.motion
        if mention.kind == "rocket" and motion in ("fly", "drive"):
            return "rise"
        if mention.kind in ("cat", "dog", "rabbit", "person", "robot", "panda", "horse", "astronaut") and motion == "drive":
            return "walk"
        if subject.anchor == "water" and motion in ("drive", "walk", "fly"):
            return "swim"
        return motion

    def _actor(self, mention: Mention, index: int, at: tuple[float, float], size: float, depth: int) -> Actor:
        offset = float(self._rng.uniform(0, 3)) if mention.count > 1 else 0.0
        return Actor(mention.kind, _colour(mention, index), at[0], at[1], size, self._motion(mention), offset, depth, _anchor(mention))


def _colour(mention: Mention, index: int) -> Colour:
    """The said colour with a slight change per member of a group, else the usual one, else a friendly row."""
    if mention.colour is not None:
        said = COLOURS[mention.colour]
        return said if index == 0 else mix(said, light(said, 0.5), 0.2 * (index % 3))
    usual = SUBJECTS[mention.kind].colour
    plants_and_lights = mention.kind in ("tree", "pine", "palm", "cactus", "star", "cloud", "sun", "moon", "full_moon", "taxi", "panda")
    if index == 0 or plants_and_lights:
        return mix(COLOURS[usual], light(COLOURS[usual], 0.4), 0.15 * (index % 3))
    row = [usual, *(name for name in GROUP_COLOURS if name != usual)]
    return COLOURS[row[index % len(row)]]
