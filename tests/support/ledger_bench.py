"""A ledger with the verbs that tests need."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

from taximeter.kernel.ids import IdFactory
from taximeter.ledger import AccountCode, Books, Kind, Leg, Operation, Outcome, Wallet, operator_account, store
from taximeter.ledger.replay import replay


@dataclass
class Bench:
    """One connection to read by, and the books."""

    connection: asyncpg.Connection
    books: Books
    ids: IdFactory

    async def wallet(self, *, prepaid: int = 0, allowance: int = 0, lane: int = 0) -> Wallet:
        async with self.connection.transaction():
            wallet = await store.open_wallet(self.connection, uuid4(), lane)
        for account, amount in ((wallet.prepaid, prepaid), (wallet.allowance, allowance)):
            if amount:
                await self.top_up(wallet, account, amount)
        return wallet

    async def top_up(self, wallet: Wallet, account: int, amount: int) -> Outcome:
        leg = Leg(operator_account(AccountCode.TREASURY, wallet.lane), account, amount, cascade=False)
        return await self.books.submit(Operation(id=self.ids.new(), kind=Kind.DIRECT, lane=wallet.lane, amount_utok=amount, legs=(leg,)))

    async def hold(self, wallet: Wallet, amount: int, request_id: UUID | None = None, ttl_s: int = 60) -> tuple[UUID, Outcome]:
        request_id = request_id or self.ids.new()
        operation = Operation(id=request_id, kind=Kind.HOLD, lane=wallet.lane, amount_utok=amount, legs=wallet.legs(), ttl_s=ttl_s)
        return request_id, await self.books.submit(operation)

    async def settle(self, request_id: UUID, amount: int, *, lane: int = 0, code: int = 0) -> Outcome:
        return await self.books.submit(Operation(id=request_id, kind=Kind.SETTLE, lane=lane, amount_utok=amount, code=code))

    async def end(self, request_id: UUID, kind: Kind, lane: int = 0) -> Outcome:
        return await self.books.submit(Operation(id=request_id, kind=kind, lane=lane))

    async def available(self, wallet: Wallet) -> int:
        rows = await self.connection.fetch(
            "select credits_posted - debits_posted - debits_pending as free from ledger.accounts where id = any($1)",
            [wallet.allowance, wallet.prepaid],
        )
        return sum(row["free"] for row in rows)

    async def shortfall(self) -> int:
        total: int = await self.connection.fetchval("select sum(debits_posted)::bigint from ledger.accounts where code = 13")
        return total

    async def assert_replay_agrees(self) -> None:
        report = await replay(self.connection)
        assert report.differences == []
