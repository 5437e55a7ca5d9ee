"""Samples the engines and moves their prices: in every worker, and one of them leads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import asyncpg
import msgspec

from taximeter.admission.surge.model import Current, Demand, Sample, State
from taximeter.admission.surge.policy_file import EnginePlan
from taximeter.admission.surge.rules import brought_in_utok, step
from taximeter.admission.surge.sources import LoadSource, describe
from taximeter.admission.surge.store import Brought, LeaderStore
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.settings import Settings
from taximeter.pricing import Catalog

log = logging.getLogger(__name__)

SAMPLE_TIMEOUT_S = 10.0


class SurgeLeader:
    """Runs in every worker; an advisory lock lets one of them lead, and goes to another with its connection.

    Args:
        connect: opens a connection for as long as this worker leads.
        plans: the engines with a price that follows their load, each with its source.
        catalog: which model runs on which engine.
        settings: how often, and for how long a price may be relied on.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        plans: Sequence[tuple[EnginePlan, LoadSource]],
        catalog: Callable[[], Catalog],
        settings: Settings,
    ) -> None:
        self._connect = connect
        self._plans = plans
        self._catalog = catalog
        self._settings = settings
        self._unknown: dict[str, str] = {}

    async def run(self) -> None:
        """Lead, or wait to, until cancelled."""
        try:
            while True:
                try:
                    await self._turn()
                except DATABASE_ERRORS as error:
                    log.warning("surge prices are not kept up, trying again: %s", error)
                await asyncio.sleep(self._settings.surge_interval_s)
        finally:
            for _, source in self._plans:
                await source.close()

    async def _turn(self) -> None:
        """Lead for as long as the connection lasts, if nobody else does."""
        connection = await self._connect()
        try:
            store = LeaderStore(connection)
            if not await store.try_lead():
                return
            log.info("this worker leads the surge prices of %s", ", ".join(plan.engine for plan, _ in self._plans))
            while True:
                began_s = asyncio.get_running_loop().time()
                await self.tick(store)
                passed_s = asyncio.get_running_loop().time() - began_s
                await asyncio.sleep(max(0.0, self._settings.surge_interval_s - passed_s))
        finally:
            # The lock goes with the session.
            await connection.close(timeout=1.0)

    async def tick(self, store: LeaderStore) -> None:
        """One sample of each engine, and what it makes of its price."""
        models = self._catalog().models
        demand: dict[str, Demand] = {}
        for name, found in (await store.open_requests()).items():
            if name in models:
                engine = models[name].engine or ""
                other = demand.get(engine, Demand())
                demand[engine] = Demand(other.open + found.open, other.cheap + found.cheap)
        samples = await asyncio.gather(*(self._sample(plan, source, demand.get(plan.engine, Demand())) for plan, source in self._plans))
        if any(plan.policy.discount for plan, _ in self._plans):
            await store.fold(self._book)
        known = await store.read()
        now_ms = await store.now_ms()
        for (plan, _), sample in zip(self._plans, samples, strict=True):
            before = self._before(plan, known)
            if before.left_s <= 0 and before.change:
                before = await self._begin_again(store, before)
            after = step(plan.policy, before.state, sample, now_ms, before.surplus_utok)
            await store.write(before, after, sample, self._settings.surge_stale_s)

    async def _sample(self, plan: EnginePlan, source: LoadSource, demand: Demand) -> Sample:
        try:
            async with asyncio.timeout(SAMPLE_TIMEOUT_S):
                sample = await source.sample(demand)
        except TimeoutError:
            sample = Sample(None, f"no answer within {SAMPLE_TIMEOUT_S:g} s")
        told = self._unknown.get(plan.engine, "")
        if sample.reason != told:
            # Once for each reason: it may stay for days.
            self._unknown[plan.engine] = sample.reason
            if sample.reason:
                log.warning("the utilisation of %s is unknown: %s", plan.engine, sample.reason)
            else:
                log.info("the utilisation of %s is known again", plan.engine)
        return sample

    def _before(self, plan: EnginePlan, known: Mapping[str, Current]) -> Current:
        """What is on record, with the policy and the source of now."""
        found = known.get(plan.engine)
        if found is None:
            return Current(
                engine=plan.engine,
                policy=plan.policy,
                state=State(),
                load_bp=None,
                reason="",
                source=describe(plan),
                change=0,
                changes=0,
                surplus_utok=0,
                left_s=0.0,
            )
        return msgspec.structs.replace(found, policy=plan.policy, source=describe(plan))

    async def _begin_again(self, store: LeaderStore, before: Current) -> Current:
        """A price that nobody has looked after for too long has been 1 since, for everybody: it goes on from there, by the audit too."""
        state = State(since_ms=before.state.since_ms)
        if before.state.factor_pct != state.factor_pct:
            reason = "nobody has sampled it for a while: its price begins at 1 again"
            log.warning("%s: %s", before.engine, reason)
            state = State(since_ms=await store.now_ms())
            await store.write(before, state, Sample(None, reason), self._settings.surge_stale_s)
        return msgspec.structs.replace(before, state=state)

    def _book(self, found: Brought) -> tuple[str, int]:
        model = self._catalog().models.get(found.model)
        engine = "" if model is None else model.engine or ""
        return engine, brought_in_utok(found.factors, found.consumed_utok, found.work, found.maximum_utok)
