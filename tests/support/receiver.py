"""A real HTTP server that receives webhooks and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


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
