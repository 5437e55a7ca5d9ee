"""Chat, in tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, PromptTooLong, get
from taximeter.meters.errors import UnsupportedParameter
from taximeter.meters.text_tokens import render_smollm2

METER = get("text.tokens/1")
SMOLLM2 = {"tokenizer": "smollm2", "template": "smollm2", "context_tokens": 4096, "default_output_tokens": 512}
UPSTREAM = {"tokenizer": "bytes", "context_tokens": 8192, "default_output_tokens": 1024, "choices": 8, "accepts": ("tools",)}


def chat(content: object, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def test_the_prompt_is_what_the_model_reads_with_its_template() -> None:
    # Both numbers are llama.cpp's own.
    estimate = METER.estimate(chat("Hello"), SMOLLM2)
    assert estimate.expected["prompt_tokens"] == estimate.maximum["prompt_tokens"] == 31


def test_the_default_system_prompt_gives_way_to_ones_own() -> None:
    assert render_smollm2([{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_text_parts_are_one_text_for_a_template() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    estimate = METER.estimate(chat(parts), SMOLLM2)
    assert estimate.request["messages"] == [{"role": "user", "content": "a\nb"}]
    assert METER.estimate(chat(parts), UPSTREAM).request["messages"] == [{"role": "user", "content": parts}]


def test_the_answer_is_bound_by_what_was_asked_for() -> None:
    estimate = METER.estimate(chat("Hello", max_tokens=7), SMOLLM2)
    assert estimate.bound == {"output_tokens": 7}
    assert estimate.request["max_tokens"] == 7
    assert estimate.maximum["output_tokens"] == 7
    assert METER.estimate(chat("Hello", max_tokens=7, max_completion_tokens=9), SMOLLM2).bound == {"output_tokens": 9}


def test_without_a_wish_the_models_default_binds() -> None:
    assert METER.estimate(chat("Hello"), SMOLLM2).bound == {"output_tokens": 512}


def test_the_answer_never_needs_more_than_the_context() -> None:
    assert METER.estimate(chat("Hello", max_tokens=1_000_000), SMOLLM2).bound == {"output_tokens": 4096 - 31}


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(PromptTooLong, match="the prompt has 5030 tokens"):
        METER.estimate(chat("1" * 5000), SMOLLM2)


def test_a_prompt_over_the_limit_in_characters_is_refused_before_it_is_counted() -> None:
    with pytest.raises(PromptTooLong, match="at most 400000"):
        METER.estimate(chat("a" * 400_001), SMOLLM2)
    with pytest.raises(PromptTooLong, match="the messages have 400002 characters"):
        METER.estimate({"messages": [{"role": "user", "content": "a" * 200_001}] * 2}, SMOLLM2)


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "5", None.__class__, float("nan"), 10**12])
def test_a_bound_that_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="max_tokens must be an integer"):
        METER.estimate(chat("Hello", max_tokens=value), SMOLLM2)


def test_several_answers_cost_several_times_or_are_refused() -> None:
    assert METER.estimate(chat("Hello", n=3, max_tokens=10), UPSTREAM).bound == {"output_tokens": 30}
    with pytest.raises(UnsupportedParameter, match="at most 1 answers"):
        METER.estimate(chat("Hello", n=2), SMOLLM2)


def test_an_unknown_tokenizer_is_bound_by_bytes() -> None:
    estimate = METER.estimate(chat("你好" * 100), UPSTREAM)
    assert estimate.expected["prompt_tokens"] < estimate.maximum["prompt_tokens"]
    assert estimate.maximum["prompt_tokens"] >= 600


def test_tools_count_as_prompt() -> None:
    plain = METER.estimate(chat("Hello"), UPSTREAM)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with_tools = METER.estimate(chat("Hello", tools=tools), UPSTREAM)
    assert with_tools.maximum["prompt_tokens"] > plain.maximum["prompt_tokens"] + 1000
    assert with_tools.request["tools"] == tools


def test_the_report_is_split_into_buckets_that_do_not_overlap() -> None:
    estimate = METER.estimate(chat("Hello"), SMOLLM2)
    reported = {"prompt_tokens": 2006, "cached_tokens": 1920, "output_tokens": 300, "reasoning_tokens": 192}
    assert METER.actual(reported, estimate, SMOLLM2) == {
        "fresh_prompt_tokens": 86,
        "cached_prompt_tokens": 1920,
        "output_tokens": 108,
        "reasoning_tokens": 192,
        "prompt_tokens": 2006,
        "total_tokens": 2306,
    }


@pytest.mark.parametrize(
    "reported",
    [
        {"prompt_tokens": 5},
        {"prompt_tokens": 5, "output_tokens": -1},
        {"prompt_tokens": 5, "output_tokens": 1, "cached_tokens": 6},
        {"prompt_tokens": 5, "output_tokens": 1, "reasoning_tokens": 2},
        {"prompt_tokens": 5, "output_tokens": True},
    ],
)
def test_a_report_that_cannot_be_true_is_refused(reported: dict[str, int]) -> None:
    with pytest.raises(BadReport):
        METER.actual(reported, METER.estimate(chat("Hello"), SMOLLM2), SMOLLM2)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"tokenizer": "gpt9"}, "tokenizer"),
        ({"context_tokens": 0}, "context_tokens"),
        ({"accepts": ["tols"]}, "accepts"),
        ({"template": "llama"}, "template"),
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**SMOLLM2, **entry})
    assert caught.value.key == key


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=200).filter(lambda text: text.strip()), st.integers(1, 500))
def test_the_maximum_holds_for_any_text(text: str, max_tokens: int) -> None:
    exact = METER.estimate(chat(text, max_tokens=max_tokens), SMOLLM2)
    bound = METER.estimate(chat(text, max_tokens=max_tokens), UPSTREAM)
    for estimate in (exact, bound):
        assert all(estimate.expected[quantity] <= estimate.maximum[quantity] for quantity in estimate.expected)
    # A byte-level tokenizer never makes more tokens than there are bytes.
    assert exact.maximum["prompt_tokens"] - 30 <= len(text.encode())
    assert exact.maximum["total_tokens"] == exact.maximum["fresh_prompt_tokens"] + exact.maximum["output_tokens"]


@settings(max_examples=40)
@given(st.text(max_size=50), st.text(max_size=50))
def test_more_text_never_has_a_smaller_maximum(first: str, second: str) -> None:
    short = METER.estimate(chat(f"x{first}"), UPSTREAM)
    longer = METER.estimate(chat(f"x{first}{second}"), UPSTREAM)
    assert short.maximum["prompt_tokens"] <= longer.maximum["prompt_tokens"]


def test_the_built_in_model_counts_as_the_template_does(profile: Callable[[str], Mapping[str, Any]]) -> None:
    estimate = METER.estimate(chat("Hello"), profile("smollm2-135m"))
    assert estimate.maximum["prompt_tokens"] == 31
