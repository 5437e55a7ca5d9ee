"""Chinese: numbers in words, pinyin in the model's symbols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.demo.speech.chinese import normalise, number, phonemes, syllable
from taximeter.engines.demo.speech.symbols import clean


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "零"),
        ("7", "七"),
        ("10", "十"),
        ("11", "十一"),
        ("42", "四十二"),
        ("101", "一百零一"),
        ("110", "一百一十"),
        ("1010", "一千零一十"),
        ("2000", "二千"),
        ("10001", "一万零一"),
        ("1000001", "一百万零一"),
        ("100010000", "一亿零一万"),
        ("1234567890", "十二亿三千四百五十六万七千八百九十"),
        ("1000000000000", "一万亿"),
        ("1,234.5", "一千二百三十四点五"),
        ("3.14", "三点一四"),
        ("007", "零零七"),
        ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
    ],
)
def test_numbers_are_read_as_a_person_reads_them(digits: str, words: str) -> None:
    assert number(digits) == words


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("增长42%", "增长百分之四十二"),
        ("2026年11月21日", "二零二六年十一月二十一日"),
        ("花了¥3.5元", "花了三点五元"),
        ("共$42", "共四十二美元"),
        ("2个人", "两个人"),
        ("12个人", "十二个人"),
        ("气温-5℃", "气温负五摄氏度"),
        ("3-5天", "三至五天"),
    ],
)
def test_signs_become_words(written: str, read: str) -> None:
    assert normalise(written) == read


@pytest.mark.parametrize(
    ("pinyin", "symbols"),
    [
        ("zhong1", "\uab67ʊ→ŋ"),
        ("guo2", "kwo↗"),
        ("shi4", "ʂɨ↘"),
        ("zi5", "ʦɨ"),
        ("xue2", "ɕɥe↗"),
        ("nv3", "ny↓"),
        ("yuan2", "ɥɛ↗n"),
        ("er2", "ɚ↗"),
        ("wei4", "wei↘"),
        ("ju1", "ʨy→"),
    ],
)
def test_syllables_are_written_as_the_model_was_trained(pinyin: str, symbols: str) -> None:
    assert syllable(pinyin) == symbols


def test_what_is_no_syllable_is_silent() -> None:
    assert [syllable(text) for text in ("", "a", "xyz1", "7", "。")] == [""] * 5


def test_words_that_read_one_character_in_two_ways_are_told_apart() -> None:
    assert phonemes("银行") == "i↗nxa↗ŋ"
    assert phonemes("行走").startswith("ɕi↗ŋ")


def test_punctuation_stays_as_pauses() -> None:
    assert clean(phonemes("好，好。")) == "xau↓, xau↓."


@given(
    st.text(
        alphabet=st.one_of(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), st.sampled_from("0123456789.,%-$¥年个，。！ ")), max_size=60
    )
)
def test_any_chinese_text_can_be_read(text: str) -> None:
    said = phonemes(text)
    assert clean(said) == " ".join(said.split())
