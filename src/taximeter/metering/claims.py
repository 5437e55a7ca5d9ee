"""Which job a worker takes next: of engines that make it here, of those that order it from a provider, and those that come too late."""

from taximeter.engines import Engine
from taximeter.jobs import Job, JobStore
from taximeter.kernel.settings import Settings
from taximeter.metering.desk import Desk, slots_of
from taximeter.metering.payload import KIND


def calm_s(settings: Settings) -> float:
    """How old a job may grow that waits for the calm: its hold must outlast all tries at it."""
    tries_s = settings.video_attempts_max * settings.video_timeout_s
    return max(0.0, min(float(settings.surge_wait_max_s), settings.video_hold_ttl_s - tries_s)) if settings.surge else 0.0


class Claims:
    """Claims jobs for one worker."""

    def __init__(self, desk: Desk, jobs: JobStore) -> None:
        self._desk = desk
        self._jobs = jobs

    async def to_make(self) -> Job | None:
        """The next job that is made here, or whose engine is not known; None when there is none."""
        return await self._next(self._providers(), these=False)

    async def to_order(self) -> tuple[Job, float] | None:
        """The next job that its engine orders from a provider, as of ``ordered``; None when there is none."""
        providers = self._providers()
        job = await self._next(providers, these=True) if providers else None
        return None if job is None else (job, 0.0)

    async def ordered(self) -> tuple[Job, float] | None:
        """The job at a provider that is due to be asked about, with the seconds that the provider still has; None when there is none."""
        return await self._jobs.claim_ordered(KIND, self._desk.settings.job_lease_s)

    async def late(self) -> Job | None:
        """A job that was not begun when its deadline passed."""
        return await self._jobs.claim_late(KIND, self._desk.settings.job_lease_s)

    async def _next(self, engines: list[str], *, these: bool) -> Job | None:
        settings = self._desk.settings
        slots = {name: most for name, engine in self._desk.engines.items() if (most := slots_of(engine)) is not None}
        # Engines and models that have failed too often: their jobs wait, and are not claimed in vain.
        closed = [f"{engine} {model}" for engine, model in self._desk.guard.breakers.closed_to()]
        return await self._jobs.claim(KIND, settings.job_lease_s, slots, calm_s=calm_s(settings), without=closed, among=(engines, these))

    def _providers(self) -> list[str]:
        return [name for name, engine in self._desk.engines.items() if _orders(engine)]


def _orders(engine: Engine) -> bool:
    """Whether it orders its jobs from a provider: its runs then only wait (see ``Started.detached``)."""
    return bool(getattr(engine, "orders", False))
