"""One child process: started in a session of its own, its output passed on line by line."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# What a child may print without a line end before we pass it on as it is.
LINE_BYTES_MAX = 8192
READ_BYTES = 65536

Report = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start a child.

    Attributes:
        name: stands in front of each line of its output.
        command: the ``taximeter`` command and its arguments.
        environ: its whole environment.
        inherited: file descriptors that it gets.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    inherited: tuple[int, ...] = ()


class Child:
    """A running child."""

    def __init__(self, spec: ChildSpec, process: asyncio.subprocess.Process, report: Report) -> None:
        self._process = process
        self._output = asyncio.create_task(_pass_on(spec.name, process.stdout, report))

    @classmethod
    async def start(cls, spec: ChildSpec, report: Report) -> "Child":
        """Start the process; raises OSError when the machine has no room for one."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "taximeter.cli",
            *spec.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(spec.environ),
            pass_fds=spec.inherited,
            # Ctrl-C in the terminal reaches the supervisor alone, which stops its children in order.
            start_new_session=True,
        )
        return cls(spec, process, report)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """The exit code, negative for a signal, once it has ended and all it printed was passed on."""
        code = await self._process.wait()
        # A grandchild may still hold the pipe; its words are not worth waiting for.
        await asyncio.wait({self._output}, timeout=1.0)
        self._output.cancel()
        return code

    def ask_to_stop(self) -> None:
        """SIGTERM: finish what is running and exit."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)


async def _pass_on(name: str, stream: asyncio.StreamReader | None, report: Report) -> None:
    assert stream is not None
    rest = b""
    while chunk := await stream.read(READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            report(name, line.decode(errors="replace").rstrip())
    if rest:
        report(name, rest.decode(errors="replace").rstrip())
