"""A GPU as a rate card sees it: operations and bytes to seconds, and seconds to Tokens.  Exact fractions throughout."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Status = Literal["published", "unmeasured", "calibrated"]
STATUSES: tuple[Status, ...] = ("published", "unmeasured", "calibrated")
REFERENCE = "H100"
"""The GPU that Tokens are seconds of."""
SECONDS_PER_TOKEN = Fraction(1, 4)
TERA = 10**12
GIGA = 10**9


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """What an hour costs: ``date`` is the day of the price, as 2026-01-31."""

    per_hour: Fraction
    currency: str
    date: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """A published run: a film on one GPU."""

    model: str
    size: str
    frames: int
    steps: int
    seconds: Fraction


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: what people type.
        title: maker, model and memory.
        status: ``published`` rates come from others' timings, ``calibrated`` ones from our own runs; ``unmeasured`` ones are
            another's, or the peak.
        linear_flop_s: operations a second in matrix products.
        attention_flop_s: operations a second in attention.
        peak_flop_s: the data sheet's figure, dense, 16 bits.
        memory_bytes: of one GPU.
        bandwidth_bytes_s: of its memory.
        price: None when no price could be relied on.
        timings: what the rates were solved from.
        sources: where each figure is from.
        notes: what to know before believing it.
        rates_of: the GPU whose rates it borrows, which has the same arithmetic units; empty: they are its own, or its peak.
    """

    name: str
    title: str
    status: Status
    linear_flop_s: Fraction
    attention_flop_s: Fraction
    peak_flop_s: Fraction
    memory_bytes: int
    bandwidth_bytes_s: int
    price: GpuPrice | None
    timings: tuple[Timing, ...]
    sources: tuple[str, ...]
    notes: str
    rates_of: str = ""

    def seconds(self, linear_flop: int, attention_flop: int, bytes_moved: int) -> Fraction:
        """How long it takes: what is slower, computing or moving."""
        computing = linear_flop / self.linear_flop_s + attention_flop / self.attention_flop_s
        return max(computing, Fraction(bytes_moved, self.bandwidth_bytes_s))


def tokens_per_second(price: GpuPrice, reference: GpuPrice) -> Fraction:
    """Tokens for a second of a GPU: 4 on the reference GPU, on another as many times that as it costs more an hour."""
    assert price.currency == reference.currency, "prices are compared in one currency"
    return price.per_hour / reference.per_hour / SECONDS_PER_TOKEN
