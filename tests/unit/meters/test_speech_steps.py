"""Speech, in decode steps."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, get
from taximeter.meters.speech_steps import solver_evaluations

METER = get("speech.steps/1")
PROFILE: dict[str, Any] = {"voices": ("alloy",)}


def speech(text: str = "Hello there", **more: object) -> dict[str, Any]:
    return {"input": text, "voice": "alloy", **more}


def test_solver_evaluations_of_the_vectors(vectors: dict[str, Any]) -> None:
    for timesteps, evaluations in vectors["speech"]["dit_calls"].items():
        assert solver_evaluations(int(timesteps)) == evaluations


def test_a_given_length_is_counted_exactly(vectors: dict[str, Any]) -> None:
    for seconds, expected in vectors["speech"]["article_tokens"].items():
        estimate = METER.estimate(speech(seconds=seconds), PROFILE)
        assert estimate.expected == dict(estimate.maximum) | {"prefill_positions": estimate.expected["prefill_positions"]}
        assert estimate.maximum["article_steps"] == expected["floor"], seconds
        assert estimate.bound == {"decode_steps": expected["ceil"]}, seconds
        assert estimate.maximum["solver_evaluations"] == 9 * expected["ceil"]


def test_the_bound_is_the_models_own_loop() -> None:
    # min(6 x text tokens + 10, 4096), with at most a token a byte and a start mark.
    assert METER.estimate(speech("a" * 9), PROFILE).bound == {"decode_steps": 6 * 10 + 10}
    assert METER.estimate(speech("a" * 4096), PROFILE).bound == {"decode_steps": 4096}
    assert METER.estimate(speech("a" * 4096), {**PROFILE, "steps_max": 100}).bound == {"decode_steps": 100}


def test_faster_speech_is_expected_to_be_shorter() -> None:
    slow, fast = (METER.estimate(speech("Hello there, " * 20, speed=pace), PROFILE).expected["decode_steps"] for pace in (0.5, 2))
    assert slow == pytest.approx(4 * fast, rel=0.05)


def test_steps_are_billed_as_counted_and_the_founding_count_from_samples() -> None:
    estimate = METER.estimate(speech(), PROFILE)
    reported = {"decode_steps": 32, "prefill_positions": 9, "audio_samples": 32 * 7056, "sample_rate_hz": 44_100}
    assert METER.actual(reported, estimate, PROFILE) == {
        "characters": 11,
        "prefill_positions": 9,
        "decode_steps": 32,
        "solver_evaluations": 288,
        "article_steps": 32,
    }


def test_the_measured_evaluations_go_before_the_computed_ones() -> None:
    estimate = METER.estimate(speech(), PROFILE)
    work = METER.actual({"decode_steps": 4, "prefill_positions": 9, "solver_evaluations": 40}, estimate, PROFILE)
    assert (work["solver_evaluations"], work["article_steps"]) == (40, 4)


@pytest.mark.parametrize("more", [{"sample_rate_hz": 0}, {}, {"sample_rate_hz": -1}])
def test_samples_without_a_rate_are_a_bad_report(more: dict[str, int]) -> None:
    with pytest.raises(BadReport):
        METER.actual({"decode_steps": 4, "prefill_positions": 9, "audio_samples": 5} | more, METER.estimate(speech(), PROFILE), PROFILE)


@pytest.mark.parametrize("value", [0, -1, 3601, float("nan"), True, "x"])
def test_an_absurd_length_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate(speech(seconds=value), PROFILE)
    assert caught.value.param == "seconds"


@pytest.mark.parametrize("entry", [{"steps_per_s": "0"}, {"steps_per_s": "x"}, {"steps_max": 0}, {"voices": ()}, {"inference_timesteps": 0}])
def test_a_broken_profile_names_its_entry(entry: dict[str, object]) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PROFILE, **entry})
    assert caught.value.key == next(iter(entry))


@given(st.text(min_size=1, max_size=300).filter(lambda text: any(c.isalnum() for c in text)), st.decimals("0.25", "4", places=2))
def test_the_maximum_holds_for_any_text_and_speed(text: str, speed: object) -> None:
    estimate = METER.estimate(speech(text, speed=str(speed)), PROFILE)
    assert all(estimate.expected[quantity] <= estimate.maximum[quantity] for quantity in estimate.expected)


def test_the_built_in_model_makes_a_short_sentence(profile: Callable[[str], Mapping[str, Any]]) -> None:
    estimate = METER.estimate(speech("Hello, your ride is ready."), profile("voxcpm-1.5@1"))
    assert 4 <= estimate.expected["decode_steps"] <= 20
