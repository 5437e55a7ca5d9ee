"""LTX-Video: ``LTXVideoTransformer3DModel`` and ``AutoencoderKLLTXVideo`` as diffusers 0.42 runs them.

A latent cell is a token: 8 frames of 32 x 32 pixels.  The decoder doubles by convolving into more channels and unfolding them.
"""

from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import ONE, Load, Poly, X, attend, attend_self, conditioning, conv, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count, Counts, Flags, need

TIME_FREQUENCIES = 256
MLP_RATIO = 4
NEWER = "LTXVideo095DownBlock3D"
# Channels that a pixel or frame of the next level gives up to fold the others in.
FOLDED = {"spatial": 4, "temporal": 2, "spatiotemporal": 8}


class LtxTransformer(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="LTXVideoTransformer3DModel"
):
    """Self-attention over the film, cross-attention to the text."""

    num_attention_heads: Count
    attention_head_dim: Count
    cross_attention_dim: Count
    num_layers: Count
    in_channels: Count
    out_channels: Count = 128
    caption_channels: Count = 4096
    patch_size: Literal[1] = 1
    patch_size_t: Literal[1] = 1
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"
    norm_elementwise_affine: bool = False
    attention_bias: bool = True
    attention_out_bias: bool = True

    @property
    def patch(self) -> tuple[int, int]:
        """Latent frames and cells (each way) of a token."""
        return self.patch_size_t, self.patch_size

    def load(self, text: int, *, time_per_token: bool) -> Load:
        """One pass, in latent tokens."""
        dim, context, bias = self.num_attention_heads * self.attention_head_dim, of(text), self.attention_bias
        project = linear(X, dim, dim, bias=bias)
        out = linear(X, dim, dim, bias=self.attention_out_bias)
        keys = linear(context, self.cross_attention_dim, dim, bias=bias) * 2
        block = stack(
            project * 3 + attend_self(X, dim) + out,
            project + keys + attend(X, context, dim) + out,
            mlp(X, dim, MLP_RATIO * dim, dim),
            weights(4 * dim + 6 * dim + (2 * dim if self.norm_elementwise_affine else 0)),
        )
        return stack(
            linear(X, self.in_channels, dim),
            conditioning(mlp(X if time_per_token else ONE, TIME_FREQUENCIES, dim, dim, 6 * dim)),
            conditioning(mlp(context, self.caption_channels, dim, dim)),
            block * self.num_layers,
            linear(X, dim, self.out_channels) + weights(2 * dim),
        )


class LtxVae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="AutoencoderKLLTXVideo"):
    """An autoencoder that packs 8 frames of 32 x 32 pixels into a cell."""

    in_channels: Count = 3
    out_channels: Count = 3
    latent_channels: Count
    block_out_channels: Counts
    decoder_block_out_channels: Counts
    layers_per_block: Counts = (4, 3, 3, 3, 4)
    decoder_layers_per_block: Counts = (4, 3, 3, 3, 4)
    spatio_temporal_scaling: Flags = (True, True, True, False)
    decoder_spatio_temporal_scaling: Flags = (True, True, True, False)
    decoder_inject_noise: Flags = (False, False, False, False, False)
    down_block_types: tuple[Literal["LTXVideoDownBlock3D", "LTXVideo095DownBlock3D"], ...] = ("LTXVideoDownBlock3D",) * 4
    downsample_type: tuple[Literal["conv", "spatial", "temporal", "spatiotemporal"], ...] = ("conv", "conv", "conv", "conv")
    upsample_residual: Flags = (False, False, False, False)
    upsample_factor: Counts = (1, 1, 1, 1)
    timestep_conditioning: bool = False
    patch_size: Count = 4
    patch_size_t: Literal[1] = 1
    spatial_compression_ratio: Count | None = None
    temporal_compression_ratio: Count | None = None

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        blocks, layers = len(self.decoder_block_out_channels), len(self.decoder_layers_per_block)
        fits = blocks == len(self.decoder_spatio_temporal_scaling) == len(self.upsample_factor) == layers - 1
        need(fits, "decoder_block_out_channels, _spatio_temporal_scaling, _layers_per_block (one more) and upsample_factor must be of one length")
        kinds = set(self.down_block_types)
        need(len(kinds) == 1, "down_block_types must be of one kind")
        encoder = len(self.block_out_channels) - (1 if NEWER in kinds else 0)
        lengths = {len(self.down_block_types), len(self.spatio_temporal_scaling), len(self.downsample_type)}
        need(lengths == {encoder}, "down_block_types, spatio_temporal_scaling and downsample_type must be as long as the encoder")
        need(len(self.layers_per_block) == encoder + 1, "layers_per_block must have one entry more")
        longer = 2 ** sum(self.decoder_spatio_temporal_scaling)
        need(self.strides == (longer, longer * self.patch_size), "the compression ratios do not fit decoder_spatio_temporal_scaling")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels (each way) of a latent cell."""
        doubled: int = 2 ** sum(self.spatio_temporal_scaling)
        return self.temporal_compression_ratio or doubled, self.spatial_compression_ratio or self.patch_size * doubled

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a film."""
        return (frames - 1) // self.strides[0] + 1

    def frames(self, latent: int) -> int:
        """Frames that decoding gives."""
        return (latent - 1) * self.strides[0] + 1

    def decode(self, latent: int) -> Load:
        """Decoding so many latent frames, in cells of one of them."""
        blocks = self.decoder_block_out_channels[::-1]
        layers, noise = self.decoder_layers_per_block[::-1], (*self.decoder_inject_noise[::-1], *([False] * len(blocks)))
        frames, grid, dim = latent, X, blocks[0]
        parts = [conv(grid * frames, self.latent_channels, dim, 27), self._residual(grid * frames, dim, dim, noise=noise[0]) * layers[0]]
        parts.append(self._time(4 * dim))
        scaling = zip(blocks, self.decoder_spatio_temporal_scaling[::-1], self.upsample_factor[::-1], strict=True)
        for index, (channels, grows, factor) in enumerate(scaling):
            fan_in, dim = dim // factor, channels // factor
            if fan_in != dim:
                parts.append(self._residual(grid * frames, fan_in, dim, noise=noise[index + 1]))
            parts.append(self._time(4 * fan_in))
            if grows:
                parts.append(conv(grid * frames, dim * factor, 8 * dim, 27))
                frames, grid = 2 * frames - 1, grid * 4
            parts.append(self._residual(grid * frames, dim, dim, noise=noise[index + 1]) * layers[index + 1])
        parts.append(self._time(2 * dim) + weights(1 + 2 * dim if self.timestep_conditioning else 0))
        return stack(*parts, conv(grid * frames, dim, self.out_channels * self.patch_size**2, 27))

    def encode(self, latent: int) -> Load:
        """The encoder's weights; text-to-video does not run it."""
        del latent
        nothing, dim = Poly(), self.block_out_channels[0]
        parts = [conv(nothing, self.in_channels * self.patch_size**2, dim, 27)]
        newer = NEWER in self.down_block_types
        following = (*self.block_out_channels[1:], *(() if newer else self.block_out_channels[-1:]))
        blocks = zip(following, self.spatio_temporal_scaling, self.layers_per_block[:-1], self.downsample_type, strict=True)
        for fan_out, grows, layers, kind in blocks:
            parts.append(_plain(nothing, dim, dim) * layers)
            if grows:
                # From 0.9.5 on channels are folded from pixels and frames; before, the convolution strides.
                parts.append(conv(nothing, dim, fan_out // FOLDED[kind] if newer and kind in FOLDED else dim, 27))
            if fan_out != dim and not newer:
                parts.append(_plain(nothing, dim, fan_out))
            dim = fan_out
        return stack(*parts, _plain(nothing, dim, dim) * self.layers_per_block[-1], conv(nothing, dim, self.latent_channels + 1, 27))

    def _residual(self, cells: Poly, fan_in: int, fan_out: int, *, noise: bool) -> Load:
        tables = (2 * fan_in if noise else 0) + (4 * fan_in if self.timestep_conditioning else 0)
        return _plain(cells, fan_in, fan_out) + weights(tables)

    def _time(self, width: int) -> Load:
        return mlp(ONE, TIME_FREQUENCIES, width, width) if self.timestep_conditioning else Load()


def _plain(cells: Poly, fan_in: int, fan_out: int) -> Load:
    shortcut = conv(cells, fan_in, fan_out, 1) + weights(2 * fan_in) if fan_in != fan_out else Load()
    return shortcut + conv(cells, fan_in, fan_out, 27) + conv(cells, fan_out, fan_out, 27)
