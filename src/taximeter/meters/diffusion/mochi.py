"""Mochi 1: ``MochiTransformer3DModel`` and ``AutoencoderKLMochi`` as diffusers 0.42 runs them.

Film and text have weights of their own and attend together.  Positions of the text that are padding take no part in the
attention, but in everything else; all positions are counted, which a prompt of full length reaches.
"""

from math import prod
from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import ONE, Load, Poly, X, attend, attend_self, conditioning, conv, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count, Counts, Flags, need


class MochiTransformer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="MochiTransformer3DModel"):
    """Joint attention over film and text; the text's stream is narrower and ends one block early."""

    num_attention_heads: Count
    attention_head_dim: Count
    num_layers: Count
    pooled_projection_dim: Count
    in_channels: Count
    out_channels: Count | None = None
    text_embed_dim: Count = 4096
    time_embed_dim: Count
    patch_size: Count = 2
    qk_norm: Literal["rms_norm"] = "rms_norm"
    activation_fn: Literal["swiglu"] = "swiglu"
    max_sequence_length: Count = 256

    @property
    def patch(self) -> tuple[int, int]:
        """Latent frames and cells (each way) of a token."""
        return 1, self.patch_size

    def load(self, text: int, *, time_per_token: bool) -> Load:
        """One pass, in latent tokens."""
        assert not time_per_token
        dim, narrow, wide = self.num_attention_heads * self.attention_head_dim, self.pooled_projection_dim, self.text_embed_dim
        cells, context = self.patch_size**2, of(text)
        pooled = linear(of(text + 1), wide, 2 * wide) + linear(ONE, wide, wide) + attend(ONE, of(text + 1), wide) + linear(ONE, wide, dim)
        angles = Load(body=X * (3 * dim), weights=3 * dim // 2)
        return stack(
            linear(X, self.in_channels * cells, dim) + angles,
            conditioning(mlp(ONE, self.time_embed_dim, dim, dim) + pooled + linear(context, wide, narrow)),
            self._block(dim, context, last=False) * (self.num_layers - 1) + self._block(dim, context, last=True),
            conditioning(linear(ONE, dim, 2 * dim)) + linear(X, dim, (self.out_channels or self.in_channels) * cells),
        )

    def _block(self, dim: int, context: Poly, *, last: bool) -> Load:
        narrow = self.pooled_projection_dim
        attention = stack(
            linear(X, dim, dim, bias=False) * 3 + linear(context, narrow, dim, bias=False) * 3,
            attend_self(X + context, dim) + linear(X, dim, dim) + weights(4 * self.attention_head_dim),
        )
        film = conditioning(linear(ONE, dim, 4 * dim)) + attention + _gated(X, dim)
        if last:
            return film + conditioning(linear(ONE, dim, narrow))
        return film + conditioning(linear(ONE, dim, 4 * narrow)) + linear(context, dim, narrow) + _gated(context, narrow)


def _gated(positions: Poly, dim: int) -> Load:
    inner = 4 * dim * 2 // 3
    return linear(positions, dim, 2 * inner, bias=False) + linear(positions, inner, dim, bias=False)


class MochiVae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="AutoencoderKLMochi"):
    """A decoder that unfolds channels into frames and pixels, and drops the first five frames."""

    in_channels: Count = 15
    out_channels: Count = 3
    encoder_block_out_channels: Counts = (64, 128, 256, 384)
    decoder_block_out_channels: Counts
    latent_channels: Count
    layers_per_block: Counts = (3, 3, 4, 6, 3)
    temporal_expansions: Counts = (1, 2, 3)
    spatial_expansions: Counts = (2, 2, 2)
    add_attention_block: Flags = (False, True, True, True, True)

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        steps = len(self.temporal_expansions)
        need(len(self.spatial_expansions) == steps, "spatial_expansions must be as long as temporal_expansions")
        lengths = {len(self.encoder_block_out_channels), len(self.decoder_block_out_channels)}
        need(lengths == {steps + 1}, "the block_out_channels must have one entry more than temporal_expansions")
        per_block = {len(self.layers_per_block), len(self.add_attention_block)}
        need(per_block == {steps + 2}, "layers_per_block and add_attention_block must have two entries more than temporal_expansions")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels (each way) of a latent cell."""
        return prod(self.temporal_expansions), prod(self.spatial_expansions)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a film."""
        return (frames - 1) // self.strides[0] + 1

    def frames(self, latent: int) -> int:
        """Frames that decoding gives."""
        return (latent - 1) * self.strides[0] + 1

    def decode(self, latent: int) -> Load:
        """Decoding so many latent frames, in cells of one of them."""
        channels, layers = self.decoder_block_out_channels[::-1], self.layers_per_block[::-1]
        frames, grid = latent, X
        parts = [conv(grid * frames, self.latent_channels, channels[0], 1), _residual(grid * frames, channels[0]) * layers[0]]
        growth = zip(self.temporal_expansions[::-1], self.spatial_expansions[::-1], strict=True)
        for index, (longer, wider) in enumerate(growth):
            fan_in, fan_out = channels[index], channels[index + 1]
            parts.append(_residual(grid * frames, fan_in) * layers[index + 1])
            parts.append(linear(grid * frames, fan_in, fan_out * longer * wider**2))
            frames, grid = frames * longer, grid * wider**2
        return stack(*parts, _residual(grid * frames, channels[-1]) * layers[-1], linear(grid * frames, channels[-1], self.out_channels))

    def encode(self, latent: int) -> Load:
        """The encoder's weights; text-to-video does not run it."""
        del latent
        nothing, channels = Poly(), self.encoder_block_out_channels
        parts = [linear(nothing, self.in_channels, channels[0]), _seen(channels[0], self.add_attention_block[0]) * self.layers_per_block[0]]
        growth = zip(self.temporal_expansions, self.spatial_expansions, strict=True)
        for index, (longer, wider) in enumerate(growth):
            fan_in, fan_out = channels[index], channels[index + 1]
            parts.append(conv(nothing, fan_in, fan_out, longer * wider**2))
            parts.append(_seen(fan_out, self.add_attention_block[index + 1]) * self.layers_per_block[index + 1])
        parts.append(_seen(channels[-1], self.add_attention_block[-1]) * self.layers_per_block[-1])
        return stack(*parts, weights(2 * channels[-1]), linear(nothing, channels[-1], 2 * self.latent_channels, bias=False))


def _residual(cells: Poly, dim: int) -> Load:
    return conv(cells, dim, dim, 27) * 2 + weights(4 * dim)


def _seen(dim: int, attends: bool) -> Load:  # noqa: FBT001 - a flag of the configuration, one for each block
    attention = linear(Poly(), dim, dim, bias=False) * 3 + linear(Poly(), dim, dim) + weights(2 * dim)
    return _residual(Poly(), dim) + (attention if attends else Load())
