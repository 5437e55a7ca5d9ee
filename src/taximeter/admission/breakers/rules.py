"""The circuit breaker as a state machine.  Pure: time and chance are arguments.

closed      calls go through and are counted; too many failures in a row, or too large a share of them, open it
open        nothing goes through for a while, longer each time, by some chance
half open   one call at a time goes through as a probe: its success closes the breaker, its failure opens it for longer

The pattern is that of M. Nygard, Release It! (2nd edition, 2018), chapter 5.  Only what began in the present spell of a state
counts: an answer to a call from before the breaker opened says nothing about the engine as it is now.

One project alone, whose requests make an engine fail, does not open it for others whose calls go well: the failures of the project
that has the most of them count only as far as the others' calls do not contradict.
"""

from dataclasses import dataclass, field
from uuid import UUID

from taximeter.admission.breakers.model import BreakerRules, State
from taximeter.admission.breakers.window import Window

PERMILLE = 1000
OTHERS_MIN = 2
"""So many failures must be of other projects than the one with the most, where a call of others went well: one may be chance."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call the engine once.

    Attributes:
        spell: in which it was given.
        probe: the call decides about a half-open breaker.
        project: whose call it is.
    """

    spell: int
    probe: bool = False
    project: UUID | None = None


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
    _window: Window = field(init=False)
    _row: dict[UUID | None, int] = field(default_factory=dict)
    _opened_by: UUID | None = None
    _others_ask: bool = False

    def __post_init__(self) -> None:
        """The rules say how long the window is."""
        self._window = Window(self.rules.window_ms)

    def look(self, now_ms: int) -> State:
        """The state now: an open breaker is half open when its time is over."""
        if self.state == "open" and now_ms >= self._until_ms:
            self._become("half_open", now_ms)
        return self.state

    def admit(self, now_ms: int, probe_ms: int, project: UUID | None = None, *, yields: bool = True) -> Permit | None:
        """Leave for one call, or None.  A probe that has not ended after ``probe_ms`` counts as lost, and the next one may go.

        With ``yields``, the project whose failure opened the breaker lets others have the next probe for a while, if they have asked.
        """
        if self.state == "closed":
            return Permit(self.spell, project=project)
        if self.look(now_ms) == "open" or not self._is_free(now_ms) or (yields and self._is_after_others(project, now_ms)):
            self._others_ask = self._others_ask or project != self._opened_by
            return None
        self.spell += 1
        self._probe_until_ms = now_ms + probe_ms
        return Permit(self.spell, probe=True, project=project)

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
        self.failures = 0
        self.reason = None
        self._row.clear()
        self._window.count(now_ms, permit.project, 0)

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
        self._row[permit.project] = self._row.get(permit.project, 0) + 1
        self._window.count(now_ms, permit.project, 1)
        if permit.probe or self._is_too_long_a_row() or self._is_too_large_a_share():
            self._opened_by, self._others_ask = permit.project, False
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

    def _is_after_others(self, project: UUID | None, now_ms: int) -> bool:
        return self._others_ask and project == self._opened_by and now_ms < self.since_ms + self.rules.open_ms

    def _is_too_long_a_row(self) -> bool:
        if not self.rules.failures or self.failures < self.rules.failures:
            return False
        worst = max(self._row, key=self._row.__getitem__)
        calls, failed = self._window.without(worst)
        return calls == failed or self.failures - self._row[worst] >= min(OTHERS_MIN, self.rules.failures)

    def _is_too_large_a_share(self) -> bool:
        window, percent = self._window, self.rules.failure_percent
        if not percent or window.calls < self.rules.calls_min or window.failed * 100 < percent * window.calls:
            return False
        calls, failed = window.without(window.worst())
        return calls == failed or (failed >= OTHERS_MIN and failed * 100 >= percent * calls)

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
        self._start_counting()

    def _become(self, state: State, now_ms: int) -> None:
        # The time at which an open breaker turns half open is known, whenever somebody looks.
        self.since_ms = self._until_ms if state == "half_open" else now_ms
        self.state = state
        self.spell += 1
        self._probe_until_ms = None
        self._start_counting()

    def _start_counting(self) -> None:
        self._row.clear()
        self._window.clear()
