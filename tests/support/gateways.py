"""Real gateway processes beside the test: each with its own port, all on one database."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

import taximeter
from tests.support.server import clean_environ

READY_S = 60.0


@asynccontextmanager
async def gateway_processes(
    number: int, home: Path, database_url: str, upstream_url: str, *, slots: int | None = None, **settings: str
) -> AsyncIterator[list[str]]:
    """Addresses of that many gateways whose engine ``script`` is the upstream; ``settings`` are variables."""
    async with gateway_family(number, home, database_url, upstream_url, slots=slots, **settings) as started:
        yield [url for url, _ in started]


@asynccontextmanager
async def gateway_family(
    number: int, home: Path, database_url: str, upstream_url: str, *, slots: int | None = None, **settings: str
) -> AsyncIterator[list[tuple[str, asyncio.subprocess.Process]]]:
    """The same with their processes, for those who end one."""
    more = "" if slots is None else f", concurrent_max: {slots}"
    (home / "upstreams.yaml").write_text(f"upstreams:\n  - {{name: script, base_url: '{upstream_url}'{more}}}\n", encoding="utf-8")
    environ = {
        **clean_environ(),
        "PYTHONPATH": str(Path(taximeter.__file__).parents[1]),
        "TAXIMETER_HOME": str(home),
        "TAXIMETER_DATABASE_URL": database_url,
        "TAXIMETER_UPSTREAMS_FILE": str(home / "upstreams.yaml"),
        **settings,
    }
    started = [await _start(environ, home / f"output-{index}") for index in range(number)]
    try:
        await asyncio.gather(*(_until_ready(url, process, home) for url, process in started))
        yield started
    finally:
        for _, process in started:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for _, process in started))


async def _start(environ: Mapping[str, str], output: Path) -> tuple[str, asyncio.subprocess.Process]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener, output.open("wb") as written:
        port = listener.getsockname()[1]
        arguments = ["-m", "taximeter.cli", "gateway-process", "--fd", str(listener.fileno())]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=dict(environ), pass_fds=[listener.fileno()], stdout=written, stderr=written, cwd=os.sep
        )
    return f"http://127.0.0.1:{port}", process


async def _until_ready(url: str, process: asyncio.subprocess.Process, home: Path) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
        while True:
            assert process.returncode is None, f"a gateway has ended; its output is in {home}"
            try:
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
