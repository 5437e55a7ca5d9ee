"""Bugs of others in how reserved money is given back or charged, each tried on our ledger, rides and jobs."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import openai
import pytest
from openai import AsyncOpenAI

from taximeter.engines import Chunk, Done, EngineFailed, EngineRefused, Event, Job, Media
from taximeter.jobs import Job as QueuedJob
from taximeter.ledger import Kind, Operation, Status, store
from taximeter.metering.errors import VideoNotFound
from tests.support.asking import ask_chat
from tests.support.ledger_bench import Bench
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

Connect = Callable[[], Awaitable[asyncpg.Connection]]
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
VIDEO = {"model": "painter", "prompt": "a ball"}


async def resolutions(connection: asyncpg.Connection) -> dict[Any, int]:
    """How often each hold was ended."""
    rows = await connection.fetch(
        "select h.id, count(t.id) as ends from ledger.transfers h"
        " left join ledger.transfers t on t.id = h.id and t.leg = 0 and t.phase = 1"
        " where h.kind = 1 and h.status = 0 and h.leg = 0 group by h.id"
    )
    return {row["id"]: row["ends"] for row in rows}


class Buggy:
    """An engine with a bug of its own: it refuses before it has begun, or breaks off where nobody expects it."""

    name = "script"
    modalities = frozenset({"chat"})
    slots = None

    def __init__(self, break_after: int | None) -> None:
        self._break_after = break_after

    def run(self, job: Job) -> AsyncGenerator[Event]:
        if self._break_after is None:
            message = f"no {job.modality} here"
            raise EngineRefused(message)
        return self._run(self._break_after)

    async def _run(self, break_after: int) -> AsyncGenerator[Event]:
        for _ in range(break_after):
            yield TEXT
        raise RuntimeError

    async def close(self) -> None:
        return


async def test_b03_no_way_out_of_a_request_leaves_its_hold_behind(gateway: Any, tenant: Any, subtests: pytest.Subtests) -> None:
    """new-api #4429 and #4443, litellm #27639 and #36926, eliza #11218: what was deducted before the call was not returned when the call
    ended in a panic or on a path that nobody had thought of.

    Here the hold has an owner on every way out, bugs included, and whatever slips by is released by the sweeper.
    """
    for break_after, code in ((None, "engine_refused"), (0, "internal_error"), (2, "internal_error")):
        for stream in (False, True):
            with subtests.test(code, break_after=break_after, stream=stream):
                gateway.office.desk.engines = {"script": Buggy(break_after)}
                told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=stream)
                assert told.error["code"] == code
                await gateway.until_no_hold_is_open()
                assert await gateway.wallet(tenant) == ("1000", "0")
                receipt = (await gateway.receipts(tenant))[0]
                assert (receipt["outcome"], receipt["tokens_charged"], receipt["reason"].split(":")[0]) == ("failed", "0", code)
    assert len(await gateway.receipts(tenant)) == 6


async def test_b04_a_settlement_above_its_hold_is_booked_to_the_last_micro_token(bench: Bench) -> None:
    """new-api #6911: the request cost more than was reserved, the settlement failed after the answer was out, and only the reservation
    was charged.

    Here one posting takes the hold, then what the wallet has, then the operator's shortfall account, and says so in the log.
    """
    wallet = await bench.wallet(prepaid=900, allowance=100)
    request, _ = await bench.hold(wallet, 300)
    settled = await bench.settle(request, 1500)
    assert (settled.status, settled.total_utok, await bench.available(wallet)) == (Status.APPLIED, 1000, 0)
    rows = await bench.connection.fetch("select kind, amount from ledger.transfers where id = $1 and phase = 1 order by leg", request)
    assert [tuple(row) for row in rows] == [(2, 100), (2, 200), (6, 700), (7, 500)]
    assert await bench.shortfall() == 500
    await bench.assert_replay_agrees()


async def test_b07_a_caller_that_is_cancelled_leaves_no_lock_behind(bench: Bench, connect: Connect, owner: asyncpg.Connection) -> None:
    """Blnk 7b3e025, #354: the lock on an account was given back with the request's own context; when that was cancelled the lock stayed
    until it timed out, and the error was swallowed.

    Here locks belong to the transaction and end with it, also when its connection is killed.
    """
    wallet = await bench.wallet(prepaid=100)
    blocker = await connect()
    blocking = blocker.transaction()
    await blocking.start()
    await blocker.execute("select pg_advisory_xact_lock(7466, 0)")
    cancelled = asyncio.create_task(bench.hold(wallet, 10))
    waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
    await until(lambda: _is(owner, waits))
    cancelled.cancel()
    await blocking.rollback()
    assert (await bench.hold(wallet, 20))[1].status is Status.APPLIED

    killed = await connect()
    transaction = killed.transaction()
    await transaction.start()
    lost = Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=0, amount_utok=50, legs=wallet.legs(), ttl_s=60)
    assert [outcome.status for outcome in await store.post(killed, 0, [lost])] == [Status.APPLIED]
    await owner.execute("select pg_terminate_backend($1, 5000)", killed.get_server_pid())
    assert (await bench.hold(wallet, 70))[1].status is Status.APPLIED
    await until(lambda: _is(owner, "select not exists (select from pg_locks where locktype = 'advisory')"))
    # The cancelled one was posted all the same, once, and is 10 of the 100; the killed one never happened.
    assert await bench.available(wallet) == 0
    await bench.assert_replay_agrees()


async def _is(connection: asyncpg.Connection, statement: str) -> bool:
    return bool(await connection.fetchval(statement))


@pytest.mark.parametrize("reaper_first", [False, True])
async def test_b08_an_overdue_hold_is_resolved_once_whoever_comes_first(bench: Bench, rival: Bench, *, reaper_first: bool) -> None:
    """TigerBeetle #2000: around the expiry of a pending transfer several resolutions of one id could be written, and the tests did not see
    it because in them the expiry had always been posted before.

    Here (id, leg, phase) is the primary key, and the test runs with the reaper before, and with it among the others.
    """
    wallet = await bench.wallet(prepaid=1000)
    requests = [(await bench.hold(wallet, 100, ttl_s=1))[0] for _ in range(8)]
    await until(lambda: _is(bench.connection, "select not exists (select from ledger.holds where expires_at > clock_timestamp())"))
    for request in requests:
        if reaper_first:
            assert (await bench.end(request, Kind.EXPIRE)).status is Status.APPLIED
        settling = (bench.settle(request, 10), rival.settle(request, 20), bench.settle(request, 10))
        answers = await asyncio.gather(rival.end(request, Kind.VOID), *settling, bench.end(request, Kind.EXPIRE))
        statuses = [outcome.status for outcome in answers]
        # What comes late, after an expiry, is phase 2, and there is one of it.
        assert statuses.count(Status.APPLIED) == (0 if reaper_first else 1)
        assert statuses.count(Status.SETTLED_LATE) <= 1
    assert set((await resolutions(bench.connection)).values()) == {1}
    assert await bench.connection.fetchval("select count(*) from ledger.holds") == 0
    await bench.assert_replay_agrees()


async def test_b12_money_is_given_back_once(bench: Bench, rival: Bench, town: Town) -> None:
    """new-api PR #6089, eliza #10278, Blnk 08715a4 and #41: the refund was not in one transaction with its mark, so a second attempt
    refunded again, and a refund after the charge made the work free.

    Here giving back is the hold's one resolution: the second is a replay, and after a charge there is nothing to give back.
    """
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    ends = [side.end(request, kind) for side in (bench, rival) for kind in (Kind.VOID, Kind.VOID, Kind.EXPIRE)]
    statuses = [outcome.status for outcome in await asyncio.gather(*ends)]
    assert statuses.count(Status.APPLIED) == 1
    assert await bench.available(wallet) == 1000
    charged, _ = await bench.hold(wallet, 300)
    await bench.settle(charged, 300)
    assert (await bench.end(charged, Kind.VOID)).status is Status.ALREADY_RESOLVED
    assert await bench.available(wallet) == 700
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    deletions = await asyncio.gather(*(town.videos.delete(caller, view.id) for _ in range(6)), return_exceptions=True)
    assert all(deleted is None or isinstance(deleted, VideoNotFound) for deleted in deletions)
    assert (await town.wallet(caller))["balance"] == "1000"
    # What the ledger did alone has no requests.
    await town.assert_books_agree(but={"hold without a request", "settlement without a receipt"})


async def test_b17_a_timeout_is_no_invitation_to_pay_twice(gateway: Any, tenant: Any) -> None:
    """eliza #11862 and #11920, openhuman #5411: when polling timed out the caller was refunded and told to try again, while the provider
    finished, and charged, the first job and the second.

    Here the engine is stopped, the answer forbids the client's own retries, and a result that comes all the same cannot be charged.
    """
    gateway.office.desk.settings = replace(gateway.office.desk.settings, chat_timeout_s=0.3)
    gateway.engine.gate = asyncio.Event()
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key, max_retries=2) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="teller", messages=[{"role": "user", "content": "Hi"}])
    assert (caught.value.status_code, caught.value.code) == (504, "engine_timeout")
    assert (len(gateway.engine.jobs), gateway.engine.cancelled) == (1, 1)
    (held,) = await gateway.office.pool.fetch(
        "select h.id, a.lane from ledger.transfers h join ledger.accounts a on a.id = h.debit where h.kind = 1 and h.leg = 0"
    )
    late = await gateway.office.desk.books.submit(Operation(id=held["id"], kind=Kind.SETTLE, lane=held["lane"], amount_utok=1_000_000))
    assert late.status is Status.ALREADY_RESOLVED
    assert await gateway.wallet(tenant) == ("1000", "0")


async def test_b18_a_failed_video_is_free_from_the_moment_it_is_failed(gateway: Any, tenant: Any) -> None:
    """new-api #2050, bottube #1535: the price of a video was taken when it was ordered and stayed taken when the job failed.

    Here the job's end and the release of its hold are one transaction: whoever sees ``failed`` sees the whole balance.
    """
    gateway.engine.failure, gateway.engine.gate = EngineFailed("it broke"), asyncio.Event()
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    assert await gateway.wallet(tenant) == ("990", "10")
    gateway.engine.gate.set()
    async with asyncio.timeout(10):
        while video["status"] != "failed":
            _, _, video = await gateway.call("GET", f"/v1/videos/{video['id']}", tenant.key)
    assert await gateway.wallet(tenant) == ("1000", "0")
    assert (video["error"]["code"], video["taximeter"]["tokens_charged"]) == ("engine_failed", "0")


async def test_b22_an_overdue_hold_is_shown_until_it_is_swept(database_url: str, tmp_path: Path) -> None:
    """TigerBeetle #2118: a pending transfer past its time still counts against the balance until the next pulse, and nothing says so.

    Here it counts too, until the sweeper posts the expiry within seconds; the page on failures says it, and a gauge shows it.
    """
    async with open_town(database_url, tmp_path, chat_timeout_s=0.5, hold_ttl_s=1) as town:
        caller = await town.caller("1000")
        await town.metering.open(town.order(caller))

        async def overdue() -> bool:
            return (await town.office.figures())["taximeter_holds_overdue"][1] == 1

        await until(overdue)
        assert (await town.wallet(caller))["balance"] != "1000"
        assert await town.sweeper.sweep() == 1
        assert not await overdue()
        assert (await town.wallet(caller))["balance"] == "1000"
        await town.assert_books_agree()


async def test_b25_a_job_outlives_its_worker_and_a_worker_that_was_given_up_charges_nothing(database_url: str, tmp_path: Path) -> None:
    """procrastinate's documents: the job of a killed worker stays in ``doing`` for ever, or a timer starts a job again that still runs,
    and both finish.

    Here a job has a lease and a fence: a lease that is renewed is not taken, one that ran out is, and only one attempt is charged.
    """
    async with open_town(database_url, tmp_path, job_lease_s=0.05) as town:
        caller = await town.caller("1000")
        view = await town.videos.submit(town.order(caller, "video"))
        silent = await town.office.jobs.claim("video", 30)
        assert silent is not None
        assert await town.office.jobs.claim("video", 30) is None
        assert await town.office.jobs.heartbeat(silent, 0.01, 5)
        taken: list[QueuedJob] = []

        async def take_over() -> bool:
            job = await town.office.jobs.claim("video", 30)
            taken.extend([] if job is None else [job])
            return job is not None

        await until(take_over)
        request = silent.payload["request"]
        work = {**{name: request[name] for name in ("steps", "frames", "width", "height")}, "passes": request["steps"], "latent_tokens": 1}
        town.engines["video"].script = (Media(data=b"ftypmp42"), Done(work=work))
        await asyncio.gather(town.runner.run_job(taken[0]), town.runner.run_job(silent))
        done = await town.videos.find(caller, view.id)
        assert (done.job.state, done.job.attempt) == ("completed", 2)
        assert done.receipt.charged_utok == done.receipt.held_utok
        async with town.office.pool.acquire() as connection:
            assert set((await resolutions(connection)).values()) == {1}
        await town.assert_books_agree()
