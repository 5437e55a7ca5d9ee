"""What users of other gateways complain about when requests are counted and paid, each tried on ours."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from taximeter.engines import Chunk, Done, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable, Event, Job
from taximeter.kernel.clock import SystemClock
from taximeter.ledger import Books, Limits
from taximeter.metering.store import post
from tests.support.asking import MESSAGES, ask_chat
from tests.support.tenants import open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": MESSAGES}
VIDEO = {"model": "painter", "prompt": "a ball"}
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)


@dataclass
class Reporting:
    """An engine that says one word and reports whatever it was told to report, or panics."""

    work: dict[str, int] | None
    name: str = "script"
    modalities: frozenset[str] = frozenset({"chat"})
    slots: int | None = None

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        del job
        yield TEXT
        if self.work is None:
            message = "nil map in the adapter"
            raise KeyError(message)
        yield Done(work=self.work)

    async def close(self) -> None:
        return


async def test_complaint_08_failures_do_not_use_a_wallet_up(gateway: Any) -> None:
    """litellm #27639, PR #29493, #30460, #36926, #40050 and #27735: reservations of requests that failed or left stayed in the counters, and
    callers with almost no real spend were told that their budget was exceeded.

    Here what is held is rows, not a counter: after dozens of bad endings a wallet that affords one request affords it.
    """
    gateway.never_break_circuits()
    tenant = await gateway.tenant("Unlucky", tokens=None)
    _, _, quote = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": "teller", "request": {**CHAT, "max_tokens": 9}})
    await gateway.admin("POST", f"/projects/{tenant.id}/top-ups", json={"tokens": quote["tokens_max"]})
    for failure in (EngineFailed("no"), EngineUnavailable("no"), EngineRefused("no"), EngineTimeout("no")):
        gateway.engine.failure = failure
        for number in range(8):
            told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=number % 2 == 0)
            assert told.error["code"] == failure.code
    gateway.engine.failure, gateway.engine.gate = None, asyncio.Event()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask_chat(gateway.http, gateway.url, tenant.key), 0.1)
        await gateway.until_no_hold_is_open()
    gateway.engine.gate.set()
    assert await gateway.wallet(tenant) == (quote["tokens_max"], "0")
    told = await ask_chat(gateway.http, gateway.url, tenant.key)
    assert (told.status, told.texts) == (200, ["w0 w1 w2 "])


async def test_complaint_09_without_a_reservation_nothing_runs(gateway: Any, tenant: Any) -> None:
    """litellm #33923 and #29576: a setting that should refuse requests when the reservation cannot be written let them pass, and a counter
    that was not cleared at the budget's reset refused everybody for days.

    Here there is no such setting: no hold, no run.  And no counter to clear: what was refused leaves nothing behind.
    """

    async def nowhere() -> asyncpg.Connection:
        message = "the database is away"
        raise ConnectionRefusedError(message)

    desk = gateway.office.desk
    books = desk.books
    desk.books = Books(nowhere, post, SystemClock(), Limits(hold_patience_s=0.2, outage_s=0.1))
    answers = await asyncio.gather(*(ask_chat(gateway.http, gateway.url, tenant.key, stream=bool(number % 2)) for number in range(10)))
    assert {(told.status, told.error["code"]) for told in answers} == {(503, "ledger_unavailable")}
    assert all(told.headers["retry-after"] for told in answers)
    assert gateway.engine.jobs == []
    for lane in desk.books.lanes:
        lane._task.cancel()
    desk.books = books
    assert await gateway.wallet(tenant) == ("1000", "0")
    assert (await ask_chat(gateway.http, gateway.url, tenant.key)).status == 200


async def test_complaint_10_a_panic_gives_every_hold_back(gateway: Any, tenant: Any) -> None:
    """new-api #4429: after panics and upstream errors eight holds had two settlements, and $1.02 of $4 were gone.

    Here eight panics are eight holds and eight releases.
    """
    gateway.office.desk.engines = {"script": Reporting(None)}
    answers = await asyncio.gather(*(ask_chat(gateway.http, gateway.url, tenant.key, stream=number % 2 == 0) for number in range(8)))
    assert {told.error["code"] for told in answers} == {"internal_error"}
    await gateway.until_no_hold_is_open()
    kinds = await gateway.office.pool.fetch("select kind, count(*) as times from ledger.transfers where leg = 0 and kind <> 5 group by kind")
    assert {row["kind"]: row["times"] for row in kinds} == {1: 8, 3: 8}
    assert await gateway.wallet(tenant) == ("1000", "0")


async def test_complaint_11_a_hold_is_the_most_a_request_can_cost_and_never_stays(database_url: str, tmp_path: Path) -> None:
    """Helicone PR #4798 and #4492: after a change nobody finalised escrows any more, so spend was not recorded and the money stuck; and
    before that a cost limit was checked against one cent, whatever the request.

    Here the hold is the fare's maximum, and holds that nobody ends are found by the sweeper, not by the code that should have ended them.
    """
    async with open_town(database_url, tmp_path) as town:
        caller = await town.caller("1000")
        rides = [await town.metering.open(town.order(caller, max_tokens=length)) for length in (1, 20, 200)]
        held = [ride.fare.maximum_utok for ride in rides]
        assert held == sorted(set(held))
        assert await town.open_holds() == 3
        async with open_town(database_url, tmp_path) as survivor:
            released = 0
            async with asyncio.timeout(10):
                while released < 3:
                    # The dead have no heartbeat; this one still has, now and then.
                    await town.office.store.goodbye(town.office.desk.process_id)
                    released += await survivor.sweeper.sweep()
        assert {receipt.outcome for receipt in await town.records.receipts(caller, None, 10)} == {"expired"}
        assert (await town.wallet(caller))["balance"] == "1000"
        await town.assert_books_agree()


async def test_complaint_12_every_request_that_ran_has_its_row(gateway: Any, tenant: Any) -> None:
    """litellm #35958, PR #37558, #36426 and #13280: cancelled streams were recorded with nothing, one route dropped its rows, and a provider
    showed nine requests where the proxy showed eight.

    Here the row of a request is written with its hold and that of its charge with the charge, whoever left.
    """
    gateway.engine.gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    streams = [await gateway.http.post(f"{gateway.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) for _ in range(4)]
    for stream in streams:
        assert b"w0" in await stream.content.readline()
        stream.close()
    await gateway.until_no_hold_is_open()
    gateway.engine.gate.set()
    for number in range(5):
        assert (await ask_chat(gateway.http, gateway.url, tenant.key, stream=number % 2 == 0)).status == 200
    receipts = await gateway.receipts(tenant)
    assert len(receipts) == len(gateway.engine.jobs) == 9
    assert Counter(receipt["outcome"] for receipt in receipts) == {"completed": 5, "disconnected": 4}
    assert all(Decimal(receipt["tokens_charged"]) > 0 for receipt in receipts)
    _, _, usage = await gateway.call("GET", "/v1/usage?group_by=model", tenant.key)
    assert (usage["data"][0]["requests"], Decimal(usage["data"][0]["tokens_charged"])) == (9, 1000 - Decimal((await gateway.wallet(tenant))[0]))


async def test_complaint_13_looking_costs_nothing(gateway: Any, tenant: Any) -> None:
    """litellm #25015: each GET that polled a response in the background was charged as if it had been made again.

    Here a charge needs a hold, and only the order makes one.
    """
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    while video["status"] != "completed":
        _, _, video = await gateway.call("GET", f"/v1/videos/{video['id']}", tenant.key)
    for path in (f"/v1/videos/{video['id']}", f"/v1/videos/{video['id']}/content", "/v1/videos", f"/v1/receipts/{video['taximeter']['receipt']}"):
        for _ in range(5):
            assert (await gateway.call("GET", path, tenant.key))[0] == 200
    assert await gateway.wallet(tenant) == ("990", "0")
    assert len(await gateway.receipts(tenant)) == len(gateway.engine.jobs) == 1


async def test_complaint_14_a_deadlock_is_tried_again_and_counted(gateway: Any, tenant: Any, owner: asyncpg.Connection) -> None:
    """litellm #27989, #6895, PR #34887, #27221 and #18708: the flush of spend deadlocked in PostgreSQL, the increments were lost for good,
    and connections ran out.

    Here nothing is flushed later, a lane has one connection, and a batch that PostgreSQL chose as a deadlock's victim is posted again.
    """
    await gateway.admin("POST", f"/projects/{tenant.id}/grants", json={"tokens": "9000"})
    first, last = [row["id"] for row in await owner.fetch("select id from ledger.accounts where owner is not null order by id")]
    await owner.execute("set deadlock_timeout = '1min'")
    foreign = owner.transaction()
    await foreign.start()
    await owner.execute("select from ledger.accounts where id = $1 for update", last)
    asking = asyncio.gather(*(ask_chat(gateway.http, gateway.url, tenant.key, stream=bool(number % 2)) for number in range(20)))

    async def lane_waits() -> bool:
        waiting: bool = await owner.fetchval("select exists (select from pg_locks where locktype = 'transactionid' and not granted)")
        return waiting

    await until(lane_waits)
    # The lane has locked the first account and waits for the last one; somebody with rights on the database locks them the other way.
    other_way = asyncio.create_task(owner.execute("select from ledger.accounts where id = $1 for update", first))

    async def retried() -> bool:
        figures: dict[str, tuple[str, float]] = await gateway.office.figures()
        return figures["taximeter_ledger_retries"][1] > 0

    await until(retried)
    await other_way
    await foreign.rollback()
    assert [told.status for told in await asking] == [200] * 20
    charged = sum(Decimal(receipt["tokens_charged"]) for receipt in await gateway.receipts(tenant))
    balance, held = await gateway.wallet(tenant)
    assert (Decimal(balance), held, len(gateway.engine.jobs)) == (10_000 - charged, "0", 20)


async def test_complaint_15_who_leaves_pays_for_what_was_generated_until_then(gateway: Any, tenant: Any) -> None:
    """new-api #4168, #5290, #7062 and #5235: a client that left before the first token was billed for the whole prompt, elsewhere one that
    left was billed nothing although the provider had charged, and the text of errors was counted as output.

    Here the policy is written down: nothing before the first token, then the prompt and the tokens until the departure, marked as estimated.
    """
    gateway.engine.gate = asyncio.Event()
    leaving = asyncio.create_task(ask_chat(gateway.http, gateway.url, tenant.key))
    await until(lambda: len(gateway.engine.jobs) == 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await gateway.until_no_hold_is_open()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) as stream:
        assert b"w0" in await stream.content.readline()
        stream.close()
    await gateway.until_no_hold_is_open()
    gateway.engine.gate.set()
    assert (await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)).status == 200
    stayed, left, left_early = await gateway.receipts(tenant)
    assert (left_early["outcome"], left_early["tokens_charged"]) == ("disconnected", "0")
    assert (left["outcome"], left["work"]["output_tokens"], left["measured"]) == ("disconnected", 1, False)
    assert (stayed["outcome"], stayed["work"]["output_tokens"], stayed["measured"]) == ("completed", 3, True)
    paid = Decimal(left["tokens_charged"]) + Decimal(stayed["tokens_charged"])
    assert 0 < Decimal(left["tokens_charged"]) < Decimal(left["tokens_held"])
    assert Decimal((await gateway.wallet(tenant))[0]) == 1000 - paid


async def test_complaint_16_work_above_the_hold_is_settled_within_what_was_quoted(gateway: Any) -> None:
    """new-api #6911: on a subscription the work was more than the hold, the settlement failed after the answer was out, and the books kept
    the hold alone without a word.

    Here the settlement goes through, charges the quoted maximum, and the receipt shows both what was consumed and what was charged.
    """
    subscriber = await gateway.tenant("Subscriber", tokens=None)
    await gateway.admin("POST", f"/projects/{subscriber.id}/grants", json={"tokens": "300"})
    work = {"prompt_tokens": 5_000, "cached_tokens": 0, "output_tokens": 400, "reasoning_tokens": 0}
    gateway.office.desk.engines = {"script": Reporting(work)}
    told = await ask_chat(gateway.http, gateway.url, subscriber.key, stream=True)
    (receipt,) = await gateway.receipts(subscriber)
    assert (told.extra["settlement"], receipt["outcome"]) == ("settled", "completed")
    assert receipt["tokens_consumed"] == "5800"
    assert receipt["tokens_charged"] == receipt["tokens_held"] == told.extra["tokens_charged"]
    _, _, wallet = await gateway.call("GET", "/v1/wallet", subscriber.key)
    assert (Decimal(wallet["allowance"]), wallet["held"]) == (300 - Decimal(receipt["tokens_charged"]), "0")
    assert (await gateway.office.figures())["taximeter_shortfall_utok"][1] == 0
    # A report that no receipt can hold is refused, and does not leave the hold to its end.
    gateway.office.desk.engines = {"script": Reporting({**work, "prompt_tokens": 10**20})}
    told = await ask_chat(gateway.http, gateway.url, subscriber.key)
    assert (told.status, told.error["code"], await gateway.holds_open()) == (502, "bad_engine_report", 0)
