"""From a ``config.json`` to an architecture: which weights the known families have, and how many a token meets."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Literal

import msgspec

from taximeter.meters.language.architecture import Architecture
from taximeter.meters.language.settings import LAYERS_MAX, Settings


class Count(msgspec.Struct, frozen=True):
    """Weights: those that a token meets, and all."""

    active: int
    total: int

    def __add__(self, other: "Count") -> "Count":
        """Both."""
        return Count(self.active + other.active, self.total + other.total)

    def __mul__(self, layers: int) -> "Count":
        """So many layers of it."""
        return Count(self.active * layers, self.total * layers)


def dense(weights: int) -> Count:
    """Weights that every token meets."""
    return Count(weights, weights)


class Attention(msgspec.Struct, frozen=True):
    """One layer's attention: its weights, the width of its scores and values over all heads, and what it keeps for a token."""

    weights: int
    score_width: int
    value_width: int
    kept_values: int


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """How one family of models differs from Llama."""

    name: str
    attention: Callable[[Settings, "Family"], Attention]
    experts: Callable[[Settings, int], Count] | None = None
    windows: Literal["none", "all", "upper", "gemma2", "gemma3"] = "none"
    mlp_matrices: int = 3
    qkv_bias: bool | None = None
    output_bias: bool | None = None
    mlp_bias: bool | None = None
    norms: int = 2
    norm_vectors: int = 1
    head_norms: bool = False
    tied: bool = False
    bias_default: bool = False


def grouped(config: Settings, family: Family) -> Attention:
    """Heads that share keys and values in groups (one each, in the oldest models)."""
    hidden, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    kv_heads = config.whole("num_key_value_heads", heads)
    if heads % kv_heads:
        raise config.fault(key="num_key_value_heads", message=f"{kv_heads} does not divide the {heads} heads")
    if "head_dim" not in config and hidden % heads:
        raise config.fault(key="num_attention_heads", message=f"{heads} does not divide hidden_size {hidden}, and there is no head_dim")
    head = config.whole("head_dim", hidden // heads)
    bias = config.flag("attention_bias", default=family.bias_default)
    weights = hidden * head * (2 * heads + 2 * kv_heads)
    weights += head * (heads + 2 * kv_heads) * (bias if family.qkv_bias is None else family.qkv_bias)
    weights += hidden * (bias if family.output_bias is None else family.output_bias)
    weights += 2 * head * family.head_norms
    return Attention(weights, heads * head, heads * head, 2 * kv_heads * head)


def normed(config: Settings, family: Family) -> Attention:
    """Grouped heads whose queries and keys are normed where the files say so."""
    return grouped(config, msgspec.structs.replace(family, head_norms=config.flag("use_qk_norm", default=False)))


def latent(config: Settings, family: Family) -> Attention:
    """DeepSeek's latent attention: keys and values are kept as one small vector, and made anew from it for every head."""
    hidden, heads = config.whole("hidden_size"), config.whole("num_attention_heads")
    nope, rope, value = config.whole("qk_nope_head_dim"), config.whole("qk_rope_head_dim"), config.whole("v_head_dim")
    kept, query = config.whole("kv_lora_rank"), config.whole("q_lora_rank", 0)
    bias = config.flag("attention_bias", default=family.bias_default)
    queries = query * (hidden + 1 + bias + heads * (nope + rope)) if query else hidden * heads * (nope + rope)
    keys = (hidden + bias) * (kept + rope) + kept + kept * heads * (nope + value)
    weights = queries + keys + heads * value * hidden + hidden * bias
    return Attention(weights, heads * (nope + rope), heads * value, kept + rope)


def _mixtral(config: Settings, layer: int) -> Count:
    del layer  # All layers are alike.
    return _routed(config, "num_local_experts", config.whole("intermediate_size"))


def _qwen_moe(config: Settings, layer: int) -> Count:
    hidden = config.whole("hidden_size")
    every = config.whole("decoder_sparse_step", 1)
    if layer in config.items("mlp_only_layers") or (layer + 1) % every:
        return dense(3 * hidden * config.whole("intermediate_size"))
    count = _routed(config, "num_experts", config.whole("moe_intermediate_size"))
    shared = config.whole("shared_expert_intermediate_size", 0, least=0)
    # The shared expert has a gate of one row.
    return count + dense(3 * hidden * shared + hidden) if shared else count


def _deepseek(config: Settings, layer: int) -> Count:
    hidden = config.whole("hidden_size")
    if layer < config.whole("first_k_dense_replace", 0, least=0):
        return dense(3 * hidden * config.whole("intermediate_size"))
    each = config.whole("moe_intermediate_size")
    shared = config.whole("n_shared_experts", 0, least=0)
    return _routed(config, "n_routed_experts", each) + dense(3 * hidden * each * shared)


def _routed(config: Settings, key: str, inner: int) -> Count:
    # Some writers give all families the same word for it.
    name = key if key in config or "num_local_experts" not in config else "num_local_experts"
    hidden, experts, chosen = config.whole("hidden_size"), config.whole(name), config.whole("num_experts_per_tok")
    if chosen > experts:
        raise config.fault(key="num_experts_per_tok", message=f"{chosen} are more than the {experts} experts")
    router, expert = hidden * experts, 3 * hidden * inner
    return Count(router + chosen * expert, router + experts * expert)


FAMILIES: dict[str, Family] = {
    "llama": Family(name="Llama", attention=grouped),
    "mistral": Family(name="Mistral", attention=grouped, windows="all", qkv_bias=False, output_bias=False, mlp_bias=False),
    "qwen2": Family(name="Qwen2", attention=grouped, windows="upper", qkv_bias=True, output_bias=False, mlp_bias=False),
    "qwen3": Family(name="Qwen3", attention=grouped, windows="upper", head_norms=True, mlp_bias=False),
    "gemma": Family(name="Gemma", attention=grouped, mlp_bias=False, tied=True),
    "gemma2": Family(name="Gemma 2", attention=grouped, windows="gemma2", mlp_bias=False, norms=4, tied=True),
    "gemma3_text": Family(name="Gemma 3", attention=grouped, windows="gemma3", mlp_bias=False, norms=4, head_norms=True, tied=True),
    "gpt_neox": Family(name="GPT-NeoX", attention=grouped, mlp_matrices=2, mlp_bias=True, norm_vectors=2, bias_default=True),
    "mixtral": Family(name="Mixtral", attention=grouped, experts=_mixtral, windows="all", qkv_bias=False, output_bias=False),
    "qwen2_moe": Family(name="Qwen2 MoE", attention=grouped, experts=_qwen_moe, windows="upper", qkv_bias=True, output_bias=False),
    "qwen3_moe": Family(name="Qwen3 MoE", attention=grouped, experts=_qwen_moe, windows="upper", head_norms=True),
    "phi3": Family(name="Phi-3", attention=grouped, windows="all", qkv_bias=False, output_bias=False, mlp_bias=False),
    "glm4_moe": Family(name="GLM-4 MoE", attention=normed, experts=_deepseek, output_bias=False),
    "deepseek_v2": Family(name="DeepSeek V2", attention=latent, experts=_deepseek),
    "deepseek_v3": Family(name="DeepSeek V3", attention=latent, experts=_deepseek),
}
_WITH_BITS = ("awq", "gptq")
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}


def read(config: Settings, family: Family) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture, and what had to be assumed.  Raises BadProfile naming the key at fault."""
    hidden, layers, vocabulary = config.whole("hidden_size"), config.whole("num_hidden_layers", most=LAYERS_MAX), config.whole("vocab_size")
    attention = family.attention(config, family)
    norm = hidden * family.norm_vectors
    body = dense(layers * (attention.weights + family.norms * norm) + norm) + _mlps(config, family, layers)
    head = vocabulary * hidden
    tied = config.flag("tie_word_embeddings", default=family.tied)
    windowed, window = _windows(config, family, layers)
    weight_bytes, kv_bytes, assumptions = _precision(config)
    outer = head * (1 if tied else 2)
    total = body.total + outer
    return Architecture(
        active_parameters=body.active + head,
        total_parameters=total,
        full_layers=layers - windowed,
        window_layers=windowed,
        window=window,
        attention_flop_per_pair=2 * (attention.score_width + attention.value_width),
        kv_bytes_per_layer=attention.kept_values * kv_bytes,
        # Quantisers leave the embeddings, and the head beside them, as they were.
        weight_bytes=ceil(body.total * weight_bytes) + outer * (2 if config.inner("quantization_config") else ceil(weight_bytes)),
    ), assumptions


def _mlps(config: Settings, family: Family, layers: int) -> Count:
    if family.experts is not None:
        count = Count(0, 0)
        for layer in range(layers):
            count += family.experts(config, layer)
        return count
    hidden, inner = config.whole("hidden_size"), config.whole("intermediate_size")
    bias = config.flag("mlp_bias", default=False) if family.mlp_bias is None else family.mlp_bias
    return dense(family.mlp_matrices * hidden * inner + ((family.mlp_matrices - 1) * inner + hidden) * bias) * layers


def _windows(config: Settings, family: Family, layers: int) -> tuple[int, int]:
    """How many layers look at a window only, and at how many tokens."""
    if family.windows == "none" or "sliding_window" not in config:
        return 0, 0
    if family.windows == "upper" and not config.flag("use_sliding_window", default=False):
        return 0, 0
    window = config.whole("sliding_window")
    kinds = config.items("layer_types")
    if kinds:
        unknown = [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]
        if unknown or len(kinds) != layers:
            raise config.fault(key="layer_types", message=f"must be full_attention or sliding_attention for each of the {layers} layers")
        return kinds.count("sliding_attention"), window
    if family.windows == "all":
        return layers, window
    if family.windows == "upper":
        return max(0, layers - config.whole("max_window_layers", least=0)), window
    every = 2 if family.windows == "gemma2" else config.whole("sliding_window_pattern", 6)
    return layers - layers // every, window


def _precision(config: Settings) -> tuple[Fraction, int, tuple[str, ...]]:
    """Bytes of a weight in the layers and of a value in the cache."""
    quantised = config.inner("quantization_config")
    if quantised is not None:
        return _quantised(quantised)
    name = config.text("dtype") or config.text("torch_dtype")
    if name not in _BYTES:
        return Fraction(2), 2, (f"The files do not tell the bytes of a weight ({name[:40] or 'no dtype'}); two were assumed.",)
    return Fraction(_BYTES[name]), max(2, _BYTES[name]), ()


def _quantised(config: Settings) -> tuple[Fraction, int, tuple[str, ...]]:
    """The same when the weights of linear layers were made smaller."""
    method = config.text("quant_method") or "unnamed"
    bits = None
    if method in _WITH_BITS:
        bits = config.whole("bits", config.whole("w_bit", 4, least=2, most=8) if method == "awq" else None, least=2, most=8)
    elif method == "fp8":
        bits = 8
    elif method == "bitsandbytes":
        four, eight = config.flag("load_in_4bit", default=False), config.flag("load_in_8bit", default=False)
        bits = 4 if four else 8 if eight else None
    if bits is None:
        said = f"The weights are quantised ({method[:40]}) in a way that is not counted here; two bytes a weight were assumed, which is too many."
        return Fraction(2), 2, (said,)
    group = config.whole("group_size", 0, least=-1) if method in _WITH_BITS else 0
    # A scale of 16 bits, and as many bits as a weight has for its zero, for each group.
    each = Fraction(bits, 8) + (Fraction(16 + bits, 8 * group) if group > 0 else 0)
    kept = "" if group <= 0 else f", with a scale and a zero for each {group}"
    said = f"Weights of the layers take {bits} bits ({method}{kept}); embeddings, the head and values in the cache two bytes."
    return each, 2, (said,)
