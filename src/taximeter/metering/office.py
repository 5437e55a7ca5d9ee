"""What a gateway and a worker have in common, opened and closed in the right order."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from taximeter.admission import breakers, budgets, events, fairness, plans
from taximeter.admission import limits as admission_limits
from taximeter.admission import surge as surge_prices
from taximeter.db.pool import DATABASE_ERRORS, connect_app, open_pool
from taximeter.engines import Engine
from taximeter.identity import IdentityStore
from taximeter.jobs import JobStore
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Limits
from taximeter.ledger import store as ledger_store
from taximeter.metering.adoption import Adoption
from taximeter.metering.approvals import ApprovalStore
from taximeter.metering.desk import Desk
from taximeter.metering.disk import Disk
from taximeter.metering.objects import Objects
from taximeter.metering.presence import BEATS_PER_LIFE, Presence
from taximeter.metering.settlements import Settlements
from taximeter.metering.spool import Spool, spool_folder, survey
from taximeter.metering.store import MeteringStore
from taximeter.metering.tally import Tally
from taximeter.metering.tenancy import Tenancy
from taximeter.pricing import CatalogStore

log = logging.getLogger(__name__)

FIGURES_TIMEOUT_S = 1.0


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
    plans: plans.Plans
    budgets: budgets.Budgets
    surge: surge_prices.SurgeStore
    breakers: breakers.BreakerStore

    async def check_database(self) -> Mapping[str, object]:
        """Facts for the readiness page.  Raises OSError or a database error when it does not answer."""
        async with self.pool.acquire() as connection:
            return {"version": await connection.fetchval("show server_version")}

    async def figures(self) -> Mapping[str, tuple[str, float]]:
        """Gauges for the metrics page, taken now: name -> (help, value).  Those of the database are left out while it is away."""
        figures: dict[str, tuple[str, float]] = {}
        try:
            async with asyncio.timeout(FIGURES_TIMEOUT_S):
                figures.update(await self._database_figures())
        except DATABASE_ERRORS as error:
            log.warning("no figures from the database: %s", error)
        spooled, oldest_ms = await asyncio.to_thread(survey, spool_folder(self.settings.home))
        oldest_s = 0.0 if oldest_ms is None else max(0, self.desk.clock.now_ms() - oldest_ms) / 1000
        lanes = self.desk.books.lanes
        return (
            figures
            | self.desk.surge.figures()
            | {
                "taximeter_ledger_waiting": ("Operations in this process's ledger queues.", sum(lane.waiting for lane in lanes)),
                "taximeter_ledger_reconnects": ("Times this process lost the ledger's database.", sum(lane.counters.reconnects for lane in lanes)),
                "taximeter_ledger_retries": ("Batches this process posted again after a deadlock.", sum(lane.counters.retries for lane in lanes)),
                "taximeter_spool_entries": ("Settlements on this machine's disk that wait for the database.", spooled),
                "taximeter_spool_oldest_s": ("For how long the oldest of them has waited.", oldest_s),
            }
        )

    async def _database_figures(self) -> Mapping[str, tuple[str, float]]:
        async with self.pool.acquire() as connection:
            sums = await ledger_store.totals(connection)
        queued, running = await self.jobs.waiting()
        providers = await self.jobs.at_providers()
        refunds, refunded_utok = await self.store.refund_totals()
        return {
            "taximeter_holds_open": ("Requests whose hold is open.", sums["holds_open"]),
            "taximeter_holds_overdue": ("Open holds past their expiry, not yet released.", sums["holds_overdue"]),
            "taximeter_held_utok": ("Micro-Tokens held now.", sums["held_utok"]),
            "taximeter_revenue_utok": ("Micro-Tokens charged so far, less those given back.", sums["revenue_utok"]),
            "taximeter_refunds": ("Refunds so far.", refunds),
            "taximeter_refunded_utok": ("Micro-Tokens given back by refunds so far.", refunded_utok),
            "taximeter_shortfall_utok": ("Micro-Tokens of delivered work that no wallet covered.", sums["shortfall_utok"]),
            "taximeter_jobs_queued": ("Jobs that wait.", queued),
            "taximeter_jobs_running": ("Jobs that run.", running),
            "taximeter_jobs_at_providers": ("Jobs that providers make now.", providers.ordered),
            "taximeter_jobs_unknown": ("Jobs whose provider gives no answer.", providers.unknown),
            "taximeter_jobs_unknown_oldest_s": ("For how long the oldest of them has given none.", providers.oldest_s),
            "taximeter_jobs_never_known": ("Jobs released without a verdict of their provider so far.", providers.never_known),
            "taximeter_jobs_unpaid": ("Jobs that a provider completed and nobody was charged for, so far.", providers.unpaid),
            "taximeter_limits_shadow_refusals_total": (
                "Requests that ran and that limits in shadow mode would have refused.",
                await admission_limits.LimitStore(self.pool).shadow_total(),
            ),
            **await self.store.book_figures(),
            **await events.WebhookStore(self.pool).figures(),
            **await ApprovalStore(self.pool).figures(),
            **await self._breaker_figures(),
            **({} if self.desk.room is None else await self.desk.room.store.gauges()),
        }

    async def _breaker_figures(self) -> Mapping[str, tuple[str, float]]:
        counts = dict.fromkeys(("closed", "half_open", "open"), 0)
        for row in await self.breakers.summary():
            counts[row["state"]] += row["processes"]
        return {f'taximeter_breakers{{state="{state}"}}': ("Circuit breakers of all processes, by state.", count) for state, count in counts.items()}


@asynccontextmanager
async def open_office(settings: Settings, engines: Mapping[str, Engine], kind: str, clock: Clock) -> AsyncIterator[Office]:
    """Pool, books, catalog and heartbeat of one process; on leaving, everything posted or on the disk, and closed.

    Spools that dead processes have left are adopted in the background.
    Raises SetupError when the database, the object store or the spool's folder cannot be used.
    """
    ids = IdFactory(clock)
    pool = await open_pool(settings.database_url, settings.pool_size, _patience_s(settings, kind))
    objects = Objects.open(settings.object_url, settings.home)
    store = MeteringStore(pool)
    catalog_store = CatalogStore(pool)
    limits = Limits(batch_max=settings.post_batch_max, queue_max=settings.post_queue_max)
    surge_store = surge_prices.SurgeStore(pool)
    process_id = ids.new()
    tally = Tally(process_id, kind)
    books = Books(lambda: connect_app(settings.database_url, process_id), tally.post, clock, limits)
    folder = spool_folder(settings.home)
    bounding = budgets.Budgets(budgets.BudgetStore(pool), ids)
    room = fairness.WaitingRoom(lambda: connect_app(settings.database_url), fairness.QueueStore(pool), clock, settings.queue_wait_max_s)
    desk = Desk(
        settings=settings,
        books=books,
        settlements=Settlements(books, Spool(folder, process_id, clock), settings.settle_patience_s),
        disk=Disk(folder, settings.disk_free_min_bytes, clock),
        engines=engines,
        clock=clock,
        ids=ids,
        catalog=await catalog_store.load(),
        process_id=process_id,
        bounds=bounding,
        surge=surge_prices.Board(clock, await surge_store.read() if settings.surge else None),
        room=room,
    )
    jobs = JobStore(pool)
    identity_store = IdentityStore(pool)
    kept = plans.Plans(pool, identity_store, ids, lambda: desk.catalog)
    desk.fresh_terms = kept.fresh_terms
    breaker_store = breakers.BreakerStore(pool, settings.process_dead_s)
    publisher = breakers.Publisher(process_id, kind)
    watch = breakers.BreakerWatch(desk.guard.breakers, breaker_store, publisher, settings.process_dead_s / BEATS_PER_LIFE)
    presence = Presence(desk, store, kind, lambda: connect_app(settings.database_url))
    await store.hello(desk.process_id, kind)
    upkeep = [
        asyncio.create_task(presence.run(tally, pool), name="heartbeat"),
        asyncio.create_task(_keep_catalog(desk, catalog_store, surge_store), name="catalog"),
        asyncio.create_task(room.run(), name="queue"),
        asyncio.create_task(_adopt_spools(Adoption(folder, books, jobs, objects)), name="adoption"),
        asyncio.create_task(watch.run(), name="breakers"),
    ]
    office = Office(
        settings=settings,
        pool=pool,
        desk=desk,
        store=store,
        jobs=jobs,
        objects=objects,
        identity_store=identity_store,
        tenancy=Tenancy(pool, identity_store, desk, kept),
        plans=kept,
        budgets=bounding,
        surge=surge_store,
        breakers=breaker_store,
    )
    try:
        yield office
    finally:
        await _end(upkeep)
        await _close(office, books, tally, watch, presence)


def _patience_s(settings: Settings, kind: str) -> float:
    """A server that is started again while the database is must not take that for a wrong setting: nobody would start it a third time."""
    return 0.0 if kind == "command" else settings.database_patience_s


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(office: Office, books: Books, tally: Tally, watch: breakers.BreakerWatch, presence: Presence) -> None:
    desk, pool = office.desk, office.pool
    await _finish_background(desk)
    await desk.settlements.finish(office.settings.stop_grace_s)
    await books.close()
    await desk.settlements.close()
    # A database that has gone away must not keep this process from ending.
    with contextlib.suppress(*DATABASE_ERRORS):
        await asyncio.wait_for(_say_goodbye(desk, office.store, tally, pool), 2.0)
        await asyncio.wait_for(watch.say_goodbye(), 2.0)
    pool.terminate()
    presence.close()
    for engine in desk.engines.values():
        await engine.close()


async def _say_goodbye(desk: Desk, store: MeteringStore, tally: Tally, pool: asyncpg.Pool) -> None:
    await tally.report(pool, ended=True)
    await store.goodbye(desk.process_id)


async def _finish_background(desk: Desk) -> None:
    if desk.background:
        _, late = await asyncio.wait(desk.background, timeout=desk.settings.stop_grace_s)
        if late:
            log.error("%s requests did not end before the process; their holds will expire", len(late))


async def _keep_catalog(desk: Desk, store: CatalogStore, surges: surge_prices.SurgeStore) -> None:
    """Look for publications, and for the prices of the moment, until cancelled."""
    while True:
        await asyncio.sleep(desk.settings.catalog_refresh_s)
        try:
            desk.catalog = await store.refresh(desk.catalog)
        except (SetupError, *DATABASE_ERRORS) as error:
            log.warning("the catalog was not refreshed: %s", error)
        if desk.surge.on:
            try:
                desk.surge = surge_prices.Board(desk.clock, await surges.read())
            except DATABASE_ERRORS as error:
                # What was read last grows old meanwhile, and then counts as no surge.
                log.warning("the surge prices were not refreshed: %s", error)


async def _adopt_spools(adoption: Adoption) -> None:
    """Once, at the start; later on the sweepers do it."""
    try:
        await adoption.run()
    except DATABASE_ERRORS as error:
        log.warning("a spool was not adopted, a worker will try again: %s", error)
