"""An OpenAI-compatible upstream inside the test's process: real HTTP, countable tokens, faults that can be switched on."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

DIMENSIONS = 8
STORY = ("Once", " upon", " a", " time", " a", " taxi", " ran", " on", " and", " on", ".")


Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Behaviour:
    """How the upstream answers; set fields between requests.

    Attributes:
        words: one token each; the story begins again when more are asked for.
        delay_s: seconds before each token, or for each input.
        status: anything but 200 answers with ``error`` and ``headers`` at once.
        error: the ``error`` object of such an answer.
        headers: extra headers of every answer.
        body: raw bytes to answer with, instead of an answer.
        error_inside: status 200, but with ``error`` in the body, or in the stream after ``break_after`` tokens.
        break_after: cut the connection after that many tokens.
        hang_after: fall silent after that many tokens.
        ignore_max_tokens: go on to ``talk`` tokens whatever was asked for.
        talk: tokens of a full answer.
        usage: "honest", "missing", or the object to send instead.
        cached_tokens: how many prompt tokens came from the cache.
        reasoning_tokens: how many output tokens nobody sees.
        done_mark: whether a stream ends with ``[DONE]``.
        can_stream: False answers a stream request in one piece.
        vectors_as_lists: embeddings as numbers although base64 was asked for.
        models: what ``/models`` lists.
    """

    words: tuple[str, ...] = STORY
    delay_s: float = 0.0
    status: int = 200
    error: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    error_inside: bool = False
    break_after: int | None = None
    hang_after: int | None = None
    ignore_max_tokens: bool = False
    talk: int = 11
    usage: Any = "honest"
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    done_mark: bool = True
    can_stream: bool = True
    vectors_as_lists: bool = False
    models: tuple[str, ...] = ("mock-model",)


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class MockOpenAI:
    """Use it as ``async with MockOpenAI() as upstream`` and talk to ``upstream.url``.

    Attributes:
        behaviour: what it does; change it at will.
        requests: all POSTs that arrived.
        running: requests being answered now.
        generated: tokens made in all, delivered or not.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, api_key: str = "") -> None:
        self.behaviour = behaviour or Behaviour()
        self.requests: list[Received] = []
        self.running = 0
        self.generated = 0
        self.url = ""
        self._api_key = api_key
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback; returns the base URL, ``/v1`` included."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._counted(self._chat))
        app.router.add_post("/v1/embeddings", self._counted(self._embeddings))
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self.url

    async def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def _counted(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def counted(request: web.Request) -> web.StreamResponse:
            self.running += 1
            try:
                body = json.loads(await request.read())
                self.requests.append(Received(request.path, dict(request.headers), body))
                return await self._refused(request) or await handler(request, body)
            finally:
                self.running -= 1

        return counted

    async def _refused(self, request: web.Request) -> web.Response | None:
        how = self.behaviour
        if self._api_key and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return web.json_response({"error": {"message": f"Incorrect API key provided: {request.headers.get('Authorization')}"}}, status=401)
        if how.status != 200:
            return web.json_response({"error": how.error} if how.error is not None else {}, status=how.status, headers=how.headers)
        if how.body is not None:
            return web.Response(body=how.body, content_type="application/json", headers=how.headers)
        return None

    async def _models(self, request: web.Request) -> web.Response:
        refused = await self._refused(request)
        return refused or web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.behaviour.models]})

    async def _chat(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        how = self.behaviour
        asked = body.get("max_completion_tokens") or body.get("max_tokens") or how.talk
        count = how.talk if how.ignore_max_tokens else min(asked, how.talk)
        reason = "stop" if count == how.talk and not how.ignore_max_tokens else "length"
        usage = self._usage(prompt_tokens(body), count)
        if body.get("stream") and how.can_stream:
            return await self._chat_stream(request, body, count, reason, usage)
        if how.error_inside:
            return web.json_response({"error": how.error})
        text = ""
        for index in range(count):
            text += await self._token(index)
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        answer = {"id": "chatcmpl-mock", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice], **usage}
        return web.Response(text=json.dumps(answer), content_type="application/json", headers=how.headers)

    async def _chat_stream(self, request: web.Request, body: dict[str, Any], count: int, reason: str, usage: dict[str, Any]) -> web.StreamResponse:
        how = self.behaviour
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "x-request-id": "req-mock", **how.headers})
        await answer.prepare(request)

        async def send(choices: list[dict[str, Any]], more: dict[str, Any]) -> None:
            chunk = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": choices, **more}
            await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())

        await send([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], {})
        for index in range(count):
            if index == how.hang_after:
                await asyncio.Event().wait()
            if index == how.break_after:
                if how.error_inside:
                    await answer.write(f"data: {json.dumps({'error': how.error})}\n\n".encode())
                elif request.transport is not None:
                    request.transport.abort()
                return answer
            await send([{"index": 0, "delta": {"content": await self._token(index)}, "finish_reason": None}], {})
        await send([{"index": 0, "delta": {}, "finish_reason": reason}], {})
        if usage and body.get("stream_options", {}).get("include_usage"):
            await send([], usage)
        if how.done_mark:
            await answer.write(b"data: [DONE]\n\n")
        return answer

    async def _embeddings(self, _request: web.Request, body: dict[str, Any]) -> web.Response:
        how = self.behaviour
        if how.error_inside:
            return web.json_response({"error": how.error})
        inputs = body["input"]
        if how.delay_s:
            await asyncio.sleep(how.delay_s * len(inputs))
        data = []
        for index, text in enumerate(inputs):
            vector = mock_vector(text)
            as_list = how.vectors_as_lists or body.get("encoding_format") != "base64"
            embedding = list(struct.unpack(f"<{DIMENSIONS}f", vector)) if as_list else base64.b64encode(vector).decode()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        tokens = sum(len(text.split()) for text in inputs)
        usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if how.usage == "honest" else {"usage": how.usage}
        answer = {"object": "list", "data": data[::-1], "model": body["model"], **({} if how.usage == "missing" else usage)}
        return web.Response(text=json.dumps(answer), content_type="application/json")

    async def _token(self, index: int) -> str:
        if self.behaviour.delay_s:
            await asyncio.sleep(self.behaviour.delay_s)
        self.generated += 1
        return self.behaviour.words[index % len(self.behaviour.words)]

    def _usage(self, prompt: int, output: int) -> dict[str, Any]:
        how = self.behaviour
        if how.usage == "missing":
            return {}
        if how.usage != "honest":
            return {"usage": how.usage}
        return {
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": output,
                "total_tokens": prompt + output,
                "prompt_tokens_details": {"cached_tokens": how.cached_tokens},
                "completion_tokens_details": {"reasoning_tokens": how.reasoning_tokens},
            },
        }


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """What the mock counts as prompt: words, and three tokens a message around them."""
    return sum(3 + len(str(message.get("content") or "").split()) for message in body["messages"])


def mock_vector(text: str) -> bytes:
    """The embedding of a text: eight float32 that depend on every byte of it."""
    digest = hashlib.sha256(text.encode()).digest()
    return struct.pack(f"<{DIMENSIONS}f", *(byte / 256 for byte in digest[:DIMENSIONS]))
