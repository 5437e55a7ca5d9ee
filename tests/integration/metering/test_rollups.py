"""Daily sums: always exact together with what is not in them yet, whoever adds to them and whenever a charge commits."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_app, connect_owner
from taximeter.identity import Caller
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import Kind, Operation
from taximeter.metering.desk import wallet_of
from taximeter.metering.rollups import Rollups
from taximeter.metering.rules import whole_days
from taximeter.metering.store import _SQL, post
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

MODELS = ("small", "large")
OUTCOMES = {Kind.SETTLE: "completed", Kind.VOID: "failed", Kind.EXPIRE: "expired"}
BY_HAND = """
select count(*) filter (where phase = 1) as requests, count(*) filter (where outcome = 'failed') as failed,
    coalesce(sum(consumed_utok), 0) as consumed_utok, coalesce(sum(charged_utok), 0) as charged_utok, coalesce(sum(engine_ms), 0) as engine_ms
from metering.receipts where project_id = $1 and settled_at >= $2 and settled_at < $3
"""


def held(caller: Caller, ids: IdFactory, model: str, *, amount_utok: int = 1000) -> Operation:
    request: dict[str, Any] = {
        "project_id": str(caller.project_id), "key_id": str(caller.key_id), "process_id": None, "model": model, "modality": "chat",
        "rate_card": "c@1", "tariff": "t@1", "multiplier": "1", "fare": {}, "end_user": None,
    }  # fmt: skip
    fact = json.dumps({"request": request})
    return Operation(id=ids.new(), kind=Kind.HOLD, lane=caller.lane, amount_utok=amount_utok, legs=wallet_of(caller).legs(), ttl_s=60, fact=fact)


def ended(hold: Operation, kind: Kind, amount_utok: int = 0) -> Operation:
    receipt: dict[str, Any] = {
        "outcome": OUTCOMES[kind], "reason": None, "work": {}, "measured": True, "consumed_utok": amount_utok * 2, "lines": [], "detail": {},
        "engine_ms": 3,
    }  # fmt: skip
    return Operation(id=hold.id, kind=kind, lane=hold.lane, amount_utok=amount_utok, fact=json.dumps({"receipt": receipt}))


async def spend(connection: asyncpg.Connection, caller: Caller, ids: IdFactory, amounts: Sequence[int]) -> None:
    """One batch of holds and one of settlements."""
    holds = [held(caller, ids, MODELS[number % 2]) for number in range(len(amounts))]
    await post(connection, caller.lane, holds)
    await post(connection, caller.lane, [ended(hold, Kind.SETTLE, amount) for hold, amount in zip(holds, amounts, strict=True)])


async def told(town: Town, project_id: UUID, start: datetime, end: datetime, groups: Sequence[str] = ()) -> list[dict[str, Any]]:
    return [dict(row) for row in await town.office.store.usage(project_id, start, end, groups)]


async def assert_exact(town: Town, caller: Caller, start: datetime, end: datetime) -> None:
    by_hand = dict(await town.office.pool.fetchrow(BY_HAND, caller.project_id, start, end))
    rows = await told(town, caller.project_id, start, end)
    assert {name: sum(row[name] for row in rows) for name in by_hand} == by_hand
    grouped = await told(town, caller.project_id, start, end, ["day", "model", "project", "key"])
    assert {name: sum(row[name] for row in grouped) for name in by_hand} == by_hand


def rollups(town: Town) -> Rollups:
    return Rollups(town.office.store, 1.0)


async def folded(town: Town) -> tuple[int, int]:
    row = await town.office.pool.fetchrow("select coalesce(sum(receipts), 0)::int, coalesce(sum(charged_utok), 0)::int from metering.usage_daily")
    return row[0], row[1]


async def test_usage_is_the_same_before_between_and_after_the_sums(town: Town, database_url: str) -> None:
    """Random receipts over some days, summed up at random moments; asked for in random spans."""
    caller, other = await town.caller(), await town.caller()
    draw = random.Random(7)  # noqa: S311 - the same history every time
    owner = await connect_owner(database_url)
    ids = town.office.desk.ids
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for _ in range(6):
        for who in (caller, other):
            await spend(owner, who, ids, [draw.randrange(1000) for _ in range(draw.randrange(1, 9))])
            released = [held(who, ids, "small") for _ in range(3)]
            await post(owner, who.lane, released)
            await post(owner, who.lane, [ended(hold, kind) for hold, kind in zip(released, OUTCOMES, strict=True)])
            await post(owner, who.lane, [ended(released[2], Kind.SETTLE, 50)])
        # Receipts of earlier days, which no sum has yet: only the owner can move them there.
        await owner.execute("alter table metering.receipts disable trigger append_only")
        await owner.execute(
            "update metering.receipts r set settled_at = settled_at - make_interval(days => $1, secs => $2)"
            " where id in (select id from metering.receipts_not_folded())",
            draw.randrange(4),
            draw.randrange(80_000),
        )
        await owner.execute("alter table metering.receipts enable trigger append_only")
        for _ in range(4):
            start = today + timedelta(days=draw.randrange(-5, 1), seconds=draw.choice([0, draw.randrange(86_400)]))
            end = start + timedelta(days=draw.randrange(4), seconds=draw.choice([0, draw.randrange(1, 86_400)]))
            await assert_exact(town, caller, start, end)
        if draw.random() < 0.7:
            await rollups(town).catch_up()
            await assert_exact(town, caller, today - timedelta(days=9), today + timedelta(days=1))
    await rollups(town).catch_up()
    assert (await folded(town))[0] == await owner.fetchval("select count(*) from metering.receipts")
    assert await owner.fetchval("select count(*) from metering.receipts_not_folded()") == 0
    await owner.close()


async def test_b13_a_charge_that_commits_late_is_not_skipped(town: Town, database_url: str) -> None:
    """Sequence order is not commit order: sums that follow a sequence, or times, miss what commits late."""
    callers = [await town.caller() for _ in range(8)]
    slow = callers[0]
    quick = next(caller for caller in callers if caller.lane != slow.lane)
    ids = town.office.desk.ids
    late, other = await connect_app(database_url), await connect_app(database_url)
    transaction = late.transaction()
    await transaction.start()
    await spend(late, slow, ids, [100])
    await spend(other, quick, ids, [20])
    await rollups(town).catch_up()
    assert await folded(town) == (1, 20)
    # The same lane, after the slow one: it waits, and cannot get ahead of it.
    behind = asyncio.create_task(spend(other, slow, ids, [3]))
    await rollups(town).catch_up()
    assert await folded(town) == (1, 20)
    await transaction.commit()
    await behind
    await rollups(town).catch_up()
    assert await folded(town) == (3, 123)
    await late.close()
    await other.close()


async def test_several_processes_that_sum_up_at_once_add_each_receipt_once(town: Town, database_url: str) -> None:
    callers = [await town.caller() for _ in range(4)]
    ids = town.office.desk.ids
    connections = [await connect_app(database_url) for _ in callers]

    async def work(connection: asyncpg.Connection, caller: Caller) -> None:
        for _ in range(10):
            await spend(connection, caller, ids, [1, 2, 3])

    async def fold(working: "asyncio.Future[Any]") -> None:
        while not working.done():
            await rollups(town).catch_up()

    working = asyncio.gather(*(work(*pair) for pair in zip(connections, callers, strict=True)))
    await asyncio.gather(working, *(fold(working) for _ in range(3)))
    await rollups(town).catch_up()
    assert await folded(town) == (120, 4 * 10 * 6)
    for connection in connections:
        await connection.close()


async def test_a_sum_that_fails_half_way_leaves_nothing_behind(town: Town, database_url: str) -> None:
    caller = await town.caller()
    owner = await connect_owner(database_url)
    await spend(owner, caller, town.office.desk.ids, [7])
    transaction = owner.transaction()
    await transaction.start()
    assert await owner.fetchval("select metering.fold_usage(100)") > 0
    # Another process leaves it to the one that is at it.
    assert await town.office.store.fold_usage(100) is None
    await transaction.rollback()
    assert await folded(town) == (0, 0)
    await rollups(town).catch_up()
    await rollups(town).catch_up()
    assert await folded(town) == (1, 7)
    await owner.close()


async def test_a_batch_is_never_cut_by_the_limit_of_a_statement(town: Town, database_url: str) -> None:
    caller = await town.caller()
    owner = await connect_owner(database_url)
    for _ in range(3):
        await spend(owner, caller, town.office.desk.ids, [5] * 10)
    steps = 0
    while await town.office.store.fold_usage(1):
        steps += 1
    assert (steps, await folded(town)) == (7, (30, 150))
    await owner.close()


async def test_the_application_cannot_write_the_sums(town: Town) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await town.office.pool.execute("update metering.usage_daily set charged_utok = 0")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await town.office.pool.execute("update metering.usage_positions set folded = 0")


async def test_not_even_the_owner_empties_the_sums(database_url: str) -> None:
    owner = await connect_owner(database_url)
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute("truncate metering.usage_daily")
    await owner.close()


async def test_the_statements_of_usage_have_an_index_for_every_table_that_grows(town: Town) -> None:
    """Were one missing, the planner would have to scan even when it is told not to."""
    caller = await town.caller()
    span = (datetime(2026, 1, 1, 5, tzinfo=UTC), datetime(2026, 2, 1, 5, tzinfo=UTC))
    async with town.office.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        plan = await connection.fetch("explain " + _SQL["usage"], caller.project_id, *span, *whole_days(*span), *[True] * 4)
        text = "\n".join(row[0] for row in plan)
        body = await connection.fetchval("select prosrc from pg_proc where proname = 'receipts_not_folded'")
        text += "\n".join(row[0] for row in await connection.fetch("explain " + body))
    # One row a lane, and no index would help.
    assert "Seq Scan" not in text.replace("Seq Scan on usage_positions", "")
    assert "((id >= 1100) AND (id <= 1163)" in text
    assert {name for name in ("usage_daily_pkey", "receipts_by_project", "receipts_pkey", "lane_batch_idx") if name not in text} == set()


async def test_the_worker_keeps_the_sums_up(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path) as town:
        caller = await town.caller()
        connection = await connect_app(database_url)
        keeping = asyncio.create_task(Rollups(town.office.store, 0.01).run())
        await spend(connection, caller, town.office.desk.ids, [5, 6])
        async with asyncio.timeout(10):
            while await folded(town) != (2, 11):
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await connection.close()
