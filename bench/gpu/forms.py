"""How many floating-point operations each load takes, in closed form: two for a multiply and its addition, integers throughout.

Only matrix products, attention and convolutions are counted, as torch's own counter does.  Causal attention counts its
full square there, and so it does here.
"""

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Film:
    """The size of a film in pixels and frames, and of its latent."""

    width: int
    height: int
    frames: int
    stride: int = 8

    @property
    def latent(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        return (self.frames - 1) // 4 + 1, self.height // self.stride, self.width // self.stride

    @property
    def tokens(self) -> int:
        """Tokens of the transformer: patches of two by two latent cells."""
        frames, rows, columns = self.latent
        return frames * (rows // 2) * (columns // 2)

    @property
    def founding_units(self) -> int:
        """What the founding formula counts for one step: latent cells of every frame, as if time were not compressed."""
        return (self.height // 8) * (self.width // 8) * self.frames

    @property
    def name(self) -> str:
        """``1280x720x81``."""
        return f"{self.width}x{self.height}x{self.frames}"


@dataclass(frozen=True)
class Dit:
    """A video transformer whose time embedding is computed once a pass."""

    dim: int
    heads: int
    layers: int
    ffn: int
    text_positions: int
    text_dim: int
    channels: int = 16
    frequencies: int = 256

    @property
    def patch_cells(self) -> int:
        """Numbers in a patch of one by two by two latent cells."""
        return 4 * self.channels

    def block_linear(self, tokens: int) -> int:
        """One block, without self-attention's square."""
        square, positions = self.dim * self.dim, self.text_positions
        return tokens * (12 * square + 4 * positions * self.dim + 4 * self.dim * self.ffn) + 4 * positions * square

    def block_attention(self, tokens: int) -> int:
        """Scores and values of one block's self-attention."""
        return 4 * self.dim * tokens * tokens

    def pass_linear(self, tokens: int) -> int:
        """One forward pass of the whole transformer, without self-attention's square."""
        square = self.dim * self.dim
        patches = 4 * self.patch_cells * tokens * self.dim
        text = 2 * self.text_positions * (self.text_dim * self.dim + square)
        return self.layers * self.block_linear(tokens) + patches + text + 2 * (self.frequencies * self.dim + 7 * square)

    def pass_attention(self, tokens: int) -> int:
        """Scores and values of all self-attention in one pass."""
        return self.layers * self.block_attention(tokens)


@dataclass(frozen=True)
class Vae:
    """A causal video decoder that works through its latent one frame at a time; each level doubles the sides, two of them the frames."""

    base: int
    channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    doubles_time: tuple[bool, ...] = (True, True, False)

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Channels into and out of each level, the coarsest first."""
        widths = [self.base * factor for factor in reversed(self.multipliers)]
        return ((widths[0], widths[0]), *((before // 2, width) for before, width in pairwise(widths)))

    def decode(self, film: Film) -> int:
        """The whole film."""
        frames, rows, columns = film.latent
        return sum(self._frame(rows * columns, first=number == 0) for number in range(frames))

    def _frame(self, cells: int, *, first: bool) -> int:
        """One latent frame of so many cells; the first one becomes a single frame of the film."""
        deepest = self.levels[0][0]
        total = cells * 2 * (self.channels**2 + 27 * self.channels * deepest + 4 * 27 * deepest**2 + 4 * deepest**2)
        total += 4 * deepest * cells * cells
        size = 1
        for number, (wide, width) in enumerate(self.levels):
            shortcut = wide * width if wide != width else 0
            total += 2 * cells * size * (27 * (wide * width + 5 * width**2) + shortcut)
            if number == len(self.levels) - 1:
                break
            if self.doubles_time[number] and not first:
                total += 2 * cells * size * 3 * width * 2 * width
                size *= 2
            size *= 4
            total += 2 * cells * size * 9 * width * (width // 2)
        return total + 2 * cells * size * 27 * self.base * 3


@dataclass(frozen=True)
class Encoder:
    """A text encoder with gated feed-forward and relative positions."""

    dim: int
    heads: int
    layers: int
    ffn: int
    positions: int

    def encode(self, texts: int) -> int:
        """So many texts, each padded to all positions."""
        row = 8 * self.dim**2 + 6 * self.dim * self.ffn + 4 * self.positions * self.dim
        return texts * self.layers * self.positions * row


@dataclass(frozen=True)
class Stack:
    """Decoder layers with grouped key and value heads and gated feed-forward."""

    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    layers: int

    @property
    def weights(self) -> int:
        """Weights of one layer that are multiplied with every position."""
        return 2 * self.dim * self.head_dim * (self.heads + self.kv_heads) + 3 * self.dim * self.ffn

    @property
    def kv_numbers(self) -> int:
        """Numbers that the cache keeps for one position, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def work(self, positions: int, keys: int) -> int:
        """So many positions, each of which looks at so many keys."""
        return self.layers * positions * (2 * self.weights + 4 * self.heads * self.head_dim * keys)


@dataclass(frozen=True)
class Speech:
    """A speech model that decodes patch by patch: two language models, an encoder of patches, and a solver over a small transformer."""

    stack: Stack
    residual_layers: int
    encoder_layers: int
    solver_layers: int
    patch: int
    features: int = 64
    latent: int = 256
    slots: int = 4096

    def part(self, layers: int) -> Stack:
        """The same layers, so many of them."""
        one = self.stack
        return Stack(one.dim, one.heads, one.kv_heads, one.head_dim, one.ffn, layers)

    def evaluation(self) -> int:
        """One evaluation of the solver's transformer: with and without guidance, so a batch of two."""
        dim, length = self.stack.dim, 1 + 2 * self.patch
        projections = 3 * 2 * self.patch * self.features * dim
        return 2 * (self.part(self.solver_layers).work(length, length) + projections + 2 * 2 * 2 * dim**2)

    def step(self, evaluations: int) -> int:
        """One step of the decode loop, without the audio decoder."""
        dim, length = self.stack.dim, 1 + self.patch
        encoder = self.part(self.encoder_layers).work(length, length) + 2 * self.patch * self.features * dim
        models = self.stack.work(1, self.slots) + self.part(self.residual_layers).work(1, self.slots)
        projections = 2 * (4 * dim**2 + 2 * dim + 2 * dim * self.latent)
        return evaluations * self.evaluation() + encoder + models + projections

    def numbers_read(self) -> int:
        """Weights that one step reads at least once."""
        layers = self.stack.layers + self.residual_layers + self.encoder_layers + self.solver_layers
        return layers * self.stack.weights


@dataclass(frozen=True)
class Language:
    """A language model: decoder layers and a head over the vocabulary."""

    stack: Stack
    vocabulary: int

    def prefill(self, positions: int) -> int:
        """Read a prompt; only the last position goes through the head."""
        return self.stack.work(positions, positions) + 2 * self.stack.dim * self.vocabulary

    def decode(self, batch: int, context: int) -> int:
        """One token for each member of the batch."""
        return self.stack.work(batch, context) + batch * 2 * self.stack.dim * self.vocabulary


def solver_evaluations(timesteps: int) -> int:
    """Evaluations in one decode step: the first twenty-fifth of the solver's steps, at least one, is skipped."""
    return timesteps - max(1, (timesteps + 1) * 4 // 100)
