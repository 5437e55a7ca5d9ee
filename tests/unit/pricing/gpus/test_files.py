"""GPU profiles: the stored rates follow from the published timings, and a file is read strictly."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from taximeter.kernel.errors import NotFound
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.gpus import Gpu, Timing, builtin_gpus, find_gpu, read_gpu
from taximeter.pricing.gpus.model import TERA

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "meters.json").read_text(encoding="utf-8"))
TI2V_5B_TOTAL = 54_086_305_542_864_896
PROFILE = """
name: L40S
title: NVIDIA L40S, 48 GB
status: published
linear_tflop_s: 100.5
attention_tflop_s: 120
peak_tflop_s: 362
memory_gb: 48
bandwidth_gb_s: 864
price: {per_hour: "0.90", currency: USD, date: 2026-11-01}
timings:
  - {model: wan2.2-t2v-a14b, size: 832x480, frames: 81, steps: 40, seconds: 1000}
sources: [A page.]
"""


def work(timing: Timing) -> tuple[Fraction, Fraction]:
    """Linear and attention operations of a film, from the vectors."""
    width, height = map(int, timing.size.split("x"))
    wanted = {"H": height, "W": width, "frames": timing.frames, "steps": timing.steps, "cfg": True}
    row = next(row for row in VECTORS["wan"]["rows"] if wanted.items() <= row.items())
    return Fraction(int(row["lin"])), Fraction(int(row["attn"]))


def solve(gpu: Gpu) -> tuple[Fraction, Fraction]:
    """The two rates at which both films take as long as was published."""
    first, second = gpu.timings
    (linear_1, attention_1), (linear_2, attention_2) = work(first), work(second)
    determinant = linear_1 * attention_2 - linear_2 * attention_1
    seconds_per_linear = (first.seconds * attention_2 - second.seconds * attention_1) / determinant
    seconds_per_attention = (linear_1 * second.seconds - linear_2 * first.seconds) / determinant
    return 1 / seconds_per_linear, 1 / seconds_per_attention


@pytest.mark.parametrize("name", ["H100", "A100", "H20"])
def test_the_stored_rates_are_those_of_the_published_timings(name: str) -> None:
    gpu = builtin_gpus()[name]
    solved = [round(rate / TERA, 1) for rate in solve(gpu)]
    assert solved == [gpu.linear_flop_s / TERA, gpu.attention_flop_s / TERA]
    # Both timings are given back within what a rounded rate can do.
    for timing in gpu.timings:
        linear, attention = (int(part) for part in work(timing))
        assert abs(gpu.seconds(linear, attention, 0) / timing.seconds - 1) < Fraction(1, 1000)


def test_one_published_timing_gives_one_mean_rate() -> None:
    gpu = builtin_gpus()["RTX4090"]
    (timing,) = gpu.timings
    assert gpu.linear_flop_s == gpu.attention_flop_s == round(TI2V_5B_TOTAL / timing.seconds / TERA, 1) * TERA


def test_an_unmeasured_gpu_has_the_rates_of_one_with_its_arithmetic_units() -> None:
    gpu, lender = builtin_gpus()["H200"], builtin_gpus()["H100"]
    assert (gpu.status, gpu.timings, gpu.rates_of) == ("unmeasured", (), "H100")
    assert (gpu.linear_flop_s, gpu.attention_flop_s) == (lender.linear_flop_s, lender.attention_flop_s)
    assert gpu.peak_flop_s == lender.peak_flop_s


UNMEASURED = PROFILE.replace("status: published\nlinear_tflop_s: 100.5\nattention_tflop_s: 120\n", "status: unmeasured\n")


def test_an_unmeasured_gpu_that_resembles_none_has_the_rates_of_its_data_sheet(tmp_path: Path) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text(UNMEASURED, encoding="utf-8")
    gpu = read_gpu(file)
    assert gpu.linear_flop_s == gpu.attention_flop_s == gpu.peak_flop_s


@pytest.mark.parametrize(
    ("profile", "fault"),
    [
        (UNMEASURED + "rates_of: H100\n", "the rates of the H100 are above this GPU's peak_tflop_s"),
        (UNMEASURED + "rates_of: H200\n", "it must be a built-in GPU with rates of its own, such as H100"),
        (UNMEASURED + "rates_of: ../h100\n", "it must be a built-in GPU with rates of its own"),
        (PROFILE + "rates_of: H100\n", "a published GPU has rates of its own: leave rates_of out"),
    ],
)
def test_rates_are_borrowed_from_a_gpu_that_has_some_and_not_above_the_peak(tmp_path: Path, profile: str, fault: str) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text(profile, encoding="utf-8")
    with pytest.raises(CatalogInvalid, match=fault):
        read_gpu(file)


def test_no_rate_is_above_the_peak_and_every_figure_has_a_source() -> None:
    for gpu in builtin_gpus().values():
        assert max(gpu.linear_flop_s, gpu.attention_flop_s) <= gpu.peak_flop_s
        assert gpu.sources


@pytest.mark.parametrize("text", ["H100", "h100", "NVIDIA H100", "h-100"])
def test_a_gpu_is_found_however_it_is_written(text: str) -> None:
    assert find_gpu(text).name == "H100"


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFound, match="there is no GPU 'H300'; there are A100, H100, H20, H200, RTX4090, or give a file"):
        find_gpu("H300")


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    file = tmp_path / "l40s.yaml"
    file.write_text(PROFILE, encoding="utf-8")
    gpu = find_gpu(str(file))
    assert (gpu.name, gpu.linear_flop_s, gpu.memory_bytes) == ("L40S", Fraction(100_500 * 10**9), 48 * 10**9)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("status: published", "status: guessed", "4: status is 'guessed'; it must be one of published, unmeasured, calibrated"),
        ("linear_tflop_s: 100.5", "linear_tflop_s: fast", "5: linear_tflop_s must be a decimal number"),
        ("linear_tflop_s: 100.5", "linear_tflop_s: 0", "5: linear_tflop_s must be above 0"),
        ("linear_tflop_s: 100.5\n", "", "2: linear_tflop_s is missing"),
        ("memory_gb: 48", "memory_gb: -48", "8: memory_gb must be above 0"),
        ("memory_gb: 48", "memory_gib: 48", "8: unknown key 'memory_gib'; did you mean 'memory_gb'?"),
        ("currency: USD", "currency: dollars", "10: currency must be a code of three capital letters"),
        ("date: 2026-11-01", "date: today", "10: date must be the day of the price"),
        ("frames: 81", "frames: 0", "12: frames must be a whole number"),
        ("sources: [A page.]", "sources: [1]", "13: a source must be a sentence"),
        ("status: published", "status: unmeasured", "5: an unmeasured GPU has no linear_tflop_s"),
        ("name: L40S", "name: L 40 S", "2: name must be letters"),
        ("name: L40S", "name: [", "this is not YAML"),
        ("name: L40S", "---\na: 1\n---\nname: L40S", "the file holds 2 documents"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text(PROFILE.replace(old, new), encoding="utf-8")
    with pytest.raises(CatalogInvalid) as caught:
        read_gpu(file)
    assert any(fault in str(problem) for problem in caught.value.problems), caught.value.message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match="cannot be read"):
        read_gpu(tmp_path / "none.yaml")
