"""Concurrent clients over HTTP: each sends, resends as OpenAI's client does, and writes down what it was told."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.crash.acknowledgements import Entry, Log, What
from bench.crash.system import VIDEO_LANE, Tenant
from taximeter.kernel.units import parse_tokens

CLIENTS = 14
VIDEO_CLIENTS = 3
PAUSE_S = (0.05, 0.3)
TIMEOUT_S = 12.0
# OpenAI's client tries twice more, after half a second and after one; ours has to outlast a crash.
TRIES_KEYED, TRIES = 25, 3
BACKOFF_S, BACKOFF_S_MAX = 0.1, 1.0
VIDEO_POLL_S = 0.1
VIDEO_PATIENCE_S = 120.0
RETRIED = frozenset({408, 409, 429})
KINDS = {"chat": 0.45, "stream": 0.4, "speech": 0.15}
PATHS = {"chat": "/v1/chat/completions", "stream": "/v1/chat/completions", "speech": "/v1/audio/speech", "video": "/v1/videos"}


@dataclass(frozen=True)
class Wish:
    """One operation: a body that is the same each time it is sent."""

    name: str
    kind: str
    keyed: bool
    tenant: Tenant
    window: int
    body: Mapping[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        """With the key, if it has one."""
        headers = {"Authorization": f"Bearer {self.tenant.key}"}
        return {**headers, "idempotency-key": self.name} if self.keyed else headers


@dataclass
class Told:
    """What one attempt brought."""

    what: What
    status: int = 0
    receipt: str = ""
    charged_utok: int = 0
    settlement: str = ""
    detail: str = ""
    video: str = ""


@dataclass
class Crowd:
    """All clients.

    Attributes:
        ports: of the gateways.
        window: which kill is next; stands in the log.
        answers: how many were complete.
        served: by port, and for videos under 0: when the youngest request left that was answered and settled since.
        videos_wanted: cleared, no more videos are ordered.
        ordering: orders of videos that are on their way.
    """

    ports: Sequence[int]
    tenants: Sequence[Tenant]
    log: Log
    seed: int
    window: int = 0
    answers: int = 0
    served: dict[int, float] = field(default_factory=dict)
    ordering: int = 0
    unfinished: list[Wish] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start nothing yet."""
        self.videos_wanted = asyncio.Event()
        self.videos_wanted.set()
        self._numbers = itertools.count()
        self._open = True
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """All clients begin."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        for number in range(CLIENTS + VIDEO_CLIENTS):
            rng = random.Random(self.seed * 1000 + number)  # noqa: S311 - not for secrets
            client = self._order_videos(rng) if number >= CLIENTS else self._talk(number, rng)
            self._tasks.append(asyncio.create_task(client, name=f"client {number}"))

    async def finish(self) -> None:
        """Nobody begins anything new; everybody gets his answers, and what was never answered is sent once more."""
        self._open = False
        self.videos_wanted.set()
        await asyncio.gather(*self._tasks)
        left, self.unfinished = self.unfinished, []
        await asyncio.gather(*(self._insist(wish) for wish in left))

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def check(self) -> None:
        """Raise what ended a client that should not have ended."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _talk(self, number: int, rng: random.Random) -> None:
        tenant = self.tenants[number % VIDEO_LANE]
        while self._open:
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            await self._insist(self._wish(kind, tenant, rng))
            await asyncio.sleep(rng.uniform(*PAUSE_S))

    async def _order_videos(self, rng: random.Random) -> None:
        while True:
            await self.videos_wanted.wait()
            if not self._open:
                return
            await self._order_video(rng)
            await asyncio.sleep(rng.uniform(*PAUSE_S))

    def order_another(self) -> None:
        """One more video, now: those who order them may all be waiting for theirs."""
        rng = random.Random(self.seed * 1000 + len(self._tasks))  # noqa: S311 - not for secrets
        self._tasks.append(asyncio.create_task(self._order_video(rng), name="another video"))

    async def _order_video(self, rng: random.Random) -> None:
        wish = self._wish("video", self.tenants[VIDEO_LANE], rng)
        self.ordering += 1
        try:
            told = await self._insist(wish)
        finally:
            self.ordering -= 1
        if told.what == "ordered":
            await self._follow(wish, told.video)

    def _wish(self, kind: str, tenant: Tenant, rng: random.Random) -> Wish:
        name = f"op-{next(self._numbers):07}"
        keyed = rng.random() < (0.5 if kind == "speech" else 0.7)
        bodies: dict[str, dict[str, Any]] = {
            "chat": {"model": "crash-chat", "messages": [{"role": "user", "content": f"How much is {name}?"}], "max_tokens": 16},
            "stream": {"model": "crash-chat", "messages": [{"role": "user", "content": f"Read me {name}."}], "max_tokens": 16, "stream": True},
            "speech": {"model": "crash-speech", "input": f"This is {name}.", "voice": "alloy"},
            "video": {"model": "crash-video", "prompt": f"{name} in the rain", "seconds": "1"},
        }
        return Wish(name, kind, keyed, tenant, self.window, {**bodies[kind], "user": name})

    async def _insist(self, wish: Wish) -> Told:
        """Send it until it is answered, as long as patience lasts."""
        told = Told("broken")
        tries = TRIES_KEYED if wish.keyed else TRIES
        for attempt in range(tries):
            told = await self._attempt(wish, attempt)
            if told.what not in ("broken", "refused") or not (told.what == "broken" or told.status in RETRIED or told.status >= 500):
                return told
            await asyncio.sleep(min(BACKOFF_S_MAX, BACKOFF_S * 2.0**attempt))
        if wish.keyed:
            self.unfinished.append(wish)
        return told

    async def _attempt(self, wish: Wish, attempt: int) -> Told:
        port = self.ports[(int(wish.name[-7:]) + attempt) % len(self.ports)]
        self._note(wish, attempt, Told("sent"))
        sent_s = time.monotonic()
        try:
            async with self._session.post(f"http://127.0.0.1:{port}{PATHS[wish.kind]}", json=wish.body, headers=wish.headers) as response:
                told = await _read(wish, response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = Told("broken", detail=type(error).__name__)
        if told.what in ("answered", "ordered"):
            self.answers += 1
            if told.settlement != "pending":
                self.served[port] = max(sent_s, self.served.get(port, 0.0))
        self._note(wish, attempt, told)
        return told

    async def _follow(self, wish: Wish, video: str) -> None:
        """Ask for a video until it is there.  What its owner is told then counts as an acknowledgement too."""
        deadline_s = time.monotonic() + VIDEO_PATIENCE_S
        for number in itertools.count():
            await asyncio.sleep(VIDEO_POLL_S)
            asked_s = time.monotonic()
            port = self.ports[number % len(self.ports)]
            try:
                async with self._session.get(f"http://127.0.0.1:{port}/v1/videos/{video}", headers=wish.headers) as response:
                    body = json.loads(await response.read()) if response.status in (200, 404) else {}
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                continue
            state = body.get("status", "") if status == 200 else "missing" if status == 404 else ""
            if state == "completed":
                self.served[0] = asked_s
                self.answers += 1
                self._note(wish, number, _told(body["taximeter"], 200))
                return
            if state in ("failed", "missing") or asked_s > deadline_s:
                self._note(wish, number, Told("refused", status, detail=f"ordered video is {state or 'not made'}: {body.get('error')}"))
                return

    def _note(self, wish: Wish, attempt: int, told: Told) -> None:
        self.log.write(
            Entry(
                operation=wish.name,
                kind=wish.kind,
                keyed=wish.keyed,
                window=self.window,
                attempt=attempt,
                what=told.what,
                status=told.status,
                receipt=told.receipt,
                charged_utok=told.charged_utok,
                settlement=told.settlement,
                detail=told.detail,
            )
        )


async def _read(wish: Wish, response: aiohttp.ClientResponse) -> Told:
    """What an answer tells.  One without its charge is broken."""
    body = await response.read()
    if response.status != 200:
        return _refusal(response, body)
    if wish.kind == "speech":
        charged = response.headers["taximeter-tokens-charged"]
        return Told("answered", 200, response.headers["taximeter-receipt"], parse_tokens(charged))
    if wish.kind == "stream":
        return _stream(body)
    answer = json.loads(body)
    if wish.kind == "video":
        return Told("ordered", 200, answer["taximeter"]["receipt"], video=answer["id"])
    return _told(answer["taximeter"], 200)


def _stream(body: bytes) -> Told:
    chunks = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    if not body.endswith(b"data: [DONE]\n\n") or not chunks:
        return Told("broken", 200, detail="the stream ended early")
    if "error" in chunks[-1]:
        return Told("refused", 502, detail=str(chunks[-1]["error"].get("code")))
    return _told(chunks[-1]["taximeter"], 200)


def _told(extra: Mapping[str, Any], status: int) -> Told:
    return Told("answered", status, extra["receipt"], parse_tokens(extra["tokens_charged"]), extra["settlement"])


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> Told:
    try:
        code = str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        code = body[:100].decode(errors="replace")
    receipt = response.headers.get("taximeter-receipt", "")
    what: What = "gone" if code == "idempotency_answer_gone" else "refused"
    return Told(what, response.status, receipt if what == "gone" else "", detail=code)
