"""An open office on a clock that a test moves: a catalog with plans, an engine that does as it is told, and a network that loses answers."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg

from taximeter.admission.limits import LimitsOffice, LimitStore
from taximeter.engines import Chunk, Done, EngineFailed, Event, Job, Modality
from taximeter.identity import Caller, Identity, KeyLimits, Project
from taximeter.kernel.settings import Settings
from taximeter.ledger import Operation, Outcome
from taximeter.metering import Desk, Office, Quotes, Records, Sweeper, open_office, tally
from taximeter.metering.approvals import Approvals, ApprovalStore
from taximeter.metering.fares import METERS
from taximeter.metering.quotes import QuoteStore
from taximeter.metering.store import post
from taximeter.pricing import apply_dir
from tests.support.seasons.clock import SeasonClock

POOL = "script"
TIERS = ("priority", "standard", "flex", "batch")
SLOTS = (None, 1, 2, 3)
BOUNDS_S = (60, 300, 1800)
LONG_S = 60
WAIT_S, TIMEOUT_S, HOLD_TTL_S = 300, 300, 900
QUOTE_TTL_S = 900
APPROVAL_TTL_S = 86_400
# One Token a prompt token, two an output token; all tiers cost the same.
CATALOG = """
kind: tariff
name: standard
version: 1
effective_from: 2026-01-01
currency: USD
price_per_token: 0.001
service_tiers: {priority: "1", flex: "1", batch: "1"}
---
kind: rate_card
name: text
version: 1
effective_from: 2026-01-01
lines:
  - {label: Prompt, quantity: fresh_prompt_tokens, tokens: 1}
  - {label: Cached, quantity: cached_prompt_tokens, tokens: 0.1}
  - {label: Answer, quantity: output_tokens, tokens: 2}
  - {label: Reasoning, quantity: reasoning_tokens, tokens: 2}
unpriced: [prompt_tokens, total_tokens]
---
kind: model
name: teller
version: 1
effective_from: 2026-01-01
title: Teller
modality: chat
engine: {name: script, model: teller}
meter: {id: text.tokens/1, tokenizer: bytes, template: smollm2, context_tokens: 900, default_output_tokens: 20, prompt_chars: 300}
default_card: own
cards: {own: {rate_card: text, tariff: standard}}
tiers: [standard, priority, flex, batch]
---
kind: plan
name: crew
version: 1
effective_from: 2026-01-01
allowance_period: month
allowance_tokens: 700
tokens_per_minute: 1500
concurrent_max: 4
postpaid: true
credit_line_tokens: 300
queue_weight: 3
request_caps: {chat: 300}
above_cap: approve
---
kind: plan
name: solo
version: 1
effective_from: 2026-01-01
allowance_period: month
allowance_tokens: 400
allowance_modality: chat
requests_per_minute: 8
request_caps: {chat: 350}
---
kind: plan
name: taste
version: 1
effective_from: 2026-01-01
allowance_period: once
allowance_tokens: 250
"""
PLANS: Mapping[str, Mapping[str, Any]] = {
    "crew": {"month": 700_000_000, "tokens": 1_500_000_000, "concurrency": 4, "line": 300_000_000, "weight": 3, "cap": 300_000_000, "approve": True},
    "solo": {"month": 400_000_000, "modality": "chat", "requests": 8, "cap": 350_000_000},
    "taste": {"once": 250_000_000},
}
"""The same, as the paper has it; micro-Tokens."""
MESSAGES = [{"role": "user", "content": "Tell me more."}]
TEXT = [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]


@dataclass
class Engine:
    """Produces what it is told, or breaks."""

    slots: int | None
    prompt: int = 1
    tokens: int = 1
    breaks: bool = False
    name: str = POOL
    modalities: frozenset[Modality] = frozenset({"chat"})

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        del job
        prompt, tokens, breaks = self.prompt, self.tokens, self.breaks
        for number in range(1, tokens + 1):
            yield Chunk(choices=TEXT, output_tokens=number)
        if breaks:
            message = "it broke"
            raise EngineFailed(message)
        yield Done(work={"prompt_tokens": prompt, "cached_tokens": 0, "output_tokens": tokens, "reasoning_tokens": 0})

    async def check(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        return


@dataclass
class Wire:
    """Between the programs and the database: by the seed it loses a batch on its way, or the answer to it.

    Attributes:
        lost: how many it has lost.
    """

    rng: random.Random
    chance: float
    lost: int = 0

    async def post(self, connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        before, after = self.rng.random() < self.chance, self.rng.random() < self.chance
        message = "connection was closed in the middle of operation"
        self.lost += before or after
        if before:
            raise asyncpg.ConnectionDoesNotExistError(message)
        outcomes = await post(connection, lane, operations)
        if after:
            raise asyncpg.ConnectionDoesNotExistError(message)
        return outcomes


@dataclass
class Stage:
    """What a season is played on."""

    office: Office
    owner: asyncpg.Connection
    clock: SeasonClock
    engine: Engine
    wire: Wire
    limits: LimitsOffice
    quotes: Quotes
    approvals: Approvals
    records: Records
    sweeper: Sweeper
    identity: Identity
    callers: list[Caller] = field(default_factory=list)
    desks: list[Desk] = field(default_factory=list)

    async def start_gateway(self, place: int) -> None:
        """Another process: its requests bear its id.  Whatever was at its place is not heard of any more."""
        desk = replace(self.office.desk, process_id=self.office.desk.ids.new())
        if place < len(self.desks):
            await self.office.store.goodbye(self.desks[place].process_id)
        self.desks[place : place + 1] = [desk]
        await self.office.store.hello(desk.process_id, "gateway")

    async def quiet(self) -> None:
        """Wait until nothing is on its way to the database: an outage must not last longer than its moment because the clock is moved."""
        while any(lane.waiting or lane._asked_at_s is not None or lane._failing_since_s is not None for lane in self.office.desk.books.lanes):
            await asyncio.sleep(0.002)

    async def caller(self, project: Project, limits: KeyLimits) -> Caller:
        """A key of a project."""
        issued = await self.identity.issue_key(project.id, "key", limits=limits)
        caller = Caller(
            organisation_id=project.organisation_id,
            project_id=project.id,
            key_id=issued.key.id,
            key_name="key",
            lane=project.lane,
            allowance_account=project.allowance_account,
            prepaid_account=project.prepaid_account,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute_utok=limits.tokens_per_minute_utok,
        )
        self.callers.append(caller)
        return caller


@asynccontextmanager
async def open_stage(owner: asyncpg.Connection, database_url: str, home: Path, rng: random.Random, start: datetime) -> AsyncIterator[Stage]:
    """A stage on a fresh database, which belongs to the season: its clock is moved."""
    assert start.tzinfo is UTC
    clock = SeasonClock(owner, start)
    await clock.install()
    (home / "catalog").mkdir(parents=True)
    (home / "catalog" / "test.yaml").write_text(CATALOG, encoding="utf-8")
    await apply_dir(owner, home / "catalog", METERS)
    settings = Settings(
        home=home, database_url=database_url, lanes=2, surge=True, process_dead_s=1e9, hold_ttl_s=HOLD_TTL_S, chat_timeout_s=float(TIMEOUT_S),
        queue_wait_max_s=float(WAIT_S), queue_standard_s=BOUNDS_S[0], queue_flex_s=BOUNDS_S[1], queue_batch_s=BOUNDS_S[2], queue_long_s=LONG_S,
        settle_patience_s=60.0, quote_ttl_s=QUOTE_TTL_S, approval_ttl_s=APPROVAL_TTL_S, breaker_failures=0, breaker_failure_percent=0,
        shed_priority_s=0.0, shed_standard_s=0.0, shed_flex_s=0.0, shed_batch_s=0.0,
    )  # fmt: skip
    engine, wire = Engine(rng.choice(SLOTS)), Wire(random.Random(rng.random()), rng.choice([0.0, 0.02, 0.08]))  # noqa: S311 - the same again
    with patch.object(tally, "post", wire.post):
        async with open_office(settings, {POOL: engine}, "gateway", clock) as office:
            stage = Stage(
                office=office,
                owner=owner,
                clock=clock,
                engine=engine,
                wire=wire,
                limits=LimitsOffice(LimitStore(office.pool), office.desk.ids),
                quotes=Quotes(office.desk, QuoteStore(office.pool)),
                approvals=Approvals(ApprovalStore(office.pool), _no_jobs),
                records=Records(office.store),
                sweeper=Sweeper(office.desk, office.store, office.jobs, office.objects, office.pool),
                identity=Identity(office.identity_store, office.desk.ids, clock, settings),
            )
            for place in range(2):
                await stage.start_gateway(place)
            yield stage


async def _no_jobs(*_: Any) -> None:  # noqa: ANN401
    """No film waits for an approval here."""
    await asyncio.sleep(0)
    raise AssertionError
