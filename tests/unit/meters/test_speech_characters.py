"""Speech by the character."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, get
from taximeter.meters.speech_characters import han_characters

METER = get("speech.characters/1")
PLAIN: dict[str, Any] = {"voices": ("alloy",)}
DOUBLE = {**PLAIN, "rule": "han-double"}

texts = st.text(min_size=1, max_size=200).filter(lambda text: any(letter.isprintable() and not letter.isspace() for letter in text))


def speech(text: str) -> dict[str, Any]:
    return {"input": text, "voice": "alloy"}


def test_a_chinese_character_counts_once_or_twice_as_the_rule_says() -> None:
    text = "你好，taxi 42 号！"
    plain, double = (METER.estimate(speech(text), profile).expected for profile in (PLAIN, DOUBLE))
    assert plain == {"characters": 13, "han_characters": 3, "han_counts_as": 1, "billed_characters": 13}
    assert double == {"characters": 13, "han_characters": 3, "han_counts_as": 2, "billed_characters": 16}


@pytest.mark.parametrize(
    ("text", "han"), [("漢字かな交じり", 3), ("서울", 0), ("㐀𠀀々〇", 4), ("，。！？「」", 0), ("\uff46\uff55\uff4c\uff4c", 0), ("plain", 0)]
)
def test_kana_hangul_and_punctuation_are_not_chinese_characters(text: str, han: int) -> None:
    assert han_characters(text) == han


def test_the_text_is_counted_before_it_runs_and_the_count_is_billed() -> None:
    estimate = METER.estimate(speech("Hello"), PLAIN)
    assert estimate.expected == estimate.maximum
    assert estimate.bound == {"characters": 5}
    assert METER.actual({"characters": 5}, estimate, PLAIN) == estimate.expected


def test_the_providers_own_count_goes_before_ours() -> None:
    estimate = METER.estimate(speech("你好"), DOUBLE)
    assert METER.actual({"billed_characters": 3}, estimate, DOUBLE)["billed_characters"] == 3


@pytest.mark.parametrize("report", [{}, {"characters": -1}, {"billed_characters": -1}, {"characters": 1.5}])
def test_a_report_that_says_nothing_or_nonsense_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(BadReport):
        METER.actual(report, METER.estimate(speech("Hello"), PLAIN), PLAIN)


@pytest.mark.parametrize("entry", [{"voices": ()}, {"rule": "by the ear"}, {"input_chars": 0}, {"formats": ("ogg",)}])
def test_a_broken_profile_names_its_entry(entry: dict[str, object]) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PLAIN, **entry})
    assert caught.value.key == next(iter(entry))


def test_what_is_wrong_with_a_request_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        METER.estimate(speech("x" * 4097), PLAIN)


@given(texts, texts)
def test_characters_add_up_and_more_text_is_never_less(text: str, more: str) -> None:
    for profile in (PLAIN, DOUBLE):
        first, second, both = (METER.estimate(speech(words), profile).expected for words in (text, more, text + more))
        for quantity in ("characters", "han_characters", "billed_characters"):
            assert both[quantity] == first[quantity] + second[quantity]
        assert both == METER.estimate(speech(text + more), dict(profile)).maximum
        assert all(type(count) is int and count >= 0 for count in both.values())
