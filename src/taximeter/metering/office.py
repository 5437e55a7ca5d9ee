"""What a gateway and a worker have in common, opened and closed in the right order."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from taximeter.db.pool import connect_app, open_pool
from taximeter.engines import Engine
from taximeter.identity import IdentityStore
from taximeter.jobs import JobStore
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Limits
from taximeter.ledger import store as ledger_store
from taximeter.metering.desk import Desk
from taximeter.metering.objects import Objects
from taximeter.metering.presence import keep_alive
from taximeter.metering.store import MeteringStore, post
from taximeter.metering.tenancy import Tenancy
from taximeter.pricing import CatalogStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """The open parts of one process."""

    settings: Settings
    pool: asyncpg.Pool
    desk: Desk
    store: MeteringStore
    jobs: JobStore
    objects: Objects
    identity_store: IdentityStore
    tenancy: Tenancy

    async def check_database(self) -> Mapping[str, object]:
        """Facts for the readiness page.  Raises OSError or a database error when it does not answer."""
        async with self.pool.acquire() as connection:
            return {"version": await connection.fetchval("show server_version")}

    async def figures(self) -> Mapping[str, tuple[str, float]]:
        """Gauges for the metrics page, read from the ledger now: name -> (help, value)."""
        async with self.pool.acquire() as connection:
            sums = await ledger_store.totals(connection)
        queued, running = await self.jobs.waiting()
        lanes = self.desk.books.lanes
        return {
            "taximeter_holds_open": ("Requests whose hold is open.", sums["holds_open"]),
            "taximeter_holds_overdue": ("Open holds past their expiry, not yet released.", sums["holds_overdue"]),
            "taximeter_held_utok": ("Micro-Tokens held now.", sums["held_utok"]),
            "taximeter_revenue_utok": ("Micro-Tokens charged so far.", sums["revenue_utok"]),
            "taximeter_shortfall_utok": ("Micro-Tokens of delivered work that no wallet covered.", sums["shortfall_utok"]),
            "taximeter_jobs_queued": ("Jobs that wait.", queued),
            "taximeter_jobs_running": ("Jobs that run.", running),
            "taximeter_ledger_waiting": ("Operations in this process's ledger queues.", sum(lane.waiting for lane in lanes)),
            "taximeter_ledger_reconnects": ("Times this process lost the ledger's database.", sum(lane.counters.reconnects for lane in lanes)),
            "taximeter_ledger_retries": ("Batches this process posted again after a deadlock.", sum(lane.counters.retries for lane in lanes)),
        }


@asynccontextmanager
async def open_office(settings: Settings, engines: Mapping[str, Engine], kind: str, clock: Clock) -> AsyncIterator[Office]:
    """Pool, books, catalog and heartbeat of one process; on leaving, everything posted and closed.

    Raises SetupError when the database or the object store cannot be used.
    """
    ids = IdFactory(clock)
    pool = await open_pool(settings.database_url, settings.pool_size)
    objects = Objects.open(settings.object_url, settings.home)
    store = MeteringStore(pool)
    catalog_store = CatalogStore(pool)
    limits = Limits(batch_max=settings.post_batch_max, queue_max=settings.post_queue_max)
    books = Books(lambda: connect_app(settings.database_url), post, clock, limits)
    desk = Desk(settings=settings, books=books, engines=engines, clock=clock, ids=ids, catalog=await catalog_store.load(), process_id=ids.new())
    identity_store = IdentityStore(pool)
    await store.hello(desk.process_id, kind)
    upkeep = [
        asyncio.create_task(keep_alive(desk, store, kind), name="heartbeat"),
        asyncio.create_task(_keep_catalog(desk, catalog_store), name="catalog"),
    ]
    try:
        yield Office(
            settings=settings,
            pool=pool,
            desk=desk,
            store=store,
            jobs=JobStore(pool),
            objects=objects,
            identity_store=identity_store,
            tenancy=Tenancy(pool, identity_store, books, ids, settings),
        )
    finally:
        for task in upkeep:
            task.cancel()
        await asyncio.gather(*upkeep, return_exceptions=True)
        await _finish_background(desk)
        await books.close()
        # A database that has gone away must not keep this process from ending.
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.wait_for(store.goodbye(desk.process_id), 2.0)
        pool.terminate()
        for engine in engines.values():
            await engine.close()


async def _finish_background(desk: Desk) -> None:
    if desk.background:
        _, late = await asyncio.wait(desk.background, timeout=desk.settings.stop_grace_s)
        if late:
            log.error("%s settlements were not posted before the end; their holds will expire", len(late))


async def _keep_catalog(desk: Desk, store: CatalogStore) -> None:
    """Look for publications until cancelled."""
    while True:
        await asyncio.sleep(desk.settings.catalog_refresh_s)
        try:
            desk.catalog = await store.refresh(desk.catalog)
        except (OSError, TimeoutError, SetupError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("the catalog was not refreshed: %s", error)
