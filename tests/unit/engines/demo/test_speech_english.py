"""English: punctuation, money, and the two phonetic alphabets."""

# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant

import pytest

from taximeter.engines.demo.speech.english import join, segments, symbols
from taximeter.engines.demo.speech.symbols import clean


def test_text_is_cut_at_punctuation_that_a_speaker_pauses_at() -> None:
    assert segments("Hello, world! (Really) — yes: go...") == [
        ("Hello", ","),
        ("world", "!"),
        ("", "("),
        ("Really", ")"),
        ("", "—"),
        ("yes", ":"),
        ("go", "…"),
    ]


def test_marks_inside_numbers_and_words_stay() -> None:
    assert segments("3.14 at 10:30, don't") == [("3.14 at 10:30", ","), ("don't", "")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("$1", "1 dollar"),
        ("$42.50", "42 dollars and 50 cents"),
        ("$42.00", "42 dollars"),
        ("$3.2 million", "3.2 million dollars"),
        ("€5k", "5 thousand euros"),
        ("£1,200", "1,200 pounds"),
    ],
)
def test_money_is_read_after_its_number(written: str, read: str) -> None:
    assert segments(written) == [(read, "")]


@pytest.mark.parametrize(
    ("espeak", "kokoro"),
    [
        ("həlˈo^ʊ", "həlˈO"),
        ("wˈɜːld", "wˈɜɹld"),
        ("t^ʃˈe^ɪnd^ʒ", "ʧˈAnʤ"),
        ("fˈɔː^ɹɾi", "fˈɔɹTi"),
        ("ɛɡzˈæmpə^l", "ɛɡzˈæmpᵊl"),
        ("bˈʌʔn\u0329", "bˈʌtᵊn"),
        ("(^f^r)bɔ^ɪ(^e^n)", "bY"),
    ],
)
def test_sounds_are_written_as_the_model_was_trained(espeak: str, kokoro: str) -> None:
    assert symbols(espeak) == kokoro


def test_marks_lean_on_the_word_they_belong_to() -> None:
    assert clean(join([("a", ","), ("b", "("), ("c", ")"), ("", "."), ("d", "—"), ("e", "?")])) == "a, b (c) . d —e?"
