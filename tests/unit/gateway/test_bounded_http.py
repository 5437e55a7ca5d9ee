"""An end to headers, in bytes and in time, on a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from taximeter.gateway import bounded_protocol
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

BYTES_MAX = 2000
TIMEOUT_S = 0.2
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"


class Application:
    """Says how long the body was, or, on /eager, answers without reading it; on /slow, when it may."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.ran.append(scope["path"])
        length, more = 0, scope["path"] != "/eager"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        if scope["path"] == "/slow":
            await self.may_answer.wait()
        text = f"read {length}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(text)).encode())]})
        await send({"type": "http.response.body", "body": text})


class Client:
    """One connection, and the application behind it."""

    def __init__(self, application: Application, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.application = application
        self.reader = reader
        self.writer = writer

    async def ask(self, sent: bytes) -> bytes:
        """The answer to a request that leaves the connection open."""
        self.writer.write(sent)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def begun(self, requests: int) -> None:
        """Wait until the application has been given so many requests."""
        await until(lambda: len(self.application.ran) >= requests)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    application = Application()
    config = uvicorn.Config(application, http=bounded_protocol(BYTES_MAX, TIMEOUT_S), ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: bounded_protocol(BYTES_MAX, TIMEOUT_S)(config, state, {}), "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield Client(application, reader, writer)
        writer.close()
        await until(lambda: not state.connections)


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


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
WEBSOCKET = b"Connection: keep-alive, upgrade\r\nUPGRADE: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
# A body that would be a request if the connection lost its way.
SMUGGLED = b"GET /smuggled-in HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"POST /upgrade HTTP/1.1\r\nHost: x\r\n%sContent-Length: 38\r\n\r\n"
CHUNKED = b"POST /upgrade HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n"
PIECES = b"8\r\n" + SMUGGLED[:8] + b"\r\n1e\r\n" + SMUGGLED[8:] + b"\r\n0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize(("head", "body"), [(LENGTH, SMUGGLED), (CHUNKED, PIECES)], ids=["length", "chunked"])
@pytest.mark.parametrize("form", ["one segment", "two segments", "byte by byte"])
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_is_read(
    client: Client, offer: bytes, head: bytes, body: bytes, form: str
) -> None:
    for times in range(2):
        sent = head % offer
        if form == "two segments":
            client.writer.write(sent)
            await client.begun(times + 1)
            sent = body
        else:
            sent += body
        step = 1 if form == "byte by byte" else len(sent)
        for at in range(0, len(sent) - step, step):
            client.writer.write(sent[at : at + step])
            await client.writer.drain()
            await asyncio.sleep(0)
        answer = await client.ask(sent[-step:])
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"read 38")
    assert (await client.ask(GET + b"\r\n")).endswith(b"read 0")
    assert client.application.ran == ["/upgrade", "/upgrade", "/v1/models"]


async def test_offers_of_another_protocol_may_follow_each_other_in_one_segment(client: Client) -> None:
    client.writer.write(LENGTH % H2C + SMUGGLED + GET + H2C + b"\r\n" + CHUNKED % WEBSOCKET + PIECES + GET + b"Connection: close\r\n\r\n")
    answers = await client.reader.read()
    assert [answers.count(b"HTTP/1.1 200"), answers.count(b"read 38"), answers.count(b"read 0")] == [4, 2, 2]
    assert client.application.ran == ["/upgrade", "/v1/models", "/upgrade", "/v1/models"]


async def test_an_offer_of_another_protocol_is_bounded_like_any_header(client: Client) -> None:
    client.writer.write(GET + b"Connection: upgrade\r\nUpgrade: " + b"x" * 3000 + b"\r\n\r\n")
    assert (await client.reader.read()).startswith(b"HTTP/1.1 431")
    assert client.application.ran == []


async def test_a_tunnel_is_refused_and_what_follows_it_is_not_read(client: Client) -> None:
    client.writer.write(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED)
    answer = await client.reader.read()
    client.writer.write(SMUGGLED)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert client.application.ran == []


NOISE = b"NO SUCH THING\r\n\r\n"
BAD_CHUNK = b"POST /bad HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
SLOW = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"


@pytest.mark.parametrize(
    "noise", [NOISE, NOISE + SMUGGLED, BAD_CHUNK, BAD_CHUNK + SMUGGLED], ids=["noise", "noise and more", "a bad chunk", "a bad chunk and more"]
)
async def test_a_request_that_noise_follows_is_answered_before_the_noise(client: Client, noise: bytes) -> None:
    client.writer.write(SLOW + GET + b"\r\n" + noise)
    await client.begun(1)
    client.writer.write(SMUGGLED)
    client.application.may_answer.set()
    first, second, last = (await client.reader.read()).split(b"HTTP/1.1 ")[1:]
    assert (first[:3], first[-6:]) == (b"200", b"read 2")
    assert (second[:3], second[-6:]) == (b"200", b"read 0")
    assert last.startswith(b"400")
    assert client.application.ran == ["/slow", "/v1/models"]


async def test_a_request_that_a_giant_header_follows_is_answered_before_it_is_refused(client: Client) -> None:
    client.writer.write(SLOW)
    await client.begun(1)
    client.writer.write(GET + b"X: " + b"x" * 3000)
    await client.writer.drain()
    client.application.may_answer.set()
    first, last = (await client.reader.read()).split(b"HTTP/1.1 ")[1:]
    assert (first[:3], first[-6:], last[:3]) == (b"200", b"read 2", b"431")


async def test_a_body_that_cannot_be_read_is_answered_once(client: Client) -> None:
    client.writer.write(BAD_CHUNK.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + SMUGGLED)
    answer = await client.reader.read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert client.application.ran == ["/bad"]
