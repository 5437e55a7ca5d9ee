"""An end to headers, in bytes and in time, on a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from taximeter.gateway import bounded_protocol

pytestmark = pytest.mark.anyio

BYTES_MAX = 2000
TIMEOUT_S = 0.2
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was, or, on /eager, answers without reading it."""
    length, more = 0, scope["path"] != "/eager"
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"read {length}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(text)).encode())]})
    await send({"type": "http.response.body", "body": text})


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, sent: bytes) -> bytes:
        """The answer to a request that leaves the connection open."""
        self.writer.write(sent)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    config = uvicorn.Config(application, http=bounded_protocol(BYTES_MAX, TIMEOUT_S), ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: bounded_protocol(BYTES_MAX, TIMEOUT_S)(config, state, {}), "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield Client(reader, writer)
        writer.close()


async def test_ordinary_requests_follow_each_other(client: Client) -> None:
    for _ in range(3):
        assert (await client.ask(GET + b"\r\n")).endswith(b"read 0")


async def test_a_body_may_be_longer_than_headers(client: Client) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    assert (await client.ask(head + b"x" * 100_000)).endswith(b"read 100000")
    pieces = b"".join(b"%x\r\n%s\r\n" % (1500, b"x" * 1500) for _ in range(20))
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    assert (await client.ask(chunked)).endswith(b"read 30000")


@pytest.mark.parametrize("piece", [500, 5_000_000])
@pytest.mark.parametrize("complete", [False, True])
async def test_a_giant_header_is_refused(client: Client, piece: int, *, complete: bool) -> None:
    sent = GET + b"X: " + b"x" * 3000 + (b"\r\n\r\n" if complete else b"")
    for at in range(0, len(sent), piece):
        client.writer.write(sent[at : at + piece])
        await asyncio.sleep(0)
    answer = await client.reader.readuntil(b"}}")
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b'"code":"headers_too_large"' in answer


async def test_many_small_headers_and_a_long_path_are_refused_too(client: Client) -> None:
    client.writer.write(b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n")
    answer = await client.reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 431")
    assert b"application/problem+json" in answer


async def test_headers_without_an_end_are_cut_off(client: Client) -> None:
    client.writer.write(GET + b"X: ")
    sent = 0
    with pytest.raises(ConnectionError):  # noqa: PT012 - sends until it cannot
        while sent < 1_000_000_000:
            client.writer.write(b"x" * 1_000_000)
            sent += 1_000_000
            await client.writer.drain()
    assert sent < 200_000_000


async def test_what_follows_a_body_is_bounded_like_headers(client: Client) -> None:
    client.writer.write(b"POST /eager HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    await client.reader.readuntil(b"read 0")
    client.writer.write(b"X: " + b"x" * 3000)
    assert b"headers_too_large" in await client.reader.readuntil(b"}")


@pytest.mark.parametrize("sent", [b"", GET, b"\r\n"])
async def test_headers_that_do_not_come_end_the_connection(client: Client, sent: bytes) -> None:
    client.writer.write(sent)
    assert await client.reader.read() == b""


@pytest.mark.parametrize("sent", [GET, b"\r\n"])
async def test_the_next_requests_headers_have_their_time_too(client: Client, sent: bytes) -> None:
    await client.ask(GET + b"\r\n")
    client.writer.write(sent)
    assert await client.reader.read() == b""


async def test_a_body_that_nobody_waits_for_does_not_keep_the_connection(client: Client) -> None:
    await client.ask(b"POST /eager HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    client.writer.write(b"x")
    assert await client.reader.read() == b""


async def test_what_is_not_http_is_answered_in_plain_text(client: Client) -> None:
    client.writer.write(b"NO SUCH THING\r\n\r\n")
    answer = await client.reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"text/plain" in answer
