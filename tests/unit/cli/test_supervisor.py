"""The supervisor's parts, with children that do what a test wants."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import taximeter
from taximeter.cli import lifeline
from taximeter.cli.supervisor import child, network
from taximeter.cli.supervisor.child import ChildSpec
from taximeter.cli.supervisor.family import BACKOFF_MAX_S, DEATHS_MAX, DEATHS_WINDOW_S, DeathCount, Family
from taximeter.cli.supervisor.state import State, read_state, remove_state, serve_lock, write_state
from taximeter.cli.table import print_table
from taximeter.kernel.clock import ManualClock
from taximeter.kernel.errors import SetupError

pytestmark = pytest.mark.anyio

WAIT_S = 20.0


class Told:
    """Collects what children print."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")

    async def wait_for(self, text: str, count: int = 1) -> None:
        async with asyncio.timeout(WAIT_S):
            while sum(text in line for line in self.lines) < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def family(told: Told) -> AsyncIterator[Family]:
    members = Family(told, ManualClock())
    yield members
    hurry = asyncio.Event()
    hurry.set()
    await members.stop(members.names(), 0, hurry)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ChildSpec]:
    """Makes children that run a piece of Python instead of a command."""

    def make(name: str, code: str) -> ChildSpec:
        package = tmp_path / name / "taximeter" / "cli"
        package.mkdir(parents=True)
        for folder in (package, package.parent):
            (folder / "__init__.py").write_text("", encoding="ascii")
        (package / "__main__.py").write_text("import os, signal, sys, time\n" + textwrap.dedent(code), encoding="utf-8")
        return ChildSpec(name, (), {"PYTHONPATH": str(tmp_path / name), "PYTHONUNBUFFERED": "1"})

    monkeypatch.chdir(tmp_path)
    return make


async def test_output_is_passed_on_line_by_line_even_without_a_line_end(spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    long = child.LINE_BYTES_MAX + 10
    code = f"""
        print("first")
        sys.stderr.write("second\\nthird")
        sys.stderr.flush()
        time.sleep(0)
        print()
        print("x" * {long})
        os.write(1, b"last \\xff")
    """
    started = await child.Child.start(spec("one", code), told)
    assert await started.wait() == 0
    assert told.lines[:3] == ["one: first", "one: second", "one: third"]
    assert sum(line.count("x") for line in told.lines) == long
    assert told.lines[-1] == "one: last \N{REPLACEMENT CHARACTER}"


async def test_a_child_that_ends_is_started_again(family: Family, spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    family.add(
        spec("short", "print('here'); time.sleep(0.1) if os.path.exists('once') else open('once', 'w').close(); signal.pause() if 0 else None")
    )
    await told.wait_for("here", 2)
    assert "short: ended (exit code 0); starting it again" in told.lines


async def test_a_child_that_dies_again_and_again_is_given_up(family: Family, spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    family.add(spec("sick", "sys.exit(3)"))
    async with asyncio.timeout(WAIT_S + 60):
        error = await family.failure()
    assert str(error).startswith(f"sick died {DEATHS_MAX} times in 30 s")
    assert told.lines == ["sick: ended (exit code 3); starting it again"] * (DEATHS_MAX - 1)


async def test_a_child_that_says_its_set_up_is_wrong_is_not_tried_again(family: Family, spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    family.add(spec("wrong", "print('taximeter: no such file'); sys.exit(78)"))
    async with asyncio.timeout(WAIT_S):
        error = await family.failure()
    assert "wrong refuses to start" in str(error)
    assert told.lines == ["wrong: taximeter: no such file"]


async def test_children_are_asked_first_and_killed_after_the_grace(family: Family, spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    family.add(spec("polite", "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(0))); print('up'); time.sleep(60)"))
    family.add(spec("stubborn", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"))
    await told.wait_for("up", 2)
    pids = family.pids()
    await family.stop(["polite", "stubborn"], 0.3, asyncio.Event())
    assert "polite: bye" in told.lines
    assert family.names() == []
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_second_signal_hurries(family: Family, spec: Callable[[str, str], ChildSpec], told: Told) -> None:
    family.add(spec("stubborn", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"))
    await told.wait_for("up")
    hurry = asyncio.Event()
    stopping = asyncio.create_task(family.stop(["stubborn"], 60, hurry))
    await asyncio.sleep(0)
    hurry.set()
    await asyncio.wait_for(stopping, WAIT_S)


def test_deaths_far_apart_are_forgiven() -> None:
    clock = ManualClock()
    deaths = DeathCount(clock)
    for _ in range(3 * DEATHS_MAX):
        assert deaths.backoff_s() == 0.1
        clock.advance(DEATHS_WINDOW_S + 1)


def test_deaths_close_together_wait_longer_each_time_and_then_end_it() -> None:
    deaths = DeathCount(ManualClock())
    pauses = [deaths.backoff_s() for _ in range(DEATHS_MAX)]
    assert pauses == [0.1, 0.4, 1.6, BACKOFF_MAX_S, None]


def test_a_free_port_is_taken_without_answering_on_it_yet() -> None:
    port = network.free_port()
    with network.bind("127.0.0.1", port), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_can_be_taken_while_old_connections_are_still_closing() -> None:
    port = network.free_port()
    with network.bind("127.0.0.1", port) as listener:
        network.allow_rebinding(listener)
        listener.listen()
        with socket.create_connection(("127.0.0.1", port)):
            # The side that closes first keeps the connection for a minute (TIME_WAIT).
            listener.accept()[0].close()
    network.bind("127.0.0.1", port).close()


def test_two_cannot_take_one_port_even_before_they_listen() -> None:
    port = network.free_port()
    with network.bind("127.0.0.1", port), pytest.raises(SetupError, match=f"port {port} .* in use"):
        network.bind("127.0.0.1", port)


async def test_ready_is_the_status_200(anyio_backend: str) -> None:
    assert anyio_backend == "asyncio"
    answers = [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""]

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert [await network.is_ready("0.0.0.0", port) for _ in range(3)] == [False, True, False]  # noqa: S104 - the address under test
    assert not await network.is_ready("127.0.0.1", port)


def test_addresses_become_urls() -> None:
    assert network.local_url("0.0.0.0", 80) == "http://127.0.0.1:80"  # noqa: S104 - the address under test
    assert network.local_url("::", 80) == "http://[::1]:80"
    assert network.local_url("example.test", 8000) == "http://example.test:8000"


def test_state_is_for_its_owner_alone_and_goes_away(tmp_path: Path) -> None:
    state = State(pid=7, url="http://127.0.0.1:1", database_url="postgresql://x", processes={"worker": 8})
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert (tmp_path / "run" / "state.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_a_lock_can_be_seen_from_outside(tmp_path: Path) -> None:
    lock = serve_lock(tmp_path)
    assert not serve_lock(tmp_path).is_held()
    lock.acquire()
    assert serve_lock(tmp_path).is_held()
    lock.release()
    assert not serve_lock(tmp_path).is_held()


def test_the_lifeline_ends_a_process_whose_parent_is_gone() -> None:
    reading, writing = os.pipe()
    hold = f"lifeline.hold({{{lifeline.VARIABLE!r}: '{reading}'}})"
    code = f"import time; from taximeter.cli import lifeline; {hold}; print('up', flush=True); time.sleep(60)"
    source = str(Path(taximeter.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": source}, pass_fds=[reading], stdout=subprocess.PIPE, text=True
    )
    with process:
        os.close(reading)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.close(writing)
        assert process.wait(WAIT_S) in {-signal.SIGTERM, 1}


def test_tables_align_numbers_and_wide_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "Tokens"], [["研究", "12.5"], ["ads", "3"]])
    assert capsys.readouterr().out == "name  Tokens\n研究    12.5\nads        3\n"
    print_table(["name"], [])
    assert capsys.readouterr().out == "none\n"
