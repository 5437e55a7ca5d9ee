"""A text encoder of our own: attention with relative positions in buckets, gated feed-forward."""

import math

import torch
from torch import nn
from torch.nn import functional

from bench.gpu.forms import Encoder
from bench.gpu.place import Place

BUCKETS = 32
DISTANCE_MAX = 128


def buckets(positions: int, device: torch.device) -> torch.Tensor:
    """Bucket of the distance between each two positions: exact when near, logarithmic when far, apart for before and after."""
    places = torch.arange(positions, device=device)
    distance = places[None, :] - places[:, None]
    half, exact = BUCKETS // 2, BUCKETS // 4
    far = exact + (torch.log(distance.abs().clamp(min=1).float() / exact) / math.log(DISTANCE_MAX / exact) * (half - exact)).long()
    near = torch.where(distance.abs() < exact, distance.abs(), far.clamp(max=half - 1))
    return near + (distance > 0).long() * half


class Layer(nn.Module):
    """One layer."""

    def __init__(self, form: Encoder, place: Place) -> None:
        super().__init__()
        dim, where = form.dim, place.where
        self.heads = form.heads
        self.norm, self.late_norm = (nn.RMSNorm(dim, eps=1e-6, **where) for _ in range(2))
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False, **where)
        self.out = nn.Linear(dim, dim, bias=False, **where)
        self.bias = nn.Embedding(BUCKETS, form.heads, **where)
        self.gate, self.up = (nn.Linear(dim, form.ffn, bias=False, **where) for _ in range(2))
        self.down = nn.Linear(form.ffn, dim, bias=False, **where)

    def forward(self, texts: torch.Tensor, bucket: torch.Tensor) -> torch.Tensor:
        """Texts (B, C, E)."""
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.query_key_value(self.norm(texts)).chunk(3, dim=-1))
        bias = self.bias(bucket).permute(2, 0, 1).unsqueeze(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        texts = texts + self.out(mixed.transpose(1, 2).flatten(2))
        inner = self.late_norm(texts)
        return texts + self.down(functional.gelu(self.gate(inner), approximate="tanh") * self.up(inner))


class TextEncoder(nn.Module):
    """All layers, over texts that are already vectors: looking up words costs next to nothing."""

    def __init__(self, form: Encoder, place: Place) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(form, place) for _ in range(form.layers))
        self.norm = nn.RMSNorm(form.dim, eps=1e-6, device=place.device, dtype=place.dtype)
        self.bucket = buckets(form.positions, place.device)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        """Texts (B, C, E)."""
        for layer in self.layers:
            texts = layer(texts, self.bucket)
        return self.norm(texts)
