"""Processes of a benchmark: started, awaited, stopped, and how much CPU they used."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "out"
STOP_PATIENCE_S = 30.0
START_PATIENCE_S = 180.0
HTTP_TIMEOUT_S = 30.0
POLL_S = 0.02
_FROM_MAKE = frozenset({"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"})


def listen() -> socket.socket:
    """A bound loopback socket on a free port, for a child to listen on."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    with listen() as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def child(
    name: str, command: Sequence[str], *, environ: Mapping[str, str] | None = None, fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python child in a session of its own, for the duration of the block; what it prints goes to ``bench/out/NAME.log``."""
    OUT.mkdir(exist_ok=True)
    with (OUT / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**_clean_environ(), **(environ or {})},
            pass_fds=tuple(fds),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def _clean_environ() -> dict[str, str]:
    """Ours without settings of somebody's own server, and without what `make bench ARGS=...` hands on to a `make run`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TAXIMETER_") and name not in _FROM_MAKE}


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the child and what it started in its session, then, if need be, SIGKILL."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """One of our own servers on a listening socket that it is handed, for the duration of the block: its port and its process id."""
    with ExitStack() as stack:
        with listen() as listener:
            port: int = listener.getsockname()[1]
            command = python(f"bench.{module}", "--fd", str(listener.fileno()), *arguments)
            process = stack.enter_context(child(module, command, fds=[listener.fileno()]))
        await_port(module, process, port)
        yield port, process.pid


def await_port(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until somebody listens.  Raises RuntimeError when the child ends before."""
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            _still_starting(name, process, deadline)
        time.sleep(POLL_S)


def await_ready(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until ``GET /readyz`` is 200.  Raises RuntimeError when the child ends before."""
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            if call(port, "GET", "/readyz")[0] == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        _still_starting(name, process, deadline)
        time.sleep(POLL_S)


def _still_starting(name: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        printed = (OUT / f"{name}.log").read_text(errors="replace").strip().splitlines()
        message = f"{name} did not start: {printed[-1] if printed else 'it printed nothing'}"
        raise RuntimeError(message)


def call(port: int, method: str, path: str, *, key: str = "", body: object = None) -> tuple[int, bytes]:
    """One HTTP request to loopback: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_S)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), {**headers, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def call_json(port: int, method: str, path: str, *, key: str = "", body: object = None) -> Any:  # noqa: ANN401 - JSON
    """One request whose answer is JSON.  Raises RuntimeError unless it succeeded."""
    status, answer = call(port, method, path, key=key, body=body)
    if status >= http.client.BAD_REQUEST:
        message = f"{method} {path} answered {status}: {answer.decode(errors='replace')[:300]}"
        raise RuntimeError(message)
    return json.loads(answer)


def cpu_s(pids: Sequence[int]) -> float | None:
    """CPU seconds that these processes have used so far; None where the system does not tell (no /proc)."""
    if not Path("/proc/self/stat").exists():
        return None
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def children_of(pid: int) -> list[int]:
    """The process itself and its living children; just itself where there is no /proc."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def resident_bytes(pid: int) -> int | None:
    """The memory of a process that is in RAM, what it shares with others included; None when there is no such process."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except FileNotFoundError:
        return None if Path("/proc/self/statm").exists() else _resident_by_ps(pid)
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _resident_by_ps(pid: int) -> int | None:
    printed = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607 - a number
    return int(printed) * 1024 if printed else None
