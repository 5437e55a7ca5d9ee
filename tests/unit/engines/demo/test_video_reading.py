"""What the sketch model understands of a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.demo.video.reading import COUNT_MAX, SUBJECTS_MAX, UNKNOWN_MAX, Mention, read_prompt


@pytest.mark.parametrize(
    ("prompt", "mentions"),
    [
        ("a red sun over a blue sea", [Mention("sun", 1, "red")]),
        ("two black cats and a white dog", [Mention("cat", 2, "black"), Mention("dog", 1, "white")]),
        ("3 birds", [Mention("bird", 3)]),
        ("butterflies", [Mention("butterfly", 3)]),
        ("a hot air balloon", [Mention("balloon")]),
        ("the cat is purple", [Mention("cat", 1, "purple")]),
        ("a yellow taxi driving through the city", [Mention("taxi", 1, "yellow", "drive")]),
        ("a flying whale", [Mention("whale", 1, None, "fly")]),
        ("a house, snow falling", [Mention("house")]),
        ("一只橙色的猫在雪地里行走", [Mention("cat", 1, "orange", "walk")]),
        ("两只小鱼在海底游", [Mention("fish", 2, None, "swim")]),
        ("红色的太阳和三只鸟", [Mention("sun", 1, "red"), Mention("bird", 3)]),
        ("a cat 和 两只狗", [Mention("cat"), Mention("dog", 2)]),
    ],
)
def test_subjects_are_read_with_their_counts_colours_and_motions(prompt: str, mentions: list[Mention]) -> None:
    assert read_prompt(prompt).mentions == mentions


@pytest.mark.parametrize(
    ("prompt", "place", "time", "weather"),
    [
        ("a taxi in a rainy city at night", "city", "night", "rain"),
        ("sunset over the ocean", "sea", "sunset", ""),
        ("a tree in snow", "snow", "", "snow"),
        ("a rocket in outer space", "space", "", ""),
        ("fish under the sea", "underwater", "", ""),
        ("下雨的城市夜晚", "city", "night", "rain"),
        ("夕阳下的沙漠", "desert", "sunset", ""),
        ("a bird in the sky over the forest", "forest", "", ""),
    ],
)
def test_the_setting_is_read(prompt: str, place: str, time: str, weather: str) -> None:
    reading = read_prompt(prompt)
    assert (reading.place, reading.time, reading.weather) == (place, time, weather)


def test_a_colour_before_a_place_tints_the_place_and_not_a_subject() -> None:
    reading = read_prompt("a boat on a green lake")
    assert reading.tint == "green"
    assert reading.mentions == [Mention("boat")]


@pytest.mark.parametrize(("prompt", "pace", "way"), [("a car driving fast from right to left", "fast", "left"), ("汽车慢慢向右开", "slow", "right")])
def test_pace_and_direction_are_read(prompt: str, pace: str, way: str) -> None:
    reading = read_prompt(prompt)
    assert (reading.pace, reading.way) == (pace, way)


def test_words_without_a_drawing_are_kept_with_their_colour() -> None:
    assert read_prompt("purple quantum entanglement").unknown == {"quantum": "purple", "entanglement": "purple"}


def test_words_that_carry_no_picture_are_not_unknown() -> None:
    assert read_prompt("a beautiful cinematic high quality video of the cat, 4k, 60 fps").unknown == {}


@pytest.mark.parametrize("prompt", ["nine cats, nine dogs, nine birds, nine fish", "cat " * 100_000, "猫" * 100_000])
def test_no_prompt_fills_the_picture_without_end(prompt: str) -> None:
    assert sum(mention.count for mention in read_prompt(prompt).mentions) == SUBJECTS_MAX


@given(st.text(max_size=300))
def test_any_text_can_be_read(prompt: str) -> None:
    reading = read_prompt(prompt)
    assert len(reading.unknown) <= UNKNOWN_MAX
    assert all(1 <= mention.count <= COUNT_MAX for mention in reading.mentions)
