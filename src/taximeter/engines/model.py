"""What every engine speaks: a job with a bound goes in, events come out, the last one reports the work done.

An engine never sees prices or wallets.  It reports physical work by the quantity names that the
meters use (``prompt_tokens``, ``output_tokens``, ``decode_steps`` ...), as non-negative integers.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

Modality = Literal["chat", "embeddings", "speech", "video"]
MODALITIES: tuple[Modality, ...] = ("chat", "embeddings", "speech", "video")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work for an engine.

    Attributes:
        id: the request's id, for logs and for asking a provider again.
        modality: which of the engine's abilities is meant.
        model: the engine's own name of the model (not the catalog's).
        request: normalised body in OpenAI's shape (see ``docs/reference/engines.md``).
        bound: most work the engine may do, by quantity name; it must stop there.
        deadline_s: seconds after which the result is worthless; the engine may give up then.
        ordered: for engines that order from a provider: an order went out before, or was about to; never order again.
        provider_job: the provider's name of the job, if it is known: ask about this one.
        stop: call the job off at the provider; ends with a Done whose ``detail["provider"]`` tells how it stands there.
    """

    id: str
    modality: Modality
    model: str
    request: dict[str, Any]
    bound: dict[str, int]
    deadline_s: float
    ordered: bool = False
    provider_job: str | None = None
    stop: bool = False


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The engine accepted the job; ``provider_job`` is its own handle on it, if it has one.

    ``detached``: from here on the work goes on, and costs, whatever becomes of us.  It comes without a handle right before
    the job is ordered from a provider, and with one when the provider has taken it; whoever runs the job puts both on
    record before he reads on.  Closing the iterator then only ends the asking, and EngineTimeout and EngineUnavailable say
    that there is no answer, which is no verdict.  Only an EngineUnavailable before the handle says that nothing was taken.
    """

    provider_job: str | None = None
    detached: bool = False


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """One chat delta, exactly the ``choices`` list of an OpenAI ``chat.completion.chunk``.

    ``output_tokens`` is how many tokens the engine had generated when it sent this, as far as it knows.
    """

    choices: list[dict[str, Any]]
    output_tokens: int | None = None


class Vectors(msgspec.Struct, frozen=True, tag="vectors"):
    """Embeddings in input order: little-endian float32 bytes, one entry per input."""

    vectors: list[bytes]


class Media(msgspec.Struct, frozen=True, tag="media"):
    """A piece of the produced file, in order.  The concatenation is the file."""

    data: bytes


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """``done`` of ``total`` steps are finished."""

    done: int
    total: int


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The last event of a job that succeeded.

    Attributes:
        work: what was really done, by quantity name; integers >= 0.
        measured: False when the engine had to estimate a quantity that it could not count.
        truncated: True when the engine stopped because it reached its bound.
        engine_ms: milliseconds the engine was busy with this job.
        detail: facts worth a line on the receipt (mode, sample rate, model file ...).
    """

    work: dict[str, int]
    measured: bool = True
    truncated: bool = False
    engine_ms: int = 0
    detail: dict[str, Any] = {}


Event = Started | Chunk | Vectors | Media | Progress | Done


class Engine(Protocol):
    """An adapter to something that runs models.

    ``run`` yields events and ends with exactly one ``Done``, or raises an ``EngineError``.  Closing
    the iterator (``aclose``) cancels the job: the engine stops before its next step.  A cancelled or
    failed job raises or ends without ``Done``; work done until then, if known, is on
    ``EngineError.work``.
    """

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can run."""
        ...

    @property
    def slots(self) -> int | None:
        """How many jobs it works on at once; None: as many as come, and nobody waits in a queue for it."""
        ...

    def run(self, job: Job) -> AsyncIterator[Event]:
        """Do one job."""
        ...

    async def check(self) -> Mapping[str, Any]:
        """Health: raises EngineUnavailable when jobs would fail, else facts for the health page."""
        ...

    async def close(self) -> None:
        """Release connections and processes."""
        ...
