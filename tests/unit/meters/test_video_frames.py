"""Video, in pixels and steps."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, UnsupportedSize, get

METER = get("video.frames/1")
SIZES = ("640x360", "360x640", "832x480", "480x832", "1280x720", "720x1280")
PROFILE: dict[str, Any] = {"sizes": SIZES, "default_size": "640x360", "default_fps": 16, "default_steps": 20}


def test_defaults_are_filled_in() -> None:
    estimate = METER.estimate({"prompt": "a fox"}, PROFILE)
    seed = estimate.request.pop("seed")
    assert isinstance(seed, int)
    assert estimate.request == {"prompt": "a fox", "width": 640, "height": 360, "frames": 64, "fps": 16, "steps": 20}
    assert estimate.bound == {"steps": 20, "frames": 64}
    assert estimate.expected == estimate.maximum


def test_work_is_pixels_times_frames_times_steps() -> None:
    work = METER.estimate({"prompt": "a fox", "size": "1280x720", "seconds": "5", "fps": 24, "steps": 50}, PROFILE).maximum
    assert work["pixel_steps"] == 1280 * 720 * 120 * 50
    assert work["article_units"] == 86_400_000
    assert work["article_input_tokens"] == 1


@pytest.mark.parametrize("size", ["1920x1080", "640x361", "1x1", "640X360", "", 5, ["640x360"], {"w": 1}, True])
def test_other_sizes_are_refused_with_the_list(size: object) -> None:
    with pytest.raises(UnsupportedSize) as caught:
        METER.estimate({"prompt": "a fox", "size": size}, PROFILE)
    assert caught.value.code == "unsupported_size"
    assert all(name in caught.value.message for name in SIZES)


@pytest.mark.parametrize("seconds", [0, 9, "0", "9", "4.5", 4.5, -1, "five", True, float("nan"), float("inf"), "1e3", [4]])
def test_seconds_are_whole_and_from_1_to_8(seconds: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"prompt": "a fox", "seconds": seconds}, PROFILE)
    assert caught.value.param == "seconds"


@pytest.mark.parametrize(
    ("field", "value"), [("fps", 0), ("fps", 31), ("fps", 23.976), ("steps", 0), ("steps", 51), ("frames", 0), ("frames", 10**9)]
)
def test_absurd_numbers_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"prompt": "a fox", field: value}, PROFILE)
    assert caught.value.param == field


def test_frames_go_before_seconds() -> None:
    assert METER.estimate({"prompt": "a fox", "seconds": 8, "frames": 5}, PROFILE).bound["frames"] == 5


def test_frames_make_no_longer_film_than_the_longest() -> None:
    assert METER.estimate({"prompt": "a fox", "fps": 1, "frames": 8}, PROFILE).bound["frames"] == 8
    with pytest.raises(InvalidRequest):
        METER.estimate({"prompt": "a fox", "fps": 1, "frames": 9}, PROFILE)


def test_the_report_is_billed_in_proportion() -> None:
    estimate = METER.estimate({"prompt": "a fox", "seconds": 2}, PROFILE)
    work = METER.actual({"steps": 5, "frames": 32, "width": 640, "height": 360, "passes": 5}, estimate, PROFILE)
    assert work["pixel_steps"] * 4 == estimate.maximum["pixel_steps"]
    assert work["article_units"] * 4 == estimate.maximum["article_units"]
    assert work["activations"] == 1


def test_a_resident_model_was_not_activated() -> None:
    estimate = METER.estimate({"prompt": "a fox"}, PROFILE)
    assert METER.actual({"steps": 20, "frames": 64, "activations": 0}, estimate, PROFILE)["activations"] == 0


@pytest.mark.parametrize("reported", [{"steps": 5}, {"frames": 5}, {"steps": 5, "frames": 5, "width": 0}])
def test_a_report_without_a_film_is_refused(reported: dict[str, int]) -> None:
    with pytest.raises(BadReport):
        METER.actual(reported, METER.estimate({"prompt": "a fox"}, PROFILE), PROFILE)


@pytest.mark.parametrize("entry", [{"default_fps": 99}, {"default_steps": 0}, {"default_seconds": 9}, {"default_size": "1x1"}, {"sizes": ["x"]}])
def test_a_broken_profile_names_its_entry(entry: dict[str, object]) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PROFILE, **entry})
    assert caught.value.key == next(iter(entry))


@given(st.sampled_from(SIZES), st.integers(1, 8), st.integers(1, 30), st.integers(1, 49))
def test_more_steps_always_cost_more_and_work_adds_up(size: str, seconds: int, fps: int, steps: int) -> None:
    request = {"prompt": "a fox", "size": size, "seconds": seconds, "fps": fps}
    one, fewer, more = (METER.estimate({**request, "steps": count}, PROFILE).maximum["pixel_steps"] for count in (1, steps, steps + 1))
    assert fewer < more == fewer + one


def test_the_built_in_model_takes_the_promised_sizes(profile: Callable[[str], Mapping[str, Any]]) -> None:
    for size in SIZES:
        for seconds in (1, 8):
            METER.estimate({"prompt": "a fox", "size": size, "seconds": str(seconds)}, profile("sketch-video"))
