"""The ledger as one would write it first: a transaction per transfer, SELECT FOR UPDATE, UPDATE, INSERT.

Correct, durable and double entry like ours.  Every transfer locks the wallet's row and the row of the revenue account: one that
all wallets share, as it is in most ledgers, or one for each wallet.
"""

import asyncio
import re
from pathlib import Path
from uuid import UUID

import asyncpg

_TEXT = (Path(__file__).parent / "naive.sql").read_text(encoding="utf-8")
SQL = {name: body.strip() for name, body in re.findall(r"-- name: (\w+)\n(.*?)(?=\n-- name: |\Z)", _TEXT, re.DOTALL)}
CONNECTIONS = 32
_OWN_REVENUE = 10_000


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

    async def hold(self, transfer: UUID, wallet: int, amount: int, *, shared: bool) -> None:
        """Reserve on a wallet, numbered from 1."""
        revenue = 0 if shared else _OWN_REVENUE + wallet
        async with self._pool.acquire() as connection, connection.transaction():
            locked = await connection.fetch(SQL["lock"], [wallet, revenue])
            free = {row["id"]: row["free"] for row in locked}
            assert free[wallet] >= amount, "the wallets of the benchmark are deep enough"
            await connection.execute(SQL["hold_debit"], wallet, amount)
            await connection.execute(SQL["hold_credit"], revenue, amount)
            await connection.execute(SQL["open"], transfer, amount)
            await connection.execute(SQL["log"], transfer, 0, wallet, revenue, amount)

    async def settle(self, transfer: UUID, wallet: int, amount: int, *, shared: bool) -> None:
        """Charge a part of what was reserved and release the rest."""
        revenue = 0 if shared else _OWN_REVENUE + wallet
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetch(SQL["lock"], [wallet, revenue])
            held = await connection.fetchval(SQL["close"], transfer)
            assert held is not None, "a hold is settled once"
            await connection.execute(SQL["settle_debit"], wallet, held, amount)
            await connection.execute(SQL["settle_credit"], revenue, held, amount)
            await connection.execute(SQL["log"], transfer, 1, wallet, revenue, amount)

    async def close(self) -> None:
        """Hang up."""
        await asyncio.wait_for(self._pool.close(), 30.0)
