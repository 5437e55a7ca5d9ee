"""The closed forms of language models against PyTorch's own counter of operations, on tiny models of the real classes.

The counter sees matrix products alone, so weights that are vectors (norms, biases), for which the closed form counts two operations
each, are taken off.  It also sees the small products with which positions are turned into angles; these stand in a module of their
own and are taken off too.  Attention is counted in two ways: token by token with a cache, where each token is multiplied with
exactly those that it looks at, the sum P(P+1)/2 of the closed form; and at once, where the whole square P * P is computed and half
of it thrown away by the mask.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from taximeter.meters.language import Architecture, draft, work

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 48, "num_experts": 5, "num_experts_per_tok": 2}
LATENT: dict[str, Any] = {
    **SIZES,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 48,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
}
GLM: dict[str, Any] = {
    "head_dim": 24,
    "moe_intermediate_size": 48,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
ALONE: dict[str, Any] = {name: size for name, size in SIZES.items() if name != "num_key_value_heads"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SIZES),
    "llama with biases": ("LlamaConfig", {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama with wide heads": ("LlamaConfig", {**SIZES, "head_dim": 24}),
    "mistral with a window": ("MistralConfig", {**SIZES, "sliding_window": 5}),
    "qwen2": ("Qwen2Config", SIZES),
    "qwen3": ("Qwen3Config", {**SIZES, "head_dim": 20}),
    "gemma": ("GemmaConfig", {**SIZES, "head_dim": 32}),
    "gemma 2": ("Gemma2Config", {**SIZES, "head_dim": 32, "sliding_window": 5}),
    "gemma 3": ("Gemma3TextConfig", {**SIZES, "num_hidden_layers": 7, "head_dim": 32, "sliding_window": 5}),
    "gpt-neox": ("GPTNeoXConfig", ALONE),
    "mixtral": ("MixtralConfig", {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2 moe": ("Qwen2MoeConfig", {**SIZES, **EXPERTS, "shared_expert_intermediate_size": 80}),
    "qwen3 moe": ("Qwen3MoeConfig", {**SIZES, **EXPERTS, "mlp_only_layers": [1], "head_dim": 16}),
    "phi 3": ("Phi3Config", {**SIZES, "pad_token_id": 0}),
    "phi 3 with a window": ("Phi3Config", {**SIZES, "pad_token_id": 0, "sliding_window": 5}),
    "glm 4 moe": ("Glm4MoeConfig", {**SIZES, **GLM}),
    "glm 4 moe with norms and biases": ("Glm4MoeConfig", {**SIZES, **GLM, "use_qk_norm": True, "attention_bias": True}),
    "deepseek v2": ("DeepseekV2Config", {**LATENT, "q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    "deepseek v3": ("DeepseekV3Config", {**LATENT, "q_lora_rank": 24, "n_group": 2, "topk_group": 1}),
}
PROMPT = 7


@functools.cache
def made(name: str) -> tuple[Any, Architecture]:
    """A tiny model with random weights, and what its own configuration file says of it."""
    kind, sizes = MODELS[name]
    config = getattr(transformers, kind)(**sizes)
    torch.manual_seed(1)
    automatic: Any = transformers.AutoModelForCausalLM
    model = automatic.from_config(config, attn_implementation="eager", experts_implementation="eager").eval()
    drafted = draft({"config.json": json.loads(config.to_json_string())})
    assert drafted is not None
    return model, Architecture(**drafted.profile["architecture"])


def operations(counts: Mapping[str, Mapping[Any, int]]) -> int:
    """All that were counted, but for the angles of positions."""
    angles = sum(sum(found.values()) for module, found in counts.items() if module.endswith("rotary_emb"))
    return int(sum(counts["Global"].values()) - angles)


def expanded_again(name: str) -> int:
    """What the reference classes of DeepSeek compute twice: they keep the small vector, and at each step make keys and values anew
    from all that are kept.  The closed form counts that once for each token, as when a prompt is read.
    """
    if not name.startswith("deepseek"):
        return 0
    once = 2 * LATENT["kv_lora_rank"] * LATENT["num_attention_heads"] * (LATENT["qk_nope_head_dim"] + LATENT["v_head_dim"])
    return int(once) * int(LATENT["num_hidden_layers"]) * PROMPT * (PROMPT - 1) // 2


def linear(model: Any, architecture: Architecture) -> int:
    """Operations of a token in matrix products."""
    vectors: int = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim == 1)
    return 2 * (architecture.active_parameters - int(vectors))


@pytest.mark.parametrize("name", MODELS)
def test_all_parameters_are_counted(name: str) -> None:
    model, architecture = made(name)
    assert architecture.total_parameters == sum(parameter.numel() for parameter in model.parameters())
    # In a model of 16-bit weights; these are made in 32.
    assert architecture.weight_bytes % architecture.total_parameters == 0


@pytest.mark.parametrize("name", MODELS)
def test_token_by_token_the_counter_agrees_exactly(name: str) -> None:
    model, architecture = made(name)
    tokens = torch.randint(0, 320, (1, PROMPT), generator=torch.Generator().manual_seed(2))
    counter = FlopCounterMode(display=False)
    cache = transformers.DynamicCache(config=model.config)
    with torch.no_grad(), counter:
        for place in range(PROMPT):
            model(tokens[:, place : place + 1], past_key_values=cache, use_cache=True)
    # Whatever part of it is called prompt, the sum is the same.
    for prompt in (0, 5, PROMPT):
        counted = work(architecture, prompt, 0, PROMPT - prompt)
        attention = counted.prefill_attention_flop + counted.decode_attention_flop
        assert operations(counter.get_flop_counts()) == linear(model, architecture) * PROMPT + attention + expanded_again(name)
        assert counted.prefill_linear_flop + counted.decode_linear_flop == 2 * architecture.active_parameters * PROMPT


@pytest.mark.parametrize("name", MODELS)
def test_at_once_the_counter_sees_the_whole_square(name: str) -> None:
    model, architecture = made(name)
    tokens = torch.randint(0, 320, (1, PROMPT), generator=torch.Generator().manual_seed(2))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(tokens, use_cache=False)
    layers = architecture.full_layers + architecture.window_layers
    square = architecture.attention_flop_per_pair * layers * PROMPT * PROMPT
    assert operations(counter.get_flop_counts()) == linear(model, architecture) * PROMPT + square
    if not architecture.window_layers:
        # The closed form counts the half that the mask leaves, the diagonal included.
        assert work(architecture, PROMPT, 0, 0).prefill_attention_flop * 2 * PROMPT == square * (PROMPT + 1)
