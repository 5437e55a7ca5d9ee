"""Video, in floating-point operations."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, UnsupportedSize, get
from taximeter.meters.video_dit import DitProfile, Shape, forward_coefficients, produced_frames

METER = get("video.dit/1")
Profiles = Callable[[str], Mapping[str, Any]]
WAN = "wan2.2-t2v-a14b@1"
# The 5-billion model: other dimensions, other autoencoder.
TI2V_5B = {"dim": 3072, "layers": 30, "ffn": 14336, "latent_channels": 48, "spatial_stride": 16}
TI2V_5B_VAE = {"square": 4096, "linear": 18835608064, "offset": -13004832768}


def dit(profile: Mapping[str, Any], **changes: object) -> DitProfile:
    return msgspec.convert({**profile, **changes}, DitProfile)


def test_coefficients_follow_from_the_dimensions(profile: Profiles, vectors: dict[str, Any]) -> None:
    wan = profile(WAN)
    assert list(forward_coefficients(dit(wan))) == vectors["wan"]["a14b_native"]
    assert list(forward_coefficients(dit(wan, time_per_token=False))) == vectors["wan"]["a14b_diffusers"]
    assert list(forward_coefficients(dit(wan, **TI2V_5B))) == vectors["wan"]["ti2v5b"]


def test_every_row_of_the_vectors_is_exact(profile: Profiles, vectors: dict[str, Any]) -> None:
    for row in vectors["wan"]["rows"]:
        request = {"prompt": "x", "size": f"{row['W']}x{row['H']}", "frames": row["frames"], "steps": row["steps"], "guidance": row["cfg"]}
        work = METER.estimate(request, profile(WAN)).maximum
        assert work["latent_tokens"] == row["L"]
        assert work["passes"] == row["passes"]
        assert work["linear_flop"] == int(row["lin"])
        assert work["attention_flop"] == int(row["attn"])
        assert work["linear_flop"] + work["attention_flop"] == int(row["total"])
        assert Shape(row["W"], row["H"], row["frames"]).vae_flop(dit(profile(WAN))) == row["vae"]


def test_the_5_billion_model_is_exact(profile: Profiles) -> None:
    entry = dit(profile(WAN), **TI2V_5B, vae=TI2V_5B_VAE)
    shape = Shape(1280, 704, 121)
    square, linear, constant = forward_coefficients(entry)
    tokens = shape.latent_tokens(entry)
    forward = square * tokens**2 + linear * tokens + constant
    assert (tokens, forward) == (27280, 520_654_782_726_144)
    assert 100 * forward + 2 * entry.text_encoder_flop + shape.vae_flop(entry) == 54_086_305_542_864_896


PIPELINES = [
    (1, 1, 1),
    (16, 13, 17),
    (17, 17, 17),
    (80, 77, 81),
    (81, 81, 81),
    (82, 81, 81),
    (83, 81, 81),
    (84, 81, 85),
    (120, 117, 121),
    (121, 121, 121),
    (192, 189, 193),
]


@pytest.mark.parametrize(("asked", "native", "diffusers"), PIPELINES)
def test_frames_are_rounded_as_the_pipelines_do(asked: int, native: int, diffusers: int) -> None:
    assert (produced_frames(asked, "native"), produced_frames(asked, "diffusers")) == (native, diffusers)


def test_every_founding_row_of_the_vectors_is_exact(profile: Profiles, vectors: dict[str, Any]) -> None:
    for row in vectors["article_video"]:
        size = f"{row['W']}x{row['H']}"
        prompt = "字" * max(1, row["text_len"])
        request = {"prompt": prompt, "size": size, "fps": row["fps"], "seconds": row["duration"], "steps": row["steps"]}
        work = METER.estimate(request, profile(WAN)).maximum
        assert work["article_units"] == row["output_units"]
        assert work["article_input_tokens"] == row["input_tokens"]


def test_a_clip_of_5_seconds_has_81_frames(profile: Profiles) -> None:
    estimate = METER.estimate({"prompt": "x"}, profile(WAN))
    assert estimate.bound == {"steps": 40, "frames": 81}
    assert estimate.maximum["article_units"] == 160 * 90 * 80 * 40


@pytest.mark.parametrize(("guidance", "passes"), [(None, 80), (True, 80), (False, 40), (1, 40), (3.5, 80), ("0", 40)])
def test_guidance_doubles_the_passes(guidance: object, passes: int, profile: Profiles) -> None:
    assert METER.estimate({"prompt": "x", "guidance": guidance}, profile(WAN)).maximum["passes"] == passes


@pytest.mark.parametrize("size", ["1281x720", "62x64", "4096x4096", "big", 5, ""])
def test_sizes_that_cannot_be_quoted_are_refused_with_the_list(size: object, profile: Profiles) -> None:
    with pytest.raises(UnsupportedSize, match="1280x720, 720x1280, 832x480, 480x832, or any even width and height from 64 to 2048"):
        METER.estimate({"prompt": "x", "size": size}, profile(WAN))


def test_other_sizes_can_be_quoted(profile: Profiles) -> None:
    assert METER.estimate({"prompt": "x", "size": "854x480", "frames": 81}, profile(WAN)).maximum["latent_tokens"] == 21 * 30 * 53


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", 0),
        ("seconds", -1),
        ("seconds", "nan"),
        ("seconds", 61),
        ("seconds", True),
        ("fps", 0),
        ("fps", 61),
        ("fps", "16.5"),
        ("steps", 0),
        ("steps", 201),
        ("steps", 1e300),
        ("frames", 0),
        ("frames", 1441),
        ("guidance", "much"),
        ("guidance", float("nan")),
        ("seed", -5),
    ],
)
def test_absurd_numbers_are_refused_by_name(field: str, value: object, profile: Profiles) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"prompt": "x", field: value}, profile(WAN))
    assert caught.value.param == field


def test_a_film_longer_than_its_frames_allow_is_refused(profile: Profiles) -> None:
    with pytest.raises(InvalidRequest, match="make 3600 frames"):
        METER.estimate({"prompt": "x", "seconds": 60, "fps": 60}, profile(WAN))


def test_the_passes_that_were_made_are_billed(profile: Profiles) -> None:
    wan = profile(WAN)
    estimate = METER.estimate({"prompt": "x"}, wan)
    full = METER.actual({"passes": 80, "frames": 81}, estimate, wan)
    assert full == estimate.maximum
    half = METER.actual({"passes": 40, "frames": 81, "activations": 0}, estimate, wan)
    assert half["attention_flop"] * 2 == full["attention_flop"]
    assert half["article_units"] * 2 == full["article_units"]
    assert half["activations"] == 0
    nothing = METER.actual({"passes": 0, "frames": 0}, estimate, wan)
    assert nothing["attention_flop"] == 0
    assert nothing["linear_flop"] == 2 * wan["text_encoder_flop"]
    with pytest.raises(BadReport, match="passes"):
        METER.actual({"frames": 81}, estimate, wan)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"dim": 0}, "dim"),
        ({"vae": {"square": 1}}, "linear"),
        ({"default_seconds": "x"}, "default_seconds"),
        ({"default_fps": 99}, "default_fps"),
        ({"frame_rule": "x"}, "frame_rule"),
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str, profile: Profiles) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**profile(WAN), **entry})
    assert caught.value.key == key


@given(st.integers(1, 400), st.integers(1, 199), st.sampled_from(["832x480", "1280x720", "480x832", "720x1280"]))
def test_work_grows_with_frames_and_adds_up_over_steps(frames: int, steps: int, size: str) -> None:
    model = {"dim": 512, "layers": 4, "ffn": 2048, "text_positions": 512, "text_dim": 4096, "latent_channels": 16, "spatial_stride": 8}
    parts = {"time_per_token": True, "text_encoder_flop": 10**12, "vae": {"square": 1, "linear": 10, "offset": -5}}
    limits = {"sizes": [size], "default_size": size, "default_seconds": "5", "seconds_max": 60, "default_fps": 16, "default_steps": 40}
    entry = model | parts | limits

    def work(count: int, step_count: int) -> Mapping[str, int]:
        return METER.estimate({"prompt": "x", "frames": count, "steps": step_count}, entry).maximum

    here, longer, one, more = work(frames, steps), work(frames + 4, steps), work(frames, 1), work(frames, steps + 1)
    assert here["linear_flop"] < longer["linear_flop"]
    assert here["attention_flop"] < longer["attention_flop"]
    assert more["attention_flop"] == here["attention_flop"] + one["attention_flop"]
    # Text encoder and decoder are paid once, not per step.
    assert more["linear_flop"] - here["linear_flop"] == work(frames, 2)["linear_flop"] - one["linear_flop"]
