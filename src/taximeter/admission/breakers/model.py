"""What a circuit breaker is set to, and what is told of one."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When a breaker opens, and for how long.

    Attributes:
        failures: so many in a row open it; 0: however many do not.
        window_ms: of which the share of failures is taken.
        calls_min: how many calls must have ended in the window before their share says anything.
        failure_percent: so many of a hundred open it; 0: the share does not.
        open_ms: how long it stays open the first time; each failed probe doubles that.
        open_max_ms: the longest time.
        jitter_percent: at most so much is added by chance, so that processes do not probe together.
    """

    failures: int = 5
    window_ms: int = 60_000
    calls_min: int = 20
    failure_percent: int = 60
    open_ms: int = 5_000
    open_max_ms: int = 120_000
    jitter_percent: int = 20

    @property
    def off(self) -> bool:
        """Whether nothing ever opens it."""
        return self.failures == 0 and self.failure_percent == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A breaker as it is told to others.

    Attributes:
        engine: whose it is.
        model: the model's version, ``name@version``.
        state: now.
        since_ms: since when, on the clock of its process.
        failures: in a row.
        openings: how often it opened since it was closed.
        wait_ms: until it lets somebody through again; 0 when it does.
        reason: the code of the last failure; None: it was closed since, or by hand.
    """

    engine: str
    model: str
    state: State
    since_ms: int
    failures: int
    openings: int
    wait_ms: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A breaker went from one state to another.

    Attributes:
        number: counts the changes of its process.
        unix_ms: when, by the process's clock.
        reason: why; ``reset``: an operator.
    """

    number: int
    engine: str
    model: str
    before: State
    state: State
    reason: str | None
    failures: int
    unix_ms: int

    def to_json(self) -> dict[str, Any]:
        """As it is published."""
        return {
            "number": self.number,
            "engine": self.engine,
            "model": self.model,
            "from": self.before,
            "to": self.state,
            "reason": self.reason,
            "failures": self.failures,
            "at_ms": self.unix_ms,
        }
