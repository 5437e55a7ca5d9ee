"""A language model's dimensions, and what its work costs: exact whole numbers.

The formulas are those of ``docs/reference/meters/text.md``; two operations for each multiply-add.
"""

from fractions import Fraction

import msgspec

from taximeter.meters.errors import BadProfile


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a transformer decoder computes for each token.

    Attributes:
        active_parameters: weights that a token meets; of experts those that it is sent to, the embeddings that are only looked up not.
        total_parameters: all of them.
        full_layers: layers whose tokens look at everything before them.
        window_layers: layers whose tokens look at the last ``window`` tokens.
        window: that many, themselves included.
        attention_flop_per_pair: operations of one layer for a token that looks at one other: scores and values of all heads.
        kv_bytes_per_layer: bytes of the cache that a token takes in one layer.
        weight_bytes: bytes of all weights.
    """

    active_parameters: int
    total_parameters: int
    full_layers: int
    window_layers: int = 0
    window: int = 0
    attention_flop_per_pair: int
    kv_bytes_per_layer: int
    weight_bytes: int

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the cache that a token takes, while it is inside every window."""
        return self.kv_bytes_per_layer * (self.full_layers + self.window_layers)

    def check(self) -> None:
        """Raises BadProfile naming what cannot be."""
        for name in ("active_parameters", "total_parameters", "attention_flop_per_pair", "kv_bytes_per_layer", "weight_bytes"):
            if getattr(self, name) < 1:
                raise BadProfile(key="architecture", message=f"{name} must be at least 1")
        if min(self.full_layers, self.window_layers, self.window) < 0 or self.full_layers + self.window_layers < 1:
            raise BadProfile(key="architecture", message="there must be at least one layer, and no negative number of them")
        if self.window_layers and not self.window:
            raise BadProfile(key="architecture", message="window_layers need a window of at least 1")


class LanguageWork(msgspec.Struct, frozen=True, kw_only=True):
    """Operations and memory of one request."""

    prefill_linear_flop: int
    prefill_attention_flop: int
    decode_linear_flop: int
    decode_attention_flop: int
    kv_byte_steps: int


def pairs(architecture: Architecture, tokens: int) -> int:
    """Pairs of a token and one that it looks at, summed over layers, when ``tokens`` were read one after the other."""
    full = tokens * (tokens + 1) // 2
    inside = min(tokens, architecture.window)
    windowed = inside * (inside + 1) // 2 + (tokens - inside) * architecture.window
    return architecture.full_layers * full + architecture.window_layers * windowed


def work(architecture: Architecture, prompt: int, cached: int, output: int, answers: int = 1) -> LanguageWork:
    """What a prompt of which ``cached`` tokens are in the cache already, and answers of ``output`` tokens together, cost.

    Several answers go on from the same prompt; they count as equally long, as far as whole tokens allow.
    """
    assert 0 <= cached <= prompt
    assert output >= 0
    assert answers >= 1
    read = pairs(architecture, prompt)
    each, longer = divmod(output, answers)
    written = (answers - longer) * (pairs(architecture, prompt + each) - read)
    if longer:
        written += longer * (pairs(architecture, prompt + each + 1) - read)
    linear, attention = 2 * architecture.active_parameters, architecture.attention_flop_per_pair
    return LanguageWork(
        prefill_linear_flop=linear * (prompt - cached),
        prefill_attention_flop=attention * (read - pairs(architecture, cached)),
        decode_linear_flop=linear * output,
        decode_attention_flop=attention * written,
        kv_byte_steps=architecture.kv_bytes_per_layer * written,
    )


def context_surcharge(architecture: Architecture, context: int) -> Fraction:
    """What a token with ``context`` tokens before it and itself costs more than one with none: attention over linear operations.

    At 1 the context has doubled the token's cost.
    """
    seen = architecture.full_layers * context + architecture.window_layers * min(context, architecture.window)
    return Fraction(architecture.attention_flop_per_pair * seen, 2 * architecture.active_parameters)
