"""A database that goes away and comes back, seen from everybody who uses it."""

from urllib.parse import urlsplit

import asyncpg


class Outage:
    """Lets nobody into one database and throws out whoever is there, as the server's owner can."""

    def __init__(self, postgres_url: str, database_url: str) -> None:
        self._server = postgres_url
        self._name = urlsplit(database_url).path.lstrip("/")

    async def begin(self) -> None:
        await self._execute(f'alter database "{self._name}" allow_connections false')
        await self._execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", self._name)

    async def end(self) -> None:
        await self._execute(f'alter database "{self._name}" allow_connections true')

    async def _execute(self, statement: str, *values: str) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()
