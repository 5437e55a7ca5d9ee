"""Composition roots of the processes that do not serve callers: the worker, and the hosts of the demo engines."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from taximeter.admission import surge
from taximeter.admission.budgets import BudgetKeeper, BudgetStore
from taximeter.admission.events import Deliverer
from taximeter.admission.plans import Upkeep
from taximeter.db.pool import connect_app
from taximeter.engines import Engine
from taximeter.engines.demo import DEMO_ENGINES, demo_engine
from taximeter.engines.fleet import build_fleet, read_capacities
from taximeter.engines.host import serve_host
from taximeter.engines.slots import keeping_slots
from taximeter.kernel.clock import Clock, SystemClock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.metering import Office, Sweeper, VideoRunner, open_office
from taximeter.metering.reconciliation import Watch
from taximeter.metering.rollups import Rollups


async def run_worker(settings: Settings, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    """Run video jobs and the sweeper until ``stop`` is set.  Raises SetupError when the database cannot be used."""
    clock = SystemClock()
    engines = build_fleet(settings, environ)
    async with open_office(settings, engines, "worker", clock) as office, keeping_slots(engines):
        runner = VideoRunner(office.desk, office.jobs, office.objects)
        sweeper = Sweeper(office.desk, office.store, office.jobs, office.objects, office.pool)
        rollups = Rollups(office.store, settings.rollup_every_s)
        watch = Watch(lambda: connect_app(settings.database_url), office.objects, clock, settings)
        deliverer = Deliverer(office.pool, clock, settings)
        work = {
            *_surge_tasks(office, clock, settings),
            asyncio.create_task(runner.run(), name="videos"),
            asyncio.create_task(sweeper.run(), name="sweeper"),
            asyncio.create_task(rollups.run(), name="rollups"),
            asyncio.create_task(Upkeep(office.plans, low_utok=settings.wallet_low_tokens * UTOK_PER_TOKEN).run(), name="plans"),
            asyncio.create_task(BudgetKeeper(BudgetStore(office.pool), clock).run(), name="budgets"),
            asyncio.create_task(watch.run(), name="reconciliation"),
            asyncio.create_task(deliverer.run(), name="webhooks"),
        }
        waiting = asyncio.create_task(stop.wait(), name="stop")
        try:
            # Neither ends by itself: one that does has met a bug, and the process ends with it to be started again.
            done, _ = await asyncio.wait({*work, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            for task in {*work, waiting}:
                task.cancel()
            for task in {*work, waiting}:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def _surge_tasks(office: Office, clock: Clock, settings: Settings) -> set[asyncio.Task[None]]:
    """The task that moves surge prices; none where there are none.  Raises SetupError for a file that cannot be used."""
    if not settings.surge:
        return set()
    engines = office.desk.engines
    plans = surge.read_plans(Path(settings.surge_file) if settings.surge_file else None, engines.keys(), read_capacities(settings))
    sources = [(plan, surge.open_source(plan, engines, clock)) for plan in plans]
    leader = surge.SurgeLeader(lambda: connect_app(settings.database_url), sources, lambda: office.desk.catalog, settings)
    return {asyncio.create_task(leader.run(), name="surge")}


async def run_host(settings: Settings, names: Sequence[str], stop: asyncio.Event) -> None:
    """Load these demo engines and serve them on the loopback port of the settings until ``stop`` is set.

    Raises SetupError for an unknown name, an engine whose packages are not installed, or a model file that is not there.
    """
    if not settings.host_port or not settings.host_secret:
        message = "an engine host needs TAXIMETER_HOST_PORT and TAXIMETER_HOST_SECRET; `taximeter serve` sets both"
        raise SetupError(message)
    clock = SystemClock()
    engines = [_make(name, clock, settings) for name in names]
    await serve_host(engines, host="127.0.0.1", port=settings.host_port, secret=settings.host_secret, stop=stop)


def _make(name: str, clock: Clock, settings: Settings) -> Engine:
    if name not in DEMO_ENGINES:
        message = f"there is no demo engine {name!r}; there are {', '.join(sorted(DEMO_ENGINES))}"
        raise SetupError(message)
    try:
        return demo_engine(name, clock, settings)
    except ImportError as error:
        message = f"{name} needs the demo packages ({error}); install taximeter[demo] or run `make setup`"
        raise SetupError(message) from error
