"""PostgreSQL goes away together with its socket: whoever asks for it is told to come back, and served when it is back."""
# ruff: noqa: ANN401 - fixtures of the conftest

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import pytest

from taximeter.db.pool import DatabaseAway, open_pool
from taximeter.kernel.errors import SetupError
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}]}


class Door:
    """A socket in a folder of its own that leads to the server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".s.PGSQL.5432"
        self._open: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    def lead_to(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._folders = parse_qs(parts.query).get("host")
        self._host, self._port = parts.hostname, parts.port or 5432
        user = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{user}@", query=f"host={quote(str(self._folder), safe='/')}"))

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._enter, self._path)

    async def vanish(self) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)
        for writer in tuple(self._open):
            writer.close()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._folders is not None:
            there = await asyncio.open_unix_connection(f"{self._folders[0]}/.s.PGSQL.{self._port}")
        else:
            there = await asyncio.open_connection(self._host, self._port)
        for source, target in ((reader, there[1]), (there[0], writer)):
            self._open.add(target)
            pipe = asyncio.create_task(self._carry(source, target))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass  # One side is gone, and takes the other with it.
        finally:
            target.close()
            self._open.discard(target)


@pytest.fixture
async def door(open_folder: Path) -> AsyncIterator[Door]:
    made = Door(open_folder)
    yield made
    await made.vanish()


@pytest.fixture
async def database_url(database_url: str, door: Door) -> str:
    """Everybody here goes through the door."""
    door.lead_to(database_url)
    await door.open()
    return door.url


async def test_a_pool_that_cannot_connect_says_so_and_connects_when_it_can(database_url: str, door: Door) -> None:
    pool = await open_pool(database_url, 2)
    await door.vanish()
    with pytest.raises(DatabaseAway, match="FileNotFoundError") as told:
        await pool.fetchval("select 1")
    assert isinstance(told.value.__cause__, FileNotFoundError)
    await door.open()
    assert await pool.fetchval("select 1") == 1
    pool.terminate()


async def test_a_wrong_url_is_told_as_such(database_url: str) -> None:
    for url in (database_url.replace("/test_", "/nobody_", 1), "postgresql://x@nowhere.invalid/x"):
        with pytest.raises(SetupError, match="TAXIMETER_DATABASE_URL"):
            await open_pool(url, 1, 30.0)


async def test_whoever_asks_is_told_to_come_back_and_is_served_when_it_is_back(gateway: Any, tenant: Any, door: Door) -> None:
    async def ask(method: str, path: str, **named: Any) -> tuple[int, Any, Any]:
        answer: tuple[int, Any, Any] = await gateway.call(method, path, tenant.key, **named)
        return answer

    async def chat_works() -> bool:
        return (await ask("POST", "/v1/chat/completions", json=CHAT, headers={"idempotency-key": "back"}))[0] == 200

    assert await chat_works()
    await door.vanish()
    for attempt in range(3):
        status, headers, answer = await ask("POST", "/v1/chat/completions", json=CHAT, headers={"idempotency-key": f"away {attempt}"})
        assert (status, answer["error"]["code"], headers["retry-after"]) == (503, "database_unavailable", "1")
        status, headers, answer = await ask("GET", "/v1/receipts")
        assert (status, answer["code"], headers["retry-after"]) == (503, "database_unavailable", "1")
    await door.open()
    await until(chat_works)
