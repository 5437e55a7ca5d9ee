"""Where an actor is at a moment: pure functions of time.  Distances are shares of the picture's shorter side."""

import math
from dataclasses import dataclass

from taximeter.engines.demo.video.scene import Actor, Scene

TRAVEL = {"walk": 0.42, "drive": 0.9, "fly": 0.62, "swim": 0.46, "drift": 0.14, "rise": 0.42}
"""How far a traveller gets in one clip at normal pace."""

TRAVEL_MAX = 1.5


@dataclass(frozen=True, slots=True)
class Pose:
    """Shift from the actor's own place, turn in degrees (clockwise), stretch, and where in its own cycle it is."""

    dx: float = 0.0
    dy: float = 0.0
    turn: float = 0.0
    wide: float = 1.0
    high: float = 1.0


def place(actor: Actor, scene: Scene, moment_s: float, length_s: float) -> Pose:
    """The pose of an actor ``moment_s`` into a clip of ``length_s``; in the middle of the clip travellers are at their own place."""
    t = (moment_s + actor.offset) * scene.pace
    ahead = (moment_s / length_s - 0.5) * (-1 if scene.left else 1)
    distance = min(TRAVEL.get(actor.motion, 0.0) * scene.pace, TRAVEL_MAX) * ahead
    if scene.scroll and actor.motion in ("walk", "drive"):
        distance *= 0.2
    return _POSES.get(actor.motion, _stay)(t, distance)


def _wave(t: float, period_s: float, shift: float = 0.0) -> float:
    return math.sin(math.tau * (t / period_s + shift))


def _stay(t: float, distance: float) -> Pose:
    return Pose(dx=distance, high=1.0 + 0.012 * _wave(t, 2.4))


def _sway(t: float, distance: float) -> Pose:
    return Pose(dx=distance, turn=7 * _wave(t, 2.4))


def _walk(t: float, distance: float) -> Pose:
    return Pose(dx=distance, dy=-0.012 * abs(_wave(t, 1.0)), turn=1.2 * _wave(t, 1.0))


def _drive(t: float, distance: float) -> Pose:
    return Pose(dx=distance, dy=-0.005 * abs(_wave(t, 0.5)), turn=0.5 * _wave(t, 0.7))


def _fly(t: float, distance: float) -> Pose:
    return Pose(dx=distance, dy=0.035 * _wave(t, 1.7), turn=5 * _wave(t, 1.7, 0.25))


def _fall(t: float, distance: float) -> Pose:
    # From above the picture to below it, again and again; the middle of the fall is the actor's own height.
    way = (t / 2.4 + 0.2) % 1.0
    return Pose(dx=distance + 0.04 * _wave(t, 1.6), dy=1.5 * (way - 0.5), turn=14 * _wave(t, 1.6))


def _rise(t: float, distance: float) -> Pose:
    return Pose(dx=0.008 * _wave(t, 0.4), dy=-abs(distance) if distance > 0 else abs(distance), turn=1.5 * _wave(t, 2.0))


def _spin(t: float, distance: float) -> Pose:
    return Pose(dx=distance, turn=360 * (t / 2.4 % 1.0))


def _jump(t: float, distance: float) -> Pose:
    height = abs(_wave(t, 1.5))
    squash = max(0.0, 0.25 - height)
    return Pose(dx=distance, dy=-0.2 * height, wide=1 + 0.5 * squash, high=1 - 0.6 * squash, turn=4 * _wave(t, 3.0))


def _swim(t: float, distance: float) -> Pose:
    return Pose(dx=distance, dy=0.025 * _wave(t, 1.8), turn=4 * _wave(t, 1.8, 0.25))


def _float(t: float, distance: float) -> Pose:
    return Pose(dx=distance + 0.012 * _wave(t, 3.4), dy=0.022 * _wave(t, 2.6), turn=4 * _wave(t, 3.0))


_POSES = {
    "stay": _stay,
    "sway": _sway,
    "walk": _walk,
    "drive": _drive,
    "fly": _fly,
    "fall": _fall,
    "rise": _rise,
    "spin": _spin,
    "jump": _jump,
    "swim": _swim,
    "float": _float,
    "drift": _stay,
}
