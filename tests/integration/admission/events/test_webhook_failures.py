"""At least once, with whatever happens to receivers, workers and the database; and in the end a dead letter."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

import taximeter
from taximeter.admission.events import EventStore, Webhooks
from taximeter.admission.events.model import Reply
from taximeter.admission.events.store import WebhookStore
from tests.support.receiver import Receiver, is_disabled, make_due, nothing_to_fan_out, only, receiving, until_state, working
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_failure_is_tried_again_as_planned_and_given_up_after_the_last_attempt(
    pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver
) -> None:
    webhook = await webhooks.create(receiver.url)
    receiver.answers = [(500, {})]
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        for attempt in range(1, 11):
            await until_state(webhooks, webhook, "pending" if attempt < 10 else "failed", attempt)
            waits = await pool.fetchval("select extract(epoch from next_at - clock_timestamp())::float8 from admission.deliveries")
            planned = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400][min(attempt, 9)]
            assert attempt == 10 or planned - 5 <= waits <= planned * 1.1 + 0.1
            if attempt < 10:
                await make_due(pool)
    delivery = await only(webhooks, webhook)
    assert (delivery.state, delivery.attempts, delivery.error, len(delivery.history)) == ("failed", 10, "answered 500", 10)
    assert len(set(receiver.ids())) == 1, "under one id, so that the receiver knows it again"
    receiver.answers = [(204, {})]
    assert await webhooks.resend_failed(webhook.id) == 1
    async with working(pool):
        await until_state(webhooks, webhook, "delivered", 11)
    await webhooks.resend(webhook.id, delivery.id)
    async with working(pool):
        await until(lambda: len(receiver.came) == 12)
        await until_state(webhooks, webhook, "delivered", 12)


async def test_a_receiver_that_asks_for_time_gets_it(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook = await webhooks.create(receiver.url)
    receiver.answers = [(503, {"retry-after": "1000"})]
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        await until_state(webhooks, webhook, "pending")
    wait = await pool.fetchval("select extract(epoch from next_at - clock_timestamp())::float8 from admission.deliveries")
    assert 950 < wait <= 1000


async def test_a_redirect_is_a_failure_and_is_not_followed(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    async with receiving() as elsewhere:
        webhook = await webhooks.create(receiver.url)
        receiver.answers = [(307, {"location": elsewhere.url})]
        await EventStore.emit(pool, "plan.changed", None, {})
        async with working(pool):
            delivery = await until_state(webhooks, webhook, "pending")
        assert (delivery.response_status, elsewhere.came) == (307, [])
        assert "not followed" in (delivery.error or "")


async def test_a_410_ends_the_webhook_until_an_operator_enables_it(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook = await webhooks.create(receiver.url)
    receiver.answers = [(410, {})]
    await EventStore.emit(pool, "plan.changed", None, {"n": 1})
    async with working(pool):
        await until_state(webhooks, webhook, "failed")
        await until(lambda: is_disabled(webhooks, webhook))
        await EventStore.emit(pool, "plan.changed", None, {"n": 2})
        await until(lambda: nothing_to_fan_out(pool))
        assert (await webhooks.find(webhook.id)).disabled_reason == "it answered 410 Gone"
        (told,) = await pool.fetch("select data from admission.events where type = 'webhook.disabled'")
        assert json.loads(told["data"]) == {"webhook": webhook.public_id, "reason": "it answered 410 Gone"}
        assert len(receiver.came) == 1
        receiver.answers = [(200, {})]
        assert not (await webhooks.change(webhook.id, disabled=False)).disabled_at
        await EventStore.emit(pool, "plan.changed", None, {"n": 3})
        await until(lambda: len(receiver.came) == 2)
    assert json.loads(receiver.came[-1][1])["data"] == {"n": 3}


async def test_a_slow_receiver_does_not_keep_the_others_waiting(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    receiver.gate = asyncio.Event()
    slow = await webhooks.create(receiver.url)
    for number in range(50):
        await EventStore.emit(pool, "plan.changed", None, {"n": number})
    async with receiving() as quick, working(pool):
        await until(lambda: receiver.inside == 4)
        await webhooks.create(quick.url)
        for number in range(20):
            await EventStore.emit(pool, "plan.changed", None, {"n": number})
        await until(lambda: len(quick.came) == 20)
        assert receiver.inside == 4, "as many as one webhook may have at a time"
        receiver.gate.set()
        await until(lambda: len(receiver.came) == 70)
        await until_state(webhooks, slow, "delivered")


async def test_an_attempt_that_a_stopping_worker_cuts_short_is_made_again_and_not_counted(
    pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver
) -> None:
    receiver.gate = asyncio.Event()
    webhook = await webhooks.create(receiver.url)
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        await until(lambda: receiver.inside == 1)
    assert (await only(webhooks, webhook)).attempts == 0
    receiver.gate.set()
    async with working(pool):
        delivery = await until_state(webhooks, webhook, "delivered")
    assert (delivery.attempts, len(receiver.came)) == (1, 2)


async def test_a_worker_that_is_killed_leaves_its_attempts_to_another(
    pool: asyncpg.Pool, database_url: str, webhooks: Webhooks, receiver: Receiver
) -> None:
    receiver.gate = asyncio.Event()
    webhook = await webhooks.create(receiver.url)
    await EventStore.emit(pool, "plan.changed", None, {})
    program = (
        "import asyncio, sys\n"
        "from taximeter.admission.events import Deliverer\n"
        "from taximeter.db.pool import open_pool\n"
        "from taximeter.kernel.clock import SystemClock\n"
        "from taximeter.kernel.settings import Settings\n"
        "async def run():\n"
        "    await Deliverer(await open_pool(sys.argv[1], 2), SystemClock(), Settings(webhook_private_addresses=True)).run()\n"
        "asyncio.run(run())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, database_url, env={**os.environ, "PYTHONPATH": str(Path(taximeter.__file__).parents[1])}
    )
    await until(lambda: receiver.inside == 1, 30)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    claimed = await only(webhooks, webhook)
    assert (claimed.state, claimed.attempts) == ("pending", 1)
    receiver.gate.set()
    await make_due(pool)  # As when its lease has run out.
    async with working(pool):
        delivery = await until_state(webhooks, webhook, "delivered")
    assert (delivery.attempts, len(set(receiver.ids()))) == (2, 1)


async def test_a_report_that_comes_after_its_attempt_was_taken_for_lost_changes_nothing(pool: asyncpg.Pool, webhooks: Webhooks) -> None:
    webhook = await webhooks.create("http://127.0.0.1:9/")
    store = WebhookStore(pool)
    await EventStore.emit(pool, "plan.changed", None, {})
    await store.fan_out(10)
    (first,) = await store.claim(10, [], 4)
    assert await store.claim(10, [], 4) == [], "it is leased"
    await make_due(pool)
    (second,) = await store.claim(10, [], 4)
    assert (first.attempt, second.attempt) == (1, 2)
    assert not await store.report(first, "delivered", Reply(200, None), 0.0)
    assert (await only(webhooks, webhook)).state == "pending"
    assert await store.report(second, "failed", Reply(None, "away"), 0.0)
    assert not await store.report(second, "delivered", Reply(200, None), 0.0)


async def test_a_worker_that_dies_in_the_last_attempt_leaves_a_dead_letter(pool: asyncpg.Pool, webhooks: Webhooks) -> None:
    webhook = await webhooks.create("http://127.0.0.1:9/")
    store = WebhookStore(pool)
    await EventStore.emit(pool, "plan.changed", None, {})
    await store.fan_out(10)
    for _ in range(10):
        assert await store.claim(10, [], 4)
        await make_due(pool)
    assert await store.claim(10, [], 4) == []
    await store.give_up_lost()
    assert (await only(webhooks, webhook)).state == "failed"


async def test_a_receiver_that_is_not_there_is_a_failure_like_any_other(pool: asyncpg.Pool, webhooks: Webhooks) -> None:
    async with receiving() as gone:
        url = gone.url
    webhook = await webhooks.create(url)
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        delivery = await until_state(webhooks, webhook, "pending")
    assert delivery.response_status is None
    assert "Connect" in (delivery.error or "")
