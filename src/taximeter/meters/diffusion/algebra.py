"""A small algebra of layers: what each costs in operations, as a polynomial, and how many weights it has.

A model is a sum of layers.  Costs are polynomials in one variable: the latent tokens of a transformer, or the cells
of one latent frame of an autoencoder.  They are added up once per model; a request then takes a few multiplications.
An operation is one multiplication or one addition, so a multiply-add counts two, as in torch's FLOP counter.  That
counter sees matrix products, convolutions and attention; norms, activations and additions are not counted by it, nor here.
"""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add


@dataclass(frozen=True, slots=True)
class Poly:
    """``square x^2 + linear x + constant`` in whole numbers."""

    square: int = 0
    linear: int = 0
    constant: int = 0

    def __add__(self, other: "Poly") -> "Poly":
        """The sum."""
        return Poly(self.square + other.square, self.linear + other.linear, self.constant + other.constant)

    def __mul__(self, factor: int) -> "Poly":
        """So many times this."""
        return Poly(self.square * factor, self.linear * factor, self.constant * factor)

    def times(self, other: "Poly") -> "Poly":
        """The product; neither side may bring it above the second degree."""
        assert self.square * other.linear == self.square * other.square == self.linear * other.square == 0
        return Poly(
            self.square * other.constant + self.linear * other.linear + self.constant * other.square,
            self.linear * other.constant + self.constant * other.linear,
            self.constant * other.constant,
        )

    def at(self, value: int) -> int:
        """Its value."""
        return (self.square * value + self.linear) * value + self.constant


NOTHING = Poly()
ONE = Poly(constant=1)
X = Poly(linear=1)


def of(count: int) -> Poly:
    """A fixed number of positions."""
    return Poly(constant=count)


@dataclass(frozen=True, slots=True)
class Load:
    """What a layer, or a sum of layers, asks for.

    Attributes:
        body: operations in matrix products and convolutions, cross-attention included.
        attention: operations in the scores and values of self-attention.
        conditioning: operations that prepare what the model is told: time, guidance, text, modulation.
        weights: parameters.
    """

    body: Poly = NOTHING
    attention: Poly = NOTHING
    conditioning: Poly = NOTHING
    weights: int = 0

    def __add__(self, other: "Load") -> "Load":
        """Both, one after the other."""
        return Load(self.body + other.body, self.attention + other.attention, self.conditioning + other.conditioning, self.weights + other.weights)

    def __mul__(self, count: int) -> "Load":
        """So many layers of this kind."""
        return Load(self.body * count, self.attention * count, self.conditioning * count, self.weights * count)

    @property
    def total(self) -> Poly:
        """All operations."""
        return self.body + self.attention + self.conditioning


def stack(*loads: Load) -> Load:
    """All of them, one after the other."""
    return reduce(add, loads, Load())


def linear(positions: Poly, fan_in: int, fan_out: int, *, bias: bool = True) -> Load:
    """A matrix applied at so many positions."""
    return Load(body=positions * (2 * fan_in * fan_out), weights=fan_in * fan_out + (fan_out if bias else 0))


def mlp(positions: Poly, *widths: int, bias: bool = True) -> Load:
    """Matrices from each width to the next."""
    return stack(*(linear(positions, fan_in, fan_out, bias=bias) for fan_in, fan_out in pairwise(widths)))


def attend(queries: Poly, keys: Poly, width: int) -> Load:
    """Scores and values of attention between different things, all heads together ``width`` wide."""
    return Load(body=queries.times(keys) * (4 * width))


def attend_self(positions: Poly, width: int) -> Load:
    """Scores and values of self-attention."""
    return Load(attention=positions.times(positions) * (4 * width))


def conv(positions: Poly, fan_in: int, fan_out: int, kernel: int, *, bias: bool = True) -> Load:
    """A convolution that produces so many positions, each from ``kernel`` neighbours (27 for 3 x 3 x 3)."""
    return linear(positions, fan_in * kernel, fan_out, bias=bias)


def weights(count: int) -> Load:
    """Parameters that take no counted operation: norms, tables, embeddings that are looked up."""
    return Load(weights=count)


def conditioning(load: Load) -> Load:
    """The same, counted as conditioning."""
    return Load(conditioning=load.total, weights=load.weights)
