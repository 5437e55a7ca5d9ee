"""The surge file."""

from pathlib import Path

import pytest

from taximeter.admission.surge.model import Point, Policy
from taximeter.admission.surge.policy_file import NvmlSource, OccupancySource, PrometheusSource, read_plans
from taximeter.kernel.errors import SetupError

FILE = """
defaults:
  step_s: 10
  curve: [[80, 1], ["90 %", 1.25], [100, 2.05]]
engines:
  demo-text:
  upstream:
    discount: [[30, 0.8], [60, 1]]
    deadband: 2.5
    rise_max: 0.5
    fall_max: 0.05
    smoothing_s: 0
    source: {kind: occupancy, concurrent_max: 8}
  gpus: {source: {kind: nvml, devices: [0, 3]}}
  fleet:
    source: {kind: prometheus, url: "http://prometheus:9090", query: avg(DCGM_FI_DEV_GPU_UTIL), scale: percent}
"""


def read(tmp_path: Path, text: str) -> dict[str, tuple[Policy, object]]:
    path = tmp_path / "surge.yaml"
    path.write_text(text, encoding="utf-8")
    return {plan.engine: (plan.policy, plan.source) for plan in read_plans(path, {"demo-text", "upstream"}, {"demo-text": 4, "upstream": 5})}


def test_without_a_file_every_engine_follows_its_occupancy_by_the_default_policy() -> None:
    plans = read_plans(None, {"b", "a"}, {"b": 3})
    assert [(plan.engine, plan.policy, plan.source) for plan in plans] == [
        ("a", Policy(), OccupancySource()),
        ("b", Policy(), OccupancySource(3)),
    ]


def test_the_file_says_what_is_not_by_default(tmp_path: Path) -> None:
    curve = (Point(8_000, 100), Point(9_000, 125), Point(10_000, 205))
    plans = read(tmp_path, FILE)
    assert plans["demo-text"] == (Policy(curve=curve, step_s=10), OccupancySource(4))
    assert plans["upstream"] == (
        Policy(curve=curve, step_s=10, discount=(Point(3_000, 80), Point(6_000, 100)), deadband_bp=250, rise_pct=50, fall_pct=5, smoothing_s=0),
        OccupancySource(8),
    )
    assert plans["gpus"][1] == NvmlSource((0, 3))
    assert plans["fleet"][1] == PrometheusSource("http://prometheus:9090", "avg(DCGM_FI_DEV_GPU_UTIL)", "percent")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engines: {demo-text: {curve: [[80, 1.01]]}}", "begin at a multiplier of 1"),
        ("engines: {demo-text: {curve: [[80, 1], [90, 1.01]]}}", "corners"),
        ("engines: {demo-text: {curve: [[80, 1], [70, 1.5]]}}", "corners"),
        ("engines: {demo-text: {curve: [[80, 1], [90, 1.5], [95, 1.25]]}}", "corners"),
        ("engines: {demo-text: {curve: [[80, 1], [90, 10.05]]}}", "10 at most"),
        ("engines: {demo-text: {curve: []}}", "1 to 32 corners"),
        ("engines: {demo-text: {curve: [[80, one]]}}", "'one', which is no number"),
        ("engines: {demo-text: {curve: [[80.001, 1]]}}", "two decimals"),
        ("engines: {demo-text: {discount: [[30, 0.75], [60, 1]]}}", "below 0.8"),
        ("engines: {demo-text: {discount: [[30, 0.8], [60, 0.9]]}}", "end at a multiplier of 1"),
        ("engines: {demo-text: {discount: [[30, 0.8], [86, 1]]}}", "where curve begins"),
        ("engines: {demo-text: {rise_max: 0.1, fall_max: 0.1}}", "falls slower than it rises"),
        ("engines: {demo-text: {rise_max: 0.12}}", "multiples of 0.05"),
        ("engines: {demo-text: {step_s: 0}}", "step_s must be 1"),
        ("engines: {demo-text: {step_s: soon}}", "step_s"),
        ("engines: {demo-text: {smoothing_s: 3601}}", "smoothing_s must be 0"),
        ("engines: {demo-text: {deadband: 101}}", "deadband must be 0"),
        ("engines: {demo-text: {source: {kind: occupancy, concurrent_max: 0}}}", "concurrent_max must be at least 1"),
        ("engines: {demo-text: {source: {kind: prometheus, url: x, query: y}}}", "scale"),
        (
            "engines: {g: {source: {kind: prometheus, url: 'http://p', query: y, scale: ratio, ca_file: ca.pem}}}",
            "ca_file is for a url that begins with https",
        ),
        ("engines: {demo-text: {source: {kind: guess}}}", "guess"),
        ("engines: {demo-text: {cap: 3}}", "cap"),
        ("engines: {nobody: {}}", "no engine 'nobody' runs here; there are demo-text, upstream"),
        ("engines: [", "surge file"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_engine_and_the_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SetupError) as refused:
        read(tmp_path, text)
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot use the surge file"):
        read_plans(tmp_path / "none.yaml", (), {})
