"""One run: a fresh system, a crowd of clients, kills, silence, and the comparison."""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.crash import engines
from bench.crash.acknowledgements import Log
from bench.crash.audit import Books, audit, quiet
from bench.crash.campaign import Campaign, Strike
from bench.crash.clients import Crowd
from bench.crash.plan import Cell
from bench.crash.system import System, until
from bench.product import folder

LOG = "acknowledgements.jsonl"
SETTINGS_SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "server_version")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run.

    Attributes:
        out: a folder for the acknowledgements and the processes' logs; not the system's.
        postgres: server settings on top of the embedded server's own.
        bug: of ``sabotage``; none: the product as it is.
    """

    out: Path
    cells: Iterator[Cell] = field(default_factory=lambda: iter(()))
    kills: int = 0
    seed: int = 1
    postgres: Mapping[str, str] = field(default_factory=dict)
    bug: str = ""
    report: Callable[[Sequence[Strike]], None] = lambda _strikes: None


@dataclass
class Result:
    """What came of it.

    Attributes:
        quiet_s: how long the last holds, jobs and spooled settlements took after the clients had ended.
        server: settings of the database.
    """

    strikes: list[Strike]
    books: Books
    quiet_s: float
    server: Mapping[str, str]


@asynccontextmanager
async def under_load(options: Options) -> AsyncIterator[Campaign]:
    """A running system with clients."""
    options.out.mkdir(parents=True, exist_ok=True)
    for path in (options.out / LOG, *options.out.glob("*.log")):
        path.unlink(missing_ok=True)
    log = Log(options.out / LOG)
    with folder() as home:
        async with engines.running(options.seed) as outside:
            system = System(home, options.out, outside, options.postgres, options.bug)
            try:
                await system.open()
                crowd = Crowd([gateway.port for gateway in system.gateways()], system.tenants, log, options.seed)
                await crowd.start()
                try:
                    rng = random.Random(options.seed)  # noqa: S311 - not for secrets
                    campaign = Campaign(system, crowd, outside.video, rng, options.cells, options.kills, options.report)
                    await until(lambda: all(crowd.served.get(port) for port in (0, *crowd.ports)), "both gateways and the worker serve")
                    yield campaign
                finally:
                    await crowd.close()
            finally:
                system.close()
                log.close()


async def conclude(campaign: Campaign, out: Path) -> Result:
    """Let the clients finish, wait for silence, compare."""
    system = campaign.system
    await campaign.crowd.finish()
    quiet_s = await quiet(system)
    rows = await system.query("select name, setting from pg_settings where name = any ($1)", list(SETTINGS_SHOWN))
    books = await audit(system, out / LOG)
    return Result(campaign.strikes, books, quiet_s, {row["name"]: row["setting"] for row in rows})


async def run(options: Options) -> Result:
    """All of it."""
    async with under_load(options) as campaign:
        await campaign.run()
        return await conclude(campaign, options.out)
