"""Text encoders of video models: T5 and UMT5 encoders, Llama decoders used as encoders, CLIP's text half.

Names are those of transformers' ``config.json``.  Prompts are padded to a fixed length, so a pass costs the same for every prompt.
"""

from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import Load, attend_self, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count


class T5(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="model_type", tag="t5"):
    """The encoder of T5."""

    d_model: Count
    d_kv: Count
    d_ff: Count
    num_layers: Count
    num_heads: Count
    vocab_size: Count
    relative_attention_num_buckets: Count = 32
    feed_forward_proj: Literal["relu", "gated-gelu"] = "relu"

    @property
    def bias_tables(self) -> int:
        """Position biases are learned once, in the first layer."""
        return 1

    def load(self, positions: int) -> Load:
        """One pass over so many positions."""
        x, inner = of(positions), self.d_kv * self.num_heads
        gates = 2 if self.feed_forward_proj == "gated-gelu" else 1
        layer = stack(
            linear(x, self.d_model, inner, bias=False) * 3,
            attend_self(x, inner),
            linear(x, inner, self.d_model, bias=False),
            linear(x, self.d_model, self.d_ff, bias=False) * gates,
            linear(x, self.d_ff, self.d_model, bias=False),
            weights(2 * self.d_model),
        )
        tables = self.bias_tables * self.relative_attention_num_buckets * self.num_heads
        return layer * self.num_layers + weights(self.vocab_size * self.d_model + self.d_model + tables)


class Umt5(T5, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="model_type", tag="umt5"):
    """The encoder of UMT5: as T5, with position biases in every layer."""

    @property
    def bias_tables(self) -> int:
        """One in each layer."""
        return self.num_layers


class Llama(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="model_type", tag="llama"):
    """Llama without its head; scores of all pairs are counted, as the counter does for causal attention."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    vocab_size: Count
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False

    def load(self, positions: int) -> Load:
        """One pass over so many positions."""
        x, hidden = of(positions), self.hidden_size
        head = self.head_dim or hidden // self.num_attention_heads
        inner, shared = head * self.num_attention_heads, head * (self.num_key_value_heads or self.num_attention_heads)
        layer = stack(
            linear(x, hidden, inner, bias=False),
            linear(x, hidden, shared, bias=False) * 2,
            attend_self(x, inner),
            linear(x, inner, hidden, bias=False),
            mlp(x, hidden, self.intermediate_size, hidden, bias=False),
            linear(x, hidden, self.intermediate_size, bias=False),
            weights(2 * hidden),
        )
        return layer * self.num_hidden_layers + weights(self.vocab_size * hidden + hidden)


class Clip(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="model_type", tag="clip_text_model"):
    """The text half of CLIP."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    vocab_size: Count = 49408
    max_position_embeddings: Count = 77

    def load(self, positions: int) -> Load:
        """One pass over so many positions."""
        x, hidden = of(positions), self.hidden_size
        layer = linear(x, hidden, hidden) * 4 + attend_self(x, hidden) + mlp(x, hidden, self.intermediate_size, hidden) + weights(4 * hidden)
        return layer * self.num_hidden_layers + weights((self.vocab_size + self.max_position_embeddings + 2) * hidden)


Encoder = T5 | Umt5 | Llama | Clip
