"""An event loop without time and without threads: a seed decides who runs next and how long everything takes.

Each handle belongs to the process in whose context it was made.  A process dies between any two of its handles, which is
between any two awaits: nothing of it runs on, not even a ``finally``.
"""

import asyncio
import contextvars
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)
BURIAL_ROUNDS = 30


class Death(BaseException):
    """The process died within a step: while it was writing to its disk."""


class Stalled(AssertionError):
    """Nothing will ever happen again, and somebody still waits."""


@dataclass(eq=False)
class Process:
    """Everything that dies together."""

    name: str
    alive: bool = True
    steps: int = 0
    dies_at_step: int | None = None
    dies_at_write: int | None = None
    writes: int = 0
    stash: list[asyncio.Handle] = field(default_factory=list)
    tasks: list["SimTask"] = field(default_factory=list)


class SimTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(
        self, work: Coroutine[Any, Any, Any], *, loop: "SimLoop", name: str | None = None, context: contextvars.Context | None = None
    ) -> None:
        loop.made += 1
        self.serial = loop.made
        super().__init__(work, loop=loop, name=name, context=context)
        process = context.get(PROCESS) if context is not None else PROCESS.get()
        (loop.tasks if process is None else process.tasks).append(self)

    def __hash__(self) -> int:
        return self.serial

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Virtual seconds; the ready queue in an order that the seed gives."""

    def __init__(self, rng: random.Random, on_death: Callable[[Process], None]) -> None:
        super().__init__()
        self.rng = rng
        self.made = 0
        self.handles = 0
        self.tasks: list[SimTask] = []
        self.problems: list[str] = []
        self.burying = False
        self._now_s = 0.0
        self._on_death = on_death
        self.set_task_factory(make_task)  # type: ignore[arg-type]
        self.set_exception_handler(_note)

    def time(self) -> float:
        return self._now_s

    def _process_events(self, event_list: list[Any]) -> None:
        del event_list

    def _write_to_self(self) -> None:
        return

    def _run_once(self) -> None:
        handle = self._next()
        if handle is None:
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None and not self.burying:
            process.steps += 1
            if process.alive and process.steps == process.dies_at_step:
                self._on_death(process)
            if not process.alive:
                process.stash.append(handle)
                return
        self.handles += 1
        handle._run()

    def _next(self) -> asyncio.Handle | None:
        ready = self._ready  # type: ignore[attr-defined]
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while not ready:
            if not scheduled:
                raise Stalled
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._now_s = max(self._now_s, timer._when)
                ready.append(timer)
        index = self.rng.randrange(len(ready)) if len(ready) > 1 else 0
        if index and not _is_step(ready[index]):
            # Tasks may be woken in any order; callbacks are promised theirs.
            index = next(place for place, handle in enumerate(ready) if not _is_step(handle))
        handle: asyncio.Handle = ready[index]
        del ready[index]
        return None if handle._cancelled else handle

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        """A thread's work happens at one moment, and its caller hears of it at a later one."""
        del executor
        future = self.create_future()

        def work() -> None:
            try:
                result, error = func(*args), None
            except Death:
                return
            except Exception as failure:  # noqa: BLE001 - handed on to whoever waits
                result, error = None, failure
            self.call_soon(tell, result, error)

        def tell(result: Any, error: Exception | None) -> None:  # noqa: ANN401
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.call_later(self.rng.random() * 0.01, work)
        return future

    def spawn(self, process: Process | None, work: Coroutine[Any, Any, Any]) -> SimTask:
        """Start something as part of a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        return SimTask(work, loop=self, context=context)

    def bury(self, processes: list[Process]) -> None:
        """Let go of everything that still waits, when its world has ended; what it does then counts no more."""
        self.burying = True
        self.problems = []
        for process in processes:
            self._ready.extend(process.stash)  # type: ignore[attr-defined]
        groups = [self.tasks, *(process.tasks for process in processes)]
        asyncio._set_running_loop(self)
        try:
            for _ in range(BURIAL_ROUNDS):
                left = [task for group in groups for task in group if not task.done()]
                if not left:
                    break
                for task in left:
                    task.cancel()
                self._scheduled.clear()  # type: ignore[attr-defined]
                while self._ready:  # type: ignore[attr-defined]
                    self._step_while_buried()
        finally:
            asyncio._set_running_loop(None)
        self.close()

    def _step_while_buried(self) -> None:
        handle = self._next()
        if handle is not None:
            handle._run()


def make_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> SimTask:  # noqa: ANN401
    assert isinstance(loop, SimLoop)
    return SimTask(work, loop=loop, **options)


def _is_step(handle: asyncio.Handle) -> bool:
    callback = handle._callback  # type: ignore[attr-defined]
    return type(callback).__name__ == "TaskStepMethWrapper" or getattr(callback, "__name__", "") == "task_wakeup"


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, SimLoop)
    if not loop.burying:
        loop.problems.append(f"{context.get('message')}: {context.get('exception')!r}")
