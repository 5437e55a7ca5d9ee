"""Sky, land and water: a still picture and strips that pass by at their own speed."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from taximeter.engines.demo.video.colours import Colour, dark, light, mix
from taximeter.engines.demo.video.landscape import Strip, city_rows, gradient, pine_row, ridge, wave_rows
from taximeter.engines.demo.video.nature import cactus, cloud, flower, full_moon, pine, planet, sun
from taximeter.engines.demo.video.pen import Pen
from taximeter.engines.demo.video.scene import HORIZON, Scene

SKIES: dict[str, tuple[Colour, ...]] = {
    "day": ((104, 186, 240), (170, 220, 248), (226, 244, 250)),
    "night": ((18, 24, 64), (38, 46, 100), (84, 82, 140)),
    "sunset": ((84, 76, 156), (232, 118, 122), (255, 204, 128)),
    "space": ((12, 12, 36), (26, 22, 62), (54, 38, 98)),
    "underwater": ((104, 206, 224), (38, 142, 196), (14, 76, 138)),
}
NIGHT_SHADE: Colour = (22, 28, 70)
DUSK_SHADE: Colour = (120, 62, 110)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A still base, clouds over it, strips behind the actors (but before sun and moon), and strips in front of them."""

    base: Image.Image
    clouds: tuple[Strip, ...]
    behind: tuple[Strip, ...]
    front: tuple[Strip, ...]


def lit(colour: Colour, time: str, share: float = 1.0) -> Colour:
    """The colour of land at this time of day."""
    if time == "night":
        return mix(colour, NIGHT_SHADE, 0.55 * share)
    return mix(colour, DUSK_SHADE, 0.3 * share) if time == "sunset" else colour


def paint(scene: Scene, width: int, height: int) -> Backdrop:
    """Everything of a scene but its actors, weather and caption."""
    rng = np.random.default_rng(scene.variety)
    base = _sky(scene, width, height)
    behind: list[Strip] = []
    clouds: list[Strip] = []
    if scene.place not in ("underwater", "studio"):
        _lights(base, scene, rng)
    if scene.place not in ("space", "underwater", "studio") and (scene.time != "night" or scene.weather):
        clouds.append(_clouds(scene, width, height, rng))
    if scene.mountains:
        behind.append(_mountains(scene, width, height, rng))
    land, front = _LAND.get(scene.place, _nothing)(scene, width, height, rng)
    behind.extend(land)
    return Backdrop(base, tuple(clouds), tuple(behind), tuple(front))


def _sky(scene: Scene, width: int, height: int) -> Image.Image:
    if scene.place == "studio":
        hue = scene.tint or ((250, 196, 160), (170, 208, 240), (186, 226, 196), (240, 190, 214), (214, 200, 244))[scene.variety % 5]
        stops: tuple[Colour, ...] = (light(hue, 0.5), light(hue, 0.66), light(hue, 0.8))
        stops = tuple(lit(stop, scene.time) for stop in stops)
    else:
        stops = SKIES[scene.place if scene.place in SKIES else scene.time]
    if scene.place in ("space", "underwater", "sky") and scene.tint:
        stops = tuple(mix(stop, scene.tint, 0.5) for stop in stops)
    if scene.weather == "rain":
        stops = tuple(mix(stop, (122, 134, 154), 0.5 if scene.time == "day" else 0.3) for stop in stops)
    elif scene.weather == "snow" and scene.time == "day":
        stops = tuple(mix(stop, (206, 218, 234), 0.5) for stop in stops)
    end = HORIZON.get(scene.place, 1.0)
    return gradient(width, height, stops, end if scene.place != "studio" else 1.0)


def _lights(base: Image.Image, scene: Scene, rng: np.random.Generator) -> None:
    """Stars at night; a sun or moon of its own when the prompt names no light."""
    width, height = base.size
    unit = min(width, height)
    named = {actor.kind for actor in scene.actors}
    if scene.time == "night":
        layer = Image.new("RGBA", (width * 2, height * 2), (0, 0, 0, 0))
        draw = ImageDraw.Draw(layer)
        limit = HORIZON.get(scene.place, 1.0)
        for _ in range(90 if scene.place == "space" else 60):
            x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height * limit))
            radius = unit * float(rng.uniform(0.0012, 0.0042))
            bright = int(rng.integers(140, 255))
            draw.ellipse(((x - radius) * 2, (y - radius) * 2, (x + radius) * 2, (y + radius) * 2), fill=(255, 250, 226, bright))
        base.alpha_composite(layer.reduce(2))
    if scene.place == "space" and "planet" not in named:
        _far_planet(base, rng)
    if named & {"sun", "moon", "full_moon", "rainbow", "planet"} or scene.weather or scene.place == "space":
        return
    size = round(unit * (0.26 if scene.time == "sunset" else 0.2))
    pen = Pen(size)
    if scene.time == "night":
        full_moon(pen, (250, 240, 210), 0.0)
    else:
        sun(pen, (255, 214, 110) if scene.time == "sunset" else (255, 222, 96), 0.0)
    line = HORIZON.get(scene.place, 0.7)
    y = line - size / height * 0.45 if scene.time == "sunset" else 0.17
    base.alpha_composite(pen.image(), (round(width * 0.8 - size / 2), max(0, round(y * height - size / 2))))


def _far_planet(base: Image.Image, rng: np.random.Generator) -> None:
    """A dim ringed planet in a corner, so that space is a place."""
    size = round(min(base.size) * 0.3)
    pen = Pen(size)
    planet(pen, ((108, 84, 170), (66, 110, 160), (150, 88, 130))[int(rng.integers(3))], 0.0)
    base.alpha_composite(pen.image(), (round(base.width * 0.84 - size / 2), round(base.height * 0.14)))


def _clouds(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Strip:
    unit = min(width, height)
    strip = Strip.blank(width, round(height * 0.42), 0, 0.012 + 0.05 * abs(scene.scroll))
    white: Colour = {"day": (252, 254, 255), "sunset": (255, 206, 186), "night": (92, 96, 148)}[scene.time]
    if scene.weather == "rain":
        white = mix(white, (126, 136, 154), 0.55)
    count = 6 if scene.weather else 4
    for index in range(count):
        size = round(unit * float(rng.uniform(0.13, 0.22)) * (1.35 if scene.weather else 1.0))
        pen = Pen(size)
        cloud(pen, white, 0.0)
        strip.stamp(pen.image(), width * (index + float(rng.uniform(0.2, 0.8))) / count, height * float(rng.uniform(0.06, 0.3)))
    return strip


_SNOW_LINE = ((0.3, -0.42), (0.12, -0.22), (-0.08, -0.4), (-0.26, -0.2))


def _mountains(scene: Scene, width: int, height: int, rng: np.random.Generator) -> Strip:
    """Peaks with snow caps, wide enough apart to be counted."""
    unit = min(width, height)
    line = HORIZON.get(scene.place, 0.85)
    count = min(max(scene.mountains, 1), 7)
    rock = lit(scene.mountain_colour or (120, 132, 168), scene.time)
    strip = Strip.blank(width, round(height * (line + 0.12)), 0, 0.1 * scene.scroll)
    for index in range(count):
        size = round(min(unit * 0.66, width * 1.2 / count) * float(rng.uniform(0.82, 1.0)))
        pen = Pen(size, wide=1.3)
        pen.poly([(-1.3, 1.0), (-0.12, -0.8), (0.06, -0.92), (0.2, -0.78), (1.3, 1.0)], rock)
        pen.poly([(0.06, -0.92), (0.2, -0.78), (1.3, 1.0), (0.3, 1.0), (0.02, -0.2)], dark(rock, 0.16))
        cap = lit((250, 252, 255), scene.time, 0.5)
        pen.poly([(-0.46, -0.28), (-0.12, -0.8), (0.06, -0.92), (0.2, -0.78), (0.5, -0.3), *_SNOW_LINE], cap)
        strip.stamp(pen.image(), width * (index + 0.5 + float(rng.uniform(-0.1, 0.1))) / count, height * (line + 0.1) - size / 2)
    return strip


def _nothing(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    del scene, width, height, rng
    return [], []


def _meadow(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    grass = lit(scene.tint or (118, 190, 96), scene.time)
    line = HORIZON["meadow"]
    far = ridge((width, height), line - 0.07, 0.05, mix(grass, (150, 200, 226), 0.35), rng)
    near = ridge((width, height), line + 0.02, 0.03, mix(grass, (160, 210, 180), 0.12), rng)
    ground = ridge((width, height), line + 0.12, 0.016, grass, rng)
    unit = min(width, height)
    for index in range(9):
        pen = Pen(round(unit * 0.055))
        flower(pen, ((255, 255, 255), (252, 205, 55), (247, 130, 168))[index % 3], float(rng.uniform(0, 1)))
        ground.stamp(pen.image(), width * (index + float(rng.uniform(0.1, 0.9))) / 9, height * float(rng.uniform(line + 0.16, 0.97)))
    return [far.at(0.1 * scene.scroll), near.at(0.35 * scene.scroll), ground.at(scene.scroll)], []


def _forest(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    green = lit(scene.tint or (58, 132, 92), scene.time)
    haze = SKIES[scene.time][2]
    line = HORIZON["forest"]
    rows = [
        pine_row((width, height), line, 0.34, mix(green, haze, 0.5), rng).at(0.08 * scene.scroll),
        pine_row((width, height), line + 0.03, 0.44, mix(green, haze, 0.18), rng).at(0.25 * scene.scroll),
    ]
    floor = ridge((width, height), line, 0.016, mix(green, (140, 190, 100), 0.35), rng)
    return [*rows, floor.at(scene.scroll)], []


def _desert(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    sand = lit(scene.tint or (240, 198, 128), scene.time)
    line = HORIZON["desert"]
    far = ridge((width, height), line - 0.06, 0.06, mix(sand, (226, 150, 110), 0.4), rng)
    near = ridge((width, height), line + 0.05, 0.04, dark(sand, 0.05), rng)
    ground = ridge((width, height), line + 0.14, 0.02, light(sand, 0.15), rng)
    for index in range(3):
        pen = Pen(round(min(width, height) * 0.16))
        cactus(pen, lit((84, 150, 96), scene.time), 0.0)
        near.stamp(pen.image(), width * (index + float(rng.uniform(0.2, 0.8))) / 3, height * (line + 0.03))
    return [far.at(0.1 * scene.scroll), near.at(0.4 * scene.scroll), ground.at(scene.scroll)], []


def _snow(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    white = lit((246, 250, 255), scene.time, 0.8)
    line = HORIZON["snow"]
    far = ridge((width, height), line - 0.08, 0.06, mix(white, (150, 180, 214), 0.4), rng)
    near = ridge((width, height), line, 0.03, mix(white, (176, 202, 230), 0.3), rng)
    for index in range(7):
        pen = Pen(round(min(width, height) * float(rng.uniform(0.13, 0.2))))
        pine(pen, mix(lit((120, 156, 178), scene.time), white, 0.35), 0.0)
        near.stamp(pen.image(), width * (index + float(rng.uniform(0.1, 0.9))) / 7, height * (line - 0.03))
    ground = ridge((width, height), line + 0.08, 0.02, white, rng)
    return [far.at(0.1 * scene.scroll), near.at(0.35 * scene.scroll), ground.at(scene.scroll)], []


def _city(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    return city_rows((width, height), scene.time, scene.tint, HORIZON["city"], rng, scene.scroll), []


def _sea(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    water = lit(scene.tint or (42, 134, 200), scene.time)
    line = HORIZON["sea"]
    behind = wave_rows((width, height), (line + 0.0, line + 0.05, line + 0.11), (light(water, 0.2), light(water, 0.1), water), 0.03)
    front = wave_rows((width, height), (0.745, 0.86), (dark(water, 0.1), dark(water, 0.22)), 0.07)
    del rng
    return behind, front


def _beach(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    water = lit(scene.tint or (46, 148, 206), scene.time)
    line = HORIZON["beach"]
    rows = wave_rows((width, height), (line, line + 0.06, line + 0.12), (light(water, 0.14), water, light(water, 0.06)), 0.025)
    foam = ridge((width, height), 0.685, 0.008, lit((250, 252, 252), scene.time), rng)
    sand = ridge((width, height), 0.70, 0.008, lit((242, 212, 156), scene.time), rng)
    for _ in range(10):
        pen = Pen(max(4, round(min(width, height) * 0.018)))
        pen.oval((0.0, 0.0), (0.9, 0.5), lit((224, 188, 132), scene.time))
        sand.stamp(pen.image(), width * float(rng.uniform(0, 1)), height * float(rng.uniform(0.75, 0.97)))
    return [*rows, foam.at(scene.scroll), sand.at(scene.scroll)], []


def _underwater(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    sand = lit((226, 208, 160), scene.time)
    rock = ridge((width, height), 0.83, 0.05, (28, 96, 140), rng)
    far = ridge((width, height), 0.72, 0.08, (40, 126, 176), rng)
    floor = ridge((width, height), 0.88, 0.016, mix(sand, (40, 130, 170), 0.25), rng)
    unit = min(width, height)
    for index in range(8):
        high = round(unit * float(rng.uniform(0.2, 0.34)))
        pen = Pen(high)
        green = ((58, 158, 110), (36, 130, 120), (240, 120, 120))[index % 3]
        for x in (-0.34, 0.0, 0.34):
            pen.stroke([(x * 0.4, 0.96), (x + 0.1, 0.5), (x - 0.08, 0.1), (x + 0.12, -0.3 - 0.4 * math.cos(x * 3))], 0.15, green)
        rock.stamp(pen.image(), width * (index + float(rng.uniform(0.1, 0.9))) / 8, height * 0.89 - high * 0.48)
    return [far, rock, floor], []


def _studio(scene: Scene, width: int, height: int, rng: np.random.Generator) -> tuple[list[Strip], list[Strip]]:
    del rng
    hue = scene.tint or ((250, 196, 160), (170, 208, 240), (186, 226, 196), (240, 190, 214), (214, 200, 244))[scene.variety % 5]
    strip = Strip.blank(width, height - round(height * HORIZON["studio"]), round(height * HORIZON["studio"]), 0.0)
    strip.image.paste((*lit(light(hue, 0.3), scene.time), 255), (0, 0, *strip.image.size))
    return [strip], []


_LAND = {
    "meadow": _meadow,
    "forest": _forest,
    "desert": _desert,
    "snow": _snow,
    "city": _city,
    "sea": _sea,
    "beach": _beach,
    "underwater": _underwater,
    "studio": _studio,
}
