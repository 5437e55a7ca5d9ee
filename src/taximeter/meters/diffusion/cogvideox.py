"""CogVideoX 1.0 and 1.5: ``CogVideoXTransformer3DModel`` and ``AutoencoderKLCogVideoX`` as diffusers 0.42 runs them.

Film and text are one sequence.  The autoencoder decodes two latent frames at a time, three at the beginning when their number is odd;
an even number therefore gives four frames for each, an odd one four less three.
"""

from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import ONE, Load, Poly, X, attend_self, conditioning, conv, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count, Counts, need

MLP_RATIO = 4
PIECE = 2


class CogTransformer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="CogVideoXTransformer3DModel"
):
    """Joint attention over film and text with shared weights."""

    num_attention_heads: Count
    attention_head_dim: Count
    num_layers: Count
    in_channels: Count
    out_channels: Count = 16
    time_embed_dim: Count
    text_embed_dim: Count = 4096
    max_text_seq_length: Count = 226
    patch_size: Count = 2
    patch_size_t: Count | None = None
    attention_bias: bool = True
    patch_bias: bool = True
    norm_elementwise_affine: bool = True
    ofs_embed_dim: None = None

    @property
    def patch(self) -> tuple[int, int]:
        """Latent frames and cells (each way) of a token."""
        return self.patch_size_t or 1, self.patch_size

    def load(self, text: int, *, time_per_token: bool) -> Load:
        """One pass, in latent tokens."""
        assert not time_per_token
        dim, both = self.num_attention_heads * self.attention_head_dim, X + of(text)
        cells = self.patch_size**2 * (self.patch_size_t or 1)
        norm = weights(2 * dim if self.norm_elementwise_affine else 0)
        modulate = conditioning(linear(ONE, self.time_embed_dim, 6 * dim)) + norm
        attention = linear(both, dim, dim, bias=self.attention_bias) * 3 + attend_self(both, dim) + linear(both, dim, dim)
        block = modulate * 2 + attention + weights(4 * self.attention_head_dim) + mlp(both, dim, MLP_RATIO * dim, dim)
        return stack(
            linear(X, self.in_channels * cells, dim, bias=self.patch_bias or self.patch_size_t is not None),
            conditioning(linear(of(text), self.text_embed_dim, dim)),
            conditioning(mlp(ONE, dim, self.time_embed_dim, self.time_embed_dim)),
            block * self.num_layers,
            norm + conditioning(linear(ONE, self.time_embed_dim, 2 * dim)) + norm,
            linear(X, dim, self.out_channels * cells),
        )


class CogVae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="AutoencoderKLCogVideoX"):
    """An autoencoder whose norms look at the latent film again, through convolutions of their own."""

    in_channels: Count = 3
    out_channels: Count = 3
    latent_channels: Count
    block_out_channels: Counts
    layers_per_block: Count = 3
    temporal_compression_ratio: Count = 4
    use_quant_conv: Literal[False] | None = None
    use_post_quant_conv: Literal[False] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        doublings = self.temporal_compression_ratio.bit_length() - 1
        need(self.temporal_compression_ratio == 2**doublings, "temporal_compression_ratio must be a power of two")
        need(doublings < len(self.block_out_channels), "block_out_channels is too short for temporal_compression_ratio")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels (each way) of a latent cell."""
        return self.temporal_compression_ratio, 2 ** (len(self.block_out_channels) - 1)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a film."""
        return (frames - 1) // self.temporal_compression_ratio + 1

    def frames(self, latent: int) -> int:
        """Frames that decoding gives."""
        return latent * self.temporal_compression_ratio - (self.temporal_compression_ratio - 1 if latent % PIECE else 0)

    def decode(self, latent: int) -> Load:
        """Decoding so many latent frames, in cells of one of them."""
        first = latent if latent < PIECE else PIECE + latent % PIECE
        rest = self._piece(PIECE).body * ((latent - first) // PIECE)
        return self._piece(first) + Load(body=rest)

    def _piece(self, frames: int) -> Load:
        channels, grid = self.block_out_channels[::-1], X
        dim, doublings = channels[0], self.temporal_compression_ratio.bit_length() - 1
        parts = [conv(grid * frames, self.latent_channels, dim, 27), self._residual(grid * frames, dim, dim) * 2]
        for index, fan_out in enumerate(channels):
            cells = grid * frames
            parts.append(self._residual(cells, dim, fan_out) + self._residual(cells, fan_out, fan_out) * self.layers_per_block)
            dim = fan_out
            if index == len(channels) - 1:
                continue
            if index < doublings and frames > 1:
                frames = 2 * frames - frames % 2
            grid = grid * 4
            parts.append(conv(grid * frames, dim, dim, 9))
        return stack(*parts, self._norm(grid * frames, dim), conv(grid * frames, dim, self.out_channels, 27))

    def _norm(self, cells: Poly, dim: int) -> Load:
        return weights(2 * dim) + conv(cells, self.latent_channels, dim, 1) * 2

    def _residual(self, cells: Poly, fan_in: int, fan_out: int) -> Load:
        norms = self._norm(cells, fan_in) + self._norm(cells, fan_out)
        return norms + _convolve(cells, fan_in, fan_out)

    def encode(self, latent: int) -> Load:
        """The encoder's weights; text-to-video does not run it."""
        del latent
        nothing, dim = Poly(), self.block_out_channels[0]
        parts = [conv(nothing, self.in_channels, dim, 27)]
        for index, fan_out in enumerate(self.block_out_channels):
            parts.append(_plain(dim, fan_out) + _plain(fan_out, fan_out) * (self.layers_per_block - 1))
            dim = fan_out
            if index < len(self.block_out_channels) - 1:
                parts.append(conv(nothing, dim, dim, 9))
        return stack(*parts, _plain(dim, dim) * 2, weights(2 * dim), conv(nothing, dim, 2 * self.latent_channels, 27))


def _convolve(cells: Poly, fan_in: int, fan_out: int) -> Load:
    shortcut = conv(cells, fan_in, fan_out, 1) if fan_in != fan_out else Load()
    return shortcut + conv(cells, fan_in, fan_out, 27) + conv(cells, fan_out, fan_out, 27)


def _plain(fan_in: int, fan_out: int) -> Load:
    return _convolve(Poly(), fan_in, fan_out) + weights(2 * fan_in + 2 * fan_out)
