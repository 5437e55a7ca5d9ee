"""Speech, in frames."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, get
from taximeter.meters.speech_frames import CLASSES, count_classes

METER = get("speech.frames/1")
SPREAD = {"frames": (1, 9), "phonemes": (1, 2)}
SMALL = {"voices": ("alloy",), "frames_max": 500, "per_character": dict.fromkeys(("base", *CLASSES), SPREAD)}

# Text, and the frames that Kokoro-82M made of it at speed 1.
MEASURED = [
    ("Hello, your ride is ready and your balance is forty two tokens.", 178),
    ("The quick brown fox jumps over the lazy dog. It was a bright cold day in April, and the clocks were striking thirteen.", 343),
    ("1234567890", 284),
    ("7777777", 212),
    ("WWW NASA IBM HTTPS", 175),
    ("WWWWWWWWWWWWWWWWWWWW", 335),
    ("wwwwwwwwww", 190),
    ("100% & $5.99 @ #1 + 2 = 3", 255),
    ("$1,234,567.89", 277),
    ("12/31/2024 23:59:59", 233),
    ("你好,今天天气怎么样?我们去公园吧。", 171),
    ("一位穿着汉服的女孩在樱花树下跳舞,微风吹起她的长发", 276),
    ("2024年,共有12345678人,增长了99.9%。", 378),
    ("😀😂🚗👩‍👩‍👧‍👦", 133),
    ("a. b. c. d. e. f.", 103),
    ("a", 26),
    ("Hi", 39),
    ("https://www.example.com/a?b=c&d=e", 331),
    ("def f(x): return x**2 + y//3", 245),
    ("a\nb\nc\nd\ne\nf", 94),
    ("αβγδεζηθ", 144),
    ("™©®°±×÷", 159),  # noqa: RUF001 - signs that are read out
    ("strengths twelfths rhythms", 98),
    ("她是四十四只石狮子", 117),
]


@pytest.mark.parametrize(("text", "frames"), MEASURED)
def test_the_bound_is_above_what_the_engine_makes(text: str, frames: int, profile: Callable[[str], Mapping[str, Any]]) -> None:
    estimate = METER.estimate({"input": text, "voice": "alloy"}, profile("kokoro-82m"))
    assert estimate.bound["audio_frames"] == estimate.maximum["audio_frames"] > frames


def test_the_expectation_is_near_for_ordinary_sentences(profile: Callable[[str], Mapping[str, Any]]) -> None:
    for text, frames in (MEASURED[0], MEASURED[1], MEASURED[10], MEASURED[11]):
        expected = METER.estimate({"input": text, "voice": "alloy"}, profile("kokoro-82m")).expected["audio_frames"]
        assert 0.75 < expected / frames < 1.33, text


def test_slow_speech_has_more_frames_and_fast_speech_keeps_some(profile: Callable[[str], Mapping[str, Any]]) -> None:
    def most(speed: object) -> int:
        return METER.estimate({"input": "Hello there", "voice": "alloy", "speed": speed}, profile("kokoro-82m")).maximum["audio_frames"]

    assert most(0.25) == 5 * most(1)
    assert most(4) == most(2) == math.ceil(most(1) * Fraction("0.55"))


def test_words_are_told_from_what_is_spelled_out() -> None:
    counts = count_classes("Taxi NASA xz iPhone HELLOTHERE é 42, 你好 ★")
    words = {"word": 2, "letter": 14, "spelled": 12, "accented": 1, "digit": 2}
    assert counts == words | {"mark": 1, "wide": 2, "space": 8, "other": 1}


def test_the_report_is_billed(profile: Callable[[str], Mapping[str, Any]]) -> None:
    kokoro = profile("kokoro-82m")
    estimate = METER.estimate({"input": "Hello", "voice": "alloy"}, kokoro)
    reported = {"characters": 5, "phoneme_tokens": 5, "audio_frames": 45, "audio_samples": 27_000, "audio_ms": 1125}
    assert METER.actual(reported, estimate, kokoro) == {"characters": 5, "phoneme_tokens": 5, "audio_frames": 45}
    with pytest.raises(BadReport, match="audio_frames"):
        METER.actual({"phoneme_tokens": 5}, estimate, kokoro)


def test_unknown_voices_are_refused(profile: Callable[[str], Mapping[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"input": "Hello", "voice": "nobody"}, profile("kokoro-82m"))
    assert caught.value.code == "unknown_voice"


def test_a_range_that_runs_backwards_is_a_broken_profile(profile: Callable[[str], Mapping[str, Any]]) -> None:
    kokoro = profile("kokoro-82m")
    broken = {**kokoro["per_character"], "digit": {"frames": [5, 4], "phonemes": [1, 1]}}
    with pytest.raises(BadProfile, match="digit"):
        METER.check({**kokoro, "per_character": broken})
    with pytest.raises(BadProfile, match="frames_max"):
        METER.check({**kokoro, "frames_max": 0})


@given(st.text(max_size=80), st.text(max_size=40), st.sampled_from(["0.25", "0.5", "1", "2", "4"]))
def test_more_text_never_has_a_smaller_bound(first: str, second: str, speed: str) -> None:
    # Parted by a space, so that the second text cannot turn spelled letters into a word.
    short, longer = (METER.estimate({"input": text, "voice": "alloy", "speed": speed}, SMALL) for text in (f"a {first} ", f"a {first} {second}"))
    assert short.maximum["audio_frames"] <= longer.maximum["audio_frames"]
    assert longer.expected["audio_frames"] <= longer.maximum["audio_frames"]
