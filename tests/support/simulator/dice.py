"""What goes wrong, by the seed: every fault has a name, and is counted."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

FAULTS = (
    "lost before it was sent",
    "lost after the commit",
    "reported lost, committed later",
    "committed twice",
    "deadlock",
    "no answer in time",
    "slow answer",
    "connection refused",
    "session ended",
    "killed",
    "killed while writing",
    "power cut",
    "told to stop",
    "database down",
    "database hangs",
    "network cut",
    "disk full",
    "fsync failed",
    "object store failed",
    "engine failed",
    "engine failed in the middle",
    "engine unavailable",
    "engine hung",
    "engine gave no report",
    "engine gave nonsense",
    "client left",
    "client cut off",
    "video deleted",
    "asked again",
)


@dataclass
class Dice:
    """One schedule's luck.

    Attributes:
        storm: multiplies every chance; 0 is a calm day.
        calm: from a moment on nothing goes wrong any more, so that everything can come to its end.
    """

    rng: random.Random
    storm: float
    calm: bool = False
    hits: Counter[str] = field(default_factory=Counter)
    trace: Callable[[str], None] = lambda _line: None

    def strikes(self, fault: str, chance: float) -> bool:
        """Whether the fault happens now."""
        if self.calm or self.rng.random() >= chance * self.storm:
            return False
        self.happens(fault)
        return True

    def happens(self, fault: str) -> None:
        assert fault in FAULTS, fault
        self.hits[fault] += 1
        self.trace(f"! {fault}")

    def delay_s(self) -> float:
        """A round trip's half: mostly short, sometimes not."""
        return self.rng.random() * (0.004 if self.rng.random() < 0.9 else 0.4)
