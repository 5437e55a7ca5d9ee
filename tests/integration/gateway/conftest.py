"""A gateway on a real socket, over real PostgreSQL, with an engine that does as it is told."""
# ruff: noqa: ANN401 - JSON

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import uvicorn
import yaml
from fastapi import FastAPI

from taximeter.app import compose, server_config
from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done, EngineError, Event, Job, Media, Modality, Progress, Vectors
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.ledger.store import totals
from taximeter.metering import Office, VideoRunner, open_office
from taximeter.metering.fares import METERS
from taximeter.metering.guard import Guard
from taximeter.pricing import apply_dir, builtin_dir
from tests.support.described import document_of, undescribed

ADMIN_KEY = "the admin key"
# One Token a prompt token, two an output token; 0.01 a frame of speech; 0.5 a step of video.
CATALOG = """
kind: tariff
name: standard
version: 1
effective_from: 2026-01-01
currency: USD
price_per_token: 0.001
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
meter: {id: text.tokens/1, tokenizer: bytes, template: smollm2, context_tokens: 400, default_output_tokens: 20, prompt_chars: 300}
default_card: own
cards: {own: {rate_card: text, tariff: standard}}
---
kind: model
name: orphan
version: 1
effective_from: 2026-01-01
title: A model that no engine runs
modality: chat
meter: {id: text.tokens/1, tokenizer: bytes, template: smollm2, context_tokens: 400, default_output_tokens: 20}
default_card: own
cards: {own: {rate_card: text, tariff: standard}}
---
kind: rate_card
name: vectors
version: 1
effective_from: 2026-01-01
lines: [{label: Input, quantity: prompt_tokens, tokens: 1}]
unpriced: [inputs]
---
kind: model
name: mapper
version: 1
effective_from: 2026-01-01
title: Mapper
modality: embeddings
engine: {name: script, model: mapper}
meter: {id: embeddings.tokens/1, tokenizer: bytes, dimensions: 3}
default_card: own
cards: {own: {rate_card: vectors, tariff: standard}}
---
kind: rate_card
name: voice
version: 1
effective_from: 2026-01-01
lines: [{label: Speech, quantity: audio_frames, tokens: 0.01}]
unpriced: [characters, phoneme_tokens]
---
kind: model
name: speaker
version: 1
effective_from: 2026-01-01
title: Speaker
modality: speech
engine: {name: script, model: speaker}
meter:
  id: speech.frames/1
  voices: [alloy]
  input_chars: 100
  frames_max: 40000
  per_character: PER_CHARACTER
default_card: own
cards: {own: {rate_card: voice, tariff: standard}}
---
kind: rate_card
name: film
version: 1
effective_from: 2026-01-01
lines: [{label: Steps, quantity: steps, tokens: 0.5}]
unpriced: [frames, pixel_steps, article_input_tokens, article_units, activations]
---
kind: model
name: painter
version: 1
effective_from: 2026-01-01
title: Painter
modality: video
engine: {name: script, model: painter}
meter:
  id: video.frames/1
  sizes: [640x360, 360x640]
  default_size: 640x360
  seconds_min: 1
  seconds_max: 8
  default_seconds: 4
  fps_min: 1
  fps_max: 24
  default_fps: 16
  steps_min: 1
  steps_max: 50
  default_steps: 20
default_card: own
cards: {own: {rate_card: film, tariff: standard}}
"""


def per_character() -> str:
    """How much speech a character makes, from the built-in catalog, as YAML in one line."""
    entries = yaml.safe_load_all((builtin_dir() / "30-speech.yaml").read_text(encoding="utf-8"))
    return next(json.dumps(entry["meter"]["per_character"]) for entry in entries if "per_character" in entry.get("meter", {}))


@dataclass
class ScriptedEngine:
    """Does what its fields say, for every modality.

    ``gate``, when set, holds the engine after its first piece; ``failure`` is raised there.
    """

    gate: asyncio.Event | None = None
    failure: EngineError | None = None
    tokens: int = 3
    film: bytes = bytes(range(256)) * 20
    jobs: list[Job] = field(default_factory=list)
    cancelled: int = 0
    name: str = "script"
    modalities: frozenset[Modality] = frozenset({"chat", "embeddings", "speech", "video"})
    slots: int | None = None

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        self.jobs.append(job)
        finished = False
        try:
            async for event in getattr(self, f"_{job.modality}")(job):
                yield event
            finished = True
        except EngineError:
            finished = True
            raise
        finally:
            self.cancelled += not finished

    async def _pause(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure

    async def _chat(self, job: Job) -> AsyncIterator[Event]:
        tokens = min(self.tokens, job.bound["output_tokens"])
        yield Chunk([_choice({"role": "assistant", "content": "w0 "})], 1)
        await self._pause()
        for number in range(1, tokens):
            yield Chunk([_choice({"content": f"w{number} "})], number + 1)
        truncated = tokens < self.tokens
        yield Chunk([_choice({}, "length" if truncated else "stop")], tokens)
        yield Done(work={"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": tokens, "reasoning_tokens": 0}, truncated=truncated)

    async def _embeddings(self, job: Job) -> AsyncIterator[Event]:
        await self._pause()
        inputs = job.request["input"]
        yield Vectors([struct.pack("<3f", index, 0.5, -1.0) for index, _ in enumerate(inputs)])
        yield Done(work={"prompt_tokens": sum(len(text) for text in inputs), "inputs": len(inputs)})

    async def _speech(self, job: Job) -> AsyncIterator[Event]:
        yield Media(b"sound ")
        await self._pause()
        yield Media(b"of " + job.request["voice"].encode())
        yield Done(work={"characters": len(job.request["input"]), "phoneme_tokens": 5, "audio_frames": 30})

    async def _video(self, job: Job) -> AsyncIterator[Event]:
        steps = job.request["steps"]
        yield Progress(1, steps)
        await self._pause()
        yield Media(self.film)
        yield Done(work={"steps": steps, "frames": job.request["frames"]})

    async def check(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


@dataclass
class Tenant:
    """A project with a key."""

    id: str
    key: str
    key_id: str


@dataclass
class Gateway:
    """The running server and what a test needs around it."""

    url: str
    office: Office
    app: FastAPI
    engine: ScriptedEngine
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, key: str, **arguments: Any) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and body; JSON is decoded."""
        headers = {"Authorization": f"Bearer {key}", **arguments.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **arguments) as answer:
            assert undescribed(document_of(self.app), method, path, answer.status, answer.headers) == set()
            json = "json" in answer.content_type
            return answer.status, answer.headers, await (answer.json(content_type=None) if json else answer.read())

    async def admin(self, method: str, path: str, **arguments: Any) -> Any:
        """The body of an admin call that must work."""
        status, _, body = await self.call(method, f"/v1/admin{path}", ADMIN_KEY, **arguments)
        assert status < 300, body
        return body

    async def tenant(self, name: str, tokens: str | None = "1000") -> Tenant:
        """A fresh project with a key and Tokens."""
        project = await self.admin("POST", "/projects", json={"name": name})
        if tokens is not None:
            await self.admin("POST", f"/projects/{project['id']}/top-ups", json={"tokens": tokens})
        key = await self.admin("POST", f"/projects/{project['id']}/keys", json={"name": "test"})
        return Tenant(project["id"], key["key"], key["id"])

    async def wallet(self, tenant: Tenant) -> tuple[str, str]:
        """Balance and held."""
        _, _, wallet = await self.call("GET", "/v1/wallet", tenant.key)
        return wallet["balance"], wallet["held"]

    async def receipts(self, tenant: Tenant) -> list[dict[str, Any]]:
        """All of a tenant's receipts, newest first."""
        _, _, page = await self.call("GET", "/v1/receipts", tenant.key)
        data: list[dict[str, Any]] = page["data"]
        return data

    def never_break_circuits(self) -> None:
        """For tests in which the engine fails more often than in life."""
        desk = self.office.desk
        desk.guard = Guard(replace(desk.settings, breaker_failures=0, breaker_failure_percent=0), desk.clock, desk.chance)

    async def holds_open(self) -> int:
        async with self.office.pool.acquire() as connection:
            return (await totals(connection))["holds_open"]

    async def until_no_hold_is_open(self) -> None:
        async with asyncio.timeout(10):
            while await self.holds_open():
                await asyncio.sleep(0.01)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def gateway(database_url: str, engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Gateway]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    try:
        await apply_dir(owner, tmp_path / "catalog", METERS)
    finally:
        await owner.close()
    settings = Settings(
        home=tmp_path, database_url=database_url, admin_key=ADMIN_KEY, body_bytes_max=100_000, key_cache_s=0.1, stop_grace_s=2.0, body_timeout_s=2.0
    )
    engines = {"script": engine}
    async with open_office(settings, engines, "gateway", SystemClock()) as office:
        app = compose(office, engines)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(server_config(app, settings))
        serving = asyncio.create_task(server._serve([listener]))
        runner = asyncio.create_task(VideoRunner(office.desk, office.jobs, office.objects).run())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with aiohttp.ClientSession() as http:
            yield Gateway(url, office, app, engine, http)
        runner.cancel()
        server.should_exit = True
        await asyncio.gather(runner, serving, return_exceptions=True)


@pytest.fixture
async def tenant(gateway: Gateway) -> Tenant:
    return await gateway.tenant("Research")


@pytest.fixture
async def database(gateway: Gateway) -> asyncpg.Pool:
    return gateway.office.pool
