"""The embedded server: what it promises about folders, users, leftovers and its own end."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from taximeter.db.embedded import EmbeddedPostgres, FolderLock, make_home, place, server
from taximeter.db.pool import open_pool
from taximeter.kernel.errors import SetupError

WAIT_S = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster as the first start leaves it, for the tests to copy: making one takes a second."""
    with open_folder() as folder:
        embedded = EmbeddedPostgres(folder)
        embedded.start()
        embedded.stop()
        yield folder / "postgres"


@pytest.fixture
def empty_home() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def home(empty_home: Path, cluster: Path) -> Path:
    # cp keeps the owner, which shutil does not.
    subprocess.run(["/bin/cp", "-a", str(cluster), str(empty_home)], check=True)
    return empty_home


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    # Not tmp_path: as root the server runs as another user, for whom pytest's folders are closed.
    folder = Path(tempfile.mkdtemp(prefix="taximeter embedded "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(home: Path) -> Iterator[Callable[[], EmbeddedPostgres]]:
    started = []

    def run() -> EmbeddedPostgres:
        embedded = EmbeddedPostgres(home)
        embedded.start()
        started.append(embedded)
        return embedded

    yield run
    for embedded in started:
        embedded.stop()


def ask(dsn: str, statement: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_folder_with_a_space_gets_a_cluster_with_checksums_and_no_network(start: Callable[[], EmbeddedPostgres]) -> None:
    dsn = start().dsn
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "lc_collate": "C",
        "synchronous_commit": "on",
    }
    actual = {
        name: ask(
            dsn, f"select current_setting('{name}')" if name != "lc_collate" else "select datcollate from pg_database where datname = 'taximeter'"
        )
        for name in expected
    }
    assert actual == expected


def test_data_survives_a_restart(start: Callable[[], EmbeddedPostgres]) -> None:
    first = start()
    ask(first.dsn, "create table kept as select 42 as answer")
    first.stop()
    assert ask(start().dsn, "select answer from kept") == 42


def test_stop_leaves_neither_process_nor_socket_behind(start: Callable[[], EmbeddedPostgres]) -> None:
    embedded = start()
    pid = embedded.pid
    socket_folder = Path(embedded.dsn.partition("host=")[2])
    assert socket_folder.stat().st_mode & 0o777 == 0o700
    embedded.stop()
    assert not alive(pid)
    assert not socket_folder.exists()


def test_a_second_server_on_the_same_folder_is_refused_with_the_pid_of_the_first(home: Path, start: Callable[[], EmbeddedPostgres]) -> None:
    start()
    with pytest.raises(SetupError, match=rf"already running \(pid {os.getpid()}\)"):
        EmbeddedPostgres(home).start()


def test_the_server_dies_with_a_parent_that_is_killed(home: Path) -> None:
    pid = int(run_apart(home, "print(e.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"))
    wait_until(lambda: not alive(pid))


def test_a_cluster_that_crashed_recovers(home: Path, start: Callable[[], EmbeddedPostgres]) -> None:
    first = start()
    ask(first.dsn, "create table kept as select 1 as one")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: first.exit_code() is not None)
    assert (home / "postgres" / "postmaster.pid").exists()
    first.stop()
    assert ask(start().dsn, "select one from kept") == 1


def test_a_server_that_outlived_its_parent_is_stopped_first(
    home: Path, start: Callable[[], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What macOS does, which cannot tie a child's life to its parent's.
    embedded = start()
    orphan = embedded.pid
    embedded._lock.release()  # type: ignore[union-attr]
    second = EmbeddedPostgres(home)
    # The orphan is our own child here: reap it, as init would.
    monkeypatch.setattr(time, "sleep", lambda _seconds: embedded.exit_code())
    second.start()
    try:
        assert not alive(orphan)
        assert second.pid != orphan
    finally:
        second.stop()


def test_a_stale_pid_file_that_names_a_stranger_is_forgotten(home: Path, start: Callable[[], EmbeddedPostgres]) -> None:
    start().stop()
    (home / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{home / 'postgres'}\n", encoding="ascii")
    assert ask(start().dsn, "select 1") == 1


def test_a_half_made_cluster_is_made_again(empty_home: Path) -> None:
    (empty_home / "postgres.new" / "base").mkdir(parents=True)
    embedded = EmbeddedPostgres(empty_home)
    try:
        assert ask(embedded.start(), "select 1") == 1
    finally:
        embedded.stop()
    assert not (empty_home / "postgres.new").exists()


def test_a_cluster_of_another_version_is_left_alone(empty_home: Path) -> None:
    (empty_home / "postgres").mkdir()
    (empty_home / "postgres" / "PG_VERSION").write_text("14\n", encoding="ascii")
    if os.geteuid() == 0:
        os.chown(empty_home / "postgres", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(SetupError, match="made by PostgreSQL 14"):
        EmbeddedPostgres(empty_home).start()


def test_a_folder_that_is_no_cluster_is_left_alone(empty_home: Path) -> None:
    (empty_home / "postgres").mkdir()
    (empty_home / "postgres" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(SetupError, match="not a database folder"):
        EmbeddedPostgres(empty_home).start()


def test_a_home_that_cannot_be_written_is_refused_in_one_line(empty_home: Path) -> None:
    (empty_home / "file").write_text("", encoding="ascii")
    with pytest.raises(SetupError, match=r"cannot write to the data folder .* TAXIMETER_HOME") as caught:
        make_home(empty_home / "file" / "inside")
    assert "\n" not in str(caught.value)


def test_a_server_that_refuses_its_settings_says_why_in_one_line(home: Path) -> None:
    with pytest.raises(SetupError, match="invalid value for parameter") as caught:
        EmbeddedPostgres(home, options={"shared_buffers": "lots"}).start()
    assert "\n" not in str(caught.value)


def test_the_log_is_cut_at_its_limit(home: Path, start: Callable[[], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = start()
    monkeypatch.setattr(server, "LOG_BYTES_MAX", 100)
    monkeypatch.setattr(server, "LOG_BYTES_KEPT", 50)
    embedded.trim_log()
    assert (home / "postgres.log").stat().st_size == 0
    assert (home / "postgres.log.1").stat().st_size == 50


def test_a_lock_ends_with_its_holder(empty_home: Path) -> None:
    first = FolderLock(empty_home / "lock", "a test")
    first.acquire()
    with pytest.raises(SetupError, match="a test is already running"):
        FolderLock(empty_home / "lock", "a test").acquire()
    first.release()
    second = FolderLock(empty_home / "lock", "a test")
    second.acquire()
    second.release()


def test_a_folder_that_is_closed_to_others_is_no_obstacle(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = empty_home / "var lib"
    monkeypatch.setattr(place, "SHARED_ROOT", shared)
    closed = empty_home / "closed"
    closed.mkdir(mode=0o700)
    told: list[str] = []
    embedded = EmbeddedPostgres(closed / "data", notice=told.append)
    try:
        assert ask(embedded.start(), "select 1") == 1
    finally:
        embedded.stop()
    # Root's server runs as another user, who cannot enter: it lives elsewhere, and that is said.
    is_elsewhere = (closed / "data" / "postgres").resolve().is_relative_to(shared)
    assert [is_elsewhere, len(told)] == ([True, 1] if os.geteuid() == 0 else [False, 0])


def test_binaries_that_are_closed_to_others_are_no_obstacle(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SHARED_ROOT", empty_home / "shared")
    monkeypatch.setattr(place, "_may_read", lambda _path, _user: False)
    embedded = EmbeddedPostgres(empty_home / "data")
    try:
        assert ask(embedded.start(), "select 1") == 1
        is_copy = Path(f"/proc/{embedded.pid}/exe").readlink().is_relative_to(empty_home / "shared")
        assert is_copy == (os.geteuid() == 0)
    finally:
        embedded.stop()


def run_apart(home: Path, code: str) -> str:
    """Start the server in a process of its own, which then runs the code; returns what it prints."""
    program = f"""
import os, signal
from pathlib import Path
from taximeter.db.embedded import EmbeddedPostgres
e = EmbeddedPostgres(Path({str(home)!r}))
e.start()
{code}
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(place.__file__).parents[3])}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environ).stdout


def test_a_pool_waits_for_a_server_that_is_being_started(start: Callable[[], EmbeddedPostgres], caplog: pytest.LogCaptureFixture) -> None:
    embedded = start()
    url = embedded.dsn
    ask(url, "create role taximeter_app")
    embedded.stop()

    async def wait() -> object:
        opening = asyncio.create_task(open_pool(url, 1, WAIT_S))
        while "waiting for the database" not in caplog.text:
            await asyncio.sleep(0.01)
        embedded.start()
        pool = await opening
        try:
            return await pool.fetchval("select current_user::text")
        finally:
            await pool.close()

    with caplog.at_level("WARNING"):
        assert asyncio.run(wait()) == "taximeter_app"


def test_a_server_that_stays_away_is_told_in_one_line(start: Callable[[], EmbeddedPostgres]) -> None:
    embedded = start()
    url = embedded.dsn
    embedded.stop()
    with pytest.raises(SetupError, match="cannot use the database"):
        asyncio.run(open_pool(url, 1))
