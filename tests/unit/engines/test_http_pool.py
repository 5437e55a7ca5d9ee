"""The engines' HTTP client against a server that speaks in raw bytes."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from yarl import URL

from taximeter.engines.http_connection import HEAD_BYTES_MAX, UNPACKED_BYTES_MAX, UNREAD_BYTES_MAX, Answer, WentAwayError
from taximeter.engines.http_pool import HttpPool, UnreachableError
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n2;x=1\r\nhe\r\n3\r\nllo\r\n0\r\nx-trailer: 1\r\n\r\n"
TO_THE_END = OK + b"content-type: Text/Plain; charset=utf-8\r\n\r\nhello"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Upstream:
    """Answers each request with the next entry of ``script``: the pieces to send one by one; None hangs up."""

    script: list[list[bytes | None]]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    sent: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and self.script:
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                for piece in self.script.pop(0):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    self.sent += len(piece)
                    # The next piece shall not come with this one.
                    await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def upstream(*script: list[bytes | None]) -> AsyncIterator[Upstream]:
    made = Upstream(list(script))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base"
    try:
        yield made
    finally:
        server.close()


def pool(url: str, *, connections: int = 0, connect_s: float = 5.0, keepalive_s: float = 5.0, key: str = "k") -> HttpPool:
    return HttpPool("up", URL(url), {"x-key": key}, connections=connections, connect_s=connect_s, keepalive_s=keepalive_s)


async def read(client: HttpPool, answer: Answer) -> bytes:
    try:
        return b"".join([piece async for piece in answer.pieces()])
    finally:
        client.release(answer)


async def ask(client: HttpPool, *, deadline_s: float = 5.0, silence_s: float | None = None) -> bytes:
    return await read(client, await client.post("/jobs", b"{}", deadline_s=deadline_s, silence_s=silence_s))


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, TO_THE_END], ids=["length", "chunked", "to the end"])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_is_the_same_in_pieces_of_any_size(answer: bytes, size: int) -> None:
    pieces: list[bytes | None] = [answer[start : start + size] for start in range(0, len(answer), size)]
    async with upstream([*pieces, *([None] if answer is TO_THE_END else [])]) as server:
        client = pool(server.url)
        assert await ask(client) == b"hello"
        await client.close()


async def test_the_request_is_as_http_wants_it() -> None:
    async with upstream([LENGTH], [LENGTH]) as server:
        client = pool(server.url)
        await ask(client)
        answer = await client.get("/health?name=a", deadline_s=5.0)
        await read(client, answer)
        await client.close()
        posted, got = (request.decode().split("\r\n") for request in server.requests)
        assert posted[0] == "POST /base/jobs HTTP/1.1"
        assert got[0] == "GET /base/health?name=a HTTP/1.1"
        assert {"x-key: k", "content-length: 2", f"host: {server.url[7:].partition('/')[0]}", "accept-encoding: identity"} <= set(posted)
        assert posted[-1] == "{}"
        assert (answer.status, answer.complete) == (200, True)


async def test_the_media_type_is_told_without_parameters() -> None:
    async with upstream([TO_THE_END, None]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=5.0)
        assert (answer.content_type, answer.headers["content-type"]) == ("text/plain", "Text/Plain; charset=utf-8")
        assert await read(client, answer) == b"hello"


async def test_notices_before_the_answer_are_not_the_answer() -> None:
    notices = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with upstream([notices, LENGTH], [notices + CHUNKED]) as server:
        client = pool(server.url)
        assert (await ask(client), await ask(client)) == (b"hello", b"hello")
        assert server.connections == 1
        await client.close()


async def test_a_connection_is_used_again_after_a_whole_answer_only() -> None:
    closing = LENGTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with upstream([LENGTH], [CHUNKED], [closing], [TO_THE_END, None], [LENGTH]) as server:
        client = pool(server.url)
        answers = [await ask(client) for _ in range(5)]
        assert answers == [b"hello"] * 5
        assert server.connections == 3
        await client.close()


async def test_what_was_not_read_to_its_end_is_hung_up() -> None:
    async with upstream([OK + b"content-length: 10\r\n\r\nhello"], [LENGTH]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=5.0)
        assert await answer.some() == b"hello"
        client.release(answer)
        client.release(answer)
        await until(lambda: server.open == 0)
        assert await ask(client) == b"hello"
        await client.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [None],
        [b"HTTP/1.1 20", None],
        [OK + b"content-length: 10\r\n\r\nhello", None],
        [OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", None],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"],
        [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
        [OK + b"x: " + b"y" * HEAD_BYTES_MAX, b"y" * HEAD_BYTES_MAX],
    ],
    ids=["nothing", "half a line", "short", "no last chunk", "not HTTP", "two lengths", "another protocol", "endless head"],
)
async def test_an_answer_that_breaks_off_or_is_none_is_told(pieces: list[bytes | None]) -> None:
    async with upstream(pieces) as server:
        client = pool(server.url)
        with pytest.raises((WentAwayError, ConnectionError)):
            await ask(client)
        assert client.idle == 0
        await client.close()


async def test_what_came_before_the_break_can_be_read() -> None:
    async with upstream([OK + b"content-length: 10\r\n\r\nhello", None]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=5.0)
        await until(lambda: server.open == 0)
        assert await answer.some() == b"hello"
        with pytest.raises((WentAwayError, ConnectionError)):
            await answer.some()
        client.release(answer)


@pytest.mark.parametrize("pieces", [[LENGTH + LENGTH], [LENGTH, LENGTH]], ids=["at once", "later"])
async def test_an_answer_that_nobody_asked_for_is_nobodys(pieces: list[bytes | None]) -> None:
    wrong = [piece and piece[:-10] + b"5\r\n\r\nwrong" if index else piece for index, piece in enumerate(pieces)]
    async with upstream(wrong, [LENGTH]) as server:
        client = pool(server.url)
        assert await ask(client) == b"hello"
        await until(lambda: client.idle == 0)
        assert await ask(client) == b"hello"
        assert server.connections == 2
        await client.close()


def packed(body: bytes, coding: str = "gzip") -> bytes:
    return OK + f"content-encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("size", [3, 100_000])
async def test_an_answer_that_is_packed_is_unpacked(coding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    answer = packed(pack(b"hello " * 50), coding)
    async with upstream([answer[start : start + size] for start in range(0, len(answer), size)], [LENGTH]) as server:
        client = pool(server.url)
        assert await ask(client) == b"hello " * 50
        assert await ask(client) == b"hello"
        assert server.connections == 1
        await client.close()


async def test_a_small_answer_that_unpacks_to_a_large_one_comes_in_pieces() -> None:
    body = gzip.compress(b" " * 10_000_000)
    assert len(body) < 50_000
    async with upstream([packed(body)]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=5.0)
        sizes = [len(piece) async for piece in answer.pieces()]
        client.release(answer)
        assert (sum(sizes), max(sizes)) == (10_000_000, UNPACKED_BYTES_MAX)
        await client.close()


@pytest.mark.parametrize("body", [b"plainly not", gzip.compress(b"hello")[:-9], gzip.compress(b"hello")[:5]])
async def test_an_answer_that_cannot_be_unpacked_is_told(body: bytes) -> None:
    async with upstream([packed(body)]) as server:
        client = pool(server.url)
        with pytest.raises(WentAwayError, match="pack"):
            await ask(client)
        await client.close()


async def test_silence_and_the_deadline_end_an_answer() -> None:
    async with upstream([OK], [OK + b"content-length: 9\r\n\r\n", *([b"x"] * 8)], []) as server:
        client = pool(server.url)
        with pytest.raises(TimeoutError):
            await ask(client, silence_s=0.05)
        with pytest.raises(TimeoutError):
            await ask(client, silence_s=0.2)
        with pytest.raises(TimeoutError):
            await ask(client, deadline_s=0.05)
        await until(lambda: server.open == 0)


async def test_a_slow_reader_is_no_silent_upstream() -> None:
    async with upstream([OK + b"content-length: 10\r\n\r\nhello", b"again"]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=5.0, silence_s=0.02)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        await until(lambda: loop.time() - started_s > 0.1)
        assert await read(client, answer) == b"helloagain"
        await client.close()


async def test_an_upstream_has_to_wait_for_a_reader_who_does_not_read() -> None:
    piece = b"x" * 65_536
    count = 1000
    async with upstream([OK + b"content-length: %d\r\n\r\n" % (len(piece) * count), *([piece] * count)]) as server:
        client = pool(server.url)
        answer = await client.post("/jobs", b"{}", deadline_s=60.0)
        await until(lambda: answer._unread_bytes > UNREAD_BYTES_MAX)
        seen = -1
        # It stands still when two looks find the same.
        while seen != server.sent:
            seen = server.sent
            await asyncio.sleep(0.05)
        assert server.sent < len(piece) * count
        assert len(await read(client, answer)) == len(piece) * count
        await client.close()


async def test_a_full_pool_lets_wait_and_gives_the_place_on() -> None:
    async with upstream([OK + b"content-length: 5\r\n\r\n"], [LENGTH], [LENGTH]) as server:
        client = pool(server.url, connections=1)
        first = await client.post("/jobs", b"{}", deadline_s=5.0)
        left = asyncio.create_task(ask(client))
        second = asyncio.create_task(ask(client))
        await until(lambda: len(client._waiting) == 2)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        client.release(first)
        assert await second == b"hello"
        assert await ask(client) == b"hello"
        await client.close()


async def test_nobody_waits_longer_for_a_place_than_he_may() -> None:
    async with upstream([OK + b"content-length: 5\r\n\r\n"]) as server:
        client = pool(server.url, connections=1, connect_s=0.02)
        first = await client.post("/jobs", b"{}", deadline_s=5.0)
        with pytest.raises(UnreachableError):
            await ask(client)
        client.release(first)


async def test_a_closing_pool_tells_everybody() -> None:
    async with upstream([OK + b"content-length: 5\r\n\r\n"]) as server:
        client = pool(server.url, connections=1)
        first = await client.post("/jobs", b"{}", deadline_s=5.0)
        waiting = asyncio.create_task(ask(client))
        await until(lambda: len(client._waiting) == 1)
        await client.close()
        for failing in (waiting, read(client, first)):
            with pytest.raises(WentAwayError):
                await failing
        await until(lambda: server.open == 0)


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with upstream([LENGTH], [LENGTH]) as server:
        client = pool(server.url, keepalive_s=0.05)
        await ask(client)
        assert client.idle == 1
        await until(lambda: server.open == 0)
        assert client.idle == 0
        assert await ask(client) == b"hello"
        await client.close()


async def test_nobody_there_is_unreachable() -> None:
    async with upstream() as server:
        url = server.url
    for address in (url, "http://no-such-host.invalid/v1"):
        with pytest.raises(UnreachableError):
            await ask(pool(address))


@pytest.mark.parametrize("key", ["a\r\nb: c", "a\nb", "\0"])
def test_a_key_with_a_line_end_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        pool("http://127.0.0.1/", key=key)


async def test_a_cancelled_question_leaves_nothing_behind() -> None:
    async with upstream([], [LENGTH]) as server:
        client = pool(server.url, connections=1)
        task = asyncio.create_task(ask(client))
        await until(lambda: server.connections == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: server.open == 0)
        assert await ask(client) == b"hello"
        await client.close()
