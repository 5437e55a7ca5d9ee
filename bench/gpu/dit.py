"""A video transformer of our own: self-attention with rotary positions, cross-attention, feed-forward, modulated by the time.

Dimensions and order of operations are those that the closed form in ``forms`` describes; weights are random.
"""

import torch
from torch import nn
from torch.nn import functional

from bench.gpu.forms import Dit, Film
from bench.gpu.place import Place


def rotation(form: Dit, film: Film, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the rotary positions, one row a token: a third of each head for time, rows and columns."""
    frames, rows, columns = film.latent
    half = form.dim // form.heads // 2
    third = half // 3
    axes = ((frames, half - 2 * third), (rows // 2, third), (columns // 2, third))
    grids = torch.meshgrid(*(torch.arange(length, device=place.device, dtype=torch.float32) for length, _ in axes), indexing="ij")
    angles = [
        grid.reshape(-1, 1) * torch.pow(10000.0, -torch.arange(width, device=place.device, dtype=torch.float32) / width)
        for grid, (_, width) in zip(grids, axes, strict=True)
    ]
    turned = torch.cat(angles, dim=1)
    return turned.cos(), turned.sin()


def rotate(values: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turn pairs of numbers (first half, second half) of each head by the position's angles."""
    first, second = values.float().chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, first * sines + second * cosines), dim=-1).to(values.dtype)


def modulate(values: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Normalise without weights of one's own, then scale and shift by what the time says."""
    return functional.layer_norm(values, values.shape[-1:]) * (1 + scale) + shift


class Block(nn.Module):
    """One block of the transformer."""

    def __init__(self, form: Dit, place: Place) -> None:
        super().__init__()
        dim, where = form.dim, place.where
        self.heads = form.heads
        self.modulation = nn.Parameter(torch.empty(6, dim, **where))
        self.query_key_value = nn.Linear(dim, 3 * dim, **where)
        self.query_norm = nn.RMSNorm(dim, eps=1e-6, **where)
        self.key_norm = nn.RMSNorm(dim, eps=1e-6, **where)
        self.out = nn.Linear(dim, dim, **where)
        self.cross_norm = nn.LayerNorm(dim, **where)
        self.cross_query = nn.Linear(dim, dim, **where)
        self.cross_key_value = nn.Linear(dim, 2 * dim, **where)
        self.cross_query_norm = nn.RMSNorm(dim, eps=1e-6, **where)
        self.cross_key_norm = nn.RMSNorm(dim, eps=1e-6, **where)
        self.cross_out = nn.Linear(dim, dim, **where)
        self.up = nn.Linear(dim, form.ffn, **where)
        self.down = nn.Linear(form.ffn, dim, **where)

    def _split(self, values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, tokens: torch.Tensor, time: torch.Tensor, text: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Tokens (1, L, D), time (6, D), text (1, C, D)."""
        shift, scale, gate, late_shift, late_scale, late_gate = (self.modulation + time).unbind(0)
        query, key, value = self.query_key_value(modulate(tokens, shift, scale)).chunk(3, dim=-1)
        query, key = rotate(self._split(self.query_norm(query)), *angles), rotate(self._split(self.key_norm(key)), *angles)
        mixed = functional.scaled_dot_product_attention(query, key, self._split(value))
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2)) * gate
        query = self._split(self.cross_query_norm(self.cross_query(self.cross_norm(tokens))))
        key, value = self.cross_key_value(text).chunk(2, dim=-1)
        read = functional.scaled_dot_product_attention(query, self._split(self.cross_key_norm(key)), self._split(value))
        tokens = tokens + self.cross_out(read.transpose(1, 2).flatten(2))
        fed = self.down(functional.gelu(self.up(modulate(tokens, late_shift, late_scale)), approximate="tanh"))
        return tokens + fed * late_gate


class Expert(nn.Module):
    """The whole transformer: patches, text and time in, blocks, patches out."""

    def __init__(self, form: Dit, place: Place) -> None:
        super().__init__()
        dim, where = form.dim, place.where
        self.form = form
        self.patches_in = nn.Linear(form.patch_cells, dim, **where)
        self.text = nn.Sequential(nn.Linear(form.text_dim, dim, **where), nn.GELU(approximate="tanh"), nn.Linear(dim, dim, **where))
        self.time = nn.Sequential(nn.Linear(form.frequencies, dim, **where), nn.SiLU(), nn.Linear(dim, dim, **where))
        self.time_out = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim, **where))
        self.blocks = nn.ModuleList(Block(form, place) for _ in range(form.layers))
        self.modulation = nn.Parameter(torch.empty(2, dim, **where))
        self.patches_out = nn.Linear(dim, form.patch_cells, **where)

    def forward(self, latent: torch.Tensor, step: torch.Tensor, text: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Latent (1, channels, T, h, w), step (1,), text (1, C, E): the latent's direction, of its own shape."""
        _, channels, frames, rows, columns = latent.shape
        cut = latent.unflatten(3, (rows // 2, 2)).unflatten(5, (columns // 2, 2))
        tokens = self.patches_in(cut.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3))
        half = self.form.frequencies // 2
        waves = step.float()[:, None] * torch.pow(10000.0, -torch.arange(half, device=latent.device, dtype=torch.float32) / half)
        time = self.time(torch.cat((waves.cos(), waves.sin()), dim=1).to(latent.dtype))
        known = self.text(text)
        modulation = self.time_out(time).unflatten(1, (6, -1))[0]
        for block in self.blocks:
            tokens = block(tokens, modulation, known, angles)
        shift, scale = (self.modulation + time).unbind(0)
        out = self.patches_out(modulate(tokens, shift, scale))
        patched = out.reshape(1, frames, rows // 2, columns // 2, channels, 2, 2)
        return patched.permute(0, 4, 1, 2, 5, 3, 6).reshape(latent.shape)
