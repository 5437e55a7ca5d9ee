"""Plans cannot rot: the posting functions reach every table by the batch's own ids, planned on empty tables or on full ones.

A cached plan that was made for an empty table and scans it later is how such functions become slow in production (B24).
"""

import asyncio
import json
import re
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from taximeter.db.pool import connect_app, connect_owner
from taximeter.ledger import Kind, Operation, Outcome, SettleCode, Status, Wallet, store
from taximeter.metering import store as metering
from tests.support.ledger_bench import Bench

pytestmark = pytest.mark.anyio

WALLETS = 3_000
BATCH = 500
OPEN = 1_500
SCAN = re.compile(r"\{(SEQSCAN|INDEXSCAN|INDEXONLYSCAN|BITMAPINDEXSCAN|TIDSCAN|SAMPLESCAN)\b")
INDEX = r"\{(?:INDEXSCAN|INDEXONLYSCAN|BITMAPINDEXSCAN)\b"
UNBOUND_INDEX = re.compile(INDEX + r"(?:(?!\{SEQSCAN\b|" + INDEX + r").)*?:indexqual <>", re.DOTALL)
ROWS_READ = """
    select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int
    from pg_stat_xact_user_tables where schemaname in ('ledger', 'metering', 'jobs', 'admission')
"""
REQUEST: dict[str, Any] = {
    "project_id": str(uuid4()),
    "key_id": str(uuid4()),
    "process_id": None,
    "model": "m",
    "modality": "chat",
    "rate_card": "c@1",
    "tariff": "t@1",
    "multiplier": "1",
    "fare": {},
    "end_user": None,
}
RECEIPT: dict[str, Any] = {
    "outcome": "completed",
    "reason": None,
    "work": {},
    "measured": True,
    "consumed_utok": 1,
    "lines": [],
    "detail": {},
    "engine_ms": 1,
}
TAKE = tuple(
    (REQUEST["key_id"], kind, 10**15, 60, shadow)
    for kind, shadow in (("requests", False), ("tokens", False), ("concurrency", False), ("requests", True))
)
JOB = {"project_id": REQUEST["project_id"], "kind": "video", "payload": {}}
JOB_END: dict[str, Any] = {
    "state": "completed",
    "error_code": None,
    "error_message": None,
    "object_key": "k",
    "object_bytes": 1,
    "result": {},
    "keep_s": 60,
}


async def fill(bench: Bench) -> None:
    """Many accounts, a long log, many open holds, and statistics that know it."""
    wallets = [await bench.wallet() for _ in range(WALLETS)]
    await asyncio.gather(*(bench.top_up(wallet, wallet.prepaid, 10**9) for wallet in wallets))
    held = await asyncio.gather(*(bench.hold(wallets[n % WALLETS], 1_000) for n in range(2 * OPEN)))
    await asyncio.gather(*(bench.settle(request, 10) for request, _ in held[OPEN:]))
    for _ in range(OPEN // BATCH):
        keyed = [hold_of(bench, wallet, 1_000, facts=True) for wallet in wallets[:BATCH]]
        assert all(outcome.applied for outcome in await metering.post(bench.connection, 0, keyed))
        settled = [settlement_of(held, 10, facts=True) for held in keyed]
        assert all(outcome.applied for outcome in await metering.post(bench.connection, 0, settled))


def hold_of(bench: Bench, wallet: Wallet, amount: int, *, facts: bool) -> Operation:
    request_id = bench.ids.new()
    key = {"project_id": REQUEST["project_id"], "key": str(request_id), "fingerprint": "00" * 32, "keeps_answer": True}
    fact = json.dumps({"request": REQUEST, "job": JOB, "idempotency": key}) if facts else None
    return Operation(id=request_id, kind=Kind.HOLD, lane=0, amount_utok=amount, legs=wallet.legs(), ttl_s=60, fact=fact, take=TAKE if facts else ())


def settlement_of(held: Operation, amount: int, code: int = 0, *, facts: bool) -> Operation:
    key = {"project_id": REQUEST["project_id"], "key": str(held.id)}
    fact = json.dumps({"receipt": RECEIPT, "job": JOB_END, "idempotency": key}) if facts else None
    return Operation(id=held.id, kind=Kind.SETTLE, lane=0, amount_utok=amount, code=code, fact=fact)


async def every_operation(connection: asyncpg.Connection, bench: Bench, wallet: Wallet, *, facts: bool) -> None:
    """Holds, refusals, settlements below and above the hold, voids, replays and late settlements: both paths, all statements."""
    post = metering.post if facts else store.post

    async def go(*operations: Operation) -> list[Outcome]:
        return await post(connection, 0, operations)

    hold = partial(hold_of, bench, wallet, facts=facts)
    settle = partial(settlement_of, facts=facts)
    a, b, c, d, unaffordable = hold(100), hold(100), hold(100), hold(100), hold(10**12)
    answers = await go(a, b, c, d, unaffordable)
    assert [answer.status for answer in answers] == [Status.APPLIED] * 4 + [Status.REFUSED]
    assert (await go(a))[0].status is Status.REPLAYED
    expired, voided = Operation(id=c.id, kind=Kind.EXPIRE, lane=0), Operation(id=d.id, kind=Kind.VOID, lane=0)
    assert [answer.status for answer in await go(settle(a, 60), settle(b, 150), expired, voided)] == [Status.APPLIED] * 4
    again = replace(settle(a, 60), id=a.id)
    assert [answer.status for answer in await go(again, settle(c, 70), settle(d, 80, SettleCode.LATE_ALWAYS))] == [
        Status.REPLAYED,
        Status.SETTLED_LATE,
        Status.SETTLED_LATE,
    ]


def scans(plans: list[str]) -> list[str]:
    """The ways in which the plans read tables; 'unbound ...' for an index that is read from end to end."""
    found = [kind for plan in plans for kind in SCAN.findall(plan)]
    return found + ["unbound index" for plan in plans if UNBOUND_INDEX.search(plan)]


@pytest.mark.parametrize("full", [False, True], ids=["empty tables", "full tables"])
@pytest.mark.parametrize("facts", [False, True], ids=["ledger.post", "metering.post"])
async def test_every_statement_reads_by_the_ids_of_its_batch(bench: Bench, database_url: str, *, full: bool, facts: bool) -> None:
    if full:
        await fill(bench)
        owner = await connect_owner(database_url)
        await owner.execute("analyze")
        await owner.close()
    wallet = await bench.wallet(prepaid=10_000)
    plans: list[str] = []
    # A new session: plpgsql plans its statements now.  The server sends each plan tree as a message.
    connection = await connect_app(database_url)
    try:
        for post in (store.post, metering.post):
            await post(connection, 0, [])  # The driver looks up the types of the arguments, with plans of its own.
        connection.add_log_listener(lambda _, message: plans.append(f"{message.detail}"))
        await connection.execute("set debug_print_plan = on; set debug_pretty_print = on; set client_min_messages = log")
        await every_operation(connection, bench, wallet, facts=facts)
        await connection.execute("set debug_print_plan = off")
    finally:
        await connection.close()
    found = scans([plan for plan in plans if "{PLANNEDSTMT" in plan])
    assert found, "the server printed no plan"
    assert "SEQSCAN" not in found
    assert [plan for plan in plans if UNBOUND_INDEX.search(plan)] == []


async def test_a_batch_reads_as_many_rows_from_full_tables_as_from_empty_ones(bench: Bench, database_url: str) -> None:
    read = []
    for full in (False, True):
        if full:
            await fill(bench)
        wallet = await bench.wallet(prepaid=10_000)
        connection = await connect_app(database_url)
        try:
            async with connection.transaction():
                await every_operation(connection, bench, wallet, facts=True)
                read.append(await connection.fetchval(ROWS_READ))
        finally:
            await connection.close()
    assert read[0] > 0
    assert read[1] < 2 * read[0]
