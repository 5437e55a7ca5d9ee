"""Images, by denoising step."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, UnsupportedSize, get

METER = get("images.steps/1")
FLUX = "flux.1-dev"
Profiles = Callable[[str], Mapping[str, Any]]
PLAIN: dict[str, Any] = {"sizes": ["64x64", "128x64"], "default_size": "64x64", "default_steps": 4, "guidance": "on", "spatial_stride": 8}
# FLUX.1-dev at 28 steps, counted on its own code with PyTorch's FLOP counter: one pass, one decoding.
COUNTED = {
    "512x512": (21_502_600_151_040, 2_514_971_787_264),
    "1024x1024": (74_384_653_418_496, 10_472_204_009_472),
    "1024x1536": (116_983_749_672_960, 16_120_622_874_624),
    "256x256": (10_347_697_668_096, 622_300_495_872),
}


@pytest.mark.parametrize("size", COUNTED)
def test_flux_takes_the_operations_that_its_own_code_takes(size: str, profile: Profiles) -> None:
    entry = profile(FLUX)
    forward, decoding = COUNTED[size]
    work = METER.estimate({"prompt": "x", "size": size}, entry).maximum
    assert work["linear_flop"] + work["attention_flop"] == 28 * forward + decoding + entry["text_encoder_flop"]


def test_an_image_is_counted_by_step_pixel_and_megapixel() -> None:
    estimate = METER.estimate({"prompt": "x", "size": "128x64", "n": 3, "steps": "10"}, PLAIN)
    assert estimate.expected == estimate.maximum
    assert dict(estimate.maximum) == {
        "images": 3,
        "steps": 30,
        "passes": 60,
        "latent_tokens": 3 * 16 * 8,
        "pixels": 3 * 128 * 64,
        "pixel_steps": 30 * 128 * 64,
        "megapixels": 3,
        "linear_flop": 0,
        "attention_flop": 0,
    }
    assert estimate.bound == {"images": 3, "steps": 30}
    assert estimate.request | {"seed": 0} == {"prompt": "x", "width": 128, "height": 64, "n": 3, "steps": 10, "seed": 0, "guidance": True}


@pytest.mark.parametrize(
    ("kind", "asked", "passes"),
    [("on", None, 8), ("on", False, 4), ("on", 1, 4), ("on", "3.5", 8), ("off", None, 4), ("off", True, 8), ("none", 3.5, 4), ("none", None, 4)],
)
def test_guidance_doubles_the_passes_unless_it_is_distilled_into_the_model(kind: str, asked: object, passes: int) -> None:
    assert METER.estimate({"prompt": "x", "guidance": asked}, {**PLAIN, "guidance": kind}).maximum["passes"] == passes


def test_a_megapixel_that_is_begun_counts_as_one(profile: Profiles) -> None:
    assert METER.estimate({"prompt": "x", "n": 2}, profile(FLUX)).maximum["megapixels"] == 4
    assert METER.estimate({"prompt": "x", "size": "512x512"}, profile(FLUX)).maximum["megapixels"] == 1


@pytest.mark.parametrize("size", ["1000x1024", "4096x4096", "128x128", "big", 5, ""])
def test_sizes_that_it_does_not_make_are_refused_with_the_list(size: object, profile: Profiles) -> None:
    with pytest.raises(UnsupportedSize, match="1024x1024, 1536x1024, 1024x1536, 512x512, or any width and height from 256 to 2048 that 16 divides"):
        METER.estimate({"prompt": "x", "size": size}, profile(FLUX))
    with pytest.raises(UnsupportedSize, match=r"64x64, 128x64$"):
        METER.estimate({"prompt": "x", "size": size}, PLAIN)


@pytest.mark.parametrize(("field", "value"), [("n", 0), ("n", 11), ("n", True), ("steps", 0), ("steps", 201), ("guidance", "much"), ("seed", -1)])
def test_absurd_numbers_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"prompt": "x", field: value}, PLAIN)
    assert caught.value.param == field


def test_what_was_made_is_billed(profile: Profiles) -> None:
    entry = profile(FLUX)
    estimate = METER.estimate({"prompt": "x", "n": 2}, entry)
    assert METER.actual({"images": 2, "steps": 56}, estimate, entry) == estimate.maximum
    half = METER.actual({"images": 1, "steps": 28}, estimate, entry)
    assert half["attention_flop"] * 2 == estimate.maximum["attention_flop"]
    # The prompt was read once, however many images were made of it.
    assert half["linear_flop"] * 2 - entry["text_encoder_flop"] == estimate.maximum["linear_flop"]
    nothing = METER.actual({"images": 0, "steps": 0}, estimate, entry)
    assert nothing["linear_flop"] == entry["text_encoder_flop"]
    with pytest.raises(BadReport, match="steps"):
        METER.actual({"images": 1}, estimate, entry)
    with pytest.raises(BadReport, match="without pixels"):
        METER.actual({"images": 1, "steps": 5, "width": 0}, estimate, entry)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"images_max": 0}, "images_max"),
        ({"default_steps": 0}, "default_steps"),
        ({"default_size": "1x1"}, "default_size"),
        ({"forward": {"linear": -1}}, "forward"),
        ({"text_encoder_flop": -1}, "text_encoder_flop"),
        ({"other_sizes": {"side_min": 9, "side_max": 8}}, "other_sizes"),
        ({"guidance": "sometimes"}, "guidance"),
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PLAIN, **entry})
    assert caught.value.key == key


@given(st.integers(1, 10), st.integers(1, 10), st.integers(1, 50))
def test_images_add_up(some: int, others: int, steps: int) -> None:
    entry = {**PLAIN, "images_max": 20, "forward": {"square": 3, "linear": 5, "constant": 7}, "decoder": {"square": 2, "linear": 3, "constant": 1}}

    def work(count: int) -> Mapping[str, int]:
        return METER.estimate({"prompt": "x", "n": count, "steps": steps}, entry).maximum

    one, two, both = work(some), work(others), work(some + others)
    assert both == {quantity: one[quantity] + two[quantity] for quantity in both}
