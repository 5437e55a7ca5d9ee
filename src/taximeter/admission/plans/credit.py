"""Credit lines: how far a wallet may go below nothing, what is owed, and payments."""

from dataclasses import replace
from uuid import UUID

import asyncpg

from taximeter.admission.plans import store
from taximeter.admission.plans.errors import CreditLineInUse, NotPostpaid
from taximeter.admission.plans.model import By, CreditLine
from taximeter.identity import Project
from taximeter.kernel.ids import IdFactory, named_id
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountCode, DifferentBody, Leg, Status, operator_account

PAYMENT_CODE = 106
LINE_CODE = 107
DEBT_CODE = 109


class Credit:
    """Raises, lowers and ends credit lines, and books payments."""

    def __init__(self, pool: asyncpg.Pool, ids: IdFactory) -> None:
        self._pool = pool
        self._ids = ids

    async def agree(self, connection: asyncpg.Connection, project: Project, line_utok: int | None, by: By) -> CreditLine:
        """Let a wallet go this far below nothing, None: without a bound; in a transaction that has the lane.

        Raises CreditLineInUse when more is owed.
        """
        line = await store.credit_line(connection, project.id)
        owed_utok = sum(account.owed_utok for account in await store.credit_accounts(connection, project.id))
        if line_utok is not None and owed_utok > line_utok:
            message = (
                f"{format_tokens(owed_utok)} Tokens are owed, more than a line of {format_tokens(line_utok)} allows;"
                " book the payment first, or agree on more"
            )
            raise CreditLineInUse(message, param="tokens")
        if line is None or (line.line_utok is None) != (line_utok is None):
            account = await store.open_account(connection, AccountCode.POSTPAID, project.lane, project.id, limited=line_utok is not None)
            await store.insert_credit_account(connection, account, project.id)
            line = CreditLine(project_id=project.id, account=account, line_utok=line_utok, active=True)
        else:
            line = replace(line, line_utok=line_utok, active=True)
        await store.put_credit_line(connection, line)
        await self._lend(connection, project, line, by)
        await self._move_debts(connection, project, line, by)
        await self._shrink(connection, project, line, by)
        return line

    async def end(self, connection: asyncpg.Connection, project: Project, by: By) -> None:
        """Lend nothing more; what is owed stays to be paid.  In a transaction that has the lane."""
        line = await store.credit_line(connection, project.id)
        if line is not None and line.active:
            line = replace(line, active=False)
            await store.put_credit_line(connection, line)
            await self._shrink(connection, project, line, by)

    async def set_line(self, project: Project, line_utok: int | None, by: By) -> CreditLine:
        """Agree on a line, in a transaction of its own.  Raises CreditLineInUse."""
        async with store.locked(self._pool, project.lane) as connection:
            return await self.agree(connection, project, line_utok, by)

    async def pay(self, project: Project, amount_utok: int, by: By) -> tuple[UUID, int, bool]:
        """Book a payment: of what is owed first, the rest is bought Tokens.  Returns how much was owed, and whether it was booked before.

        Raises NotPostpaid, and DifferentBody when the reference was used for another payment.
        """
        payment_id = named_id(project.id, "payment", by.reference) if by.reference else self._ids.new()
        treasury = operator_account(AccountCode.TREASURY, project.lane)
        async with store.locked(self._pool, project.lane) as connection:
            line = await store.credit_line(connection, project.id)
            if line is None:
                message = "this project has no credit line and owes nothing; a top-up gives it Tokens"
                raise NotPostpaid(message)
            found = await store.find_adjustment(connection, payment_id)
            if found is not None:
                if found["amount_utok"] != amount_utok:
                    message = f"the reference {by.reference!r} was used for another payment before; use a new reference"
                    raise DifferentBody(message, param="reference")
                return payment_id, 0, True
            legs, rest_utok = [], amount_utok
            for account in await store.credit_accounts(connection, project.id):
                part_utok = min(rest_utok, max(account.owed_utok, 0))
                if part_utok:
                    legs.append(Leg(treasury, account.account, part_utok, cascade=False))
                    rest_utok -= part_utok
            if rest_utok:
                legs.append(Leg(treasury, project.prepaid_account, rest_utok, cascade=False))
            outcome = await store.transfer(connection, project.lane, payment_id, PAYMENT_CODE, legs, amount_utok)
            assert outcome.status is Status.APPLIED, outcome
            await store.insert_adjustment(connection, payment_id, project.id, "payment", amount_utok, by)
            await self._shrink(connection, project, line, by)
            return payment_id, amount_utok - rest_utok, False

    async def overlent(self, limit: int) -> list[UUID]:
        """Projects with a part of a lowered line to take back."""
        async with self._pool.acquire() as connection:
            return await store.overlent(connection, limit)

    async def shrink(self, project: Project, by: By) -> None:
        """Take back what was lent above the line, as far as it is free."""
        async with store.locked(self._pool, project.lane) as connection:
            line = await store.credit_line(connection, project.id)
            if line is not None:
                await self._shrink(connection, project, line, by)

    async def _lend(self, connection: asyncpg.Connection, project: Project, line: CreditLine, by: By) -> None:
        accounts = await store.credit_accounts(connection, project.id)
        lent_utok = next(account.lent_utok for account in accounts if account.account == line.account)
        more_utok = (line.line_utok or 0) - lent_utok
        if more_utok > 0:
            leg = Leg(operator_account(AccountCode.CREDIT, project.lane), line.account, more_utok, cascade=False)
            await self._book(connection, project, leg, (LINE_CODE, "credit_line", more_utok), by)
            await store.lend(connection, line.account, more_utok)

    async def _move_debts(self, connection: asyncpg.Connection, project: Project, line: CreditLine, by: By) -> None:
        """What is owed on accounts of earlier lines is owed on this one: there is one line, and one bound."""
        for account in await store.credit_accounts(connection, project.id):
            if account.account != line.account and account.owed_utok > 0:
                leg = Leg(line.account, account.account, account.owed_utok, cascade=False)
                await self._book(connection, project, leg, (DEBT_CODE, "debt", account.owed_utok), by)

    async def _shrink(self, connection: asyncpg.Connection, project: Project, line: CreditLine, by: By) -> None:
        for account in await store.credit_accounts(connection, project.id):
            target_utok = (line.line_utok or 0) if line.active and account.account == line.account else 0
            less_utok = min(account.lent_utok - target_utok, account.free_utok)
            if less_utok > 0:
                leg = Leg(account.account, operator_account(AccountCode.CREDIT, project.lane), less_utok, cascade=False)
                await self._book(connection, project, leg, (LINE_CODE, "credit_line", -less_utok), by)
                await store.lend(connection, account.account, -less_utok)

    async def _book(self, connection: asyncpg.Connection, project: Project, leg: Leg, entry: tuple[int, str, int], by: By) -> None:
        code, kind, amount_utok = entry
        transfer_id = self._ids.new()
        outcome = await store.transfer(connection, project.lane, transfer_id, code, [leg], leg.amount_utok)
        assert outcome.status is Status.APPLIED, outcome
        await store.insert_adjustment(connection, transfer_id, project.id, kind, amount_utok, replace(by, reference=""))
