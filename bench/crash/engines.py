"""What the system calls: an OpenAI-compatible upstream, and an engine host with a video and a speech engine.  Never killed."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from aiohttp import web

from taximeter.engines import Done, Event, Job, Media, Modality, Progress
from taximeter.engines.host import serve_host
from taximeter.kernel.ids import decode_id

SECRET = "crash tests"  # noqa: S105 - between processes of one machine
VIDEO_STEP_S = 0.03
SPEECH_PIECE_S = 0.03
TOKEN_S = 0.008
THINK_S_MAX = 0.08
WORDS = ("The ", "meter ", "goes ", "on ", "until ", "the ", "door ", "is ", "shut", ".")


class VideoEngine:
    """A few steps, then a file.  ``gate`` keeps all videos from ending while it is closed.

    Attributes:
        waiting: videos that stand at the gate.
        ended: the jobs of videos that were made to the end, once for each time.
    """

    name = "crash-video"
    modalities: frozenset[Modality] = frozenset({"video"})
    slots: int | None = None

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.ended: list[UUID] = []

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Make one."""
        steps = job.bound["steps"]
        for step in range(steps):
            await asyncio.sleep(VIDEO_STEP_S)
            yield Progress(done=step + 1, total=steps)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        yield Media(data=b"ftyp" + job.id.encode())
        asked = {name: job.request[name] for name in ("steps", "frames", "width", "height")}
        job_id = decode_id("req", job.id)
        assert job_id is not None
        self.ended.append(job_id)
        yield Done(work={**asked, "passes": steps, "latent_tokens": 1})

    async def check(self) -> Mapping[str, Any]:
        """Always well."""
        return {}

    async def close(self) -> None:
        """Nothing to release."""


class SpeechEngine:
    """Two pieces of noise."""

    name = "crash-speech"
    modalities: frozenset[Modality] = frozenset({"speech"})
    slots: int | None = None

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Say something of the text's length."""
        frames = min(job.bound["audio_frames"], 2 * len(job.request["input"]))
        for _ in range(2):
            await asyncio.sleep(SPEECH_PIECE_S)
            yield Media(data=bytes(64))
        yield Done(work={"phoneme_tokens": len(job.request["input"]), "audio_frames": frames})

    async def check(self) -> Mapping[str, Any]:
        """Always well."""
        return {}

    async def close(self) -> None:
        """Nothing to release."""


class Upstream:
    """Answers chat completions, in one piece or word by word."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not for secrets

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        count = self._random.randint(1, min(len(WORDS), body["max_tokens"]))
        await asyncio.sleep(self._random.uniform(0, THINK_S_MAX))
        usage = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
        head = {"id": "chatcmpl-crash", "created": 1_760_000_000, "model": body["model"]}
        if not body.get("stream"):
            await asyncio.sleep(count * TOKEN_S)
            message = {"role": "assistant", "content": "".join(WORDS[:count])}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        # Whoever reads may be dead by now.
        with suppress(ConnectionError):
            await self._stream(request, answer, head, count, usage)
        return answer

    async def _stream(self, request: web.Request, answer: web.StreamResponse, head: dict[str, Any], count: int, usage: dict[str, int]) -> None:
        await answer.prepare(request)
        for word in WORDS[:count]:
            await asyncio.sleep(TOKEN_S)
            await self._send(answer, {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
        await self._send(answer, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        await self._send(answer, {**head, "choices": [], "usage": usage})
        await answer.write(b"data: [DONE]\n\n")

    async def _send(self, answer: web.StreamResponse, chunk: dict[str, Any]) -> None:
        chunk["object"] = "chat.completion.chunk"
        await answer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


class Engines:
    """Everything the system calls, running.

    Attributes:
        upstream_url: with its ``/v1``.
        hosts: addresses by engine.
        video: the engine that the harness watches.
    """

    def __init__(self, upstream_url: str, host_url: str, video: VideoEngine) -> None:
        self.upstream_url = upstream_url
        self.hosts = {"crash-video": host_url, "crash-speech": host_url}
        self.video = video


@asynccontextmanager
async def running(seed: int) -> AsyncIterator[Engines]:
    """The upstream and the host, on this loop."""
    runner = web.AppRunner(Upstream(seed).app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    video, stop = VideoEngine(), asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    host = asyncio.create_task(
        serve_host([video, SpeechEngine()], host="127.0.0.1", port=0, secret=SECRET, stop=stop, grace_s=0.5, ready=address.set_result)
    )
    try:
        yield Engines(upstream_url, await address, video)
    finally:
        stop.set()
        await host
        await runner.cleanup()
