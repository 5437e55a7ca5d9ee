"""The circuit breaker as a state machine.  Pure: time and chance are arguments.

closed      calls go through and are counted; too many failures in a row, or too large a share of them, open it
open        nothing goes through for a while, longer each time, by some chance
half open   one call at a time goes through as a probe: its success closes the breaker, its failure opens it for longer

The pattern is that of M. Nygard, Release It! (2nd edition, 2018), chapter 5.  Only what began in the present spell of a state
counts: an answer to a call from before the breaker opened says nothing about the engine as it is now.
"""

from dataclasses import dataclass, field

from taximeter.admission.breakers.model import BreakerRules, State

PIECES = 10
"""Of the window: what is older than it leaves in so many steps."""
PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call the engine once.

    Attributes:
        spell: in which it was given.
        probe: the call decides about a half-open breaker.
    """

    spell: int
    probe: bool = False


@dataclass(slots=True)
class Breaker:
    """One engine with one version of a model, as one process sees it.

    Attributes:
        state: as of the last call of a method.
        since_ms: since when.
        failures: in a row.
        openings: since it was closed.
        spell: counts changes of state and probes; what belongs to an earlier one is not heard.
        reason: of the last failure.
    """

    rules: BreakerRules
    state: State = "closed"
    since_ms: int = 0
    failures: int = 0
    openings: int = 0
    spell: int = 0
    reason: str | None = None
    _until_ms: int = 0
    _probe_until_ms: int | None = None
    _pieces: list[tuple[int, int, int]] = field(default_factory=list)

    def look(self, now_ms: int) -> State:
        """The state now: an open breaker is half open when its time is over."""
        if self.state == "open" and now_ms >= self._until_ms:
            self._become("half_open", now_ms)
        return self.state

    def admit(self, now_ms: int, probe_ms: int) -> Permit | None:
        """Leave for one call, or None.  A probe that has not ended after ``probe_ms`` counts as lost, and the next one may go."""
        if self.state == "closed":
            return Permit(self.spell)
        if self.look(now_ms) == "open" or not self._is_free(now_ms):
            return None
        self.spell += 1
        self._probe_until_ms = now_ms + probe_ms
        return Permit(self.spell, probe=True)

    def lets(self, permit: Permit) -> bool:
        """Whether a permit still lets its call go out: not when the breaker has opened since."""
        return permit.spell == self.spell or self.state == "closed"

    def closed_to(self, now_ms: int) -> bool:
        """Whether ``admit`` would give nothing now."""
        state = self.look(now_ms)
        return state == "open" or (state == "half_open" and not self._is_free(now_ms))

    def wait_ms(self, now_ms: int) -> int:
        """How long until somebody may go through, as far as that is known: a probe may end at any moment."""
        return max(0, self._until_ms - now_ms) if self.look(now_ms) == "open" else 0

    def succeeded(self, permit: Permit, now_ms: int) -> None:
        """The engine did what it was asked."""
        if not self._is_heard(permit):
            return
        if permit.probe:
            self._close(now_ms)
            return
        self.failures = 0
        self.reason = None
        if self.rules.failure_percent:
            self._count(now_ms, 0)

    def failed(self, permit: Permit, now_ms: int, reason: str, chance_permille: int) -> None:
        """The engine failed.

        Args:
            permit: with which it was called.
            now_ms: on the process's clock.
            reason: the code of the failure.
            chance_permille: 0 to 1000: how much of the jitter is added if this opens the breaker.
        """
        if not self._is_heard(permit):
            return
        self.failures += 1
        self.reason = reason
        if permit.probe or self._is_too_much(now_ms):
            self._open(now_ms, chance_permille)

    def given_back(self, permit: Permit) -> None:
        """The call ended without a word about the engine: its caller left, or was refused for another reason."""
        if permit.probe and self._is_heard(permit):
            self._probe_until_ms = None

    def reset(self, now_ms: int) -> None:
        """Close it, whatever was."""
        if self.state == "closed":
            self.spell += 1
        self._close(now_ms)

    def _is_heard(self, permit: Permit) -> bool:
        return permit.spell == self.spell

    def _is_free(self, now_ms: int) -> bool:
        return self._probe_until_ms is None or now_ms >= self._probe_until_ms

    def _is_too_much(self, now_ms: int) -> bool:
        rules = self.rules
        if rules.failures and self.failures >= rules.failures:
            return True
        if not rules.failure_percent:
            return False
        self._count(now_ms, 1)
        calls = sum(piece[1] for piece in self._pieces)
        failed = sum(piece[2] for piece in self._pieces)
        return calls >= rules.calls_min and failed * 100 >= rules.failure_percent * calls

    def _count(self, now_ms: int, failed: int) -> None:
        """Note the end of a call in the window."""
        width = max(1, self.rules.window_ms // PIECES)
        number = now_ms // width
        if self._pieces and self._pieces[-1][0] == number:
            _, calls, failures = self._pieces[-1]
            self._pieces[-1] = (number, calls + 1, failures + failed)
            return
        self._pieces = [piece for piece in self._pieces if piece[0] > number - PIECES]
        self._pieces.append((number, 1, failed))

    def _open(self, now_ms: int, chance_permille: int) -> None:
        rules = self.rules
        # Shifts of no more than what any cap needs: the number of openings has no end.
        length_ms = min(rules.open_ms << min(self.openings, 40), rules.open_max_ms)
        length_ms += length_ms * rules.jitter_percent * chance_permille // (100 * PERMILLE)
        self.openings += 1
        self._become("open", now_ms)
        self._until_ms = now_ms + length_ms

    def _close(self, now_ms: int) -> None:
        self.failures = self.openings = 0
        self.reason = None
        if self.state != "closed":
            self._become("closed", now_ms)
        self._pieces = []

    def _become(self, state: State, now_ms: int) -> None:
        # The time at which an open breaker turns half open is known, whenever somebody looks.
        self.since_ms = self._until_ms if state == "half_open" else now_ms
        self.state = state
        self.spell += 1
        self._probe_until_ms = None
        self._pieces = []
