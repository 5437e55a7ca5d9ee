"""Decoder layers with grouped heads, for speech and for language: whole sequences, and one position at a time."""

import torch
from torch import nn
from torch.nn import functional

from bench.gpu import forms
from bench.gpu.dit import rotate
from bench.gpu.place import Place

Angles = tuple[torch.Tensor, torch.Tensor]
Cache = tuple[torch.Tensor, torch.Tensor]


def angles(form: forms.Stack, positions: int, place: Place) -> Angles:
    """Cosines and sines of so many positions."""
    half = form.head_dim // 2
    waves = torch.pow(10000.0, -torch.arange(half, device=place.device, dtype=torch.float32) / half)
    turned = torch.arange(positions, device=place.device, dtype=torch.float32)[:, None] * waves
    return turned.cos(), turned.sin()


class Layer(nn.Module):
    """One layer."""

    def __init__(self, form: forms.Stack, place: Place) -> None:
        super().__init__()
        where = place.where
        self.form = form
        self.norm, self.late_norm = (nn.RMSNorm(form.dim, eps=1e-6, **where) for _ in range(2))
        self.query = nn.Linear(form.dim, form.heads * form.head_dim, bias=False, **where)
        self.key, self.value = (nn.Linear(form.dim, form.kv_heads * form.head_dim, bias=False, **where) for _ in range(2))
        self.out = nn.Linear(form.heads * form.head_dim, form.dim, bias=False, **where)
        self.gate, self.up = (nn.Linear(form.dim, form.ffn, bias=False, **where) for _ in range(2))
        self.down = nn.Linear(form.ffn, form.dim, bias=False, **where)

    def project(self, tokens: torch.Tensor, turns: Angles) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query, key and value of tokens (B, L, D), heads apart, the first two turned by their positions."""
        inner = self.norm(tokens)
        query, key, value = (part(inner).unflatten(-1, (-1, self.form.head_dim)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return rotate(query, *turns), rotate(key, *turns), value

    def finish(self, tokens: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """What attention found, then the feed-forward."""
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        inner = self.late_norm(tokens)
        return tokens + self.down(functional.silu(self.gate(inner)) * self.up(inner))


class Layers(nn.Module):
    """All layers and the last norm."""

    def __init__(self, form: forms.Stack, place: Place) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(form, place) for _ in range(form.layers))
        self.norm = nn.RMSNorm(form.dim, eps=1e-6, device=place.device, dtype=place.dtype)

    def whole(self, tokens: torch.Tensor, turns: Angles, *, causal: bool, caches: list[Cache] | None = None) -> torch.Tensor:
        """Tokens (B, L, D) at once; their keys and values go to the front of the caches."""
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            query, key, value = layer.project(tokens, turns)
            if caches is not None:
                for kept, new in zip(caches[number], (key, value), strict=True):
                    kept[:, :, : new.shape[2]] = new
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=True)
            tokens = layer.finish(tokens, mixed)
        return self.norm(tokens)

    def last(self, tokens: torch.Tensor, turns: Angles, caches: list[Cache]) -> torch.Tensor:
        """One position (B, 1, D) that takes the last place of full caches."""
        for layer, (keys, values) in zip(self.layers, caches, strict=True):
            assert isinstance(layer, Layer)
            query, key, value = layer.project(tokens, turns)
            keys[:, :, -1:] = key
            values[:, :, -1:] = value
            tokens = layer.finish(tokens, functional.scaled_dot_product_attention(query, keys, values, enable_gqa=True))
        return self.norm(tokens)

    def step(self, tokens: torch.Tensor, turns: Angles, caches: list[Cache], position: torch.Tensor) -> torch.Tensor:
        """One position (B, 1, D) anywhere in caches that keep all their slots; those to come are masked out."""
        here = (turns[0].index_select(0, position), turns[1].index_select(0, position))
        mask = (torch.arange(turns[0].shape[0], device=tokens.device) <= position).view(1, 1, 1, -1)
        for layer, (keys, values) in zip(self.layers, caches, strict=True):
            assert isinstance(layer, Layer)
            query, key, value = layer.project(tokens, here)
            keys.index_copy_(2, position, key)
            values.index_copy_(2, position, value)
            tokens = layer.finish(tokens, functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=True))
        return self.norm(tokens)


def caches(form: forms.Stack, batch: int, positions: int, place: Place) -> list[Cache]:
    """Keys and values of so many positions for each layer, filled with random numbers."""
    shape = (batch, form.kv_heads, positions, form.head_dim)
    return [(place.normal(*shape), place.normal(*shape)) for _ in range(form.layers)]
