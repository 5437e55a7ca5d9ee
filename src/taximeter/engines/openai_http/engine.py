"""An engine that is somebody else's OpenAI-compatible server: vLLM, SGLang, Ray Serve LLM, llama.cpp or a vendor."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec

from taximeter.engines.errors import EngineFailed, EngineRefused
from taximeter.engines.model import Chunk, Done, Event, Job, Modality, Started, Vectors
from taximeter.engines.openai_http.embeddings import read_vectors
from taximeter.engines.openai_http.link import DataLines, Link, UpstreamLimits, parse_json
from taximeter.engines.openai_http.tally import Choice, Tally
from taximeter.engines.openai_http.usage import CountTokens, estimate_tokens, read_prompt_tokens

_LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
_OWN_FIELDS = frozenset({"stream", "stream_options", "model"})


class _Answer(msgspec.Struct):
    """The parts of a chunk or a whole answer that are looked at."""

    choices: list[Choice] | None = None
    usage: Any = None
    timings: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


class OpenAIEngine:
    """Runs chat and embeddings on an OpenAI-compatible upstream.

    Chat is streamed upstream, with usage asked for, unless the job's request says ``"stream": false``:
    then one plain POST is made and its ``choices`` arrive as they are, with ``message``, in one Chunk.

    Args:
        name: the engine's name in the catalog.
        base_url: the address that ``/chat/completions`` is appended to, such as ``https://host/v1``.
        api_key: the operator's key for the upstream; empty sends none.
        modalities: what the upstream can do.
        limits: patience and room.
        count_tokens: the upstream model's tokenizer, for exact counting where the upstream does not report.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        modalities: Iterable[Modality] = ("chat", "embeddings"),
        limits: UpstreamLimits | None = None,
        count_tokens: CountTokens | None = None,
    ) -> None:
        self._modalities = frozenset(modalities)
        self._link = Link(name, base_url, api_key, limits or UpstreamLimits())
        self._count_tokens = count_tokens

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        return self._link.name

    @property
    def modalities(self) -> frozenset[Modality]:
        """What the upstream can do."""
        return self._modalities

    @property
    def slots(self) -> int | None:
        """How many requests the upstream works on at once, as it was configured."""
        return self._link.limits.slots

    def run(self, job: Job) -> AsyncGenerator[Event]:
        """Do one job; closing the generator hangs up on the upstream at once."""
        if job.modality not in self._modalities or job.modality not in {"chat", "embeddings"}:
            message = f"engine {self.name} does not do {job.modality}"
            raise EngineRefused(message, param="model")
        if job.modality == "embeddings":
            return self._embed(job)
        return self._answer(job) if job.request.get("stream") is False else self._stream(job)

    async def check(self) -> Mapping[str, Any]:
        """Ask the upstream for its models.  Raises EngineUnavailable when it does not answer."""
        return {"models": await self._link.models()}

    async def close(self) -> None:
        """Hang up all connections."""
        await self._link.pool.close()

    async def _stream(self, job: Job) -> AsyncGenerator[Event]:
        clock = asyncio.get_running_loop().time
        begin = clock()
        tally = Tally(job, self._count_tokens)
        answer = await self._link.post("/chat/completions", _chat_body(job, stream=True), deadline_s=job.deadline_s)
        try:
            with self._link.pool.failures(tally.work):
                if answer.content_type == "application/json":
                    # The upstream cannot stream: its one answer is passed on in a stream's shape.
                    choices = self._whole(await self._link.body(answer), tally)
                    yield Chunk(choices=[_as_delta(choice) for choice in choices], output_tokens=tally.work()["output_tokens"])
                else:
                    yield Started(provider_job=answer.headers.get("x-request-id"))
                    lines = DataLines(self._link.limits.answer_bytes_max)
                    while piece := await answer.some():
                        for data in lines.feed(piece):
                            chunk = self._chunk(data, tally)
                            if chunk is not None:
                                yield chunk
                            if tally.over:
                                break
                        if tally.over:
                            break
                    if tally.truncated:
                        self._link.pool.release(answer)
                        yield Chunk(choices=tally.cut_off(), output_tokens=tally.output)
                    elif not tally.finished:
                        message = f"engine {self.name} broke off its answer"
                        raise EngineFailed(message, work=tally.work())
                    else:
                        await self._link.pool.finish(answer)
            yield tally.done("stream", _ms(clock() - begin))
        finally:
            self._link.pool.release(answer)

    async def _answer(self, job: Job) -> AsyncGenerator[Event]:
        clock = asyncio.get_running_loop().time
        begin = clock()
        tally = Tally(job, self._count_tokens)
        answer = await self._link.post("/chat/completions", _chat_body(job, stream=False), deadline_s=job.deadline_s)
        try:
            with self._link.pool.failures():
                choices = self._whole(await self._link.body(answer), tally)
        finally:
            self._link.pool.release(answer)
        done = tally.done("plain", _ms(clock() - begin))
        yield Chunk(choices=choices, output_tokens=done.work["output_tokens"])
        yield done

    async def _embed(self, job: Job) -> AsyncGenerator[Event]:
        clock = asyncio.get_running_loop().time
        begin = clock()
        inputs: list[str] = job.request["input"]
        body = {**job.request, "model": job.model, "encoding_format": "base64"}
        answer = await self._link.post("/embeddings", _encode(body), deadline_s=job.deadline_s)
        try:
            with self._link.pool.failures():
                raw = parse_json(await self._link.body(answer))
        finally:
            self._link.pool.release(answer)
        if not isinstance(raw, Mapping) or raw.get("error"):
            raise self._link.failed(raw.get("error") if isinstance(raw, Mapping) else None)
        vectors = read_vectors(raw.get("data"), len(inputs))
        told = read_prompt_tokens(raw.get("usage"))
        tokens = estimate_tokens(inputs, self._count_tokens) if told is None else told
        bound = job.bound.get("prompt_tokens", tokens)
        yield Vectors(vectors=vectors)
        yield Done(
            work={"prompt_tokens": min(tokens, bound), "inputs": len(inputs)},
            measured=told is not None and told <= bound,
            engine_ms=_ms(clock() - begin),
            detail={"upstream_prompt_tokens": tokens} if tokens > bound else {},
        )

    def _chunk(self, data: bytes, tally: Tally) -> Chunk | None:
        """Read one data line; None when nothing of it is for the caller (usage, the end mark, beyond the bound)."""
        if data == b"[DONE]":
            tally.end()
            return None
        line = self._read(data, tally)
        choices = tally.admit(line.choices) if line.choices else None
        return Chunk(choices=choices, output_tokens=tally.output) if choices else None

    def _whole(self, raw: bytes, tally: Tally) -> list[Choice]:
        """Read an answer that came in one piece."""
        line = self._read(raw, tally)
        if not line.choices:
            message = f"engine {self.name} answered without choices"
            raise EngineFailed(message)
        return tally.admit_answer(line.choices)

    def _read(self, data: bytes, tally: Tally) -> _Answer:
        try:
            line = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            line = self._read_loosely(data, tally)
        if line.error:
            raise self._link.failed(line.error, tally.work())
        if line.usage is not None:
            tally.hear(line.usage)
        if line.timings is not None:
            tally.hear_timings(line.timings)
        return line

    def _read_loosely(self, data: bytes, tally: Tally) -> _Answer:
        """JSON with NaN in it is still an answer; anything else is not."""
        try:
            return msgspec.convert(parse_json(data), _Answer)
        except msgspec.ValidationError as error:
            message = f"engine {self.name} sent something that is not a chat answer"
            raise EngineFailed(message, work=tally.work()) from error


def _chat_body(job: Job, *, stream: bool) -> bytes:
    """The request as the upstream gets it: the model's upstream name, and no limit above the bound."""
    bound = job.bound["output_tokens"]
    if bound < 1:
        message = "at least one output token must be allowed; raise max_tokens"
        raise EngineRefused(message, param="max_tokens")
    body = {name: value for name, value in job.request.items() if name not in _OWN_FIELDS}
    body["model"] = job.model
    limits = [name for name in _LIMIT_FIELDS if body.get(name) is not None] or ["max_tokens"]
    for name in limits:
        asked = body.get(name)
        body[name] = min(asked, bound) if type(asked) is int else bound
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    return _encode(body)


def _as_delta(choice: Choice) -> Choice:
    delta = {name: value for name, value in (choice.get("message") or {}).items() if value is not None}
    return {"index": choice.get("index", 0), "delta": delta, "finish_reason": choice.get("finish_reason")}


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
