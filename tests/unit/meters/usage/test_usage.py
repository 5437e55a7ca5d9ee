"""Usage of every provider, in buckets that never overlap."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.meters import BadReport
from taximeter.meters.usage import DIALECTS, Buckets, detect, normalise

SAME = Buckets(fresh_input=86, cache_read=1920, visible_output=108, reasoning_output=192)
OPENAI: dict[str, Any] = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
}
RESPONSES: dict[str, Any] = {
    "input_tokens": 2006,
    "input_tokens_details": {"cached_tokens": 1920},
    "output_tokens": 300,
    "output_tokens_details": {"reasoning_tokens": 192},
    "total_tokens": 2306,
}
ANTHROPIC: dict[str, Any] = {
    "input_tokens": 86,
    "cache_read_input_tokens": 1920,
    "cache_creation_input_tokens": 0,
    "output_tokens": 300,
    "output_tokens_details": {"thinking_tokens": 192},
    "service_tier": "standard",
}
GEMINI: dict[str, Any] = {
    "promptTokenCount": 2006,
    "cachedContentTokenCount": 1920,
    "candidatesTokenCount": 108,
    "thoughtsTokenCount": 192,
    "totalTokenCount": 2306,
}
LLAMA: dict[str, Any] = {
    "usage": {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306, "prompt_tokens_details": {"cached_tokens": 1920}},
    "timings": {"cache_n": 1920, "prompt_n": 86, "prompt_ms": 12.5, "predicted_n": 300, "predicted_ms": 1000.5},
}


@pytest.mark.parametrize(
    ("dialect", "usage"), [("openai.chat", OPENAI), ("openai.responses", RESPONSES), ("anthropic", ANTHROPIC), ("gemini", GEMINI), ("vllm", OPENAI)]
)
def test_the_same_request_is_the_same_in_every_dialect(dialect: str, usage: dict[str, Any]) -> None:
    buckets = normalise(dialect, usage)
    assert buckets == SAME
    assert (buckets.prompt, buckets.output, buckets.total) == (2006, 300, 2306)


def test_anthropic_without_the_breakdown_of_thinking_shows_it_all_as_answer() -> None:
    buckets = normalise("anthropic", {"input_tokens": 86, "cache_read_input_tokens": 1920, "output_tokens": 300})
    assert (buckets.fresh_input, buckets.cache_read, buckets.visible_output, buckets.total) == (86, 1920, 300, 2306)


def test_llama_cpp_is_read_from_usage_timings_or_both() -> None:
    expected = Buckets(fresh_input=86, cache_read=1920, visible_output=300)
    assert normalise("llama.cpp", LLAMA) == expected
    assert normalise("llama.cpp", {"usage": LLAMA["usage"]}) == expected
    assert normalise("llama.cpp", {"timings": LLAMA["timings"]}) == expected
    # An older server tells what was cached in its timings alone.
    bare = {"prompt_tokens": 2006, "completion_tokens": 300}
    assert normalise("llama.cpp", {"usage": bare, "timings": LLAMA["timings"]}) == expected
    # And one before that does not tell it at all.
    timings = {name: value for name, value in LLAMA["timings"].items() if name != "cache_n"}
    assert normalise("llama.cpp", {"usage": LLAMA["usage"], "timings": timings}) == expected


def test_dialects_are_told_apart_by_their_names() -> None:
    assert [detect(usage) for usage in (OPENAI, RESPONSES, ANTHROPIC, GEMINI, LLAMA)] == [
        "openai.chat",
        "openai.responses",
        "anthropic",
        "gemini",
        "llama.cpp",
    ]
    assert detect({"input_tokens": 5, "output_tokens": 2}) == "anthropic"
    nobodys: object
    for nobodys in ({}, {"tokens": 5}, [], None, "many", 7):
        with pytest.raises(BadReport, match="no dialect that is known"):
            detect(nobodys)


def test_what_is_written_to_a_cache_is_apart_by_its_lifetime() -> None:
    usage = {**ANTHROPIC, "cache_creation_input_tokens": 50, "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}}
    buckets = normalise("anthropic", usage)
    assert (buckets.cache_write_5m, buckets.cache_write_1h, buckets.fresh_input) == (20, 30, 86)
    assert normalise("anthropic", {**ANTHROPIC, "cache_creation_input_tokens": 50}).cache_write_5m == 50
    with pytest.raises(BadReport, match="reports 51 cache-writing tokens, but its parts add up to 50"):
        normalise("anthropic", {**usage, "cache_creation_input_tokens": 51})


def test_a_gateway_before_anthropic_tells_writes_inside_openais_shape() -> None:
    details = {"cached_tokens": 1900, "cache_write_tokens": 100}
    buckets = normalise("openai.chat", {**OPENAI, "prompt_tokens_details": details})
    assert (buckets.fresh_input, buckets.cache_read, buckets.cache_write_5m, buckets.prompt) == (6, 1900, 100, 2006)
    both = {"cached_tokens": 1900, "cache_creation_token_details": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60}}
    buckets = normalise("openai.chat", {**OPENAI, "prompt_tokens_details": both, "cache_creation_input_tokens": 100})
    assert (buckets.fresh_input, buckets.cache_write_5m, buckets.cache_write_1h) == (6, 40, 60)


def test_rejected_predictions_are_billed_as_answer() -> None:
    details = {"reasoning_tokens": 0, "accepted_prediction_tokens": 10, "rejected_prediction_tokens": 90}
    assert normalise("openai.chat", {**OPENAI, "completion_tokens_details": details}).visible_output == 300


def test_sound_and_pictures_are_apart_and_cached_text_comes_first() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "completion_tokens_details": {"audio_tokens": 15}}
    details: dict[str, Any] = {"audio_tokens": 30, "image_tokens": 20, "cached_tokens": 40}
    buckets = normalise("openai.chat", {**usage, "prompt_tokens_details": details})
    assert (buckets.fresh_input, buckets.cache_read, buckets.audio_in, buckets.image_in) == (10, 40, 30, 20)
    assert (buckets.visible_output, buckets.audio_out) == (5, 15)
    # More is cached than there is text: then pictures, then sound.
    buckets = normalise("openai.chat", {**usage, "prompt_tokens_details": {**details, "cached_tokens": 75}})
    assert (buckets.fresh_input, buckets.cache_read, buckets.audio_in, buckets.image_in) == (0, 75, 25, 0)
    # Unless the provider says what it was.
    details |= {"cached_tokens": 40, "cached_tokens_details": {"text_tokens": 15, "audio_tokens": 25}}
    buckets = normalise("openai.chat", {**usage, "prompt_tokens_details": details})
    assert (buckets.fresh_input, buckets.audio_in, buckets.image_in, buckets.prompt) == (35, 5, 20, 100)


def test_gemini_counts_modalities_and_tools_on_top() -> None:
    usage = {
        "promptTokenCount": 100,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "AUDIO", "tokenCount": 60},
            {"modality": "IMAGE", "tokenCount": 30},
        ],
        "cachedContentTokenCount": 50,
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 45}, {"modality": "TEXT", "tokenCount": 5}],
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 20,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}],
        "thoughtsTokenCount": 3,
        "totalTokenCount": 130,
    }
    assert normalise("gemini", usage) == Buckets(
        fresh_input=12, cache_read=50, audio_in=15, image_in=30, visible_output=8, audio_out=12, reasoning_output=3
    )
    with pytest.raises(BadReport, match="reports 123 total tokens, but its parts add up to 130"):
        normalise("gemini", {**usage, "totalTokenCount": 123})


def test_vllm_may_have_generated_nothing() -> None:
    assert normalise("vllm", {"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}).total == 5


@pytest.mark.parametrize(
    ("dialect", "usage", "says"),
    [
        ("openai.chat", {**OPENAI, "total_tokens": 2307}, "reports 2307 total tokens, but its parts add up to 2306"),
        ("openai.responses", {**RESPONSES, "total_tokens": 1}, "reports 1 total tokens, but its parts add up to 2306"),
        ("anthropic", {**ANTHROPIC, "total_tokens": 1}, "reports 1 total tokens, but its parts add up to 2306"),
        ("openai.chat", {"completion_tokens": 3}, "lacks prompt_tokens"),
        ("openai.chat", {"prompt_tokens": 3, "completion_tokens": None}, "lacks completion_tokens"),
        ("gemini", {"promptTokenCount": 3}, "reports|lacks totalTokenCount"),
        ("anthropic", {"output_tokens": 3}, "lacks input_tokens"),
        ("openai.chat", {**OPENAI, "prompt_tokens": -1}, "prompt_tokens=-1, which is not a count"),
        ("openai.chat", {**OPENAI, "prompt_tokens": 2006.0}, "prompt_tokens=2006.0, which is not a count"),
        ("openai.chat", {**OPENAI, "prompt_tokens": True}, "prompt_tokens=True"),
        ("openai.chat", {**OPENAI, "prompt_tokens": "2006"}, "prompt_tokens='2006'"),
        ("openai.chat", {**OPENAI, "prompt_tokens": 10**13}, "which is not a count"),
        ("openai.chat", {**OPENAI, "prompt_tokens_details": {"cached_tokens": [1]}}, r"prompt_tokens_details\.cached_tokens=\[1\]"),
        ("openai.chat", {**OPENAI, "prompt_tokens_details": [1]}, "prompt_tokens_details=.*not an object"),
        ("openai.chat", {**OPENAI, "prompt_tokens_details": {"cached_tokens": 2007}}, "2007 cached and cache-writing tokens of 2006 prompt tokens"),
        ("openai.chat", {**OPENAI, "completion_tokens_details": {"reasoning_tokens": 301}}, "301 reasoning and audio tokens of 300 output tokens"),
        ("gemini", {**GEMINI, "promptTokensDetails": {"modality": "TEXT"}}, "promptTokensDetails, which is not a list"),
        ("gemini", {**GEMINI, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": -1}]}, r"promptTokensDetails\[0\]\.tokenCount=-1"),
        ("llama.cpp", {**LLAMA, "timings": {**LLAMA["timings"], "predicted_n": 299}}, "reports 300 completion tokens, but its parts add up to 299"),
        ("llama.cpp", {**LLAMA, "timings": {**LLAMA["timings"], "prompt_n": 87}}, "reports 2006 prompt tokens, but its parts add up to 2007"),
        ("llama.cpp", {"timings": {}}, "lacks usage|lacks prompt_tokens"),
    ],
)
def test_what_cannot_be_true_is_refused_with_its_numbers(dialect: str, usage: dict[str, Any], says: str) -> None:
    with pytest.raises(BadReport, match=says):
        normalise(dialect, usage)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("garbage", [None, [], "x", 7, {}])
def test_garbage_is_refused_in_every_dialect(dialect: str, garbage: Any) -> None:  # noqa: ANN401
    with pytest.raises(BadReport):
        normalise(dialect, garbage)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted({*OPENAI, *ANTHROPIC, *GEMINI, "timings", "usage"})), inner),
    max_leaves=8,
)


@settings(max_examples=100)
@given(TREES, st.sampled_from(DIALECTS))
def test_whatever_comes_is_buckets_or_a_refusal(tree: Any, dialect: str) -> None:  # noqa: ANN401
    try:
        buckets = normalise(dialect, tree)
    except BadReport:
        return
    assert all(type(count) is int and count >= 0 for count in (buckets.prompt, buckets.output, buckets.fresh_input))


COUNT = st.integers(0, 10**6)
BUCKETS = st.builds(
    Buckets,
    **dict.fromkeys(Buckets.__struct_fields__, COUNT),
)


def written(dialect: str, buckets: Buckets) -> dict[str, Any]:
    """A provider's report of these buckets, in so far as its dialect has words for them."""
    cached = {"cached_tokens": buckets.cache_read, "cached_tokens_details": {"audio_tokens": 0, "image_tokens": 0}}
    into = {
        **cached,
        "audio_tokens": buckets.audio_in,
        "image_tokens": buckets.image_in,
        "cache_creation": {"ephemeral_5m_input_tokens": buckets.cache_write_5m, "ephemeral_1h_input_tokens": buckets.cache_write_1h},
    }
    out = {"reasoning_tokens": buckets.reasoning_output, "audio_tokens": buckets.audio_out}
    inclusive = {"total_tokens": buckets.total}
    if dialect in {"openai.chat", "vllm"}:
        return inclusive | {
            "prompt_tokens": buckets.prompt,
            "completion_tokens": buckets.output,
            "prompt_tokens_details": into,
            "completion_tokens_details": out,
        }
    if dialect == "openai.responses":
        return inclusive | {
            "input_tokens": buckets.prompt,
            "output_tokens": buckets.output,
            "input_tokens_details": into,
            "output_tokens_details": out,
        }
    if dialect == "anthropic":
        return {
            "input_tokens": buckets.fresh_input,
            "cache_read_input_tokens": buckets.cache_read,
            "cache_creation_input_tokens": buckets.cache_write_5m + buckets.cache_write_1h,
            "cache_creation": into["cache_creation"],
            "output_tokens": buckets.output,
            "output_tokens_details": {"thinking_tokens": buckets.reasoning_output},
        }
    if dialect == "llama.cpp":
        computed = buckets.prompt - buckets.cache_read
        return {"timings": {"cache_n": buckets.cache_read, "prompt_n": computed, "predicted_n": buckets.output}}
    media = [{"modality": "AUDIO", "tokenCount": buckets.audio_in}, {"modality": "IMAGE", "tokenCount": buckets.image_in}]
    return {
        "promptTokenCount": buckets.prompt,
        "promptTokensDetails": media,
        "cachedContentTokenCount": buckets.cache_read,
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": buckets.cache_read}],
        "candidatesTokenCount": buckets.visible_output + buckets.audio_out,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": buckets.audio_out}],
        "thoughtsTokenCount": buckets.reasoning_output,
        "totalTokenCount": buckets.total,
    }


WORDLESS: dict[str, tuple[str, ...]] = {
    "anthropic": ("audio_in", "image_in", "audio_out"),
    "gemini": ("cache_write_5m", "cache_write_1h"),
    "llama.cpp": ("cache_write_5m", "cache_write_1h", "audio_in", "image_in", "reasoning_output", "audio_out"),
}


@settings(max_examples=100)
@given(BUCKETS, st.sampled_from(DIALECTS))
def test_what_a_provider_says_comes_back_bucket_by_bucket(buckets: Buckets, dialect: str) -> None:
    known = Buckets(**{name: 0 if name in WORDLESS.get(dialect, ()) else getattr(buckets, name) for name in Buckets.__struct_fields__})
    usage = written(dialect, known)
    assert normalise(dialect, usage) == known == normalise(detect(usage) if dialect != "vllm" else "vllm", usage)
    assert sum(getattr(known, name) for name in Buckets.__struct_fields__) == known.total


@settings(max_examples=60)
@given(BUCKETS, BUCKETS, st.sampled_from(DIALECTS))
def test_buckets_are_additive(first: Buckets, second: Buckets, dialect: str) -> None:
    names = [name for name in Buckets.__struct_fields__ if name not in WORDLESS.get(dialect, ())]
    one, other = (Buckets(**{name: getattr(buckets, name) for name in names}) for buckets in (first, second))
    both = Buckets(**{name: getattr(one, name) + getattr(other, name) for name in names})
    alone = [normalise(dialect, written(dialect, buckets)) for buckets in (one, other)]
    together = normalise(dialect, written(dialect, both))
    for name in Buckets.__struct_fields__:
        assert getattr(together, name) == sum(getattr(part, name) for part in alone)
