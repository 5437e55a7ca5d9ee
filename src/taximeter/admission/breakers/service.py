"""The circuit breakers of one process: one for each engine and version of a model that was called."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from taximeter.admission.breakers.errors import EngineCircuitOpen
from taximeter.admission.breakers.model import BreakerRules, Change, State, View
from taximeter.admission.breakers.rules import Breaker, Permit
from taximeter.kernel.clock import Clock
from taximeter.kernel.settings import Settings

CHANGES_MAX = 1_000
"""Changes that wait to be published; while the database is away, the oldest are dropped."""
AT_LEAST_S = 1
RESET = "reset"


class Call(Protocol):
    """A call to an engine that was let through; told once how it ended, and deaf after that."""

    def check(self) -> None:
        """Raises EngineCircuitOpen when the breaker has opened since."""
        ...

    def succeeded(self) -> None:
        """The engine did what it was asked."""
        ...

    def failed(self, reason: str) -> None:
        """The engine failed; ``reason`` is the code of its error."""
        ...

    def given_back(self) -> None:
        """Nothing was learned about the engine."""
        ...


class Breakers:
    """Lets calls through to engines that work.

    Args:
        rules: when they open.
        clock: of this process.
        chance: a number from 0 to 1000, another one each time.
    """

    def __init__(self, rules: BreakerRules, clock: Clock, chance: Callable[[], int]) -> None:
        self._rules = rules
        self._clock = clock
        self._chance = chance
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._told: dict[tuple[str, str], State] = {}
        self._changes: deque[Change] = deque(maxlen=CHANGES_MAX)
        self._number = 0

    def admit(self, engine: str, model: str, probe_s: float, project: UUID | None = None, *, yields: bool = True) -> Call:
        """Leave to call an engine with a version of a model (``name@version``) for a project.  Raises EngineCircuitOpen.

        A probe that has not said how it ended after ``probe_s`` counts as lost.  ``yields``: as in ``Breaker.admit``.
        """
        if self._rules.off:
            return _FREE
        breaker = self._of(engine, model)
        permit = breaker.admit(self._now_ms(), int(probe_s * 1000), project, yields=yields)
        if permit is None:
            raise self._refusal(engine, model)
        if permit.probe:
            self._note(engine, model)
        return _Call(self, engine, model, permit)

    def watched(self, engine: str, model: str, project: UUID | None = None) -> Call:
        """A call that goes out whatever the state is, and counts as long as the breaker is closed: a question about a job that a provider makes."""
        if self._rules.off:
            return _FREE
        return _Call(self, engine, model, Permit(self._of(engine, model).spell, project=project))

    def closed_to(self) -> list[tuple[str, str]]:
        """Engines and models that ``admit`` would refuse now."""
        now_ms = self._now_ms()
        return [key for key, breaker in self._breakers.items() if breaker.state != "closed" and breaker.closed_to(now_ms)]

    def reset(self, engine: str, model: str) -> None:
        """Close one by hand; one that there is not stays so."""
        breaker = self._breakers.get((engine, model))
        if breaker is not None:
            breaker.reset(self._now_ms())
            self._note(engine, model, RESET)

    def views(self) -> list[View]:
        """All of them, as they are now."""
        now_ms, unix_ms = self._now_ms(), self._clock.now_ms()
        views = []
        for (engine, model), breaker in self._breakers.items():
            breaker.look(now_ms)
            self._note(engine, model)
            views.append(
                View(
                    engine=engine,
                    model=model,
                    state=breaker.state,
                    since_ms=unix_ms - (now_ms - breaker.since_ms),
                    failures=breaker.failures,
                    openings=breaker.openings,
                    wait_ms=breaker.wait_ms(now_ms),
                    reason=breaker.reason,
                )
            )
        return views

    def changes(self) -> Sequence[Change]:
        """Changes that nobody has taken note of, the oldest first."""
        return tuple(self._changes)

    def forget(self, last: int) -> None:
        """The changes up to this number are on record."""
        while self._changes and self._changes[0].number <= last:
            self._changes.popleft()

    def settle(self, engine: str, model: str, permit: Permit, reason: str | None) -> None:
        """How a call ended: with the code of a failure, or well."""
        breaker = self._of(engine, model)
        if reason is None:
            breaker.succeeded(permit, self._now_ms())
        else:
            breaker.failed(permit, self._now_ms(), reason, self._chance())
        if breaker.state != self._told[engine, model]:
            self._note(engine, model)

    def give_back(self, engine: str, model: str, permit: Permit) -> None:
        """A call ended without a word about the engine."""
        self._of(engine, model).given_back(permit)

    def check(self, engine: str, model: str, permit: Permit) -> None:
        """Raises EngineCircuitOpen when a permit lets nothing through any more."""
        if not self._of(engine, model).lets(permit):
            raise self._refusal(engine, model)

    def _of(self, engine: str, model: str) -> Breaker:
        breaker = self._breakers.get((engine, model))
        if breaker is None:
            breaker = self._breakers[engine, model] = Breaker(self._rules, since_ms=self._now_ms())
            self._told[engine, model] = "closed"
        return breaker

    def _refusal(self, engine: str, model: str) -> EngineCircuitOpen:
        wait_s = max(AT_LEAST_S, -(-self._of(engine, model).wait_ms(self._now_ms()) // 1000))
        name = model.partition("@")[0]
        message = f"{name} has failed too often in a row and is left alone for a while; nothing was held or run, try again in {wait_s} s"
        return EngineCircuitOpen(message, headers={"retry-after": str(wait_s)})

    def _note(self, engine: str, model: str, reason: str | None = None) -> None:
        """Keep a change of state for whoever publishes it."""
        breaker, before = self._breakers[engine, model], self._told[engine, model]
        if breaker.state == before:
            return
        self._told[engine, model] = breaker.state
        self._number += 1
        self._changes.append(
            Change(
                number=self._number,
                engine=engine,
                model=model,
                before=before,
                state=breaker.state,
                reason=reason or breaker.reason,
                failures=breaker.failures,
                unix_ms=self._clock.now_ms(),
            )
        )

    def _now_ms(self) -> int:
        return int(self._clock.monotonic_s() * 1000)


class _Call:
    """See ``Call``."""

    __slots__ = ("_breakers", "_ended", "_engine", "_model", "_permit")

    def __init__(self, breakers: Breakers, engine: str, model: str, permit: Permit) -> None:
        self._breakers = breakers
        self._engine = engine
        self._model = model
        self._permit = permit
        self._ended = False

    def check(self) -> None:
        if not self._ended:
            self._breakers.check(self._engine, self._model, self._permit)

    def succeeded(self) -> None:
        if not self._ended:
            self._ended = True
            self._breakers.settle(self._engine, self._model, self._permit, None)

    def failed(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._breakers.settle(self._engine, self._model, self._permit, reason)

    def given_back(self) -> None:
        if not self._ended:
            self._ended = True
            self._breakers.give_back(self._engine, self._model, self._permit)


class _FreeCall:
    """When no breaker ever opens."""

    def check(self) -> None:
        """Always well."""

    def succeeded(self) -> None:
        """Nobody listens."""

    def failed(self, reason: str) -> None:
        """Nobody listens."""

    def given_back(self) -> None:
        """Nobody listens."""


_FREE = _FreeCall()


def rules_of(settings: Settings) -> BreakerRules:
    """What the settings say."""
    return BreakerRules(
        failures=settings.breaker_failures,
        window_ms=int(settings.breaker_window_s * 1000),
        calls_min=settings.breaker_calls_min,
        failure_percent=settings.breaker_failure_percent,
        open_ms=int(settings.breaker_open_s * 1000),
        open_max_ms=int(settings.breaker_open_max_s * 1000),
    )
