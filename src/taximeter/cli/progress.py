"""How far a long command is: a line on standard error."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from taximeter.kernel.clock import Clock

LINE_EVERY_S = 0.5


@dataclass
class Progress:
    """A line on standard error: rows, per cent, and how long it will take yet.  In a terminal it is written over."""

    command: str
    clock: Clock
    noun: str = "rows"
    say: Callable[[str], None] = lambda line: print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    began_s: float = field(init=False)
    told_s: float = field(init=False)

    def __post_init__(self) -> None:
        """The clock starts."""
        self.began_s = self.told_s = self.clock.monotonic_s()

    def tell(self, rows: int, of: int) -> None:
        """At most twice a second, and at the end."""
        now_s = self.clock.monotonic_s()
        if rows < of and now_s - self.told_s < LINE_EVERY_S:
            return
        self.told_s = now_s
        took_s = now_s - self.began_s
        left_s = took_s * (of - rows) / rows if rows else 0.0
        self.say(f"{self.command}: {rows:,} of {of:,} {self.noun}, {100 * rows // max(of, 1)} %, {took_s:.0f} s, {left_s:.0f} s to go ")
