"""Plans and wallets in PostgreSQL.  Every method joins the transaction of the connection that it is given."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.plans.model import By, CreditAccount, CreditLine, Grant, GrantOrder, Subscription
from taximeter.db import sql
from taximeter.identity import Caller, terms
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Outcome
from taximeter.ledger import store as ledger_store

_SQL = sql.load("taximeter.admission.plans")
_LIMITED = 1


@asynccontextmanager
async def locked(pool: asyncpg.Pool, lane: int) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that has the lane to itself."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock"], lane)
        yield connection


async def database_now(connection: asyncpg.Connection) -> datetime:
    """The ledger's clock."""
    now: datetime = await connection.fetchval(_SQL["now"])
    return now


async def emit(connection: asyncpg.Connection, kind: str, project_id: UUID, data: Mapping[str, Any], dedup: str | None = None) -> None:
    """Write an event in the transaction of what happened."""
    await connection.execute(_SQL["emit"], kind, project_id, json.dumps(data), dedup)


async def transfer(connection: asyncpg.Connection, lane: int, transfer_id: UUID, code: int, legs: Sequence[Leg], amount_utok: int) -> Outcome:
    """Post one direct transfer."""
    operation = Operation(id=transfer_id, kind=Kind.DIRECT, lane=lane, amount_utok=amount_utok, legs=tuple(legs), code=code)
    return (await ledger_store.post(connection, lane, [operation]))[0]


async def open_account(connection: asyncpg.Connection, code: AccountCode, lane: int, owner: UUID, *, limited: bool = True) -> int:
    """One more account of a project."""
    account: int = await connection.fetchval(_SQL["open_account"], int(code), lane, _LIMITED if limited else 0, owner)
    return account


async def free_utok(connection: asyncpg.Connection, accounts: Sequence[int]) -> dict[int, int]:
    """What each account has to spend."""
    return {row["id"]: row["free_utok"] for row in await connection.fetch(_SQL["free"], list(accounts))}


# Grants.


async def find_grant(connection: asyncpg.Connection, grant_id: UUID) -> Grant | None:
    """One grant with what is left of it."""
    row = await connection.fetchrow(_SQL["grant"], grant_id)
    return None if row is None else Grant(**row)


async def grants(connection: asyncpg.Connection, project_id: UUID, at: datetime, *, ended: bool = False) -> list[Grant]:
    """A project's grants that can be spent now or later, oldest first; with ``ended`` all there ever were."""
    return [Grant(**row) for row in await connection.fetch(_SQL["grants"], project_id, at, ended)]


async def grants_of_period(connection: asyncpg.Connection, project_id: UUID, period_end: datetime) -> list[Grant]:
    """What a plan gave for the month that ends then."""
    return [Grant(**row) for row in await connection.fetch(_SQL["grants_of_period"], project_id, period_end)]


async def insert_grant(  # noqa: PLR0913, PLR0917
    connection: asyncpg.Connection, grant_id: UUID, project_id: UUID, account: int, order: GrantOrder, starts_at: datetime, by: By
) -> None:
    """Record a grant."""
    await connection.execute(
        _SQL["insert_grant"], grant_id, project_id, account, order.amount_utok, starts_at, order.expires_at, order.priority, order.modality,
        order.kind, order.plan, by.reason or None, by.operator, by.reference or None,
    )  # fmt: skip


async def expired(connection: asyncpg.Connection, at: datetime, limit: int) -> list[tuple[UUID, UUID]]:
    """Grants that are to be closed, with their projects."""
    return [(row["id"], row["project_id"]) for row in await connection.fetch(_SQL["expired"], at, limit)]


async def expiries(connection: asyncpg.Connection, grant_id: UUID) -> int:
    """How often something expired from a grant."""
    count: int = await connection.fetchval(_SQL["expiries"], grant_id)
    return count


async def insert_expiry(connection: asyncpg.Connection, transfer_id: UUID, grant_id: UUID, amount_utok: int) -> None:
    """Record what expired."""
    await connection.execute(_SQL["insert_expiry"], transfer_id, grant_id, amount_utok)


async def close_grant(connection: asyncpg.Connection, grant_id: UUID) -> None:
    """Nothing more can come of it."""
    await connection.execute(_SQL["close_grant"], grant_id)


# Adjustments.


async def find_adjustment(connection: asyncpg.Connection, adjustment_id: UUID) -> asyncpg.Record | None:
    """What was booked under this id."""
    return await connection.fetchrow(_SQL["adjustment"], adjustment_id)


async def adjustments(connection: asyncpg.Connection, project_id: UUID, after: UUID | None, limit: int) -> list[asyncpg.Record]:
    """What people and plans did to a wallet."""
    return list(await connection.fetch(_SQL["adjustments"], project_id, after, limit))


async def insert_adjustment(connection: asyncpg.Connection, adjustment_id: UUID, project_id: UUID, kind: str, amount_utok: int, by: By) -> None:
    """Record a transfer with who did it and why."""
    await connection.execute(
        _SQL["insert_adjustment"], adjustment_id, project_id, kind, amount_utok, by.reason or None, by.operator, by.reference or None
    )


# Subscriptions.


async def find_subscription(connection: asyncpg.Connection, project_id: UUID) -> Subscription | None:
    """What a project has subscribed to."""
    row = await connection.fetchrow(_SQL["subscription"], project_id)
    return None if row is None else Subscription(**row)


async def subscriptions(connection: asyncpg.Connection, project_ids: Sequence[UUID]) -> list[Subscription]:
    """What some projects have subscribed to."""
    return [Subscription(**row) for row in await connection.fetch(_SQL["subscriptions"], list(project_ids))]


async def put_subscription(connection: asyncpg.Connection, subscription: Subscription) -> None:
    """Record a subscription as it is now."""
    new = subscription
    await connection.execute(
        _SQL["put_subscription"], new.project_id, new.plan, new.next_plan, new.anchor, new.month, new.period_start, new.period_end,
        new.allowance_utok, new.allowance_modality, new.started_at, new.due_utok, new.given_utok,
    )  # fmt: skip


async def end_subscription(connection: asyncpg.Connection, project_id: UUID, due_utok: int) -> None:
    """It has none any more, and so much is due of the period that it was in."""
    await connection.execute(_SQL["end_subscription"], project_id)
    await connection.execute(_SQL["close_period"], project_id, due_utok)


async def open_period(connection: asyncpg.Connection, project_id: UUID, at: datetime) -> asyncpg.Record | None:
    """The period that a subscription which has ended was in, while it runs; None also when nothing was granted for it."""
    return await connection.fetchrow(_SQL["open_period"], project_id, at)


async def insert_change(
    connection: asyncpg.Connection, change_id: UUID, event: str, after: Subscription, plan_before: str | None, operator: str
) -> None:
    """Keep what became of a subscription."""
    await connection.execute(
        _SQL["insert_change"], change_id, after.project_id, event, after.next_plan if event == "planned" else after.plan, plan_before,
        after.period_start, after.period_end, operator,
    )  # fmt: skip


async def changes(connection: asyncpg.Connection, project_id: UUID, limit: int) -> list[asyncpg.Record]:
    """What became of a project's subscriptions, newest first."""
    return list(await connection.fetch(_SQL["changes"], project_id, limit))


async def due(connection: asyncpg.Connection, at: datetime, limit: int) -> list[UUID]:
    """Projects whose period is over."""
    return [row["project_id"] for row in await connection.fetch(_SQL["due"], at, limit)]


async def is_due(connection: asyncpg.Connection, project_id: UUID, at: datetime | None) -> bool:
    """Whether a project's period is over; None: by the database's clock."""
    found: bool = await connection.fetchval(_SQL["is_due"], project_id, at)
    return found


async def today(connection: asyncpg.Connection, project_id: UUID, at: datetime) -> date:
    """The day that it is for a customer."""
    day: date = await connection.fetchval(_SQL["today"], project_id, at)
    return day


async def period(connection: asyncpg.Connection, project_id: UUID, anchor: date, at: datetime, least: int = 0) -> tuple[int, datetime, datetime]:
    """The month, counted from the anchor where the customer is, that a moment lies in, or month ``least`` if that is later."""
    row = await connection.fetchrow(_SQL["period"], project_id, anchor, at, least)
    assert row is not None
    return row["month"], row["period_start"], row["period_end"]


async def terms_of(connection: asyncpg.Connection, caller: Caller) -> terms.Terms:
    """What is agreed with a caller at this moment."""
    return terms.read_terms(await connection.fetchval(_SQL["terms"], caller.organisation_id, caller.project_id, caller.key_id))


async def tell_low_wallets(connection: asyncpg.Connection, below_utok: int) -> int:
    """Tell of wallets that have less than so much left; how many were told."""
    told: int = await connection.fetchval(_SQL["tell_low_wallets"], below_utok)
    return told


async def warn(connection: asyncpg.Connection, at: datetime, ahead: object) -> None:
    """Tell of what will expire within ``ahead``."""
    await connection.execute(_SQL["warn"], at, ahead)


# Credit lines.


async def credit_line(connection: asyncpg.Connection, project_id: UUID) -> CreditLine | None:
    """A project's credit line, also one that is not active any more."""
    row = await connection.fetchrow(_SQL["credit_line"], project_id)
    return None if row is None else CreditLine(**row)


async def credit_accounts(connection: asyncpg.Connection, project_id: UUID) -> list[CreditAccount]:
    """Every account that it has had a line on, old ones first."""
    return [CreditAccount(**row) for row in await connection.fetch(_SQL["credit_accounts"], project_id)]


async def put_credit_line(connection: asyncpg.Connection, line: CreditLine) -> None:
    """Record a credit line as it is now."""
    await connection.execute(_SQL["put_credit_line"], line.project_id, line.account, line.line_utok, line.active)


async def insert_credit_account(connection: asyncpg.Connection, account: int, project_id: UUID) -> None:
    """Record an account that a line may stand on."""
    await connection.execute(_SQL["insert_credit_account"], account, project_id)


async def lend(connection: asyncpg.Connection, account: int, amount_utok: int) -> None:
    """So much more (or less) of the line stands on an account."""
    await connection.execute(_SQL["lend"], account, amount_utok)


async def overlent(connection: asyncpg.Connection, limit: int) -> list[UUID]:
    """Projects whose line was lowered, and that have paid some of it since."""
    return [row["project_id"] for row in await connection.fetch(_SQL["overlent"], limit)]


# Time zones.


async def set_zone(connection: asyncpg.Connection, organisation_id: UUID, zone: str) -> bool:
    """Where an organisation is; false when there is no such organisation.  Raises CheckViolationError for what is no zone."""
    return await connection.fetchval(_SQL["set_zone"], organisation_id, zone) is not None


async def zone(connection: asyncpg.Connection, organisation_id: UUID) -> str | None:
    """Where an organisation is; None when there is no such organisation."""
    found: str | None = await connection.fetchval(_SQL["zone"], organisation_id)
    return found
