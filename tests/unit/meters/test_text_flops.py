"""Chat in floating-point operations."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.meters import BadProfile, get
from taximeter.meters.language import draft

METER = get("text.flops/1")
TOKENS = get("text.tokens/2")
LLAMA_3_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def profile() -> dict[str, Any]:
    drafted = draft({"config.json": LLAMA_3_8B})
    assert drafted is not None
    return {**drafted.profile, "choices": 4}


def chat(content: str, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def test_the_work_of_a_report_is_the_published_one() -> None:
    estimate = METER.estimate(chat("Hello"), profile())
    work = METER.actual({"prompt_tokens": 1000, "cached_tokens": 800, "output_tokens": 500, "reasoning_tokens": 100}, estimate, profile())
    assert work["prefill_linear_flop"] == 3001969868800
    assert work["prefill_attention_flop"] == 94424268800
    assert work["decode_linear_flop"] == 7504924672000
    assert work["decode_attention_flop"] == 327811072000
    assert work["kv_byte_steps"] == 131_072 * (500 * 1000 + 500 * 501 // 2)
    assert (work["fresh_prompt_tokens"], work["cached_prompt_tokens"], work["output_tokens"], work["reasoning_tokens"]) == (200, 800, 400, 100)


def test_tokens_are_those_of_the_tokens_meter() -> None:
    plain = {name: value for name, value in profile().items() if name != "architecture"}
    for request in (chat("Hello", max_tokens=9), chat("你好" * 9, n=3)):
        work, tokens = METER.estimate(request, profile()), TOKENS.estimate(request, plain)
        assert {name: work.maximum[name] for name in tokens.maximum} == tokens.maximum
        assert {name: work.expected[name] for name in tokens.expected} == tokens.expected
        assert (work.bound, work.request) == (tokens.bound, tokens.request)


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(0, 100), st.integers(0, 100), st.integers(1, 4))
def test_whatever_is_reported_within_the_hold_is_not_above_it(prompt: int, cached: int, output: int, answers: int) -> None:
    estimate = METER.estimate(chat("x" * 300, max_tokens=100, n=answers), profile())
    told = {"prompt_tokens": prompt, "cached_tokens": min(prompt, cached), "output_tokens": output * answers}
    work = METER.actual(told, estimate, profile())
    assert work == METER.actual(told, estimate, profile())
    for name in ("prefill_linear_flop", "prefill_attention_flop", "decode_linear_flop", "decode_attention_flop", "kv_byte_steps"):
        assert 0 <= work[name] <= estimate.maximum[name]


@pytest.mark.parametrize(
    "change",
    [{"active_parameters": 0}, {"full_layers": 0}, {"full_layers": -1}, {"window_layers": 2}, {"kv_bytes_per_layer": 0}, {"colour": 1}],
)
def test_an_architecture_that_cannot_be_is_refused(change: dict[str, int]) -> None:
    METER.check(profile())
    with pytest.raises(BadProfile) as caught:
        METER.check({**profile(), "architecture": {**profile()["architecture"], **change}})
    assert caught.value.key in {"architecture", "colour"}
