"""A language model of our own: a prompt at once, or one token for each member of a batch against full caches."""

import torch
from torch import nn

from bench.gpu import forms
from bench.gpu.place import Place
from bench.gpu.stack import Layers, angles, caches


class Reader(nn.Module):
    """Embeddings, layers and the head over the vocabulary."""

    def __init__(self, form: forms.Language, place: Place) -> None:
        super().__init__()
        self.form, self.place = form, place
        self.words = nn.Embedding(form.vocabulary, form.stack.dim, device=place.device, dtype=place.dtype)
        self.layers = Layers(form.stack, place)
        self.head = nn.Linear(form.stack.dim, form.vocabulary, bias=False, device=place.device, dtype=place.dtype)

    def _tokens(self, batch: int, positions: int) -> torch.Tensor:
        return torch.randint(self.form.vocabulary, (batch, positions), device=self.place.device)


class Prefill(nn.Module):
    """Read a prompt of so many tokens and fill the caches."""

    def __init__(self, reader: Reader, positions: int) -> None:
        super().__init__()
        self.reader = reader
        self.tokens = reader._tokens(1, positions)  # noqa: SLF001 - its own kind
        self.turns = angles(reader.form.stack, positions, reader.place)
        self.caches = caches(reader.form.stack, 1, positions, reader.place)

    def forward(self) -> torch.Tensor:
        """Scores of the next token."""
        seen = self.reader.layers.whole(self.reader.words(self.tokens), self.turns, causal=True, caches=self.caches)
        return self.reader.head(seen[:, -1])


class Decode(nn.Module):
    """One more token for each member of a batch, each at the end of its context."""

    def __init__(self, reader: Reader, batch: int, context: int) -> None:
        super().__init__()
        self.reader = reader
        self.tokens = reader._tokens(batch, 1)  # noqa: SLF001 - its own kind
        cosines, sines = angles(reader.form.stack, context, reader.place)
        self.turns = (cosines[-1:], sines[-1:])
        self.caches = caches(reader.form.stack, batch, context, reader.place)

    def forward(self) -> torch.Tensor:
        """Scores of the next tokens."""
        seen = self.reader.layers.last(self.reader.words(self.tokens), self.turns, self.caches)
        return self.reader.head(seen[:, -1])
