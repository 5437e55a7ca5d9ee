"""Migrations: numbered SQL files, each applied once, in order, in a transaction of its own."""

import hashlib
from importlib import resources

import asyncpg

from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import SetupError

# "taximeter" in ASCII, cut to 63 bits: one migrator at a time on a database.
LOCK_KEY = 0x746178696D657465
TRIES_MAX = 10

_BOOKKEEPING = """
create schema if not exists taximeter;
create table if not exists taximeter.migrations (
    name text primary key,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);
"""


async def migrate(dsn: str) -> list[str]:
    """Bring the database up to date; returns the names of the files applied now.

    Raises SetupError when the server cannot be used, the user may not create schemas or roles, or
    an applied file has been changed since.
    """
    connection = await connect_owner(dsn)
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK_KEY)
        return await _apply_missing(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        message = f"the database user may not set up Taximeter ({error}); grant it CREATE on the database and CREATEROLE"
        raise SetupError(message) from error
    finally:
        await connection.close()


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(_BOOKKEEPING)
    rows = await connection.fetch("select name, sha256 from taximeter.migrations")
    applied = {row["name"]: row["sha256"] for row in rows}
    done = []
    for name, text in _files():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if name not in applied:
            await _apply(connection, name, text, digest)
            done.append(name)
        elif applied[name] != digest:
            message = f"migration {name} was changed after it was applied; restore the released file or start with an empty database"
            raise SetupError(message)
    return done


async def _apply(connection: asyncpg.Connection, name: str, text: str, digest: str) -> None:
    """All of the file or nothing, and again when it lost: programs that still run lock the same tables in orders of their own."""
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute("insert into taximeter.migrations (name, sha256) values ($1, $2)", name, digest)
        except asyncpg.DeadlockDetectedError:
            if not tries_left:
                raise
        else:
            return


def _files() -> list[tuple[str, str]]:
    folder = resources.files("taximeter.db") / "migrations"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(name, (folder / name).read_text(encoding="utf-8")) for name in names]
