"""Scene -> frames: sprites are drawn once per pose, then moved, turned and stretched over the backdrop."""

import math
from pathlib import Path

from PIL import Image

from taximeter.engines.demo.video import backdrop, weather
from taximeter.engines.demo.video.caption import caption
from taximeter.engines.demo.video.motion import Pose, place
from taximeter.engines.demo.video.nature import abstract
from taximeter.engines.demo.video.pen import Pen
from taximeter.engines.demo.video.scene import Actor, Scene
from taximeter.engines.demo.video.subjects import SUBJECTS

POSES = 8
"""Drawings per cycle of a subject's own movement."""

PACE_FREE = frozenset({"stay", "sway"})
FRONT_DEPTH = 3


class Renderer:
    """Draws any frame of one scene.

    Args:
        scene: what to draw.
        size: width and height in pixels.
        length_s: the clip's length in seconds.
        font_file: font for captions in letters that Pillow's own font lacks.
    """

    def __init__(self, scene: Scene, size: tuple[int, int], length_s: float, font_file: Path | None = None) -> None:
        self._scene = scene
        self._width, self._height = size
        self._unit = min(size)
        self._length_s = length_s
        painted = backdrop.paint(scene, *size)
        self._base = painted.base.copy()
        celestial = [actor for actor in scene.actors if actor.depth == 0]
        self._clouds = painted.clouds
        # Strips that never move are painted into the base once where nothing behind them moves: only motion costs time per frame.
        self._behind = list(painted.behind)
        while self._behind and self._behind[0].speed == 0 and not celestial and not painted.clouds:
            self._behind.pop(0).lay(self._base, 0.0)
        self._front = painted.front
        self._celestial = celestial
        self._actors = [actor for actor in scene.actors if 0 < actor.depth < FRONT_DEPTH]
        self._foremost = [actor for actor in scene.actors if actor.depth >= FRONT_DEPTH]
        self._sheets = weather.sheets(scene, *size)
        self._caption = caption(scene.prompt, *size, font_file)
        self._sprites: dict[tuple[str, int, tuple[int, int, int], int, int], Image.Image] = {}
        self._shadows: dict[int, Image.Image] = {}

    def frame(self, moment_s: float) -> Image.Image:
        """The picture at a moment, as RGB."""
        canvas = self._base.copy()
        for strip in self._clouds:
            strip.lay(canvas, moment_s)
        for actor in self._celestial:
            self._draw(canvas, actor, moment_s)
        for strip in self._behind:
            strip.lay(canvas, moment_s)
        for actor in self._actors:
            self._draw(canvas, actor, moment_s)
        for strip in self._front:
            strip.lay(canvas, moment_s)
        for actor in self._foremost:
            self._draw(canvas, actor, moment_s)
        for sheet in self._sheets:
            sheet.lay(canvas, moment_s)
        if self._caption is not None:
            image, at = self._caption
            canvas.paste(image, at, image)
        return canvas.convert("RGB")

    def _draw(self, canvas: Image.Image, actor: Actor, moment_s: float) -> None:
        pose = place(actor, self._scene, moment_s, self._length_s)
        size = max(4, round(actor.size * self._unit))
        x = actor.x * self._width + pose.dx * self._unit
        y = actor.y * self._height + pose.dy * self._unit
        stands = actor.anchor == "ground"
        if stands:
            self._shadow(canvas, x, actor.y * self._height, size, lift=-pose.dy)
            y -= size * (0.45 - (1 - pose.high) * 0.45)
        elif actor.anchor == "water" and self._scene.place != "underwater":
            y -= size * 0.32
        sprite = self._sprite(actor, size, moment_s)
        _lay(canvas, sprite, (x, y), pose, flip=self._scene.left)

    def _shadow(self, canvas: Image.Image, x: float, foot: float, size: int, *, lift: float) -> None:
        wide = max(4, round(size * (0.95 - min(0.4, max(0.0, lift) * 1.5))))
        if wide not in self._shadows:
            pen = Pen(max(4, wide // 6), wide=6)
            pen.oval((0.0, 0.0), (5.7, 0.9), (30, 30, 60))
            shade = pen.image()
            shade.putalpha(shade.getchannel("A").point([value // 5 for value in range(256)]))
            self._shadows[wide] = shade
        shade = self._shadows[wide]
        canvas.paste(shade, (round(x - shade.width / 2), round(foot - shade.height / 2)), shade)

    def _sprite(self, actor: Actor, size: int, moment_s: float) -> Image.Image:
        """The drawing of an actor in the pose of this moment, drawn at most once."""
        phase, pose = 0.0, 0
        if actor.kind != "abstract":
            period = SUBJECTS[actor.kind].period_s
            if period:
                pace = 1.0 if actor.motion in PACE_FREE else self._scene.pace
                # A subject that stands still keeps its legs still, but still breathes and wags slowly.
                slow = 3.0 if actor.motion in PACE_FREE and SUBJECTS[actor.kind].motion not in PACE_FREE else 1.0
                turns = (moment_s + actor.offset) * pace / (period * slow)
                pose = math.floor(turns * POSES) % (POSES * (12 if actor.kind == "sun" else 1))
                phase = pose / POSES
        key = (actor.kind, actor.shape, actor.colour, size, pose)
        if key not in self._sprites:
            pen = Pen(size)
            if actor.kind == "abstract":
                abstract(pen, actor.colour, actor.shape)
            else:
                SUBJECTS[actor.kind].draw(pen, actor.colour, phase)
            self._sprites[key] = pen.image()
        return self._sprites[key]


def _lay(canvas: Image.Image, sprite: Image.Image, centre: tuple[float, float], pose: Pose, *, flip: bool) -> None:
    """Put a sprite on the canvas around ``centre``, turned and stretched, with sub-pixel placement so that slow motion is smooth."""
    angle = math.radians(pose.turn)
    cos, sin = math.cos(angle), math.sin(angle)
    half_w, half_h = sprite.width / 2, sprite.height / 2
    reach_x = math.ceil(abs(cos) * half_w * pose.wide + abs(sin) * half_h * pose.high) + 2
    reach_y = math.ceil(abs(sin) * half_w * pose.wide + abs(cos) * half_h * pose.high) + 2
    left, top = math.floor(centre[0]) - reach_x, math.floor(centre[1]) - reach_y
    if left >= canvas.width or top >= canvas.height or left + 2 * reach_x <= 0 or top + 2 * reach_y <= 0:
        return
    # Output pixel -> sprite pixel: undo the shift, the turn, the stretch, the mirror.
    cx, cy = centre[0] - left, centre[1] - top
    mirror = -1.0 if flip else 1.0
    a, b = mirror * cos / pose.wide, mirror * sin / pose.wide
    d, e = -sin / pose.high, cos / pose.high
    matrix = (a, b, half_w - a * cx - b * cy, d, e, half_h - d * cx - e * cy)
    moved = sprite.transform((2 * reach_x, 2 * reach_y), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    canvas.paste(moved, (left, top), moved)
