"""Wan 2.1 and 2.2: ``WanTransformer3DModel`` and ``AutoencoderKLWan`` as diffusers 0.42 runs them.

The autoencoder works on one latent frame at a time and remembers the last frames: the first gives one frame, each other four.
"""

from itertools import pairwise

import msgspec

from taximeter.meters.diffusion.algebra import ONE, Load, Poly, X, attend, attend_self, conditioning, conv, linear, mlp, of, stack, weights
from taximeter.meters.diffusion.numbers import Count, Counts, Flags, need


class WanTransformer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="WanTransformer3DModel"):
    """A transformer with self-attention over the film, and cross-attention to the text."""

    num_attention_heads: Count
    attention_head_dim: Count
    num_layers: Count
    ffn_dim: Count
    in_channels: Count
    out_channels: Count
    text_dim: Count = 4096
    freq_dim: Count = 256
    patch_size: tuple[Count, Count, Count] = (1, 2, 2)
    cross_attn_norm: bool = True
    # The image encoder of Wan 2.1's image-to-video models; Wan 2.2 has none.
    image_dim: None = None
    added_kv_proj_dim: None = None

    def __post_init__(self) -> None:
        """Raises ValueError for patches that are not square: every size is a multiple of one side."""
        need(min(self.patch_size) >= 1, "patch_size must be whole numbers, each at least 1")
        need(self.patch_size[1] == self.patch_size[2], "patch_size must have two equal sides")

    @property
    def patch(self) -> tuple[int, int]:
        """Latent frames and cells (each way) of a token."""
        return self.patch_size[0], self.patch_size[1]

    def load(self, text: int, *, time_per_token: bool) -> Load:
        """One pass, in latent tokens."""
        dim, context = self.num_attention_heads * self.attention_head_dim, of(text)
        cells = self.patch_size[0] * self.patch_size[1] * self.patch_size[2]
        self_attention = linear(X, dim, dim) * 4 + attend_self(X, dim)
        cross_attention = linear(X, dim, dim) * 2 + linear(context, dim, dim) * 2 + attend(X, context, dim)
        norms = weights(4 * dim + (2 * dim if self.cross_attn_norm else 0) + 6 * dim)
        block = self_attention + cross_attention + mlp(X, dim, self.ffn_dim, dim) + norms
        return stack(
            linear(X, self.in_channels * cells, dim),
            conditioning(mlp(X if time_per_token else ONE, self.freq_dim, dim, dim, 6 * dim)),
            conditioning(mlp(context, self.text_dim, dim, dim)),
            block * self.num_layers,
            linear(X, dim, self.out_channels * cells) + weights(2 * dim),
        )


class WanVae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="_class_name", tag="AutoencoderKLWan"):
    """The autoencoder of Wan 2.1 (and of the A14B models), or with ``is_residual`` that of Wan 2.2 TI2V-5B."""

    base_dim: Count
    decoder_base_dim: Count | None = None
    z_dim: Count
    dim_mult: Counts = (1, 2, 4, 4)
    num_res_blocks: Count = 2
    attn_scales: tuple[()] = ()
    temperal_downsample: Flags = (False, True, True)
    is_residual: bool = False
    in_channels: Count = 3
    out_channels: Count = 3
    patch_size: Count | None = None
    scale_factor_temporal: Count = 4
    scale_factor_spatial: Count = 8

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        doublings = len(self.dim_mult) - 1
        need(len(self.temperal_downsample) == doublings, "temperal_downsample must have one entry less than dim_mult")
        need(self.scale_factor_temporal == 2 ** sum(self.temperal_downsample), "scale_factor_temporal does not fit temperal_downsample")
        need(self.scale_factor_spatial == 2**doublings * (self.patch_size or 1), "scale_factor_spatial does not fit dim_mult and patch_size")

    @property
    def strides(self) -> tuple[int, int]:
        """Frames and pixels (each way) of a latent cell."""
        return self.scale_factor_temporal, self.scale_factor_spatial

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a film."""
        return (frames - 1) // self.scale_factor_temporal + 1

    def frames(self, latent: int) -> int:
        """Frames that decoding gives."""
        return (latent - 1) * self.scale_factor_temporal + 1

    def decode(self, latent: int) -> Load:
        """Decoding so many latent frames, in cells of one of them."""
        dim, frames, grid = self.decoder_base_dim or self.base_dim, latent, X
        dims = [dim * factor for factor in (self.dim_mult[-1], *reversed(self.dim_mult))]
        parts = [conv(grid * frames, self.z_dim, self.z_dim, 1), conv(grid * frames, self.z_dim, dims[0], 27), _middle(grid, frames, dims[0])]
        last = len(self.dim_mult) - 1
        for index, (fan_in, fan_out) in enumerate(pairwise(dims)):
            # Wan 2.1 halves the channels when it doubles the sides.
            width = fan_in // 2 if index and not self.is_residual else fan_in
            parts.append(_residual(grid * frames, width, fan_out))
            parts.append(_residual(grid * frames, fan_out, fan_out) * self.num_res_blocks)
            if index == last:
                continue
            if self.temperal_downsample[::-1][index]:
                parts.append(conv(grid * (frames - 1), fan_out, 2 * fan_out, 3))
                frames = 2 * frames - 1
            grid = grid * 4
            parts.append(conv(grid * frames, fan_out, fan_out if self.is_residual else fan_out // 2, 9))
        return stack(*parts, weights(dims[-1]), conv(grid * frames, dims[-1], self.out_channels, 27))

    def encode(self, latent: int) -> Load:
        """Encoding a film of so many latent frames, in cells of one of them."""
        scale = (self.scale_factor_spatial // (self.patch_size or 1)) ** 2
        frames, dims = self.frames(latent), [self.base_dim * factor for factor in (1, *self.dim_mult)]
        parts = [conv(Poly(linear=scale) * frames, self.in_channels, dims[0], 27)]
        for index, (fan_in, fan_out) in enumerate(pairwise(dims)):
            cells = Poly(linear=scale) * frames
            parts.append(_residual(cells, fan_in, fan_out) + _residual(cells, fan_out, fan_out) * (self.num_res_blocks - 1))
            if index == len(self.dim_mult) - 1:
                continue
            scale //= 4
            parts.append(conv(Poly(linear=scale) * frames, fan_out, fan_out, 9))
            if self.temperal_downsample[index]:
                frames = (frames - 1) // 2 + 1
                parts.append(conv(Poly(linear=scale) * (frames - 1), fan_out, fan_out, 3))
        head = conv(X * latent, dims[-1], 2 * self.z_dim, 27) + conv(X * latent, 2 * self.z_dim, 2 * self.z_dim, 1)
        return stack(*parts, _middle(X, latent, dims[-1]), weights(dims[-1]), head)


def _residual(cells: Poly, fan_in: int, fan_out: int) -> Load:
    shortcut = conv(cells, fan_in, fan_out, 1) if fan_in != fan_out else Load()
    return shortcut + conv(cells, fan_in, fan_out, 27) + conv(cells, fan_out, fan_out, 27) + weights(fan_in + fan_out)


def _middle(grid: Poly, frames: int, dim: int) -> Load:
    """Two residual blocks, and between them attention within each frame."""
    cells = grid * frames
    attention = conv(cells, dim, 3 * dim, 1) + Load(body=attend_self(grid, dim).attention * frames) + conv(cells, dim, dim, 1) + weights(dim)
    return _residual(cells, dim, dim) * 2 + attention
