"""Events reach their webhooks: those that want them, signed, and from addresses that may be called."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

import asyncpg
import pytest
from standardwebhooks.webhooks import Webhook as Official

from taximeter.admission.events import EventStore, WebhookNotFound, Webhooks
from taximeter.admission.events.model import Due, Event
from taximeter.admission.events.sender import Sender
from taximeter.admission.events.store import WebhookStore
from taximeter.db.pool import connect_owner, open_pool
from taximeter.kernel.ids import IdFactory, decode_id, encode_id
from taximeter.kernel.settings import Settings
from tests.support.receiver import CLOCK, Receiver, all_of, nothing_to_fan_out, receiving, until_state, working
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CLOSED = Settings()


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
    organisation, mine, other = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
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
    for about in (None, mine, other):
        for kind in ("approval.requested", "plan.changed"):
            await EventStore.emit(pool, kind, about, {})
    await EventStore.emit(pool, "budget.threshold", None, {"organisation_id": encode_id("org", organisation)})
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


async def test_a_test_goes_to_its_webhook_alone(pool: asyncpg.Pool, webhooks: Webhooks, receiver: Receiver) -> None:
    async with receiving() as other:
        webhook = await webhooks.create(receiver.url, ["approval.*"])
        await webhooks.create(other.url)
        sent = await webhooks.test(webhook.id)
        async with working(pool):
            await until_state(webhooks, webhook, "delivered")
            await until(lambda: nothing_to_fan_out(pool))
        assert receiver.ids() == [sent["event"]]
        told = json.loads(receiver.came[0][1])
        assert (told["type"], told["data"]) == ("webhook.test", {"webhook": webhook.public_id})
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
