"""Which expert runs in each step."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.meters.diffusion.experts import Switch

# Steps and the passes of the high-noise expert, from Wan's own scheduler.
T2V = {4: 3, 8: 6, 10: 7, 20: 13, 30: 19, 40: 26, 50: 32, 100: 64}
I2V = {4: 2, 10: 4, 20: 8, 40: 15, 50: 18}


@pytest.mark.parametrize(("steps", "high"), T2V.items())
def test_text_to_video_switches_as_wans_own_code(steps: int, high: int) -> None:
    assert Switch(flow_shift=12, boundary_ratio="0.875", sigmas="native").high_steps(steps) == high


@pytest.mark.parametrize(("steps", "high"), I2V.items())
def test_image_to_video_switches_as_wans_own_code(steps: int, high: int) -> None:
    assert Switch(flow_shift=5, boundary_ratio="0.9", sigmas="native").high_steps(steps) == high


def test_the_shift_that_diffusers_folder_holds_gives_another_split() -> None:
    """The published folder says shift 3, Wan's own configuration 12: more noise for longer."""
    assert Switch(flow_shift=3, boundary_ratio="0.875").high_steps(40) == 13
    assert Switch(flow_shift=12, boundary_ratio="0.875").high_steps(40) == 26


@given(
    st.integers(1, 200),
    st.decimals("0.1", "50", places=2),
    st.decimals("0", "1", places=3),
    st.sampled_from(["native", "diffusers"]),
)
def test_the_split_is_whole_and_grows_with_steps_and_shift(steps: int, shift: object, boundary: object, sigmas: str) -> None:
    def high(count: int, of: object) -> int:
        return msgspec.convert({"flow_shift": str(of), "boundary_ratio": str(boundary), "sigmas": sigmas}, Switch).high_steps(count)

    assert 0 <= high(steps, shift) <= high(steps + 1, shift) <= steps + 1
    assert high(steps, shift) <= high(steps, f"{shift}1")
    assert high(steps, shift) == high(steps, shift)


@pytest.mark.parametrize(
    "entry",
    [
        {"flow_shift": "x"},
        {"flow_shift": 0},
        {"flow_shift": "-1"},
        {"flow_shift": 10**9},
        {"boundary_ratio": "1.1"},
        {"boundary_ratio": "1/0"},
        {"num_train_timesteps": 1},
        {"sigmas": "mine"},
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"flow_shift": 3, "boundary_ratio": "0.875", **entry}, Switch)


def test_the_page_shows_the_split() -> None:
    page = (Path(__file__).parents[4] / "docs" / "reference" / "meters" / "video.md").read_text(encoding="utf-8")
    for steps, picture in I2V.items():
        assert f"| {steps} | {T2V[steps]}, {steps - T2V[steps]} | {picture}, {steps - picture} |" in page
