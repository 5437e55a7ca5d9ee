"""Speech by the length of its sound."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, get

METER = get("speech.seconds/1")
PACE = {"narrow": (65, 200), "wide": (220, 500), "base": (200, 1500)}
PROFILE: dict[str, Any] = {"voices": ("alloy",), "sample_rate_hz": 44_100, "seconds_max": 600, "ms_per_character": PACE}

texts = st.text(min_size=1, max_size=200).filter(lambda text: any(letter.isprintable() and not letter.isspace() for letter in text))
speeds = st.decimals("0.25", "4", places=2).map(str)
lengths = st.decimals("0.01", "600", places=4)


def speech(text: str = "Hello there", **more: object) -> dict[str, Any]:
    return {"input": text, "voice": "alloy", **more}


def test_the_length_follows_from_the_characters_and_the_speed() -> None:
    estimate = METER.estimate(speech("Hello你好"), PROFILE)
    assert estimate.expected["audio_ms"] == 200 + 5 * 65 + 2 * 220
    assert estimate.maximum["audio_ms"] == 1500 + 5 * 200 + 2 * 500
    assert estimate.bound == {"audio_samples": 154_350}
    fast = METER.estimate(speech("Hello你好", speed=2), PROFILE)
    assert fast.maximum["audio_samples"] == 77_175


def test_a_given_length_is_both_expected_and_bound() -> None:
    estimate = METER.estimate(speech(seconds="2.2"), PROFILE)
    assert estimate.expected == estimate.maximum == {"characters": 11, "audio_samples": 97_020, "audio_ms": 2200}


def test_no_text_is_held_for_more_than_the_longest_sound() -> None:
    assert METER.estimate(speech("x" * 4096, speed="0.25"), PROFILE).bound == {"audio_samples": 600 * 44_100}


def test_samples_are_billed_as_they_were_made() -> None:
    estimate = METER.estimate(speech(), PROFILE)
    assert METER.actual({"audio_samples": 44_099}, estimate, PROFILE) == {"characters": 11, "audio_samples": 44_099, "audio_ms": 999}
    # An engine that counts milliseconds only is taken at its word.
    assert METER.actual({"audio_ms": 999}, estimate, PROFILE)["audio_ms"] == 999
    assert METER.actual({"audio_samples": 7, "audio_ms": 5000, "sample_rate_hz": 44_100}, estimate, PROFILE)["audio_samples"] == 7


@pytest.mark.parametrize("report", [{}, {"audio_samples": -1}, {"audio_ms": 1.5}, {"audio_samples": 5, "sample_rate_hz": 48_000}, {"characters": 5}])
def test_a_report_without_a_length_or_at_another_rate_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(BadReport):
        METER.actual(report, METER.estimate(speech(), PROFILE), PROFILE)


@pytest.mark.parametrize(
    "entry",
    [
        {"voices": ()},
        {"sample_rate_hz": 0},
        {"seconds_max": 0},
        {"input_chars": 0},
        {"ms_per_character": {**PACE, "wide": (5, 4)}},
        {"ms_per_character": {**PACE, "base": (0, 0)}},
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object]) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PROFILE, **entry})
    assert caught.value.key == next(iter(entry))


@pytest.mark.parametrize("value", [0, -1, 601, float("nan"), True, "x"])
def test_an_absurd_length_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate(speech(seconds=value), PROFILE)
    assert caught.value.param == "seconds"


@given(texts, texts, speeds)
def test_more_text_is_never_less_and_the_maximum_holds(text: str, more: str, speed: str) -> None:
    short, long = (METER.estimate(speech(words, speed=speed), PROFILE) for words in (text, text + more))
    for quantity in METER.quantities:
        assert short.expected[quantity] <= short.maximum[quantity] <= long.maximum[quantity]
        assert short.expected[quantity] <= long.expected[quantity]
    assert short == METER.estimate(speech(text, speed=speed), dict(PROFILE))
    assert all(type(count) is int for count in (*short.expected.values(), *short.maximum.values()))


@given(lengths, lengths)
def test_longer_sound_is_never_less_and_no_sample_is_lost(first: Decimal, second: Decimal) -> None:
    short, long = (METER.estimate(speech(seconds=str(length)), PROFILE).maximum for length in sorted((first, second)))
    assert short["audio_samples"] <= long["audio_samples"]
    assert short["audio_ms"] <= long["audio_ms"]
    exact = Fraction(first) * 44_100
    assert exact <= METER.estimate(speech(seconds=str(first)), PROFILE).maximum["audio_samples"] < exact + 1


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_samples_add_up_over_parts(parts: list[int]) -> None:
    estimate = METER.estimate(speech(), PROFILE)
    each = [METER.actual({"audio_samples": part}, estimate, PROFILE) for part in parts]
    whole = METER.actual({"audio_samples": sum(parts)}, estimate, PROFILE)
    assert whole["audio_samples"] == sum(work["audio_samples"] for work in each)
    # Milliseconds are rounded down once: parts may lose up to one each.
    assert 0 <= whole["audio_ms"] - sum(work["audio_ms"] for work in each) < len(parts)
