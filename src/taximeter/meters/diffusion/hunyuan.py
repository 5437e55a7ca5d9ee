"""HunyuanVideo: ``HunyuanVideoTransformer3DModel`` and ``AutoencoderKLHunyuanVideo`` as diffusers 0.42 runs them.

Film and text go side by side through the double blocks, and as one sequence through the single blocks.  The autoencoder
decodes overlapping pieces of five latent frames, three apart.
"""

from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import ONE, Load, Poly, X, attend_self, conditioning, conv, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count, Counts, need

TIME_FREQUENCIES = 256
REFINER_MLP_RATIO = 4


class HunyuanTransformer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="HunyuanVideoTransformer3DModel"
):
    """Joint attention over film and text; guidance may be an input of the model instead of a second pass."""

    num_attention_heads: Count
    attention_head_dim: Count
    num_layers: Count
    num_single_layers: Count
    num_refiner_layers: Count = 2
    mlp_ratio: Count = 4
    in_channels: Count
    out_channels: Count = 16
    patch_size: Count = 2
    patch_size_t: Literal[1] = 1
    guidance_embeds: bool = True
    text_embed_dim: Count = 4096
    pooled_projection_dim: Count
    qk_norm: Literal["rms_norm"] = "rms_norm"
    image_condition_type: Literal["latent_concat"] | None = None

    @property
    def patch(self) -> tuple[int, int]:
        """Latent frames and cells (each way) of a token."""
        return self.patch_size_t, self.patch_size

    def load(self, text: int, *, time_per_token: bool) -> Load:
        """One pass, in latent tokens."""
        assert not time_per_token
        dim, context, both = self.num_attention_heads * self.attention_head_dim, of(text), X + of(text)
        wide, cells = dim * self.mlp_ratio, self.patch_size_t * self.patch_size**2
        double = stack(
            conditioning(linear(ONE, dim, 6 * dim) * 2),
            linear(X, dim, dim) * 4 + linear(context, dim, dim) * 4 + attend_self(both, dim) + weights(4 * self.attention_head_dim),
            mlp(X, dim, wide, dim) + mlp(context, dim, wide, dim),
        )
        single = stack(
            conditioning(linear(ONE, dim, 3 * dim)),
            linear(both, dim, dim) * 3 + attend_self(both, dim) + weights(2 * self.attention_head_dim),
            linear(both, dim, wide) + linear(both, dim + wide, dim),
        )
        return stack(
            linear(X, self.in_channels * cells, dim),
            conditioning(self._refine(context, dim) + self._tell(dim)),
            double * self.num_layers + single * self.num_single_layers,
            conditioning(linear(ONE, dim, 2 * dim)) + linear(X, dim, self.out_channels * cells),
        )

    def _refine(self, context: Poly, dim: int) -> Load:
        """Two small blocks that prepare the text."""
        ready = mlp(ONE, TIME_FREQUENCIES, dim, dim) + mlp(ONE, self.text_embed_dim, dim, dim) + linear(context, self.text_embed_dim, dim)
        attention = linear(context, dim, dim) * 4 + attend_self(context, dim)
        block = attention + mlp(context, dim, dim * REFINER_MLP_RATIO, dim) + linear(ONE, dim, 2 * dim) + weights(4 * dim)
        return ready + block * self.num_refiner_layers

    def _tell(self, dim: int) -> Load:
        """Time, pooled text and guidance."""
        guidance = mlp(ONE, TIME_FREQUENCIES, dim, dim) if self.guidance_embeds else Load()
        return mlp(ONE, TIME_FREQUENCIES, dim, dim) + mlp(ONE, self.pooled_projection_dim, dim, dim) + guidance


class HunyuanVae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="AutoencoderKLHunyuanVideo"):
    """A causal autoencoder; its middle looks at all cells of a piece at once."""

    in_channels: Count = 3
    out_channels: Count = 3
    latent_channels: Count
    block_out_channels: Counts
    layers_per_block: Count = 2
    spatial_compression_ratio: Count = 8
    temporal_compression_ratio: Literal[4] = 4
    mid_block_add_attention: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        doublings = self.spatial_compression_ratio.bit_length() - 1
        need(self.spatial_compression_ratio == 2**doublings, "spatial_compression_ratio must be a power of two")
        need(max(doublings, 3) <= len(self.block_out_channels), "block_out_channels is too short for the compression ratios")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels (each way) of a latent cell."""
        return self.temporal_compression_ratio, self.spatial_compression_ratio

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a film."""
        return (frames - 1) // self.temporal_compression_ratio + 1

    def frames(self, latent: int) -> int:
        """Frames that decoding gives."""
        return (latent - 1) * self.temporal_compression_ratio + 1

    def decode(self, latent: int) -> Load:
        """Decoding so many latent frames, in cells of one of them.  A film of up to four is decoded in one piece."""
        if latent <= PIECE - 1:
            return self._piece(latent)
        pieces = [min(PIECE, latent - start) for start in range(0, latent, APART)]
        work = stack(*(self._piece(length) * pieces.count(length) for length in sorted(set(pieces))))
        return Load(body=work.body, weights=self._piece(1).weights)

    def _piece(self, frames: int) -> Load:
        channels, grid = self.block_out_channels[::-1], X
        cells = grid * frames
        parts = [conv(cells, self.latent_channels, self.latent_channels, 1), conv(cells, self.latent_channels, channels[0], 27)]
        parts.append(self._middle(cells, channels[0]))
        fan_in = channels[0]
        for index, fan_out in enumerate(channels):
            parts.append(_residual(grid * frames, fan_in, fan_out) + _residual(grid * frames, fan_out, fan_out) * self.layers_per_block)
            wider, longer = self._grows(index)
            frames, grid = (2 * frames - 1 if longer else frames), (grid * 4 if wider else grid)
            if wider or longer:
                parts.append(conv(grid * frames, fan_out, fan_out, 27))
            fan_in = fan_out
        return stack(*parts, weights(2 * fan_in), conv(grid * frames, fan_in, self.out_channels, 27))

    def _middle(self, cells: Poly, dim: int) -> Load:
        attention = linear(cells, dim, dim) * 4 + Load(body=attend_self(cells, dim).attention) + weights(2 * dim)
        return _residual(cells, dim, dim) * 2 + (attention if self.mid_block_add_attention else Load())

    def _grows(self, index: int) -> tuple[bool, bool]:
        """Whether the block of this index doubles the sides, and the frames."""
        last = len(self.block_out_channels) - 1
        longer = last - (self.temporal_compression_ratio.bit_length() - 1) <= index < last
        return index < self.spatial_compression_ratio.bit_length() - 1, longer

    def encode(self, latent: int) -> Load:
        """The encoder's weights; text-to-video does not run it."""
        del latent
        channels, nothing = self.block_out_channels, Poly()
        parts, fan_in = [conv(nothing, self.in_channels, channels[0], 27), self._middle(nothing, channels[-1])], channels[0]
        for index, fan_out in enumerate(channels):
            parts.append(_residual(nothing, fan_in, fan_out) + _residual(nothing, fan_out, fan_out) * (self.layers_per_block - 1))
            if any(self._grows(index)):
                parts.append(conv(nothing, fan_out, fan_out, 27))
            fan_in = fan_out
        twice = 2 * self.latent_channels
        return stack(*parts, weights(2 * fan_in), conv(nothing, fan_in, twice, 27), conv(nothing, twice, twice, 1))


# The autoencoder's own sizes in latent frames: sixteen frames and one more, twelve frames apart.
PIECE = 5
APART = 3


def _residual(cells: Poly, fan_in: int, fan_out: int) -> Load:
    shortcut = conv(cells, fan_in, fan_out, 1) if fan_in != fan_out else Load()
    return shortcut + conv(cells, fan_in, fan_out, 27) + conv(cells, fan_out, fan_out, 27) + weights(2 * fan_in + 2 * fan_out)
