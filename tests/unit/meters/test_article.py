"""The founding formulas."""

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taximeter.meters import article


def test_input_tokens_are_tenths_of_the_characters_within_1_and_50() -> None:
    assert [article.input_tokens("x" * length) for length in (0, 9, 10, 25, 34, 499, 500, 5000)] == [1, 1, 1, 2, 3, 49, 50, 50]


def test_only_the_space_itself_is_not_counted() -> None:
    assert article.input_tokens("a b" * 10) == 2
    assert article.input_tokens("a\tb\n" * 5) == 2


def test_frames_are_truncated_in_floating_point_as_the_founding_code_does() -> None:
    assert article.frames(25, Fraction("4.6")) == 114
    assert article.frames(24, Fraction(5)) == 120


def test_every_speech_length_of_the_vectors(vectors: dict[str, Any]) -> None:
    for seconds, expected in vectors["speech"]["article_tokens"].items():
        assert article.speech_steps(Fraction(seconds)) == expected["floor"], seconds


def test_exact_lengths_are_counted_exactly_where_floating_point_fails(vectors: dict[str, Any]) -> None:
    samples = vectors["speech"]["patch_samples_44100"]
    wrong = [n for n in range(1, 4097) if int(n * samples / 44100 * 6.25) != n]
    assert len(wrong) == vectors["speech"]["n_mismatch_1_4096"]
    assert wrong[:10] == vectors["speech"]["float_floor_traps_N"]
    assert [n for n in range(1, 4097) if article.speech_steps_of_samples(n * samples, 44100) != n] == []


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_speech_steps_never_exceed_the_exact_value_and_miss_it_by_less_than_one(samples: int, rate: int) -> None:
    exact = Fraction(samples, rate) * Fraction(25, 4)
    assert 0 <= exact - article.speech_steps_of_samples(samples, rate) < 1
