"""Peers of the gateway, each in an environment of its own: installed once from its public packages, never among ours.

They lie in ``peers/`` of TAXIMETER_HOME and may be deleted at any time.  A folder counts only when its stamp says
that the installation was finished, so that an interrupted one is made again.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

from bench.processes import OUT, ROOT, child

LITELLM, LITELLM_VERSION = "litellm", "1.106.0"
PORTKEY, PORTKEY_VERSION = "@portkey-ai/gateway", "1.15.2"
PATIENCE_S = 1_200.0
PROGRESS_S = 10.0
_STAMP = "installed"


class PeerUnavailable(Exception):
    """A peer cannot be installed or started here; the message says why and what would help."""


def cache(environ: Mapping[str, str]) -> Path:
    """The folder of all peers."""
    return (ROOT / environ.get("TAXIMETER_HOME", ".taximeter") / "peers").resolve()


def litellm(folder: Path) -> Path:
    """The command ``litellm``; installs it when it is not there.  Raises PeerUnavailable."""
    home = folder / f"litellm-{LITELLM_VERSION}"

    def install() -> None:
        probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if probe.returncode != 0:
            message = f"{Path(sys.executable).name} has no venv module with pip (Debian, Ubuntu: apt install python3-venv)"
            raise PeerUnavailable(message)
        run("litellm-venv", [sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        run("litellm-pip", [*pip, f"litellm[proxy]=={LITELLM_VERSION}"])

    once(home, install)
    return home / "bin" / "litellm"


def portkey(folder: Path) -> Path:
    """The script that Node runs to start the gateway; installs it when it is not there.  Raises PeerUnavailable."""
    home = folder / f"portkey-{PORTKEY_VERSION}"
    npm, _ = program("npm"), program("node")

    def install() -> None:
        run("portkey-npm", [npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", "--ignore-scripts", f"{PORTKEY}@{PORTKEY_VERSION}"])

    once(home, install)
    return home / "node_modules" / PORTKEY / "build" / "start-server.js"


def program(name: str) -> str:
    """Where a program is.  Raises PeerUnavailable."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not on the PATH; install Node.js 20 or newer, which brings it"
        raise PeerUnavailable(message)
    return found


def once(home: Path, install: Callable[[], None]) -> None:
    """Install into an empty ``home`` unless a stamp says that it is done."""
    if (home / _STAMP).is_file():
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    install()
    (home / _STAMP).touch()


def run(name: str, command: Sequence[str]) -> None:
    """Run one step, with a line of progress now and then.  Raises PeerUnavailable with the last line of what it printed."""
    log = f"bench/out/{name}.log"
    start = monotonic()
    print(f"  peers: {Path(command[0]).name} {' '.join(command[1:3])} ... (see {log})", file=sys.stderr, flush=True)
    # A step that hangs is stopped when the block is left.
    with child(name, command) as process:
        while (code := ended(process)) is None:
            print(f"  peers: {name}, {monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            if monotonic() - start > PATIENCE_S:
                message = f"{name} did not end within {PATIENCE_S / 60:.0f} minutes; see {log}"
                raise PeerUnavailable(message)
    if code != 0:
        message = f"{name} failed: {complaint(OUT / f'{name}.log')}; see {log}"
        raise PeerUnavailable(message)


def ended(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code, or None when it still runs after a while."""
    try:
        return process.wait(PROGRESS_S)
    except subprocess.TimeoutExpired:
        return None


def complaint(log: Path) -> str:
    """The line of a log that says best what went wrong: the last with the word error, or the last at all."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it printed nothing"])[-1][:200]
