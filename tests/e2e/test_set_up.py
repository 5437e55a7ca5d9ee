"""Set-up as a user sees it: one command starts everything, one signal ends everything, one line says what is wrong."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import taximeter

READY_S = 120.0
STOP_S = 40.0


class Run:
    """One `taximeter serve` in a folder of its own."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        self.port = free_port()
        source = str(Path(taximeter.__file__).parents[1])
        self._environ = {**clean_environ(), "PYTHONPATH": source, "TAXIMETER_HOME": str(home), "TAXIMETER_PORT": str(self.port), **environ}
        self.output = home.parent / f"output-{self.port}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "taximeter.cli", "serve"], env=self._environ, stdout=output, stderr=subprocess.STDOUT, cwd="/"
            )

    def wait_until_ready(self) -> "Run":
        wait_until(lambda: self.process.poll() is not None or self.is_announced(), READY_S, self.text)
        assert self.process.poll() is None, self.text()
        return self

    def is_announced(self) -> bool:
        return f"ready on http://127.0.0.1:{self.port}" in self.text() and (self.home / "run" / "state.json").exists()

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def state(self) -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.home / "run" / "state.json").read_text(encoding="utf-8"))
        return loaded

    def demo(self) -> dict[str, str]:
        lines = (self.home / "demo.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def get(self, path: str, key: str = "") -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def family(self) -> set[int]:
        """Every process that has this home in its environment or command line, but the tests."""
        return processes_of(self.home) - {os.getpid()}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # With a space, and open to the user whom root's database runs as.
    path = Path(tempfile.mkdtemp(prefix="taximeter set up "))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(name: str, **environ: str) -> Run:
        runs.append(Run(folder / name, **environ))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def test_serve_becomes_ready_writes_the_demo_file_and_keeps_the_key_over_a_restart(serve: Callable[..., Run]) -> None:
    first = serve("kept").wait_until_ready()
    assert first.get("/readyz")[0] == 200
    demo = first.demo()
    assert set(demo) >= {"OPENAI_BASE_URL", "OPENAI_API_KEY", "TAXIMETER_URL", "TAXIMETER_ADMIN_KEY"}
    assert demo["OPENAI_BASE_URL"] == f"http://127.0.0.1:{first.port}/v1"
    assert stat.S_IMODE((first.home / "demo.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((first.home / "run" / "state.json").stat().st_mode) == 0o600
    status, body = first.get("/v1/wallet", demo["OPENAI_API_KEY"])
    assert status == 200
    family = first.family()
    assert len(family) >= 6

    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(STOP_S) == 0
    assert first.family() == set()
    assert not (first.home / "run" / "state.json").exists()

    second = serve("kept").wait_until_ready()
    assert second.demo()["OPENAI_API_KEY"] == demo["OPENAI_API_KEY"]
    assert second.demo()["TAXIMETER_ADMIN_KEY"] == demo["TAXIMETER_ADMIN_KEY"]
    assert json.loads(second.get("/v1/wallet", demo["OPENAI_API_KEY"])[1])["balance"] == json.loads(body)["balance"]


def test_a_killed_supervisor_leaves_nothing_behind_and_the_next_start_recovers(serve: Callable[..., Run]) -> None:
    first = serve("killed", TAXIMETER_DEMO="0").wait_until_ready()
    assert len(first.family()) >= 4
    first.process.kill()
    first.process.wait()
    wait_until(lambda: first.family() == set(), STOP_S, first.text)
    assert serve("killed", TAXIMETER_DEMO="0").wait_until_ready().get("/readyz")[0] == 200


def test_a_child_that_dies_is_started_again(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    processes = run.state()["processes"]
    assert isinstance(processes, dict)
    os.kill(processes["gateway-1"], signal.SIGKILL)
    wait_until(lambda: "gateway-1" in run.text() and "starting it again" in run.text(), STOP_S, run.text)
    # The listening socket outlives the gateway: callers wait instead of being refused.
    assert run.get("/readyz")[0] == 200


def test_the_database_that_dies_is_started_again(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    first = postmaster(run.home)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: postmaster(run.home) not in {0, first} and run.get("/readyz")[0] == 200, STOP_S, run.text)


def test_a_second_server_on_the_same_folder_is_refused(serve: Callable[..., Run]) -> None:
    run = serve("revived", TAXIMETER_DEMO="0").wait_until_ready()
    line = refused(TAXIMETER_HOME=str(run.home), TAXIMETER_PORT=str(free_port()))
    assert f"already running (pid {run.process.pid})" in line


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(TAXIMETER_HOME=str(folder / "port"), TAXIMETER_PORT=str(port))
    assert f"port {port}" in line
    assert "TAXIMETER_PORT" in line


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "a file").write_text("", encoding="ascii")
    line = refused(TAXIMETER_HOME=str(folder / "a file" / "home"))
    assert "TAXIMETER_HOME" in line
    assert "a file" in line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:secretword@127.0.0.1:1/nothing", "TAXIMETER_DATABASE_URL"),
        ("postgresql://me:secretword@no-such-host.invalid/nothing", "TAXIMETER_DATABASE_URL"),
        ("mysql://me:secretword@127.0.0.1/nothing", "TAXIMETER_DATABASE_URL"),
    ],
)
def test_a_wrong_database_url_is_one_line_without_the_password(folder: Path, url: str, expected: str) -> None:
    line = refused(TAXIMETER_HOME=str(folder / "url"), TAXIMETER_DATABASE_URL=url, TAXIMETER_DEMO="0")
    assert expected in line
    assert "secretword" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAXIMETER_PORT", "eighty"),
        ("TAXIMETER_PORT", "70000"),
        ("TAXIMETER_DEMO", "maybe"),
        ("TAXIMETER_LOG_LEVEL", "loud"),
        ("TAXIMETER_HOST", "nowhere.invalid"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(folder: Path, name: str, value: str) -> None:
    line = refused(**{"TAXIMETER_HOME": str(folder / "settings"), name: value})
    assert name in line
    assert value in line


def refused(**environ: str) -> str:
    """Run `taximeter serve`, which must refuse; returns the one line it prints on standard error."""
    source = str(Path(taximeter.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "taximeter.cli", "serve"],
        env={**clean_environ(), "PYTHONPATH": source, "TAXIMETER_PORT": str(free_port()), **environ},
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
        cwd="/",
    )
    assert done.returncode not in {0, 1}, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def clean_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TAXIMETER_", "OPENAI_"))}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def postmaster(home: Path) -> int:
    try:
        return int((home / "postgres" / "postmaster.pid").read_text(encoding="ascii").split("\n")[0] or 0)
    except FileNotFoundError:
        return 0


def processes_of(home: Path) -> set[int]:
    """The processes of one server: by home in the environment, or working in its database folder."""
    wanted = os.fsencode(home)
    found = set()
    for proc in Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            environ = (proc / "environ").read_bytes()
            state = (proc / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
            if state != "Z" and (b"TAXIMETER_HOME=" + wanted + b"\0" in environ or (proc / "cwd").readlink() == home / "postgres"):
                found.add(int(proc.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, explain()
        time.sleep(0.05)
