"""A real HTTP server that receives webhooks and answers as it is told, workers that send them, and what became of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest
from aiohttp import web

from taximeter.admission.events import Deliverer, Delivery, Webhook, Webhooks
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from tests.support.waiting import until

OPEN = Settings(webhook_private_addresses=True)
CLOCK = SystemClock()


@dataclass
class Receiver:
    """What came, in its order; ``answers`` are given in turn, the last one from then on."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(200, {})])
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    inside: int = 0

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.came]

    async def answer(self, request: web.Request) -> web.Response:
        self.inside += 1
        try:
            self.came.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
            status, headers = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if self.gate is not None:
                await self.gate.wait()
            return web.Response(status=status, headers=headers)
        finally:
            self.inside -= 1


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a loopback port."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    receiver.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/hooks"  # type: ignore[attr-defined]
    try:
        yield receiver
    finally:
        if receiver.gate is not None:
            receiver.gate.set()
        await runner.cleanup()


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


async def is_disabled(webhooks: Webhooks, webhook: Webhook) -> bool:
    return (await webhooks.find(webhook.id)).disabled_at is not None


async def nothing_to_fan_out(pool: asyncpg.Pool) -> bool:
    return not await pool.fetchval("select count(*) from admission.event_fanout")
