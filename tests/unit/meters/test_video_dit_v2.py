"""Video from configuration files, part by part."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import AMOUNT_UTOK_MAX
from taximeter.meters import BadProfile, BadReport, UnsupportedSize, get
from taximeter.meters.diffusion import draft
from taximeter.meters.errors import UnsupportedParameter

METER, FIRST = get("video.dit/2"), get("video.dit/1")
Profiles = Callable[[str], Mapping[str, Any]]
Configs = Callable[[str], dict[str, Any]]
T2V, I2V, TI2V = "wan2.2-t2v-a14b", "wan2.2-i2v-a14b", "wan2.2-ti2v-5b"
OTHERS = ("hunyuanvideo", "ltx-video-2b", "cogvideox-5b", "mochi-1")
MODELS = (T2V, I2V, TI2V, *OTHERS)
PARTS = ("transformer_flop", "conditioning_flop", "vae_flop", "text_encoder_flop")
DRIVEN = ("latent_tokens", "passes", "linear_flop", "attention_flop", *PARTS)
# The card for models without timings: 1 Token is 125 TFLOP.
FLOP_PER_UTOK = 125_000_000


def test_every_row_of_the_vectors_is_exact(profile: Profiles, vectors: dict[str, Any]) -> None:
    for row in vectors["wan"]["rows"]:
        request = {"prompt": "x", "size": f"{row['W']}x{row['H']}", "frames": row["frames"], "steps": row["steps"], "guidance": row["cfg"]}
        work = METER.estimate(request, profile(T2V)).maximum
        assert work["latent_tokens"] == row["L"]
        assert work["passes"] == row["passes"]
        assert work["linear_flop"] == int(row["lin"])
        assert work["attention_flop"] == int(row["attn"])
        assert work["vae_flop"] == row["vae"]
        assert work["text_encoder_flop"] == row["t5"]
        assert work["transformer_flop"] + work["conditioning_flop"] + work["attention_flop"] == int(row["dit"])


def test_the_5_billion_model_is_exact(profile: Profiles) -> None:
    work = METER.estimate({"prompt": "x"}, profile(TI2V)).maximum
    assert (work["latent_tokens"], work["passes"], work["frames"]) == (27280, 100, 121)
    assert work["linear_flop"] + work["attention_flop"] == 54_086_305_542_864_896


@given(
    size=st.sampled_from(["1280x720", "832x480", "854x480", "1920x1080", "66x94", "2048x2048"]),
    frames=st.integers(1, 1440),
    steps=st.integers(1, 200),
    guidance=st.sampled_from([None, True, False, "1", 3.5]),
)
def test_what_the_first_version_counts_is_counted_the_same(size: str, frames: int, steps: int, guidance: object, profile: Profiles) -> None:
    request = {"prompt": "一位 girl", "size": size, "frames": frames, "steps": steps, "guidance": guidance}
    before, now = FIRST.estimate(request, profile(f"{T2V}@1")), METER.estimate(request, profile(T2V))
    assert {quantity: now.maximum[quantity] for quantity in before.maximum} == before.maximum
    assert (now.bound, now.request) == (before.bound, before.request)


@given(seconds=st.decimals("0.01", "61", places=2), fps=st.integers(1, 60))
def test_seconds_are_counted_as_in_the_first_version(seconds: Decimal, fps: int, profile: Profiles) -> None:
    for length in (str(seconds), float(seconds), int(seconds)):
        request = {"prompt": "x", "fps": fps, "seconds": length}
        try:
            before = FIRST.estimate(request, profile(f"{T2V}@1"))
        except InvalidRequest as refusal:
            with pytest.raises(type(refusal)):
                METER.estimate(request, profile(T2V))
            continue
        now = METER.estimate(request, profile(T2V))
        assert (now.bound, now.maximum["article_units"]) == (before.bound, before.maximum["article_units"])


@pytest.mark.parametrize(("steps", "high", "low"), [(4, 3, 1), (10, 7, 3), (20, 13, 7), (40, 26, 14), (50, 32, 18)])
def test_the_experts_share_the_passes(steps: int, high: int, low: int, profile: Profiles) -> None:
    work = METER.estimate({"prompt": "x", "steps": steps, "guidance": False}, profile(T2V)).maximum
    assert (work["high_passes"], work["low_passes"]) == (high, low)
    guided = METER.estimate({"prompt": "x", "steps": steps}, profile(T2V)).maximum
    assert (guided["high_passes"], guided["low_passes"]) == (2 * high, 2 * low)


def test_image_to_video_encodes_its_picture_and_switches_later(profile: Profiles) -> None:
    text = METER.estimate({"prompt": "x"}, profile(T2V)).maximum
    image = METER.estimate({"prompt": "x"}, profile(I2V))
    assert (image.maximum["high_passes"], image.maximum["low_passes"]) == (30, 50)
    assert image.maximum["vae_flop"] > text["vae_flop"]
    assert image.maximum["attention_flop"] == text["attention_flop"]
    assert image.maximum["transformer_flop"] - text["transformer_flop"] == 80 * 75600 * 2 * 20 * 4 * 5120
    assert image.request["picture"] is True


def test_the_5_billion_model_takes_a_picture_or_none(profile: Profiles) -> None:
    model = profile(TI2V)
    without, pictured = METER.estimate({"prompt": "x"}, model), METER.estimate({"prompt": "x", "input_reference": "fox.png"}, model)
    assert pictured.maximum["vae_flop"] > without.maximum["vae_flop"]
    assert {**pictured.maximum, "vae_flop": 0, "linear_flop": 0} == {**without.maximum, "vae_flop": 0, "linear_flop": 0}
    assert METER.actual({"passes": 100, "frames": 121}, pictured, model) == pictured.maximum


def test_a_picture_for_a_model_without_eyes_is_refused(profile: Profiles) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        METER.estimate({"prompt": "x", "input_reference": "fox.png"}, profile(T2V))
    assert caught.value.param == "input_reference"


FRAMES = [
    (T2V, 80, 81),
    (T2V, 82, 81),
    (TI2V, 120, 121),
    ("hunyuanvideo", 130, 129),
    ("hunyuanvideo", 128, 125),
    ("ltx-video-2b", 161, 161),
    ("ltx-video-2b", 168, 161),
    ("cogvideox-5b", 49, 49),
    # 12 latent frames are decoded two at a time into eight.
    ("cogvideox-5b", 48, 48),
    ("cogvideox-5b", 45, 48),
    ("cogvideox-5b", 44, 41),
    ("mochi-1", 163, 163),
    ("mochi-1", 168, 163),
    ("mochi-1", 1, 1),
]


@pytest.mark.parametrize(("name", "asked", "made"), FRAMES)
def test_frames_are_those_that_the_pipeline_makes(name: str, asked: int, made: int, profile: Profiles) -> None:
    estimate = METER.estimate({"prompt": "x", "frames": asked}, profile(name))
    assert estimate.bound["frames"] == estimate.maximum["frames"] == estimate.request["frames"] == made


def test_guidance_that_is_an_input_costs_no_second_pass(profile: Profiles) -> None:
    model = profile("hunyuanvideo")
    guided, plain = (METER.estimate({"prompt": "x", "guidance": value}, model).maximum for value in (6, False))
    assert guided == plain
    assert guided["passes"] == 50


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
def test_work_grows_with_every_driver_and_adds_up(name: str, data: st.DataObject, profile: Profiles) -> None:
    model = profile(name)
    other = model["other_sizes"]
    step = other.get("multiple_of", 2) * 16
    sides = st.integers(-(-other["side_min"] // step), other["side_max"] // step - 1).map(lambda count: count * step)
    width, height, frames, steps = data.draw(sides), data.draw(sides), data.draw(st.integers(1, 900)), data.draw(st.integers(1, 199))

    def work(*, width: int = width, frames: int = frames, steps: int = steps, guidance: bool = False) -> Mapping[str, int]:
        request = {"prompt": "x", "size": f"{width}x{height}", "frames": frames, "steps": steps, "guidance": guidance}
        estimate = METER.estimate(request, model)
        assert estimate == METER.estimate(request, model)
        assert estimate.maximum["linear_flop"] == sum(estimate.maximum[part] for part in PARTS)
        assert estimate.maximum["passes"] == estimate.maximum["high_passes"] + estimate.maximum["low_passes"]
        return estimate.maximum

    here = work()
    for more in (work(width=width + step), work(frames=frames + 1), work(frames=frames + 24), work(steps=steps + 1), work(guidance=True)):
        assert all(here[quantity] <= more[quantity] for quantity in DRIVEN)
    assert here["linear_flop"] < work(frames=frames + 24)["linear_flop"]
    assert here["attention_flop"] < work(width=width + step)["attention_flop"]
    assert min(here.values()) >= 0
    # Text encoders and decoder are paid once, not per step; each step costs what any other does.
    one, more, both = work(steps=1), work(steps=steps + 1), here
    assert more["attention_flop"] == both["attention_flop"] + one["attention_flop"]
    assert more["linear_flop"] - both["linear_flop"] == one["transformer_flop"] + one["conditioning_flop"]


@pytest.mark.parametrize("name", MODELS)
def test_the_greatest_film_that_may_be_asked_for_is_within_what_the_ledger_takes(name: str, profile: Profiles) -> None:
    model = profile(name)
    other = model["other_sizes"]
    side = other["side_max"] // other.get("multiple_of", 2) * other.get("multiple_of", 2)
    request = {"prompt": "x" * 32_000, "size": f"{side}x{side}", "frames": model["frames_max"], "steps": model["steps_max"]}
    work = METER.estimate(request, model).maximum
    assert (work["linear_flop"] + work["attention_flop"]) // FLOP_PER_UTOK < AMOUNT_UTOK_MAX
    assert min(work.values()) >= 0


@pytest.mark.parametrize("name", MODELS)
def test_the_passes_that_were_made_are_billed(name: str, profile: Profiles) -> None:
    model = profile(name)
    estimate = METER.estimate({"prompt": "x"}, model)
    passes, frames = estimate.expected["passes"], estimate.expected["frames"]
    assert METER.actual({"passes": passes, "frames": frames}, estimate, model) == estimate.maximum
    half = METER.actual({"passes": passes // 2, "frames": frames, "activations": 0}, estimate, model)
    assert half["attention_flop"] * 2 == estimate.maximum["attention_flop"]
    assert (half["vae_flop"], half["activations"]) == (estimate.maximum["vae_flop"], 0)
    assert half["high_passes"] + half["low_passes"] == passes // 2
    nothing = METER.actual({"passes": 0, "frames": 0}, estimate, model)
    assert nothing["linear_flop"] == nothing["text_encoder_flop"] + nothing["vae_flop"]


def test_a_film_given_up_before_it_was_decoded_has_had_its_passes(profile: Profiles) -> None:
    estimate = METER.estimate({"prompt": "x"}, profile(T2V))
    work = METER.actual({"passes": 60, "frames": 0}, estimate, profile(T2V))
    assert (work["vae_flop"], work["frames"], work["high_passes"], work["low_passes"]) == (0, 0, 52, 8)
    assert work["attention_flop"] * 80 == estimate.maximum["attention_flop"] * 60


@pytest.mark.parametrize(
    "report",
    [
        {"frames": 81},
        {"passes": 80},
        {"passes": 80, "frames": 10**9},
        {"passes": 10**9, "frames": 81},
        {"passes": 80, "frames": 81, "width": 10**6},
        {"passes": 80, "frames": 81, "high_passes": 80, "low_passes": 1},
        {"passes": 80, "frames": 81, "high_passes": 81},
        {"passes": 80, "frames": 81, "low_passes": -1},
        {"passes": 80, "frames": True},
    ],
)
def test_a_report_that_cannot_be_is_refused(report: dict[str, int], profile: Profiles) -> None:
    estimate = METER.estimate({"prompt": "x"}, profile(T2V))
    with pytest.raises(BadReport):
        METER.actual(report, estimate, profile(T2V))


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", 0), ("seconds", 61), ("seconds", True), ("fps", 0), ("fps", "16.5"), ("steps", 201), ("steps", True), ("frames", 0), ("seed", -5)],
)
def test_absurd_numbers_are_refused_by_name(field: str, value: object, profile: Profiles) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"prompt": "x", field: value}, profile(T2V))
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("name", "size", "also"),
    [
        (T2V, "1281x720", "any even width and height from 64 to 2048"),
        (TI2V, "1280x720", "multiples of 32"),
        ("cogvideox-5b", "721x480", "multiples of 16"),
    ],
)
def test_sizes_that_the_pipeline_cannot_make_are_refused(name: str, size: str, also: str, profile: Profiles) -> None:
    with pytest.raises(UnsupportedSize, match=also):
        METER.estimate({"prompt": "x", "size": size}, profile(name))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"transformer": {}}, "_class_name"),
        ({"transformer": {"_class_name": "Other"}}, "transformer"),
        ({"switch": {"flow_shift": 3, "boundary_ratio": 2}}, "switch"),
        ({"text_encoders": 5}, "text_encoders"),
        ({"text_positions": 0}, "text_positions"),
        ({"frame_rule": "x"}, "frame_rule"),
        ({"default_seconds": "x"}, "default_seconds"),
        ({"default_steps": 999}, "default_steps"),
        ({"frames_max": 10**9}, "frames_max"),
        ({"steps_max": 10**9}, "steps_max"),
        ({"other_sizes": {"side_min": 0, "side_max": 9}}, "other_sizes"),
        ({"sizes": ["big"]}, "sizes"),
        ({"nobody_knows": 1}, "nobody_knows"),
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str, profile: Profiles) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**profile(T2V), **entry})
    assert caught.value.key == key


def test_a_second_expert_needs_its_switch(profile: Profiles) -> None:
    alone = {key: value for key, value in profile(T2V).items() if key != "switch"}
    with pytest.raises(BadProfile, match="come together"):
        METER.check(alone)


def test_experts_of_different_sizes_are_counted_apart(configs: Configs) -> None:
    files = configs(T2V)
    files["transformer_2/config.json"] = {**files["transformer_2/config.json"], "num_layers": 20}
    found = draft(files)
    assert found is not None
    work = METER.estimate({"prompt": "x", "frames": 81, "steps": 40, "guidance": False}, found.profile).maximum
    assert work["attention_flop"] == 4 * 5120 * 75600**2 * (40 * work["high_passes"] + 20 * work["low_passes"])
