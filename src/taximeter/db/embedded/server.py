"""Start and stop a private PostgreSQL: Unix socket only, checksums and fsync on, nothing left behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from taximeter.db.embedded import launch
from taximeter.db.embedded.lock import FolderLock
from taximeter.db.embedded.place import POSTGRES_MAJOR, Place, describe_os_error, find_place, give_to
from taximeter.kernel.errors import SetupError

DATABASE = "taximeter"
OWNER = "taximeter"
START_TIMEOUT_S = 60.0
# A fast shutdown writes a checkpoint; on a slow disk that takes a while.
STOP_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.01
LOG_BYTES_MAX = 10_000_000
LOG_BYTES_KEPT = 1_000_000
OUTPUT_CHARACTERS_MAX = 300

# Passed at each start, so that a new release can change them; sized for a machine that also runs models.
SERVER_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "port": "5432",
        "max_connections": "70",
        "shared_buffers": "128MB",
        "max_wal_size": "1GB",
        # A busy ledger deletes thousands of holds a second: what is dead is cleared away four times a minute.
        "autovacuum_naptime": "15s",
        "checkpoint_timeout": "10min",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "io_method": "sync",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",
        "log_line_prefix": "%m [%p] ",
    }
)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_NEWS = re.compile(r"(?:FATAL|PANIC|ERROR|error|fatal):\s+(.*)")


class EmbeddedPostgres:
    """A PostgreSQL server that belongs to one folder and lives as long as its parent.

    Args:
        home: the folder; the cluster is in ``home/postgres``, the log in ``home/postgres.log``.
        notice: told, in one line, about anything unusual that the user should know.
        options: server settings on top of SERVER_OPTIONS (tests turn fsync off).
    """

    def __init__(self, home: Path, *, notice: Callable[[str], None] = lambda _line: None, options: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._notice = notice
        self._options = {**SERVER_OPTIONS, **(options or {})}
        self._place: Place | None = None
        self._lock: FolderLock | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def dsn(self) -> str:
        """The owner's URL of the running server."""
        assert self._place is not None, "the server is not running"
        return f"postgresql://{OWNER}@/{DATABASE}?host={quote(str(self._place.socket_folder), safe='/')}"

    def start(self) -> str:
        """Create the cluster when there is none, start the server, wait until it answers; returns ``dsn``.

        Must be called from the main thread: Linux ends the server when the *thread* that started it ends.
        Raises SetupError when the folder, the binaries or the cluster cannot be used.
        """
        assert self._process is None, "already started"
        assert threading.current_thread() is threading.main_thread(), "the server would die with this thread"
        place = find_place(self._home, self._notice)
        lock = FolderLock(place.lock, "a database server")
        lock.acquire()
        try:
            _end_leftover(place)
            _ensure_cluster(place)
            self._process = self._launch(place)
            _wait_until_ready(self._process, place)
        except BaseException as error:
            if self._process is not None:
                _stop_child(self._process)
                self._process = None
            shutil.rmtree(place.socket_folder, ignore_errors=True)
            lock.release()
            if isinstance(error, OSError):
                message = f"the embedded database cannot start ({describe_os_error(error)})"
                raise SetupError(message) from error
            raise
        self._place = place
        self._lock = lock
        return self.dsn

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, all is written.  Does nothing when it is not running."""
        if self._process is not None:
            _stop_child(self._process)
            self._process = None
        if self._place is not None:
            shutil.rmtree(self._place.socket_folder, ignore_errors=True)
            self._place = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def exit_code(self) -> int | None:
        """None while the server runs, else how it ended."""
        assert self._process is not None, "the server was not started"
        return self._process.poll()

    def trim_log(self) -> None:
        """Keep the log below its limit: past it, the last part moves to ``postgres.log.1``.  Call now and then."""
        if self._place is not None:
            _trim(self._place.log)

    def _launch(self, place: Place) -> subprocess.Popen[bytes]:
        _trim(place.log)
        command = [str(place.binaries / "postgres"), "-D", str(place.data)]
        for name, value in {**self._options, "unix_socket_directories": str(place.socket_folder)}.items():
            command += ["-c", f"{name}={value}"]
        with place.log.open("ab") as log:
            place.log.chmod(0o600)
            # A session of its own: Ctrl-C in the terminal goes to us, and we stop the database last.
            return subprocess.Popen(  # noqa: S603 - our own command line
                _as_server_user(place, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT, start_new_session=True
            )


def _as_server_user(place: Place, command: list[str]) -> list[str]:
    account = place.account
    assert launch.__file__ is not None
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(account.uid), str(account.gid), *command]


def _ensure_cluster(place: Place) -> None:
    """Make the cluster, or check that the one that is there fits.  A half-made one never gets the final name."""
    version_file = place.data / "PG_VERSION"
    if place.data.exists():
        try:
            version = version_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            message = f"{place.data} is not a database folder; move it away or choose another TAXIMETER_HOME"
            raise SetupError(message) from None
        if version != str(POSTGRES_MAJOR):
            message = (
                f"the database in {place.data} was made by PostgreSQL {version} and this release brings {POSTGRES_MAJOR};"
                " choose another TAXIMETER_HOME, or run the old server and set TAXIMETER_DATABASE_URL"
            )
            raise SetupError(message)
        return
    fresh = place.data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _create_cluster(place, fresh)
        fresh.rename(place.data)
    finally:
        # Nothing is left of what did not work: where the disk is full, it is in the way.
        shutil.rmtree(fresh, ignore_errors=True)


def _create_cluster(place: Place, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    give_to(folder, place.account)
    command = ["initdb", "-D", str(folder), "-U", OWNER, "-E", "UTF8", "--locale=C", "-k", "-A", "trust", "--no-instructions"]
    if sys.platform == "linux":
        command.append("--sync-method=syncfs")  # One call instead of a thousand.
    _run(place, command, "")
    rename = f"alter database postgres rename to {DATABASE}\n"
    _run(place, ["postgres", "--single", "-D", str(folder), "-c", "io_method=sync", "template1"], rename)


def _run(place: Place, command: list[str], standard_input: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own command line
        _as_server_user(place, [str(place.binaries / command[0]), *command[1:]]),
        input=standard_input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0 or "ERROR:" in done.stdout:
        message = f"the embedded database cannot be created in {place.data.parent} ({_reason(done.stdout)})"
        raise SetupError(message)


def _wait_until_ready(process: subprocess.Popen[bytes], place: Place) -> None:
    """Wait for the word ``ready`` in postmaster.pid, as pg_ctl does; crash recovery may come first."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    log_start = place.log.stat().st_size
    while True:
        lines = _pid_file(place.data)
        if lines[:1] == [str(process.pid)] and lines[-1] == "ready":
            return
        if process.poll() is not None:
            with place.log.open("rb") as log:
                log.seek(max(0, min(log_start, place.log.stat().st_size - 1)))
                output = log.read().decode(errors="replace")
            message = f"the embedded database did not start ({_reason(output)}); see {place.log}"
            raise SetupError(message)
        if time.monotonic() > deadline_s:
            message = f"the embedded database did not answer within {START_TIMEOUT_S:.0f} s; see {place.log}"
            raise SetupError(message)
        time.sleep(POLL_S)


def _pid_file(data: Path) -> list[str]:
    """The lines of postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status."""
    try:
        text = (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [""]
    return [line.strip() for line in text.splitlines()] or [""]


def _end_leftover(place: Place) -> None:
    """Stop a server that outlived its parent, and forget one that is dead.

    We hold the folder's lock, so no living Taximeter owns it.  PostgreSQL would refuse to start over a stale
    pid file whose number now belongs to another process of the same user.
    """
    pid_text = _pid_file(place.data)[0]
    if not pid_text.isdigit():
        return
    pid = int(pid_text)
    if not _is_server_of(pid, place.data):
        (place.data / "postmaster.pid").unlink(missing_ok=True)
        return
    for number, patience_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, KILL_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if not _is_server_of(pid, place.data):
                return
            time.sleep(POLL_S)
    message = f"an old database server (pid {pid}) does not stop; end it by hand"
    raise SetupError(message)


def _is_server_of(pid: int, data: Path) -> bool:
    """Whether the process is a PostgreSQL that works in this folder (its working directory, on Linux)."""
    proc = Path("/proc") / str(pid)
    if proc.parent.joinpath("self").exists():
        try:
            return (proc / "cwd").readlink() == data
        except OSError:
            return False
    listing = subprocess.run(["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603 - fixed command
    return str(data) in listing.stdout


def _stop_child(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, KILL_TIMEOUT_S)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def _trim(log: Path) -> None:
    if not log.exists() or log.stat().st_size <= LOG_BYTES_MAX:
        return
    with log.open("r+b") as current:
        current.seek(-LOG_BYTES_KEPT, os.SEEK_END)
        log.with_name(log.name + ".1").write_bytes(current.read())
        # The server appends, so it goes on at the new end.
        current.truncate(0)


def _reason(output: str) -> str:
    """The line of a tool's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    found = [match.group(1) for match in map(_NEWS.search, lines) if match]
    # What comes after the first complaint is mostly its consequence.
    text = found[0] if found else (lines[-1] if lines else "no output")
    return text[:OUTPUT_CHARACTERS_MAX]
