"""Sentences, languages, and what cannot be spoken."""

# ruff: noqa: RUF001 - Chinese punctuation is meant

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.demo.speech.text import sentences


def parts(text: str) -> list[list[tuple[str, str]]]:
    return [[(stretch.language, stretch.text) for stretch in sentence.stretches] for sentence in sentences(text)]


def skipped(text: str) -> int:
    return sum(sentence.skipped for sentence in sentences(text))


def test_sentences_end_at_marks_before_a_space_and_at_lines() -> None:
    assert parts('One. Two? "Three!" Four…\nFive') == [[("en", part)] for part in ("One.", "Two?", '"Three!"', "Four…", "Five")]


def test_titles_decimals_and_addresses_do_not_end_a_sentence() -> None:
    assert parts("Dr. Smith paid 3.50 on example.com.") == [[("en", "Dr. Smith paid 3.50 on example.com.")]]


def test_chinese_marks_end_a_sentence_without_a_space() -> None:
    assert parts("你好。今天好吗？好！") == [[("zh", "你好。")], [("zh", "今天好吗？")], [("zh", "好！")]]


def test_mixed_text_is_split_by_script_and_digits_go_with_the_letters_before_them() -> None:
    assert parts("我用 iPhone 15 拍照") == [[("zh", "我用"), ("en", "iPhone 15"), ("zh", "拍照")]]
    assert parts("2026 年见") == [[("zh", "2026 年见")]]
    assert parts("42 tokens") == [[("en", "42 tokens")]]


def test_a_sentence_of_digits_follows_the_language_of_the_text() -> None:
    assert parts("好。42。") == [[("zh", "好。")], [("zh", "42。")]]
    assert parts("Yes. 42.") == [[("en", "Yes.")], [("en", "42.")]]


def test_letters_of_any_style_and_width_become_plain() -> None:
    assert parts("ＡＢＣ１２ 𝔘𝔫𝔦 Ⅷ ﬁne ệ") == [[("en", "ABC12 Uni VIII fine e")]]


def test_other_scripts_are_left_out_and_counted() -> None:
    assert parts("Привет hello こんにちは") == [[("en", "hello")]]
    assert skipped("Привет hello こんにちは") == 11


@pytest.mark.parametrize("text", ["", "   ", "\n\n\t", "\u200b\ufeff", "\u0301"])
def test_nothing_gives_no_sentence(text: str) -> None:
    assert sentences(text) == []


@given(st.text(max_size=300))
def test_any_text_can_be_read_and_only_spoken_scripts_remain(text: str) -> None:
    for sentence in sentences(text):
        for stretch in sentence.stretches:
            assert stretch.text == stretch.text.strip() != ""
            assert not any("\u0400" <= letter <= "\u1fff" or "\u3040" <= letter <= "\u30ff" for letter in stretch.text)
