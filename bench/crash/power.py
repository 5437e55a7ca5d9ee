"""A power cut, as far as the write-ahead log is concerned.

``kill -9`` loses nothing that was written: the system's file cache outlives the process.  A power cut loses what was
written and not fsynced.  It is played like this:

1. Gateways and worker are frozen: from now on nobody is told anything.
2. All of PostgreSQL is frozen but one backend, ours, which then says up to where the log has been fsynced
   (``pg_current_wal_flush_lsn``, call it F).  Nobody is left who could fsync more.
3. Everything is killed.
4. The log behind F is overwritten with zeros, and its later files are removed.

What PostgreSQL has told anybody with ``synchronous_commit = on`` lies before F.  With ``off`` it may lie behind, and is
gone: that is the negative control.  Not played: the loss of data pages and of other files that were written and not
fsynced; PostgreSQL restores the former from the log, and what our spool fsyncs is seen by its own fault points.
"""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.crash.system import CrashError, System, kill

TRIES = 5
PATIENCE_S = 2.0
_SEGMENTS = """
select pg_current_wal_flush_lsn() - '0/0'::pg_lsn as flushed, pg_current_wal_insert_lsn() - '0/0'::pg_lsn as inserted,
    (select timeline_id from pg_control_checkpoint()) as timeline, (select bytes_per_wal_segment from pg_control_init()) as segment_bytes
"""
_SEGMENTS_IN_4_GIB = 0x1_0000_0000


@dataclass(frozen=True, slots=True)
class Position:
    """Places in the log, in bytes from its beginning.

    Attributes:
        flushed: fsynced up to here.
        inserted: made up to here.
    """

    flushed: int
    inserted: int
    timeline: int
    segment_bytes: int

    def file_of(self, place: int) -> str:
        """The name of the file that has this byte."""
        number = place // self.segment_bytes
        a_log = _SEGMENTS_IN_4_GIB // self.segment_bytes
        return f"{self.timeline:08X}{number // a_log:08X}{number % a_log:08X}"


async def position(connection: asyncpg.Connection) -> Position:
    """Where the log is now."""
    row = await connection.fetchrow(_SEGMENTS)
    assert row is not None
    return Position(int(row["flushed"]), int(row["inserted"]), row["timeline"], row["segment_bytes"])


async def cut(system: System) -> Position:
    """Cut the power; everything is dead afterwards, and the log ends where it was fsynced."""
    for member in system.members.values():
        member.signal(signal.SIGSTOP)
    last = await _freeze_database(system)
    first, *children = system.database_pids()
    for pid in (*children, first):
        kill(pid)
    for member in system.members.values():
        member.kill()
    forget(system.home / "postgres" / "pg_wal", last)
    return last


async def _freeze_database(system: System) -> Position:
    """Freeze all but our own backend and ask it.  Somebody frozen may hold what it needs; then all go on and we try again."""
    for _ in range(TRIES):
        connection = await asyncpg.connect(system.url)
        ours = connection.get_server_pid()
        # Once, so that nothing has to be looked up when all others are frozen.
        await position(connection)
        others = [pid for pid in system.database_pids() if pid != ours]
        for pid in others:
            _send(pid, signal.SIGSTOP)
        try:
            return await asyncio.wait_for(position(connection), PATIENCE_S)
        except TimeoutError:
            for pid in others:
                _send(pid, signal.SIGCONT)
        finally:
            connection.terminate()
    message = "the frozen database does not say what it has fsynced"
    raise CrashError(message)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def forget(folder: Path, last: Position) -> None:
    """Take away what had not been fsynced."""
    name = last.file_of(last.flushed)
    offset = last.flushed % last.segment_bytes
    for path in sorted(folder.iterdir()):
        if len(path.name) != len(name) or not path.is_file() or path.name[:8] != name[:8] or path.name < name:
            continue
        if path.name > name:
            path.unlink()
            continue
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes(last.segment_bytes - offset))
            file.flush()
            os.fsync(file.fileno())
