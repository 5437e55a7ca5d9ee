"""Events reach their webhooks: each at least once, signed, with whatever happens to receivers, workers and the database."""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest
from standardwebhooks.webhooks import Webhook as Official

from taximeter.admission.events import Deliverer, Delivery, EventStore, Webhook, WebhookNotFound, Webhooks
from taximeter.admission.events.model import Due, Event, Reply
from taximeter.admission.events.sender import Sender
from taximeter.admission.events.store import WebhookStore
from taximeter.db.pool import connect_owner, open_pool
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory, decode_id
from taximeter.kernel.settings import Settings
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

OPEN = Settings(webhook_private_addresses=True)
CLOSED = Settings()
CLOCK = SystemClock()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """One that lets workers that were cut short give their connections back."""
    connections = await open_pool(database_url, 4)
    yield connections
    await asyncio.wait_for(connections.close(), 10)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
def webhooks(pool: asyncpg.Pool) -> Webhooks:
    return Webhooks(pool, IdFactory(CLOCK), OPEN)


@asynccontextmanager
async def working(pool: asyncpg.Pool, settings: Settings = OPEN, workers: int = 1) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(Deliverer(pool, CLOCK, settings, poll_s=0.02).run()) for _ in range(workers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with pytest.raises(asyncio.CancelledError):
                await task


async def all_of(webhooks: Webhooks, webhook: Webhook) -> list[Delivery]:
    return list(await webhooks.deliveries(webhook.id, None, None, 1000))


async def only(webhooks: Webhooks, webhook: Webhook) -> Delivery:
    (delivery,) = await all_of(webhooks, webhook)
    return delivery


async def until_state(webhooks: Webhooks, webhook: Webhook, state: str, attempts: int = 1) -> Delivery:
    async def reached() -> bool:
        found = await all_of(webhooks, webhook)
        return bool(found) and all(each.state == state and len(each.history) >= attempts for each in found)

    await until(reached)
    return (await all_of(webhooks, webhook))[0]


async def make_due(pool: asyncpg.Pool) -> None:
    """As if the wait were over."""
    await pool.execute("update admission.deliveries set next_at = clock_timestamp() where state = 'pending'")


async def test_an_event_arrives_once_and_the_official_library_verifies_it(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook = await webhooks.create(receiver.url, ["budget.*"])
    async with pool.acquire() as connection, connection.transaction():
        await EventStore.emit(connection, "budget.threshold", None, {"percent": 80}, "once")
        await EventStore.emit(connection, "budget.threshold", None, {"percent": 80}, "once")
        await EventStore.emit(connection, "plan.changed", None, {})
    async with working(pool):
        delivery = await until_state(webhooks, webhook, "delivered")
    ((headers, body),) = receiver.came
    told = Official(webhook.secret).verify(body, headers)
    assert (told["type"], told["data"]) == ("budget.threshold", {"percent": 80})
    (_, event) = await webhooks.events(None, None, None, 10)
    assert (headers["webhook-id"], told["timestamp"]) == (event.public_id, event.created_at.isoformat())
    assert (headers["content-type"], headers["user-agent"].split("/")[0]) == ("application/json", "Taximeter")
    assert (delivery.response_status, delivery.error, delivery.attempts) == (200, None, 1)


async def test_an_event_that_is_rolled_back_is_told_to_nobody(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook = await webhooks.create(receiver.url)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await EventStore.emit(connection, "plan.changed", None, {"n": 1})
        await transaction.rollback()
    await EventStore.emit(pool, "plan.changed", None, {"n": 2})
    async with working(pool):
        await until_state(webhooks, webhook, "delivered")
    assert [json.loads(body)["data"] for _, body in receiver.came] == [{"n": 2}]


async def test_an_event_that_commits_late_is_not_passed_over(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    """Its id and time are older than those of events that were told long before it became visible."""
    webhook = await webhooks.create(receiver.url)
    async with pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await EventStore.emit(slow, "plan.changed", None, {"n": "first"})
        async with working(pool):
            for number in range(3):
                await EventStore.emit(pool, "plan.changed", None, {"n": number})
            await until(lambda: len(receiver.came) == 3)
            await until_state(webhooks, webhook, "delivered")
            await transaction.commit()
            await until(lambda: len(receiver.came) == 4)
    assert json.loads(receiver.came[-1][1])["data"] == {"n": "first"}
    assert min(receiver.ids()) == receiver.ids()[-1], "its id is the oldest"


async def test_several_workers_at_once_tell_each_event_once(pool: asyncpg.Pool, database_url: str, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook = await webhooks.create(receiver.url)
    other = await open_pool(database_url, 3)
    async with working(pool, workers=2), working(other, workers=2):
        for number in range(60):
            await EventStore.emit(pool, "plan.changed", None, {"n": number})
        await until(lambda: len(receiver.came) >= 60)
        await until_state(webhooks, webhook, "delivered")
    await asyncio.wait_for(other.close(), 10)
    assert sorted(json.loads(body)["data"]["n"] for _, body in receiver.came) == list(range(60))


async def test_who_is_told_what(pool: asyncpg.Pool, database_url: str, webhooks: Webhooks, receiver: Receiver) -> None:
    owner = await connect_owner(database_url)
    organisation, mine, other = (uuid.uuid4() for _ in range(3))
    await owner.execute("insert into identity.organisations (id, name) values ($1, 'o')", organisation)
    for number, project in enumerate((mine, other)):
        accounts = 10_000 + 2 * number, 10_001 + 2 * number
        await owner.execute("insert into identity.projects values ($1, $2, 'p', 0, $3, $4)", project, organisation, *accounts)
    await owner.close()
    hooks = {
        "all": await webhooks.create(receiver.url),
        "organisation": await webhooks.create(receiver.url, organisation_id=organisation),
        "project": await webhooks.create(receiver.url, project_id=mine),
        "approvals": await webhooks.create(receiver.url, ["approval.*"], mine),
        "one type": await webhooks.create(receiver.url, ["approval.requested"]),
        "disabled": await webhooks.create(receiver.url),
    }
    await webhooks.change(hooks["disabled"].id, disabled=True)
    for project in (None, mine, other):
        for kind in ("approval.requested", "plan.changed"):
            await EventStore.emit(pool, kind, project, {})
    await EventStore.emit(pool, "budget.threshold", None, {"organisation_id": str(organisation)})
    await WebhookStore(pool).fan_out(100)
    told = {name: {(each.type, each.event_id) for each in await all_of(webhooks, hook)} for name, hook in hooks.items()}
    assert {name: len(found) for name, found in told.items()} == {
        "all": 7,
        "organisation": 5,
        "project": 2,
        "approvals": 1,
        "one type": 3,
        "disabled": 0,
    }


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
        await until(lambda: _is_disabled(webhooks, webhook))
        await EventStore.emit(pool, "plan.changed", None, {"n": 2})
        await until(lambda: _nothing_to_fan_out(pool))
        assert (await webhooks.find(webhook.id)).disabled_reason == "it answered 410 Gone"
        assert len(receiver.came) == 1
        receiver.answers = [(200, {})]
        assert not (await webhooks.change(webhook.id, disabled=False)).disabled_at
        await EventStore.emit(pool, "plan.changed", None, {"n": 3})
        await until(lambda: len(receiver.came) == 2)
    assert json.loads(receiver.came[-1][1])["data"] == {"n": 3}


async def _is_disabled(webhooks: Webhooks, webhook: Webhook) -> bool:
    return (await webhooks.find(webhook.id)).disabled_at is not None


async def _nothing_to_fan_out(pool: asyncpg.Pool) -> bool:
    return not await pool.fetchval("select count(*) from admission.event_fanout")


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
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url, env={**os.environ, "PYTHONPATH": "src"})
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


async def test_while_a_secret_is_rotated_receivers_with_either_verify(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    old = await webhooks.create(receiver.url)
    new = await webhooks.rotate(old.id)
    assert new.secret != old.secret
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        await until(lambda: len(receiver.came) == 1)
        headers, body = receiver.came[0]
        for secret in (old.secret, new.secret):
            assert Official(secret).verify(body, headers)["type"] == "plan.changed"
        newest = await webhooks.rotate(old.id, 0)
        await EventStore.emit(pool, "plan.changed", None, {})
        await until(lambda: len(receiver.came) == 2)
    headers, body = receiver.came[1]
    assert Official(newest.secret).verify(body, headers)
    assert len(headers["webhook-signature"].split(" ")) == 1, "the old one was withdrawn at once"


async def test_an_address_inside_is_not_called_whatever_its_name_is(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    """The setting was changed since it was made; and a name that leads inside is only known when it is looked up."""
    by_number = await webhooks.create(receiver.url)
    by_name = await webhooks.create(receiver.url.replace("127.0.0.1", "2130706433"))
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool, CLOSED):
        for webhook, why in ((by_number, "private network"), (by_name, "not a canonical IPv4 address")):
            delivery = await until_state(webhooks, webhook, "pending")
            assert why in (delivery.error or "")
    assert receiver.came == []


async def test_a_name_that_leads_inside_is_refused_when_it_is_called(receiver: Receiver) -> None:
    event = Event(id=uuid.uuid4(), type="a.b", project_id=None, data={}, created_at=datetime.now(tz=UTC))
    host = f"http://0x7f000001:{receiver.url.split(':')[2]}"
    due = Due(id=uuid.uuid4(), webhook_id=uuid.uuid4(), url=host, secrets=("whsec_" + "A" * 43 + "=",), attempt=1, event=event)
    async with Sender(CLOCK, private=False) as sender:
        reply = await sender.send(due)
    assert reply.status is None
    assert "private network" in (reply.error or "")
    assert receiver.came == []


async def test_a_receiver_that_is_not_there_is_a_failure_like_any_other(pool: asyncpg.Pool, webhooks: Webhooks) -> None:
    async with receiving() as gone:
        url = gone.url
    webhook = await webhooks.create(url)
    await EventStore.emit(pool, "plan.changed", None, {})
    async with working(pool):
        delivery = await until_state(webhooks, webhook, "pending")
    assert delivery.response_status is None
    assert "Connect" in (delivery.error or "")


async def test_a_test_goes_to_its_webhook_alone(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    async with receiving() as other:
        webhook = await webhooks.create(receiver.url, ["approval.*"])
        await webhooks.create(other.url)
        sent = await webhooks.test(webhook.id)
        async with working(pool):
            await until_state(webhooks, webhook, "delivered")
            await until(lambda: _nothing_to_fan_out(pool))
        assert receiver.ids() == [sent["event"]]
        assert json.loads(receiver.came[0][1])["type"] == "webhook.test"
        assert other.came == []
    with pytest.raises(WebhookNotFound):
        await webhooks.test(uuid.uuid4())


async def test_what_was_deleted_gets_nothing_and_what_ended_long_ago_is_forgotten(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    webhook, deleted = await webhooks.create(receiver.url), await webhooks.create(receiver.url)
    await EventStore.emit(pool, "plan.changed", None, {})
    await WebhookStore(pool).fan_out(10)
    await webhooks.delete(deleted.id)
    async with working(pool):
        await until_state(webhooks, webhook, "delivered")
    assert len(receiver.came) == 1
    store = WebhookStore(pool)
    assert await store.forget(60, 10) == 0
    await pool.execute("update admission.deliveries set ended_at = ended_at - interval '1 hour'")
    assert await store.forget(60, 10) == 1
    assert len(await webhooks.events(None, "plan", None, 10)) == 1, "events stay"
    figures = await store.figures()
    assert [value for _, value in figures.values()] == [0, 0, 0, 0]


async def test_public_ids_that_the_database_writes_are_those_of_the_api(database_url: str) -> None:
    owner = await connect_owner(database_url)
    for value in (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4(), IdFactory(CLOCK).new()):
        assert decode_id("apr", await owner.fetchval("select admission.public_id('apr', $1)", value)) == value
    await owner.close()
