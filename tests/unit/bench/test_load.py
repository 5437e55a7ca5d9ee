"""The client: every request once, every answer counted."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench import load, mock_upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(mock_upstream.Upstream, "127.0.0.1", 0)
    async with server:
        bound: int = server.sockets[0].getsockname()[1]
        yield bound


async def test_a_number_of_requests_is_answered_and_reported_on_the_way(port: int) -> None:
    bodies = (b'{"stream": true}' if number % 4 == 3 else b"{}" for number in range(400))
    reports: list[int] = []
    answers = await load.drive(port, (load.post("/v1/chat/completions", body) for body in bodies), 8, 100, reports.append)
    assert answers == 400
    assert reports == sorted(reports)
    assert reports[-1] == 400


async def test_measuring_counts_answers_and_their_latency(port: int) -> None:
    sample = await load.measure(load.Target(port, load.post("/v1/chat/completions", b"{}")), 4, 0.05)
    assert sample.answers >= len(sample.latencies_s) >= load.ANSWERS_MIN
    assert 0 < sample.quantile_ms(0.5) <= sample.quantile_ms(0.99)


async def test_one_answer_has_its_head_and_body(port: int) -> None:
    assert mock_upstream.TEXT.encode() in await load.ask_once(load.Target(port, load.post("/v1/chat/completions", b"{}")))


async def test_an_answer_that_is_not_200_ends_the_run() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(load.LoadError, match="503 Service Unavailable"):
            await load.drive(port, iter([load.post("/v1", b"")] * 3), 1, 1, lambda _answers: None)
