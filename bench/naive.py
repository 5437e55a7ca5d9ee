"""The ledger as one would write it first: a transaction per transfer, SELECT FOR UPDATE, UPDATE, INSERT.

Correct and durable like ours; every settlement updates the operator's one revenue row.
"""

import asyncio
import re
from pathlib import Path
from uuid import UUID

import asyncpg

_TEXT = (Path(__file__).parent / "naive.sql").read_text(encoding="utf-8")
SQL = {name: body.strip() for name, body in re.findall(r"-- name: (\w+)\n(.*?)(?=\n-- name: |\Z)", _TEXT, re.DOTALL)}
CONNECTIONS = 32


class NaiveLedger:
    """Holds and settlements through a pool of connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str) -> "NaiveLedger":
        """Connect; makes the tables when they are missing."""
        pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        if await pool.fetchval("select to_regclass('naive.accounts')") is None:
            await pool.execute(SQL["schema"])
        return cls(pool)

    async def hold(self, transfer: UUID, wallet: int, amount: int) -> None:
        """Reserve."""
        async with self._pool.acquire() as connection, connection.transaction():
            available = await connection.fetchval(SQL["lock"], wallet)
            assert available >= amount, "the wallets of the benchmark are deep enough"
            await connection.execute(SQL["hold"], wallet, amount)
            await connection.execute(SQL["log"], transfer, 0, wallet, amount)

    async def settle(self, transfer: UUID, wallet: int, held: int, amount: int) -> None:
        """Charge a part of what was reserved and release the rest."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchval(SQL["lock"], wallet)
            await connection.execute(SQL["settle"], wallet, held, amount)
            await connection.execute(SQL["earn"], amount)
            await connection.execute(SQL["log"], transfer, 1, wallet, amount)

    async def close(self) -> None:
        """Hang up."""
        await asyncio.wait_for(self._pool.close(), 30.0)
