"""Children that are kept alive: started again when they die, given up on when that does not help."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from taximeter.cli.supervisor.child import Child, ChildSpec, Report
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError

DEATHS_MAX = 5
DEATHS_WINDOW_S = 30.0
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
# sysexits.h EX_CONFIG: the child has said what is wrong, and trying again changes nothing.
EXIT_CONFIG = 78


class DeathCount:
    """Decides how long to wait before the next start, and when to give up: pure but for the clock handed in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deaths_s: deque[float] = deque()

    def backoff_s(self) -> float | None:
        """Count a death; seconds to wait before starting again, None to give up."""
        now_s = self._clock.monotonic_s()
        self._deaths_s.append(now_s)
        while now_s - self._deaths_s[0] > DEATHS_WINDOW_S:
            self._deaths_s.popleft()
        if len(self._deaths_s) >= DEATHS_MAX:
            return None
        return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 4.0 ** (len(self._deaths_s) - 1))


class Family:
    """The children of one supervisor.

    Args:
        report: called with a child's name and one line of its output.
        clock: measures how often a child dies.
        changed: called whenever a child was started, so that others can be told its process id.
    """

    def __init__(self, report: Report, clock: Clock, changed: Callable[[], None] = lambda: None) -> None:
        self.report = report
        self.changed = changed
        self.clock = clock
        self._members: dict[str, _Member] = {}
        self._failure: asyncio.Future[SetupError] = asyncio.get_running_loop().create_future()

    def add(self, spec: ChildSpec) -> None:
        """Start a child and keep it alive."""
        assert spec.name not in self._members
        self._members[spec.name] = _Member(spec, self)

    def pids(self) -> dict[str, int]:
        """The process ids of the children that are running now."""
        return {name: member.child.pid for name, member in self._members.items() if member.child is not None}

    async def failure(self) -> SetupError:
        """Waits until a child is given up on; what to tell the user."""
        return await asyncio.shield(self._failure)

    async def stop(self, names: Iterable[str], grace_s: float, hurry: asyncio.Event) -> None:
        """Stop these children together: SIGTERM, then SIGKILL after the grace or as soon as ``hurry`` is set."""
        members = [self._members.pop(name) for name in list(names) if name in self._members]
        await asyncio.gather(*(member.stop(grace_s, hurry) for member in members))

    def names(self, prefix: str = "") -> list[str]:
        """The children that have been added and not stopped."""
        return [name for name in self._members if name.startswith(prefix)]

    def give_up(self, message: str) -> None:
        """A child cannot be kept alive; the first reason counts."""
        if not self._failure.done():
            self._failure.set_result(SetupError(message))


class _Member:
    """One child, through all its lives."""

    def __init__(self, spec: ChildSpec, family: Family) -> None:
        self._spec = spec
        self._family = family
        self._deaths = DeathCount(family.clock)
        self._stopping = asyncio.Event()
        self.child: Child | None = None
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """End the child for good."""
        self._stopping.set()
        if self.child is not None:
            self.child.ask_to_stop()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({self._keeper, hurried}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not self._keeper.done():
            if self.child is not None:
                self.child.kill()
            await self._keeper

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                self.child = await Child.start(self._spec, self._family.report)
            except OSError as error:
                self._family.give_up(f"{self._spec.name} cannot be started ({error.strerror})")
                return
            self._family.changed()
            if self._stopping.is_set():
                self.child.ask_to_stop()
            code = await self.child.wait()
            self.child = None
            if self._stopping.is_set():
                return
            pause_s = self._deaths.backoff_s()
            if code == EXIT_CONFIG or pause_s is None:
                why = "refuses to start" if code == EXIT_CONFIG else f"died {DEATHS_MAX} times in {DEATHS_WINDOW_S:.0f} s"
                self._family.give_up(f"{self._spec.name} {why}; its last lines above say why")
                return
            self._family.report(self._spec.name, f"ended ({_describe(code)}); starting it again")
            await _pause(self._stopping, pause_s)


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
