"""A whole gateway process's life, from its settings to its clean end."""

import asyncio
import socket
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from taximeter.app import open_gateway, run_gateway
from taximeter.kernel.errors import InvalidRequest, SetupError
from taximeter.kernel.settings import Settings
from taximeter.metering.reconciliation import compare_page

pytestmark = pytest.mark.anyio


async def test_a_gateway_serves_until_it_is_told_to_stop(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    settings = Settings(home=tmp_path, database_url=database_url, stop_grace_s=2.0)
    running = asyncio.create_task(run_gateway(settings, {}, listener, stop))
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        async with http.get(f"{url}/readyz") as answer:
            body = await answer.json()
        assert (answer.status, body["status"], body["parts"]["database"]["ok"]) == (200, "ready", True)
        async with http.get(f"{url}/metrics") as answer:
            assert "taximeter_holds_open 0.0" in await answer.text()
        await pool.execute(
            "insert into metering.process_counters (process_id, kind, receipts, charged_utok, uncertain) values ($1, 'worker', 3, 90, 0)", uuid4()
        )
        async with pool.acquire() as connection:
            check = await compare_page(connection, f"{url}/metrics")
            assert (check.compared, check.left, check.right, check.first) == (2, 90, 90, ())
            with pytest.raises(OSError, match="404"):
                await compare_page(connection, f"{url}/nothing")
            with pytest.raises(InvalidRequest, match=f"{url}/ is not a metrics page"):
                await compare_page(connection, f"{url}/")
        assert await pool.fetchval("select count(*) from metering.processes where kind = 'gateway'") == 1
        stop.set()
        await running
    # It has signed off, and nobody listens any more.
    assert await pool.fetchval("select count(*) from metering.processes where kind = 'gateway'") == 0
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))


async def test_a_database_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/nothing", database_patience_s=0.1)
    with pytest.raises(SetupError, match="TAXIMETER_DATABASE_URL"):
        async with open_gateway(settings, {}):
            pass


@pytest.mark.parametrize("hosts", ["not json", "[]", '{"demo-text": 7}'])
async def test_engine_hosts_that_cannot_be_understood_are_one_line(tmp_path: Path, hosts: str) -> None:
    settings = Settings(home=tmp_path, engine_hosts=hosts)
    with pytest.raises(SetupError, match="TAXIMETER_ENGINE_HOSTS"):
        async with open_gateway(settings, {}):
            pass
