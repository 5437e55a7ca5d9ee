"""A closed-loop HTTP/1.1 client: each connection sends, waits for the whole answer, sends again.

Raw protocols and prepared bytes, so that it costs a small part of what any server costs.
"""

import asyncio
import gc
import itertools
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

WARM_UP_S = 0.1
CONNECT_TIMEOUT_S = 5.0
ANSWERS_MIN = 10
# An answer that takes longer than this is a hang, not a slow one.
STALL_S = 20.0
WATCH_S = 0.02
# Stands for a number of as many digits: no two requests are the same, as no two questions are.
NUMBER = "@NUMBER@"
_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length:"
_HEAD_END = b"\r\n\r\n"
# Each run counts on from another hundred thousand: eight digits last for a thousand runs.
_starts = itertools.count(0, 100_000)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class LoadError(Exception):
    """A server did not answer as it must; figures of such a run mean nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send, and what.

    Attributes:
        port: on loopback.
        request: the whole request, head and body; NUMBER in it becomes another number each time.
    """

    port: int
    request: bytes

    def requests(self) -> Iterator[bytes]:
        """The request again and again."""
        head, mark, tail = self.request.partition(NUMBER.encode())
        if not mark:
            return itertools.repeat(self.request)
        return (head + b"%0*d" % (len(NUMBER), number) + tail for number in itertools.count(next(_starts)))


def post(path: str, body: bytes, key: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    """A request's bytes; ``headers`` come on top of the usual ones."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", f"content-length: {len(body)}"]
    if key:
        lines.append(f"authorization: Bearer {key}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + _HEAD_END + body


@dataclass
class Sample:
    """What one run measured.

    Attributes:
        seconds: how long was measured.
        latencies_s: one for each answer, from the first byte sent to the last received.
        answers: all answers, those of the warm-up included.
    """

    seconds: float = 0.0
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))
    answers: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """A quantile of the latency, in milliseconds."""
        ordered = sorted(self.latencies_s)
        return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) * 1000


class _Run:
    """What the connections of one run share."""

    def __init__(self) -> None:
        self.sample = Sample()
        self.measuring = False
        self.open = True
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, message: str) -> None:
        if not self.failure.done():
            self.failure.set_exception(LoadError(message))


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: _Run, requests: Iterator[bytes]) -> None:
        self._run = run
        self._requests = requests
        self._buffer = b""
        self._whole = 0
        self.idle = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Send the first request."""
        self.transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; when it is whole, send the next request."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._complete():
            return
        run = self._run
        if not self._buffer.startswith(_OK):
            run.fail(self._buffer[:600].decode(errors="replace"))
            return
        run.sample.answers += 1
        if run.measuring:
            run.sample.latencies_s.append(perf_counter() - self._sent)
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        """An end before the answer is a failure."""
        if not self.idle.done():
            self._run.fail("the server hung up in the middle of a run")
            self.idle.cancel()

    def _send(self) -> None:
        request = next(self._requests, None) if self._run.open else None
        if request is None:
            if not self.idle.done():
                self.idle.set_result(None)
            return
        self._buffer = b""
        self._whole = 0
        self._sent = perf_counter()
        self.transport.write(request)

    def _complete(self) -> bool:
        if not self._whole:
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return False
            head = self._buffer[:end].lower()
            start = head.find(_LENGTH)
            self._whole = -1 if start < 0 else end + len(_HEAD_END) + int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])
        return self._buffer.endswith(_LAST_CHUNK) if self._whole < 0 else len(self._buffer) >= self._whole

    @property
    def answer(self) -> bytes:
        """The last answer, head and body."""
        return self._buffer


async def measure(target: Target, connections: int, seconds: float) -> Sample:
    """Keep ``connections`` requests in flight for ``seconds``, after a short warm-up.

    Raises LoadError when any answer is not 200 or does not come.
    """
    run = _Run()
    callers: list[_Caller] = []
    gc.collect()
    gc.disable()
    try:
        await _connect(callers, run, target.port, target.requests(), connections)
        await _pause(run, WARM_UP_S)
        run.measuring = True
        start = perf_counter()
        await _pause(run, seconds)
        # On a machine that is busy with something else a short run may see nothing at all.
        while len(run.sample.latencies_s) < ANSWERS_MIN and perf_counter() - start < STALL_S:
            await _pause(run, WARM_UP_S)
        run.measuring = False
        run.sample.seconds = perf_counter() - start
        run.open = False
        await _finish(run, callers)
    finally:
        gc.enable()
        _hang_up(callers)
    return run.sample


async def drive(port: int, requests: Iterator[bytes], connections: int, every: int, report: Callable[[int], None]) -> int:
    """Send all of ``requests``, each once, over so many connections; returns how many were answered.

    ``report`` is called with the number of answers whenever about ``every`` more have come.  Nothing is timed.
    Raises LoadError when any answer is not 200 or does not come.
    """
    run = _Run()
    callers: list[_Caller] = []
    try:
        await _connect(callers, run, port, requests, connections)
        ending = asyncio.gather(*(caller.idle for caller in callers), return_exceptions=True)
        ends: set[asyncio.Future[Any]] = {run.failure, ending}
        mark, seen, seen_at = every, 0, perf_counter()
        while not run.failure.done() and not ending.done():
            await asyncio.wait(ends, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            answers = run.sample.answers
            if answers != seen:
                seen, seen_at = answers, perf_counter()
            elif perf_counter() - seen_at > STALL_S:
                break
            if answers >= mark:
                report(answers)
                mark = answers - answers % every + every
        _check(run, callers)
    finally:
        _hang_up(callers)
    return run.sample.answers


async def ask_once(target: Target) -> bytes:
    """One answer, head and body.  Raises LoadError unless it is a 200."""
    run = _Run()
    callers: list[_Caller] = []
    try:
        await _connect(callers, run, target.port, iter([target.request]), 1)
        await _finish(run, callers)
        return callers[0].answer
    finally:
        _hang_up(callers)


async def _connect(callers: list[_Caller], run: _Run, port: int, requests: Iterator[bytes], connections: int) -> None:
    """Add connected callers to ``callers``, which keeps those there are when one cannot connect."""
    for _ in range(connections):
        connecting = asyncio.get_running_loop().create_connection(lambda: _Caller(run, requests), "127.0.0.1", port)
        callers.append((await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S))[1])


def _hang_up(callers: list[_Caller]) -> None:
    for caller in callers:
        caller.transport.abort()


async def _finish(run: _Run, callers: list[_Caller]) -> None:
    """Wait for the answers that are still under way."""
    ends: set[asyncio.Future[Any]] = {run.failure, asyncio.gather(*(caller.idle for caller in callers), return_exceptions=True)}
    await asyncio.wait(ends, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED)
    _check(run, callers)


async def _pause(run: _Run, seconds: float) -> None:
    await asyncio.wait({run.failure}, timeout=seconds)
    if run.failure.done():
        run.failure.result()


def _check(run: _Run, callers: list[_Caller]) -> None:
    if run.failure.done():
        run.failure.result()
    if not all(caller.idle.done() for caller in callers):
        message = f"no answer for {STALL_S:.0f} s"
        raise LoadError(message)
    # Nobody will look at it any more.
    run.failure.cancel()
