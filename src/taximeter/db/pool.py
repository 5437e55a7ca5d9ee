"""Connections.  The application connects as ``taximeter_app``, which cannot rewrite history."""

import asyncio
import logging
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.kernel.errors import SetupError

log = logging.getLogger(__name__)

APP_ROLE = "taximeter_app"
# The default of metering.receipts.settled_by.
PROCESS_SETTING = "taximeter.process_id"
VERSION_MIN = 15
CONNECT_TIMEOUT_S = 10.0
RETRY_S = 0.2
# The server is starting, stopping, or not there: no reason to change a setting, if it is there in a moment.
AWAY_ERRORS = (asyncpg.CannotConnectNowError, ConnectionError, FileNotFoundError)
# Every statement of ours takes milliseconds; one that does not must not pile up behind a lock.
STATEMENT_TIMEOUT_MS = 10_000
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_MS / 1000 + 5

# What a statement may raise, when it is not its own fault or is to be tried again.  A session that is ended between two
# messages of one statement leaves the driver confused: it raises InternalClientError then.
DATABASE_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# What an attempt to connect may raise: as a statement, or for the URL.
_CONNECT_ERRORS = (*DATABASE_ERRORS, ValueError)

_APP_SETTINGS = {
    "role": APP_ROLE,
    "application_name": "taximeter",
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
    # The statements of the hot path are tiny: compiling them costs more than running them.
    "jit": "off",
}


class DatabaseAway(ConnectionError):
    """A pool could not connect; the cause says why.

    A missing socket is a FileNotFoundError, and so is a missing file: only here one can be told from the other.
    """


async def connect_owner(dsn: str) -> asyncpg.Connection:
    """A connection with the rights of the URL's user: for migrations, the catalog and the command line.

    Raises SetupError, in one line and without the password, when the server cannot be used.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    except _CONNECT_ERRORS as error:
        raise SetupError(_describe(error)) from error
    version = connection.get_server_version().major
    if version < VERSION_MIN:
        await connection.close()
        message = f"PostgreSQL {version} is too old; TAXIMETER_DATABASE_URL must name a server of version {VERSION_MIN} or newer"
        raise SetupError(message)
    return connection


async def open_pool(dsn: str, size: int, patience_s: float = 0.0) -> asyncpg.Pool:
    """A pool of up to ``size`` connections as the application role.

    A server that is starting, or being started again, is waited for as long as patience lasts.
    Raises SetupError when the server cannot be used.  Once open, the pool raises DatabaseAway when it cannot connect.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + patience_s
    told = False
    while True:
        try:
            return await _create_pool(dsn, size)
        except AWAY_ERRORS as error:
            if loop.time() > deadline_s:
                raise SetupError(_describe(error)) from error
            if not told:
                log.warning("waiting for the database: %s", error)
                told = True
            await asyncio.sleep(RETRY_S)


async def _create_pool(dsn: str, size: int) -> asyncpg.Pool:
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            connect=_connect,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=_APP_SETTINGS,
        )
    except DatabaseAway as away:
        cause = away.__cause__
        assert cause is not None, "raised by _connect"
        if isinstance(cause, AWAY_ERRORS):
            raise cause from None
        raise SetupError(_describe(cause)) from cause
    except _CONNECT_ERRORS as error:
        raise SetupError(_describe(error)) from error


async def _connect(*arguments: Any, **named: Any) -> asyncpg.Connection:  # noqa: ANN401 - the pool's, passed on
    try:
        return await asyncpg.connect(*arguments, **named)
    except _CONNECT_ERRORS as error:
        message = f"{type(error).__name__}: {error}"
        raise DatabaseAway(message) from error


async def connect_app(dsn: str, process_id: UUID | None = None) -> asyncpg.Connection:
    """One connection as the application role, for a task that keeps it; receipts that it writes name the process.

    Raises what asyncpg raises: the caller tries again.
    """
    settings = _APP_SETTINGS if process_id is None else {**_APP_SETTINGS, PROCESS_SETTING: str(process_id)}
    return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=settings)


def _describe(error: BaseException) -> str:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"cannot use the database ({detail}); check TAXIMETER_DATABASE_URL (postgresql://user:password@host:port/name)"
