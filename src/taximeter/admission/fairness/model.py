"""Classes of the queue, and where a request stands in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

CLASSES: Mapping[str, int] = MappingProxyType({"priority": 0, "standard": 1, "flex": 2, "batch": 3})
"""The class of each service tier; the lowest goes first."""
PATIENT = frozenset({"flex", "batch"})
"""Tiers of work that may wait: for these a deadline counts, because those who are in a hurry pay for it."""
NOTE = 32
"""The kind of the note that follows an applied hold: its place, and its expected wait in milliseconds."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands.

    Attributes:
        position: 1: it is next; 0: it does not wait.
        wait_ms: how long it can expect to wait; None: nothing is known of the pool's pace yet, or it waits for the calm.
        calm_until: it waits until the engine's price has no surge, and from this moment on no longer for that; None: it does not.
    """

    position: int
    wait_ms: int | None
    calm_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFigures:
    """How things stand in one pool, for the metrics page.

    Attributes:
        oldest_s: for how long the one who has waited longest has waited.
        utok_per_s: what one of its slots gets done, by its latest requests; None: nothing is known yet.
    """

    name: str
    slots: int | None
    running: int
    waiting: int
    oldest_s: float
    utok_per_s: int | None
