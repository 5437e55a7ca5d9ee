"""Time as an argument.  Code takes a Clock; the ledger uses the database's clock alone."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for labels, monotonic time for durations."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back."""
        return time.monotonic()


@dataclass
class ManualClock:
    """A clock that tests move by hand."""

    unix_ms: int = 1_760_000_000_000
    elapsed_s: float = 0.0

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self.unix_ms

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps back."""
        return self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.unix_ms += int(seconds * 1000)
        self.elapsed_s += seconds


def utc_from_ms(unix_ms: int) -> datetime:
    """Unix milliseconds as an aware UTC datetime."""
    return datetime.fromtimestamp(unix_ms / 1000, tz=UTC)
