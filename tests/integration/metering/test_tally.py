"""What a process counts itself is what it wrote, also when an answer is lost."""

import json
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_app
from taximeter.ledger import Kind, Operation
from taximeter.metering.desk import wallet_of
from taximeter.metering.store import post
from taximeter.metering.tally import Tally
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio

RECEIPT = {"outcome": "completed", "work": {}, "measured": True, "consumed_utok": 9, "lines": [], "detail": {}, "engine_ms": 1}
REQUEST = {"model": "m", "modality": "chat", "rate_card": "c@1", "tariff": "t@1", "multiplier": "1", "fare": {}}


async def held(town: Town, connection: asyncpg.Connection) -> Operation:
    """A hold, and what settles it."""
    caller = await town.caller()
    fact = {"request": {**REQUEST, "project_id": str(caller.project_id), "key_id": str(caller.key_id)}}
    hold = Operation(
        id=town.office.desk.ids.new(),
        kind=Kind.HOLD,
        lane=caller.lane,
        amount_utok=100,
        legs=wallet_of(caller).legs(),
        ttl_s=60,
        fact=json.dumps(fact),
    )
    await post(connection, hold.lane, [hold])
    return Operation(id=hold.id, kind=Kind.SETTLE, lane=hold.lane, amount_utok=60, fact=json.dumps({"receipt": RECEIPT}))


async def reported(pool: asyncpg.Pool, process_id: UUID) -> tuple[int, int, int, bool] | None:
    row = await pool.fetchrow("select receipts, charged_utok, uncertain, ended from metering.process_counters where process_id = $1", process_id)
    return None if row is None else (row["receipts"], row["charged_utok"], row["uncertain"], row["ended"])


async def test_an_end_is_counted_once_and_a_repeat_not(town: Town, database_url: str) -> None:
    process_id = town.office.desk.ids.new()
    tally = Tally(process_id, "gateway")
    connection = await connect_app(database_url, process_id)
    await tally.report(town.office.pool)
    assert await reported(town.office.pool, process_id) is None
    settlement = await held(town, connection)
    for _ in range(2):
        await tally.post(connection, settlement.lane, [settlement])
    await tally.report(town.office.pool)
    assert await reported(town.office.pool, process_id) == (1, 60, 0, False)
    assert await town.office.pool.fetchval("select settled_by from metering.receipts where id = $1", settlement.id) == process_id
    # What the books void by themselves writes no receipt.
    void = Operation(id=(await held(town, connection)).id, kind=Kind.VOID, lane=settlement.lane)
    await tally.post(connection, settlement.lane, [void])
    assert tally.receipts == 1
    await connection.close()


@pytest.mark.parametrize(("by_us", "counted"), [(True, (1, 60)), (False, (0, 0))])
async def test_b28_an_end_whose_answer_was_lost_is_counted_when_the_receipt_is_ours(
    town: Town, database_url: str, *, by_us: bool, counted: tuple[int, int]
) -> None:
    process_id, other = town.office.desk.ids.new(), town.office.desk.ids.new()
    tally = Tally(process_id, "gateway")
    connection = await connect_app(database_url, process_id)
    settlement = await held(town, connection)
    lost = await connect_app(database_url, process_id if by_us else other)
    await post(lost, settlement.lane, [settlement])
    await lost.close()
    with pytest.raises(asyncpg.InterfaceError):
        await tally.post(lost, settlement.lane, [settlement])
    await tally.report(town.office.pool)
    assert await reported(town.office.pool, process_id) == (0, 0, 1, False)
    await tally.post(connection, settlement.lane, [settlement])
    await tally.report(town.office.pool)
    assert (tally.receipts, tally.charged_utok) == counted
    await connection.close()


async def test_the_last_word_looks_up_what_was_never_answered(town: Town, database_url: str) -> None:
    process_id = town.office.desk.ids.new()
    tally = Tally(process_id, "worker")
    connection = await connect_app(database_url, process_id)
    settlement = await held(town, connection)
    await post(connection, settlement.lane, [settlement])
    await connection.close()
    with pytest.raises(asyncpg.InterfaceError):
        await tally.post(connection, settlement.lane, [settlement])
    await tally.report(town.office.pool, ended=True)
    assert await reported(town.office.pool, process_id) == (1, 60, 0, True)


async def test_an_expiry_whose_answer_was_lost_does_not_count_the_late_settlement_twice(town: Town, database_url: str) -> None:
    """Found by a season: the answer to an expiry was lost, and before it was looked up, the hold was settled late by the same process."""
    process_id = town.office.desk.ids.new()
    tally = Tally(process_id, "worker")
    connection = await connect_app(database_url, process_id)
    settlement = await held(town, connection)
    expiry = Operation(id=settlement.id, kind=Kind.EXPIRE, lane=settlement.lane, fact=json.dumps({"receipt": {**RECEIPT, "outcome": "expired"}}))
    lost = await connect_app(database_url, process_id)
    await post(lost, expiry.lane, [expiry])
    await lost.close()
    with pytest.raises(asyncpg.InterfaceError):
        await tally.post(lost, expiry.lane, [expiry])
    for end in (expiry, settlement):
        await tally.post(connection, end.lane, [end])
    await tally.report(town.office.pool)
    assert await reported(town.office.pool, process_id) == (2, 60, 0, False)
    await connection.close()
