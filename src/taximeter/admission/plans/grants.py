"""Gives Tokens on terms, takes back what expired of them, corrects wallets."""

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from taximeter.admission.plans import store
from taximeter.admission.plans.errors import CorrectionAboveBalance
from taximeter.admission.plans.model import By, Grant, GrantOrder
from taximeter.identity import Project
from taximeter.kernel.ids import IdFactory, encode_id, named_id
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountCode, DifferentBody, Leg, Status, operator_account

GRANT_CODE = 103
EXPIRY_CODE = 104
CORRECTION_CODE = 105
PRORATION_CODE = 108
EXPIRING = timedelta(days=3)
"""This long before its end the project is told of a grant that has something left."""
WORKER = "worker"


async def give(connection: asyncpg.Connection, grant_id: UUID, project: Project, order: GrantOrder, by: By, now: datetime) -> tuple[Grant, bool]:
    """Give Tokens in the transaction of ``connection``, which has the lane; a grant that was given before is answered as it is.

    Raises DifferentBody when its reference was used for another grant.
    """
    found = await store.find_grant(connection, grant_id)
    if found is not None:
        same = (found.amount_utok, found.expires_at, found.priority, found.modality, found.kind)
        if same != (order.amount_utok, order.expires_at, order.priority, order.modality, order.kind) or (
            order.starts_at is not None and order.starts_at != found.starts_at
        ):
            message = f"the reference {by.reference!r} was used for another grant before; use a new reference"
            raise DifferentBody(message, param="reference")
        return found, True
    account = await store.open_account(connection, AccountCode.GRANT, project.lane, project.id)
    await store.insert_grant(connection, grant_id, project.id, account, order, order.starts_at or now, by)
    leg = Leg(operator_account(AccountCode.TREASURY, project.lane), account, order.amount_utok, cascade=False)
    outcome = await store.transfer(connection, project.lane, grant_id, GRANT_CODE, [leg], order.amount_utok)
    assert outcome.status is Status.APPLIED, outcome
    given = await store.find_grant(connection, grant_id)
    assert given is not None
    return given, False


async def take_back(connection: asyncpg.Connection, transfer_id: UUID, project: Project, accounts: list[int], amount_utok: int, by: By) -> int:
    """Take Tokens back from grants, as far as they are there; returns how many."""
    there = await store.free_utok(connection, accounts)
    amount_utok = min(amount_utok, sum(max(there[account], 0) for account in accounts))
    if amount_utok > 0:
        treasury = operator_account(AccountCode.TREASURY, project.lane)
        legs = [Leg(account, treasury) for account in accounts]
        outcome = await store.transfer(connection, project.lane, transfer_id, PRORATION_CODE, legs, amount_utok)
        assert outcome.status is Status.APPLIED, outcome
        await store.insert_adjustment(connection, transfer_id, project.id, "proration", -amount_utok, by)
    return amount_utok


class Grants:
    """Opens the transactions of people's grants and corrections, and of expiries."""

    def __init__(self, pool: asyncpg.Pool, ids: IdFactory) -> None:
        self._pool = pool
        self._ids = ids

    async def give(self, project: Project, order: GrantOrder, by: By, now: datetime | None = None) -> tuple[Grant, bool]:
        """Give Tokens on terms; the same reference is booked once, and answered with true then.  Raises DifferentBody."""
        grant_id = named_id(project.id, "grant", by.reference) if by.reference else self._ids.new()
        async with store.locked(self._pool, project.lane) as connection:
            return await give(connection, grant_id, project, order, by, now or await store.database_now(connection))

    async def correct(self, project: Project, amount_utok: int, by: By) -> tuple[UUID, bool]:
        """Put Tokens on a wallet or, below 0, take them: what was bought first, then the allowance.  The same reference is booked once.

        Raises CorrectionAboveBalance, and DifferentBody when the reference was used for another correction.
        """
        correction_id = named_id(project.id, "correction", by.reference) if by.reference else self._ids.new()
        treasury = operator_account(AccountCode.TREASURY, project.lane)
        async with store.locked(self._pool, project.lane) as connection:
            found = await store.find_adjustment(connection, correction_id)
            if found is not None:
                if (found["amount_utok"], found["reason"]) != (amount_utok, by.reason):
                    message = f"the reference {by.reference!r} was used for another correction before; use a new reference"
                    raise DifferentBody(message, param="reference")
                return correction_id, True
            if amount_utok > 0:
                legs = [Leg(treasury, project.prepaid_account)]
            else:
                legs = [Leg(account, treasury) for account in (project.prepaid_account, project.allowance_account)]
            outcome = await store.transfer(connection, project.lane, correction_id, CORRECTION_CODE, legs, abs(amount_utok))
            if outcome.status is Status.REFUSED:
                message = (
                    f"the wallet has {format_tokens(outcome.available_utok)} Tokens that were bought or allowed, less than the"
                    f" {format_tokens(-amount_utok)} that are to be taken; nothing was booked"
                )
                raise CorrectionAboveBalance(message, param="tokens")
            assert outcome.status is Status.APPLIED, outcome
            await store.insert_adjustment(connection, correction_id, project.id, "correction", amount_utok, by)
            return correction_id, False

    async def expire(self, project: Project, grant_id: UUID, now: datetime | None = None) -> int:
        """Post what is left of a grant whose time is over; returns how much.  What running requests hold of it comes later."""
        async with store.locked(self._pool, project.lane) as connection:
            now = now or await store.database_now(connection)
            grant = await store.find_grant(connection, grant_id)
            if grant is None or grant.closed_at is not None or grant.expires_at is None or grant.expires_at > now:
                return 0
            times = await store.expiries(connection, grant_id)
            if grant.free_utok > 0:
                transfer_id = named_id(grant_id, "expiry", str(times))
                leg = Leg(grant.account, operator_account(AccountCode.EXPIRED, project.lane), grant.free_utok, cascade=False)
                outcome = await store.transfer(connection, project.lane, transfer_id, EXPIRY_CODE, [leg], grant.free_utok)
                assert outcome.status is Status.APPLIED, outcome
                await store.insert_expiry(connection, transfer_id, grant_id, grant.free_utok)
                data = {
                    "grant": encode_id("grt", grant_id), "expired": format_tokens(grant.free_utok),
                    "kind": grant.kind, "modality": grant.modality, "plan": grant.plan,
                }  # fmt: skip
                await store.emit(connection, "grant.expired", project.id, data, f"grant.expired/{transfer_id}")
            if grant.held_utok == 0:
                await store.close_grant(connection, grant_id)
            return grant.free_utok

    async def expired(self, limit: int, now: datetime | None = None) -> list[tuple[UUID, UUID]]:
        """Grants whose time is over, with their projects."""
        async with self._pool.acquire() as connection:
            return await store.expired(connection, now or await store.database_now(connection), limit)

    async def warn(self, now: datetime | None = None) -> None:
        """Tell of what will expire soon, once."""
        async with self._pool.acquire() as connection:
            await store.warn(connection, now or await store.database_now(connection), EXPIRING)
