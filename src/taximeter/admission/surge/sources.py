"""Where the load of an engine is read.  What cannot be read is unknown, and never 0."""

import asyncio
import importlib
import ssl
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from taximeter.admission.surge.model import LOAD_BP_MAX, Demand, Sample
from taximeter.admission.surge.policy_file import EnginePlan, NvmlSource, OccupancySource, PrometheusSource
from taximeter.engines import Engine, EngineError
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError

NVML = "pynvml"
CHECK_S = 5.0
ANSWER_BYTES_MAX = 1_000_000
_BP_PER_ONE = 10_000
_BP_PER_PERCENT = 100
# Above this a number is not of the scale that was said: a percentage where a ratio was announced.
_ONES_MAX = Decimal(4)
_MS = 1000
_REFUSED = frozenset({401, 403})


class LoadSource(Protocol):
    """Tells how busy an engine is."""

    async def sample(self, demand: Demand) -> Sample:
        """A look at it and at what is open for it here."""
        ...

    async def close(self) -> None:
        """Release what is held open."""
        ...


class Occupancy:
    """Work at an engine and waiting for it, against how much it can do at once.

    The engine tells its slots and how many of them are taken, its host how many jobs are at it, those that wait inside included;
    what waits outside are the holds that are open for its models.  The greatest counts: others than we may use the engine, and it
    need not know of what we keep waiting.  What runs in cheap tiers does not count: it takes the time that nobody else wants, and
    must not make that dear.
    """

    def __init__(self, engine: Engine, capacity: int | None) -> None:
        self._engine = engine
        self._capacity = capacity

    async def sample(self, demand: Demand) -> Sample:
        """Ask the engine; without a capacity that is known, or an engine that answers, the load is not."""
        try:
            async with asyncio.timeout(CHECK_S):
                facts = await self._engine.check()
        except (EngineError, TimeoutError, OSError) as error:
            return Sample(None, f"the engine does not answer its check ({type(error).__name__})")
        capacity = self._capacity or _count(facts, "slots")
        if not capacity:
            return Sample(None, "the engine does not say how many requests it does at once; set concurrent_max")
        at_it = max(_count(facts, "slots_busy") or 0, _count(facts, "jobs") or 0)
        work = max(at_it - demand.cheap, demand.open)
        return Sample(min(LOAD_BP_MAX, work * _BP_PER_ONE // capacity))

    async def close(self) -> None:
        """The engine is closed by whoever opened it."""


def _count(facts: Mapping[str, Any], name: str) -> int | None:
    value = facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Nvml:
    """The mean of GPUs' utilisation as NVML tells it: the share of the last moments in which anything ran on them.

    It is a duty cycle, 100 for a GPU with one busy multiprocessor: good for telling that it is taken, and no measure of work.

    Raises SetupError when the library or a device is not there.
    """

    def __init__(self, devices: tuple[int, ...], library: ModuleType | Any = None) -> None:  # noqa: ANN401 - has no types
        self._library = _load_nvml() if library is None else library
        try:
            self._library.nvmlInit()
            numbers = devices or tuple(range(self._library.nvmlDeviceGetCount()))
            self._devices = [self._library.nvmlDeviceGetHandleByIndex(number) for number in numbers]
        except self._library.NVMLError as error:
            message = f"the surge reads GPUs by NVML, which cannot be used here ({error}); choose another source"
            raise SetupError(message) from error
        if not self._devices:
            message = "the surge reads GPUs by NVML, and there are none here; choose another source"
            raise SetupError(message)

    async def sample(self, demand: Demand) -> Sample:  # noqa: ARG002 - GPUs tell by themselves
        """Ask the driver, off the event loop."""
        try:
            loads = await asyncio.to_thread(self._loads)
        except self._library.NVMLError as error:
            return Sample(None, f"NVML: {error}")
        return Sample(sum(loads) * _BP_PER_PERCENT // len(loads))

    def _loads(self) -> list[int]:
        return [int(self._library.nvmlDeviceGetUtilizationRates(device).gpu) for device in self._devices]

    async def close(self) -> None:
        """Let the driver go."""
        await asyncio.to_thread(self._library.nvmlShutdown)


def _load_nvml() -> ModuleType:
    try:
        return importlib.import_module(NVML)
    except ImportError as error:
        message = f"the surge reads GPUs by NVML, which needs the package nvidia-ml-py ({error}); install the extra nvml, or choose another source"
        raise SetupError(message) from error


class _Answer(msgspec.Struct):
    resultType: str  # noqa: N815 - Prometheus's name
    result: msgspec.Raw


class _Reply(msgspec.Struct):
    status: str
    data: _Answer | None = None
    error: str = ""


class _Series(msgspec.Struct):
    value: tuple[float, str]


class Prometheus:
    """A number that a Prometheus server computes: ``/api/v1/query``.

    Raises SetupError when the files with its token or its certificates cannot be used.
    """

    def __init__(self, source: PrometheusSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._url = URL(source.url.rstrip("/") + "/api/v1/query").with_query(query=source.query)
        self._session: aiohttp.ClientSession | None = None
        try:
            self._tls: ssl.SSLContext | bool = True if source.ca_file is None else ssl.create_default_context(cafile=source.ca_file)
            _authorization(source)
        except (OSError, ssl.SSLError, _NoTokenError) as error:
            message = f"the surge asks Prometheus with a file that cannot be used: {error}"
            raise SetupError(message) from error

    async def sample(self, demand: Demand) -> Sample:  # noqa: ARG002 - the query says it all
        """Ask the server; anything but one fresh number of the scale is unknown."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._source.timeout_s))
        try:
            headers = {} if self._source.token_file is None else await asyncio.to_thread(_authorization, self._source)
            # A redirect would carry the token to somebody else.
            async with self._session.get(self._url, allow_redirects=False, ssl=self._tls, headers=headers) as answer:
                if answer.status in _REFUSED:
                    return Sample(None, f"Prometheus refuses us ({answer.status}); see token_file")
                body = await answer.content.read(ANSWER_BYTES_MAX)
            return read_answer(body, self._source, self._clock.now_ms())
        except (aiohttp.ClientError, TimeoutError) as error:
            return Sample(None, f"Prometheus does not answer ({type(error).__name__})")
        except (OSError, _NoTokenError) as error:
            return Sample(None, f"the token for Prometheus cannot be read ({type(error).__name__})")

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()


class _NoTokenError(Exception):
    """A file has no token."""


def _authorization(source: PrometheusSource) -> dict[str, str]:
    """The header with the token that is in the file now."""
    if source.token_file is None:
        return {}
    token = Path(source.token_file).read_text(encoding="ascii", errors="replace").strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        message = f"{source.token_file} has no token"
        raise _NoTokenError(message)
    return {"authorization": f"Bearer {token}"}


class _NoNumberError(Exception):
    """An answer is not one number; the message says what it is."""


def read_answer(body: bytes, source: PrometheusSource, now_ms: int) -> Sample:
    """The load in an answer of Prometheus."""
    try:
        at_s, text = _one_number(body)
        if now_ms - at_s * _MS > source.stale_s * _MS:
            return Sample(None, f"the number is older than {source.stale_s} s")
        return Sample(_load_bp(text, source.scale))
    except msgspec.DecodeError:
        return Sample(None, "Prometheus's answer cannot be read")
    except _NoNumberError as error:
        return Sample(None, str(error))


def _one_number(body: bytes) -> tuple[float, str]:
    """When, in Unix seconds, and the number as it is written."""
    reply = msgspec.json.decode(body, type=_Reply)
    if reply.data is None or reply.status != "success":
        message = f"Prometheus refuses the query ({reply.error[:200] or reply.status[:20]})"
        raise _NoNumberError(message)
    kind = reply.data.resultType
    if kind == "scalar":
        return msgspec.json.decode(reply.data.result, type=tuple[float, str])
    if kind != "vector":
        message = f"the query answers with a {kind[:20]}, not with one number"
        raise _NoNumberError(message)
    values = [series.value for series in msgspec.json.decode(reply.data.result, type=list[_Series])]
    if len(values) != 1:
        message = f"the query answers with {len(values)} numbers, not with one"
        raise _NoNumberError(message)
    return values[0]


def _load_bp(text: str, scale: str) -> int:
    most, factor = (_ONES_MAX * 100, _BP_PER_PERCENT) if scale == "percent" else (_ONES_MAX, _BP_PER_ONE)
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        message = f"{text[:20]!r} is no number"
        raise _NoNumberError(message) from error
    if not value.is_finite() or not 0 <= value <= most:
        message = f"{text[:20]} cannot be a utilisation as a {scale}"
        raise _NoNumberError(message)
    return int(value * factor)


def open_source(plan: EnginePlan, engines: Mapping[str, Engine], clock: Clock, nvml: Callable[[tuple[int, ...]], LoadSource] = Nvml) -> LoadSource:
    """The source that a plan names.  Raises SetupError when it cannot be used."""
    source = plan.source
    if isinstance(source, OccupancySource):
        return Occupancy(engines[plan.engine], source.concurrent_max)
    if isinstance(source, NvmlSource):
        return nvml(source.devices)
    return Prometheus(source, clock)


def describe(plan: EnginePlan) -> str:
    """The source in words, for whoever looks at the price: nothing of where the servers are."""
    source = plan.source
    if isinstance(source, OccupancySource):
        return "requests against what the engine does at once" + ("" if source.concurrent_max is None else f" ({source.concurrent_max})")
    if isinstance(source, NvmlSource):
        return "utilisation of the GPUs (NVML)"
    return "a query to Prometheus"
