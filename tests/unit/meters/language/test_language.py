"""Language models by their config.json: the published vectors, and what cannot be a model."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter import meters
from taximeter.meters import BadProfile
from taximeter.meters.language import Architecture, context_surcharge, draft, pairs, work

LLAMA_3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
# The published sizes: DeepSeek-V3 has 671 billion weights, of which a token meets 37 (its prediction head apart).
DEEPSEEK_V3: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8"},
}
MIXTRAL_8X7B: dict[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
}
QWEN3_30B_A3B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}


def architecture(config: dict[str, Any]) -> Architecture:
    drafted = draft({"config.json": config})
    assert drafted is not None
    return Architecture(**drafted.profile["architecture"])


def test_llama_3_8b_has_its_published_size() -> None:
    llama = architecture(LLAMA_3_8B)
    assert (llama.active_parameters, llama.total_parameters) == (7504924672, 8030261248)
    assert (llama.kv_bytes_per_token, llama.weight_bytes) == (131_072, 2 * 8030261248)
    assert llama.attention_flop_per_pair == 4 * 4096


@pytest.mark.parametrize(
    ("config", "total", "experts", "left_out"),
    [
        (DEEPSEEK_V3, 671_026_404_352, 58 * 3 * 7168 * 2048, 248),
        (MIXTRAL_8X7B, 46_702_792_704, 32 * 3 * 4096 * 14336, 6),
        (QWEN3_30B_A3B, 30_532_122_624, 48 * 3 * 2048 * 768, 120),
    ],
)
def test_mixtures_of_experts_have_their_published_sizes(config: dict[str, Any], total: int, experts: int, left_out: int) -> None:
    found = architecture(config)
    assert found.total_parameters == total
    # A token meets all but the experts that it is not sent to, and the embeddings, which are looked up.
    assert found.active_parameters == total - experts * left_out - config["vocab_size"] * config["hidden_size"]


def test_latent_attention_keeps_one_small_vector() -> None:
    found = architecture(DEEPSEEK_V3)
    assert found.kv_bytes_per_token == 61 * (512 + 64) * 2
    assert found.attention_flop_per_pair == 2 * 128 * (128 + 64 + 128)
    # The layers are in fp8; embeddings and head stay in 16 bits.
    assert found.weight_bytes == found.total_parameters + 2 * 129_280 * 7168


@pytest.mark.parametrize(
    ("prompt", "cached", "output", "expected"),
    [
        (1000, 0, 500, (15009849344000, 262406144000, 7504924672000, 327811072000, 23104991232000)),
        (1000, 800, 500, (3001969868800, 94424268800, 7504924672000, 327811072000, 10929129881600)),
        (131072, 130000, 1000, (16090558496768, 73366308388864, 15009849344000, 68981882880000, 173448599109632)),
    ],
)
def test_operations_are_the_published_ones(prompt: int, cached: int, output: int, expected: tuple[int, ...]) -> None:
    done = work(architecture(LLAMA_3_8B), prompt, cached, output)
    found = (done.prefill_linear_flop, done.prefill_attention_flop, done.decode_linear_flop, done.decode_attention_flop)
    assert (*found, sum(found)) == expected


def test_the_context_doubles_a_tokens_cost_where_it_should() -> None:
    llama = architecture(LLAMA_3_8B)
    assert context_surcharge(llama, 28_629) < 1 < context_surcharge(llama, 28_630)


LAYERS = st.builds(
    Architecture,
    active_parameters=st.integers(1, 10**12),
    total_parameters=st.just(10**12),
    full_layers=st.integers(0, 100),
    window_layers=st.integers(0, 100),
    window=st.integers(1, 5000),
    attention_flop_per_pair=st.integers(1, 10**6),
    kv_bytes_per_layer=st.integers(1, 10**6),
    weight_bytes=st.just(10**12),
)
LENGTH = st.integers(0, 10_000)


@given(LAYERS, LENGTH, LENGTH, LENGTH, st.integers(0, 500))
def test_operations_are_additive_over_parts_and_grow_with_each(model: Architecture, prompt: int, cached: int, output: int, more: int) -> None:
    cached = min(cached, prompt)
    whole, read, rest = work(model, prompt, cached, output), work(model, prompt, cached, 0), work(model, prompt, prompt, output)
    for name in whole.__struct_fields__:
        assert getattr(whole, name) == getattr(read, name) + getattr(rest, name)
        for larger in (work(model, prompt + more, cached, output), work(model, prompt, cached, output + more)):
            assert getattr(whole, name) <= getattr(larger, name)
        assert getattr(work(model, prompt, 0, output), name) >= getattr(whole, name)


@given(LAYERS, st.integers(0, 300))
def test_pairs_are_what_one_gets_by_counting(model: Architecture, tokens: int) -> None:
    counted = sum(model.full_layers * place + model.window_layers * min(place, model.window) for place in range(1, tokens + 1))
    assert pairs(model, tokens) == counted


@given(LAYERS, st.integers(0, 200), st.integers(0, 200), st.integers(1, 5))
def test_several_answers_are_as_many_single_ones(model: Architecture, prompt: int, each: int, answers: int) -> None:
    alone, together = work(model, prompt, prompt, each), work(model, prompt, prompt, each * answers, answers)
    assert together.decode_attention_flop == answers * alone.decode_attention_flop
    assert together.kv_byte_steps == answers * alone.kv_byte_steps


def test_a_draft_is_a_profile_that_its_meter_takes() -> None:
    for config in (LLAMA_3_8B, DEEPSEEK_V3, MIXTRAL_8X7B, QWEN3_30B_A3B):
        drafted = draft({"config.json": config, "generation_config.json": {}})
        assert drafted is not None
        meter = meters.get(drafted.meter)
        meter.check(drafted.profile)
        priced = [cost.quantity for cost in drafted.costs]
        assert sorted([*priced, *drafted.unpriced]) == sorted(meter.quantities)
        assert drafted.resident_bytes > 10**9
        assert all(sentence.endswith(".") for sentence in drafted.assumptions)


def test_a_model_that_sees_is_drafted_by_its_language_part() -> None:
    drafted = draft({"config.json": {"model_type": "some_vision", "vision_config": {}, "text_config": LLAMA_3_8B}})
    assert drafted is not None
    assert drafted.family == "Llama"


@pytest.mark.parametrize(
    "files", [{}, {"model_index.json": {"_class_name": "WanPipeline"}}, {"config.json": {}}, {"config.json": {"model_type": "bert"}}]
)
def test_other_families_are_left_to_others(files: dict[str, Any]) -> None:
    assert draft(files) is None


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"hidden_size": None}, "config.json: hidden_size", "is missing"),
        ({"hidden_size": 4096.0}, "config.json: hidden_size", "whole number"),
        ({"hidden_size": True}, "config.json: hidden_size", "whole number"),
        ({"num_hidden_layers": -1}, "config.json: num_hidden_layers", "whole number"),
        ({"num_hidden_layers": 10**10}, "config.json: num_hidden_layers", "whole number"),
        ({"num_key_value_heads": 7}, "config.json: num_key_value_heads", "does not divide"),
        ({"num_attention_heads": 48, "num_key_value_heads": 48}, "config.json: num_attention_heads", "does not divide"),
        ({"vocab_size": "many"}, "config.json: vocab_size", "whole number"),
        ({"max_position_embeddings": None}, "config.json: max_position_embeddings", "is missing"),
        ({"tie_word_embeddings": 1}, "config.json: tie_word_embeddings", "true or false"),
        ({"model_type": "mixtral"}, "config.json: num_local_experts", "is missing"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "config.json: num_experts_per_tok", "more than the 2"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": 3}, "config.json: mlp_only_layers", "must be a list"),
        ({"model_type": "mistral", "sliding_window": 0}, "config.json: sliding_window", "whole number"),
        ({"model_type": "gemma2", "sliding_window": 9, "layer_types": ["linear"] * 32}, "config.json: layer_types", "must be full_attention"),
    ],
)
def test_nonsense_is_refused_with_file_and_key(change: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(BadProfile, match=says) as caught:
        draft({"config.json": {**LLAMA_3_8B, **change}})
    assert caught.value.key == key
