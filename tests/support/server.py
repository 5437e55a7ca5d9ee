"""A real `taximeter serve` for end-to-end tests: started, asked, stopped, and its processes counted."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import taximeter

READY_S = 120.0
STOP_S = 40.0


class Run:
    """One `taximeter serve` in a folder of its own."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        self.port = free_port()
        source = str(Path(taximeter.__file__).parents[1])
        self.environ = {**clean_environ(), "PYTHONPATH": source, "TAXIMETER_HOME": str(home), "TAXIMETER_PORT": str(self.port), **environ}
        self.output = home.parent / f"output-{self.port}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "taximeter.cli", "serve"], env=self.environ, stdout=output, stderr=subprocess.STDOUT, cwd="/"
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

    def pid_of(self, name: str) -> int:
        """The process id of one member of the family, as it was when the server became ready."""
        processes = self.state()["processes"]
        assert isinstance(processes, dict)
        return int(processes[name])

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


def make_folder() -> Path:
    """A folder with a space in its name, open to the user whom root's database runs as."""
    folder = Path(tempfile.mkdtemp(prefix="taximeter e2e "))
    folder.chmod(0o755)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove it with all that a server kept there."""
    shutil.rmtree(folder)
