"""From what a prompt says to who stands where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.demo.video.colours import COLOURS
from taximeter.engines.demo.video.motion import place
from taximeter.engines.demo.video.render import Renderer
from taximeter.engines.demo.video.scene import Scene, compose
from taximeter.engines.demo.video.subjects import SUBJECTS
from taximeter.engines.demo.video.words import VOCABULARY


def scene(prompt: str, seed: int = 1) -> Scene:
    return compose(prompt, seed, width=640, height=360)


def test_every_subject_word_has_a_drawing() -> None:
    named = {meaning for kind, meaning in VOCABULARY.values() if kind == "subject"}
    assert named - {"mountain"} == set(SUBJECTS)


@pytest.mark.parametrize("kind", sorted(SUBJECTS))
def test_every_subject_can_be_drawn_where_it_is_at_home(kind: str) -> None:
    word = next(word for word, meaning in VOCABULARY.items() if meaning == ("subject", kind) and word.isascii())
    made = compose(f"two {word}", 3, width=320, height=180)
    assert made.summary()["drawn"] == {kind: 2}
    picture = Renderer(made, (320, 180), 1.0).frame(0.4)
    without = Renderer(compose("", 3, width=320, height=180), (320, 180), 1.0).frame(0.4)
    assert picture.size == (320, 180)
    assert picture.tobytes() != without.tobytes()


def test_counts_become_actors_in_the_said_colour() -> None:
    made = scene("three red fish under the sea")
    assert [actor.kind for actor in made.actors] == ["fish"] * 3
    assert all(actor.colour[0] > actor.colour[2] + 60 for actor in made.actors)
    assert COLOURS["red"] in [actor.colour for actor in made.actors]


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        ("a cat", "meadow"),
        ("a taxi", "city"),
        ("a rocket", "space"),
        ("a fish", "underwater"),
        ("a dog by the sea", "beach"),
        ("a boat", "sea"),
        ("a heart", "studio"),
        ("an umbrella in the rain", "meadow"),
        ("a house in the snow", "snow"),
        ("a house in the sky", "meadow"),
        ("", "meadow"),
        ("entropy", "studio"),
    ],
)
def test_a_place_is_found_when_none_is_named(prompt: str, where: str) -> None:
    assert scene(prompt).place == where


def test_the_world_passes_a_driving_car_but_not_one_beside_a_house() -> None:
    assert scene("a car driving").scroll > 0
    assert scene("a car driving to the left").scroll < 0
    assert scene("a car driving fast").scroll > scene("a car driving").scroll
    assert scene("a car driving past a house").scroll == 0


def test_a_word_nobody_drew_is_the_same_shape_in_every_scene() -> None:
    first, again = scene("a zorgle", 1), scene("a zorgle", 2)
    other = scene("a blimfark", 1)
    assert [(a.shape, a.colour) for a in first.actors] == [(a.shape, a.colour) for a in again.actors]
    assert [(a.shape, a.colour) for a in first.actors] != [(a.shape, a.colour) for a in other.actors]


def test_the_seed_moves_things_and_the_same_seed_does_not() -> None:
    assert scene("two cats", 1) == scene("two cats", 1)
    assert scene("two cats", 1) != scene("two cats", 2)
    assert scene("two cats", -5).summary() == scene("two cats", 5).summary()


def test_a_flying_bird_crosses_the_picture_and_is_at_its_own_place_in_the_middle() -> None:
    made = scene("a bird flying to the left in the sky")
    bird = made.actors[0]
    start, middle, end = (place(bird, made, moment, 2.0).dx for moment in (0.0, 1.0, 2.0))
    assert start > 0.2
    assert middle == pytest.approx(0, abs=0.02)
    assert end < -0.2


@given(st.text(max_size=80), st.integers(), st.sampled_from([(64, 64), (360, 640), (832, 480)]))
def test_any_prompt_makes_a_scene(prompt: str, seed: int, size: tuple[int, int]) -> None:
    made = compose(prompt, seed, width=size[0], height=size[1])
    assert made.summary()["place"]
    assert all(0 < actor.size <= 1 for actor in made.actors)
