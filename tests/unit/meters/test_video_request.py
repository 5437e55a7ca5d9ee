"""Video requests."""

from fractions import Fraction

import pytest

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, PromptTooLong
from taximeter.meters.video_request import check_sizes, parse_size, read_frames, read_prompt, read_seed, read_steps, refuse_size, whole_frames


@pytest.mark.parametrize(
    "text", ["", "1280", "1280x", "x720", "1280X720", "1280x720x1", "0x5", "01x5", "-1x5", "1e3x5", "99999x5", " 1280x720", "\uff11x\uff11"]
)
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


def test_a_size_is_width_and_height() -> None:
    assert parse_size("1280x720") == (1280, 720)


def test_a_refusal_of_a_size_lists_those_that_work() -> None:
    assert refuse_size("1x1", ("640x360", "1280x720")).message == "size 1x1 is not supported by this model; choose one of 640x360, 1280x720"
    assert "is not supported" in refuse_size({"a": 1}, ("640x360",)).message


def test_a_prompt_has_1_to_32000_characters() -> None:
    assert read_prompt({"prompt": "x" * 32_000}) == "x" * 32_000
    with pytest.raises(PromptTooLong):
        read_prompt({"prompt": "x" * 32_001})
    for value in (None, "", " \n", 5, ["x"]):
        with pytest.raises(InvalidRequest):
            read_prompt({"prompt": value})


def test_without_a_seed_the_prompt_decides() -> None:
    assert read_seed({}, "fox") == read_seed({"seed": None}, "fox") != read_seed({}, "ox")
    assert read_seed({"seed": 7}, "fox") == 7
    for value in (-1, 2**32, True, 1.5):
        with pytest.raises(InvalidRequest):
            read_seed({"seed": value}, "fox")


def test_steps_and_frames_are_whole_and_limited() -> None:
    assert (read_steps({}, 20, 1, 50), read_steps({"steps": "30"}, 20, 1, 50)) == (20, 30)
    assert (read_frames({}, 100), read_frames({"frames": 5}, 100)) == (None, 5)
    for value in (0, 51, True, "x", float("inf")):
        with pytest.raises(InvalidRequest):
            read_steps({"steps": value}, 20, 1, 50)
    with pytest.raises(InvalidRequest):
        read_frames({"frames": 101}, 100)


def test_frames_are_counted_exactly() -> None:
    assert whole_frames(25, Fraction("4.6"), 200) == 115
    assert whole_frames(24, Fraction("0.01"), 200) == 1
    with pytest.raises(InvalidRequest, match="make 240 frames; this model makes at most 200"):
        whole_frames(24, Fraction(10), 200)


def test_a_profile_lists_real_sizes_and_its_default() -> None:
    check_sizes(("640x360",), "640x360")
    for sizes, default, key in ((("640",), "640", "sizes"), (("640x360",), "1x1", "default_size")):
        with pytest.raises(BadProfile) as caught:
            check_sizes(sizes, default)
        assert caught.value.key == key
