"""Bugs of others in retries, logs and lost answers, each tried on ours."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from taximeter.db.pool import connect_app
from taximeter.engines import Chunk, Done, EngineFailed
from taximeter.kernel.clock import SystemClock
from taximeter.ledger import Books, Kind, Limits, Operation, Outcome, Status, store
from taximeter.ledger.errors import LedgerUnavailable
from taximeter.metering import Receipt, spool
from taximeter.metering.desk import price_order, wallet_of
from taximeter.metering.rules import encode_fact, key_fact, request_fact
from taximeter.metering.store import post
from tests.support.ledger_bench import Bench
from tests.support.outage import Outage
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHATS = "/v1/chat/completions"
CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}]}
KEY = {"idempotency-key": "order 17"}
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


async def test_b10_a_repeat_is_recognised_by_what_the_client_sent(gateway: Any, tenant: Any) -> None:
    """Formance wallets #109: the server put a fresh id and a time into the body before it compared, so that a retry under the same key was
    another request, and was rejected or made a second wallet.

    Here the fingerprint is taken of the client's body alone, before anything of ours is added, and named ids come from the name.
    """
    first = await gateway.call("POST", CHATS, tenant.key, json=CHAT, headers=KEY)
    second = await gateway.call("POST", CHATS, tenant.key, json=dict(reversed(CHAT.items())), headers=KEY)
    assert (first[0], second[0], second[1]["idempotency-replayed"]) == (200, 200, "true")
    assert (first[2], first[1]["taximeter-receipt"]) == (second[2], second[1]["taximeter-receipt"])
    assert await gateway.wallet(tenant) == ("987.6", "0")
    paid = {"tokens": "50", "reference": "invoice 9"}
    for kind in ("top-ups", "grants"):
        once, again = [await gateway.admin("POST", f"/projects/{tenant.id}/{kind}", json=paid) for _ in range(2)]
        assert (once["id"], once["replayed"], again["replayed"]) == (again["id"], False, True)
    assert await gateway.wallet(tenant) == ("1087.6", "0")


async def test_b11_one_key_with_two_bodies_is_refused_and_two_at_once_are_one(gateway: Any, tenant: Any, bench: Bench) -> None:
    """Formance #921, #1601 and a38a7de2d: a known key with another body was answered with 500, or silently with the old answer; the same key
    twice in one batch crashed.

    Here it is 422, a key whose request still runs is 409, and a batch that holds one id or key twice posts it once.
    """
    answers = await asyncio.gather(*(gateway.call("POST", CHATS, tenant.key, json=CHAT, headers=KEY) for _ in range(8)))
    assert set(Counter(status for status, _, _ in answers)) <= {200, 409}
    assert (len(gateway.engine.jobs), await gateway.wallet(tenant)) == (1, ("987.6", "0"))
    status, _, refusal = await gateway.call("POST", CHATS, tenant.key, json={**CHAT, "max_tokens": 3}, headers=KEY)
    assert (status, refusal["error"]["code"]) == (422, "idempotency_key_reused")
    assert len(gateway.engine.jobs) == 1
    wallet = await bench.wallet(prepaid=1000)
    request = bench.ids.new()
    both = await asyncio.gather(bench.hold(wallet, 100, request), bench.hold(wallet, 101, request), bench.hold(wallet, 100, request))
    assert [outcome.status for _, outcome in both] == [Status.APPLIED, Status.DIFFERENT_BODY, Status.REPLAYED]
    assert await bench.available(wallet) == 900


async def test_b13_a_reader_of_a_lanes_log_misses_nothing_while_two_processes_write(bench: Bench, rival: Bench) -> None:
    """Pollers of many systems, and rentemester #62: rows become visible in the order of their commits, not of their sequence numbers, so a
    reader that remembers the highest number it has seen skips what is committed later with a lower one.

    Here a batch takes its number under its lane's lock and commits before the next one takes its own: within a lane they are one order.
    """
    wallets = [await bench.wallet(prepaid=1_000_000, lane=lane) for lane in (0, 1)]
    statement = "select lane, batch, pos, id, leg, phase from ledger.transfers where lane = $1 and batch > $2 order by batch, pos, leg"
    seen: list[asyncpg.Record] = []
    last = {0: 0, 1: 0}

    async def read() -> None:
        for lane, batch in tuple(last.items()):
            rows = await bench.connection.fetch(statement, lane, batch)
            seen.extend(rows)
            last[lane] = rows[-1]["batch"] if rows else batch

    async def write(side: Bench, number: int) -> None:
        request, _ = await side.hold(wallets[number % 2], 10)
        await side.settle(request, 5, lane=number % 2)

    writing = asyncio.gather(*(write((bench, rival)[number // 2 % 2], number) for number in range(200)))
    while not writing.done():
        await read()
    await writing
    await read()
    everything = await bench.connection.fetch("select lane, batch, pos, id, leg, phase from ledger.transfers")
    assert sorted(map(tuple, seen)) == sorted(map(tuple, everything))
    assert len({row["batch"] for row in seen}) > 4


async def test_b16_a_key_is_not_taken_by_a_request_that_came_to_nothing(town: Town) -> None:
    """OpenMeter #5118: the key for removing duplicates was claimed before the event was written and not given back when writing failed, so
    that the retry was told "done" and the usage was never counted.

    Here the key's row is written in the transaction of the hold and goes with it; and a request that failed gives its key back.
    """
    caller = await town.caller("1000")
    desk = town.office.desk
    order = replace(town.order(caller), idempotency_key="k", fingerprint=b"f" * 32)
    fact = encode_fact({"request": request_fact(caller, price_order(desk, order), desk.process_id, None), "idempotency": key_fact(order)})
    lane, legs = caller.lane, wallet_of(caller).legs()
    operation = Operation(id=desk.ids.new(), kind=Kind.HOLD, lane=lane, amount_utok=1_000_000, legs=legs, ttl_s=60, fact=fact)
    async with town.office.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert [outcome.status for outcome in await post(connection, lane, [operation])] == [Status.APPLIED]
        assert await connection.fetchval("select count(*) from metering.idempotency") == 1
        await transaction.rollback()
        assert await connection.fetchval("select count(*) from metering.idempotency") == 0
    for script in ((EngineFailed("it broke"),), (TEXT, REPORT)):
        town.engines["chat"].script = script
        events = (await town.metering.open(order)).events()
        if isinstance(script[0], EngineFailed):
            with pytest.raises(EngineFailed):
                await anext(events)
        else:
            items = [item async for item in events]
            assert isinstance(items[-1], Receipt)
            assert items[-1].charged_utok > 0
    outcomes = [receipt.outcome for receipt in await town.records.receipts(caller, None, 10)]
    assert (outcomes, await town.open_holds()) == (["completed", "failed"], 0)


async def test_b23_the_log_refuses_changes_of_rows_with_empty_columns_too(bench: Bench, owner: asyncpg.Connection) -> None:
    """Blnk 1781162328.sql: the trigger that keeps rows from being changed compared columns with ``=``, which is neither true nor false
    when one of them is NULL, so that such rows slipped through.

    Here the trigger compares nothing: there is no change of the log that it lets pass.
    """
    wallet = await bench.wallet(prepaid=100)
    request, _ = await bench.hold(wallet, 10)
    await bench.settle(request, 5)
    await bench.hold(wallet, 1000)
    nullable = await owner.fetch(
        "select attname from pg_attribute where attrelid = 'ledger.transfers'::regclass and attnum > 0 and not attnotnull and not attisdropped"
    )
    names = {row["attname"] for row in nullable}
    assert {"hold_amount", "expires_at", "total"} <= names
    for name in sorted(names):
        assert await owner.fetchval("select count(*) from ledger.transfers where to_jsonb(transfers) ->> $1 is null", name) > 0
        for verb in ("update ledger.transfers set code = 7", "delete from ledger.transfers"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(f"{verb} where {name} is null")
    await bench.assert_replay_agrees()


@pytest.fixture
async def outage(postgres_url: str, database_url: str) -> AsyncIterator[Outage]:
    made = Outage(postgres_url, database_url)
    yield made
    await made.end()


async def test_b26_what_is_said_to_be_kept_has_been_synced(
    database_url: str, tmp_path: Path, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS #7564: a message was acknowledged before it was synced to the disk, and a power cut took acknowledged messages along.

    Here the database's commit is synchronous, and a settlement that an answer calls pending has been synced when the answer is made.
    """
    synced: list[int] = []
    really_sync = os.fsync

    def sync(fd: int) -> None:
        really_sync(fd)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    async with open_town(database_url, tmp_path, settle_patience_s=0.1) as town:
        assert await town.office.pool.fetchval("show synchronous_commit") == "on"
        caller = await town.caller("1000")
        go = asyncio.Event()
        town.engines["chat"].script = (go, TEXT, REPORT)
        ride = await town.metering.open(town.order(caller))
        riding = asyncio.create_task(_end_of(ride))
        await town.engines["chat"].running.wait()
        await outage.begin()
        go.set()
        receipt = await riding
        (file,) = spool.spool_files(spool.spool_folder(tmp_path))
        size = file.stat().st_size
        assert (receipt.settlement, size > 0, size in synced) == ("pending", True, True)
        await outage.end()


async def _end_of(ride: Any) -> Receipt:
    items = [item async for item in ride.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


async def test_b27_a_copy_of_the_database_grants_nothing(bench: Bench, owner: asyncpg.Connection, database_url: str) -> None:
    """Jepsen's report on RDS 17.4: a read replica showed states that the primary never had, so a decision made on it may be wrong.

    Here there is one address, decisions are made by the function that writes, and a server that may not write counts as away.
    """
    wallet = await bench.wallet(prepaid=100)
    name = await owner.fetchval("select current_database()")
    limits = Limits(hold_patience_s=0.2)
    books = Books(lambda: connect_app(database_url), store.post, SystemClock(), limits)
    visitor = Bench(bench.connection, books, bench.ids)
    await owner.execute(f'alter database "{name}" set default_transaction_read_only = on')
    with pytest.raises(LedgerUnavailable):
        await visitor.hold(wallet, 10)
    assert await bench.available(wallet) == 100
    await owner.execute("set default_transaction_read_only = off")
    await owner.execute(f'alter database "{name}" reset default_transaction_read_only')

    async def granted() -> bool:
        try:
            return (await visitor.hold(wallet, 100))[1].status is Status.APPLIED
        except LedgerUnavailable:
            return False

    await until(granted)
    await books.close()
    await bench.assert_replay_agrees()


async def test_b28_a_lost_answer_of_the_database_is_neither_done_twice_nor_forgotten(bench: Bench, database_url: str) -> None:
    """Everywhere: the reply to COMMIT is lost.  Who tries again blindly does it twice, who does not loses it.

    Here the same batch is sent again with the same ids, and the ledger answers with what it did the first time.
    """
    lost = 0

    async def post_and_lose(connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        nonlocal lost
        answers = await store.post(connection, lane, operations)
        if any(outcome.status is Status.APPLIED for outcome in answers):
            lost += 1
            message = "the reply to COMMIT"
            raise ConnectionResetError(message)
        return answers

    books = Books(lambda: connect_app(database_url), post_and_lose, SystemClock())
    forgetful = Bench(bench.connection, books, bench.ids)
    wallet = await forgetful.wallet(prepaid=1000)
    held = await asyncio.gather(*(forgetful.hold(wallet, 100) for _ in range(12)))
    statuses = Counter(outcome.status for _, outcome in held)
    assert statuses == {Status.REPLAYED: 10, Status.REPLAYED_REFUSED: 2}
    granted = [request for request, outcome in held if outcome.status is Status.REPLAYED]
    ends = await asyncio.gather(
        *(forgetful.settle(request, 70) for request in granted[:5]), *(forgetful.end(each, Kind.VOID) for each in granted[5:])
    )
    assert {outcome.status for outcome in ends} == {Status.REPLAYED}
    assert lost >= 3
    assert await bench.available(wallet) == 1000 - 5 * 70
    await books.close()
    await bench.assert_replay_agrees()
