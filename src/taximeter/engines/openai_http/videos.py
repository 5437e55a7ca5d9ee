"""Videos from an OpenAI-compatible upstream: ordered once, asked about until there is a verdict, then fetched."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from taximeter.engines.errors import EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Done, Event, Job, Media, Modality, Progress, Started
from taximeter.engines.openai_http.film import HEAD_BYTES, NoFilmError, encode_form, is_film, percent, report
from taximeter.engines.openai_http.link import error_message, parse_json
from taximeter.kernel.texts import REPLACEMENT

CALL_S = 30.0
SILENCE_S = 60.0
CONNECT_S = 5.0
JSON_BYTES_MAX = 4 * 1024 * 1024
CONTENT_BYTES_MAX = 256 * 1024 * 1024
NAME_CHARS_MAX = 200
LOOKUP_PAGE = 100
LOOKUP_PAGES = 20
METADATA_KEY: Final = "taximeter_request"
_FINISHED = "completed"
_ENDED = frozenset({"failed", "cancelled", "canceled", "expired", "rejected", "deleted"})
_BUSY = frozenset({429, 503})
_GONE = frozenset({404, 410})
_KEY_REFUSED = frozenset({401, 403})
# A proxy that lost patience, and a repeat that came too early: the order may have been taken.
_UNDECIDED = frozenset({408, 409, 425})
_OK = 200
_EXTRA_FIELDS = ("fps", "frames", "steps", "seed", "guidance")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """What the upstream can do beyond OpenAI's five routes, and how patiently it is asked.

    Attributes:
        extra_fields: it takes ``fps``, ``frames``, ``steps``, ``seed`` and ``guidance``; otherwise only OpenAI's fields are sent.
        lookup: it keeps ``metadata`` and shows it in its list, so that an order whose answer was lost can be found.
        idempotent: it honours ``Idempotency-Key`` for as long as it is asked about a job: the order sent again names the first one.
        poll_s: seconds between two questions about a job.
        slots: how many videos it makes at the same time; None: nobody knows.
        grace_s: for so long it may not know its own job, or have no file for a finished one, before that is its verdict.
    """

    extra_fields: bool = False
    lookup: bool = False
    idempotent: bool = False
    poll_s: float = 5.0
    grace_s: float = 60.0
    slots: int | None = None


class OpenAIVideoEngine:
    """Runs videos on an upstream with OpenAI's ``/videos``.

    One POST is made for a job, ever (unless a repeat is known to be harmless): what follows asks about it.  Whatever is no
    answer (a lost connection, a timeout, a server error) is an EngineTimeout or EngineUnavailable and no verdict;
    EngineFailed and EngineRefused are.

    Args:
        name: the engine's name in the catalog.
        base_url: the address that ``/videos`` is appended to, such as ``https://host/v1``.
        api_key: the operator's key for the upstream; empty sends none.
        options: what it can do.
        slots: how many videos it makes at once.
    """

    def __init__(self, name: str, base_url: str, *, api_key: str = "", options: VideoOptions | None = None, slots: int | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"upstream {name!r}: base_url {base_url!r} is not an http(s) address such as https://host/v1"
            raise ValueError(message)
        self._name = name
        self._slots = slots
        self._base = base_url.rstrip("/")
        self._options = options or VideoOptions()
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        return self._name

    @property
    def modalities(self) -> frozenset[Modality]:
        """Videos."""
        return frozenset({"video"})

    @property
    def slots(self) -> int | None:
        """How many videos the upstream makes at once, as it was configured."""
        return self._options.slots

    @property
    def orders(self) -> bool:
        """It orders its videos from a provider, and then only waits."""
        return True

    def run(self, job: Job) -> AsyncGenerator[Event]:
        """Order a video and wait for it, or go on waiting for one that was ordered, or call it off (see ``Job``)."""
        if job.modality != "video":
            message = f"engine {self._name} does not do {job.modality}"
            raise EngineRefused(message, param="model")
        return self._call_off(job) if job.stop else self._film(job)

    async def check(self) -> Mapping[str, Any]:
        """Ask the upstream for its newest video.  Raises EngineUnavailable when it does not answer."""
        try:
            status, _ = await self._call("GET", "/videos?limit=1")
        except EngineTimeout as error:
            raise EngineUnavailable(error.message) from error
        if status in _KEY_REFUSED or status in _BUSY or status >= 500:  # noqa: PLR2004 - HTTP's range of server errors
            message = f"engine {self._name} answers its health check with status {status}"
            raise EngineUnavailable(message)
        return {"status": status}

    async def close(self) -> None:
        """Hang up all connections; what was ordered goes on at the upstream."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _film(self, job: Job) -> AsyncGenerator[Event]:
        provider_job = job.provider_job
        if provider_job is None and not job.ordered:
            yield Started(detached=True)
            provider_job = await self._order(job)
        elif provider_job is None:
            provider_job = await (self._order_again(job) if self._options.idempotent else self._find(job))
            if provider_job is None:
                message = f"whether {self._name} took the order is not known: its answer was lost, and it lists no such job"
                raise EngineTimeout(message)
        yield Started(provider_job=provider_job, detached=True)
        told: Mapping[str, Any] = {}
        async with contextlib.aclosing(self._watch(provider_job, job.deadline_s)) as answers:
            async for told in answers:
                if told["status"] not in _ENDED:
                    yield Progress(99 if told["status"] == _FINISHED else percent(told.get("progress")), 100)
        done = report(job, told, provider_job)
        async with contextlib.aclosing(self._fetch(provider_job, done)) as pieces:
            async for piece in pieces:
                yield piece
        yield done

    async def _order(self, job: Job) -> str:
        body, kind = encode_form(self._fields(job))
        status, told = await self._call("POST", "/videos", body, {"Content-Type": kind, "Idempotency-Key": job.id})
        if _OK <= status < 300:  # noqa: PLR2004 - HTTP's range of success
            provider_job = told.get("id")
            if _is_name(provider_job):
                return str(provider_job)
            message = f"engine {self._name} took the order and named no job"
            raise EngineTimeout(message)
        reason = error_message(told.get("error", told))
        if status in _BUSY:
            message = f"engine {self._name} has no room now; try again later"
            raise EngineUnavailable(message)
        if status in _KEY_REFUSED:
            message = f"engine {self._name} refuses the operator's upstream key; the operator must correct it"
            raise EngineFailed(message)
        if status >= 500 or status in _UNDECIDED:  # noqa: PLR2004 - HTTP's range of server errors
            message = f"engine {self._name} answered the order with status {status}: it may have taken it"
            raise EngineTimeout(message)
        if status < 400:  # noqa: PLR2004 - a redirect is not followed: the order would go elsewhere
            message = f"engine {self._name} answered the order with status {status}; the operator must correct its address"
            raise EngineFailed(message)
        message = f"engine {self._name} refused the request: {reason}"
        raise EngineRefused(message)

    async def _order_again(self, job: Job) -> str:
        """The name of a job whose order was sent, by sending it again under its key.  Only the order itself can be refused now."""
        try:
            return await self._order(job)
        except EngineFailed as error:
            raise EngineTimeout(error.message) from error

    async def _find(self, job: Job) -> str | None:
        """The upstream's name of a job whose order was sent, by the metadata that went with it."""
        path = f"/videos?limit={LOOKUP_PAGE}&order=desc"
        after = ""
        for _ in range(LOOKUP_PAGES if self._options.lookup else 0):
            status, told = await self._call("GET", path + after)
            page = told.get("data")
            if status != _OK or not isinstance(page, list):
                message = f"engine {self._name} does not list its jobs (status {status})"
                raise EngineTimeout(message)
            entries = [entry for entry in page if isinstance(entry, Mapping) and _is_name(entry.get("id"))]
            for entry in entries:
                metadata = entry.get("metadata")
                if isinstance(metadata, Mapping) and metadata.get(METADATA_KEY) == job.id:
                    return str(entry["id"])
            if not entries or told.get("has_more") is not True:
                break
            after = f"&after={quote(entries[-1]['id'], safe='')}"
        return None

    async def _watch(self, provider_job: str, patience_s: float) -> AsyncGenerator[Mapping[str, Any]]:
        """What the upstream says about a job, until it says that it is finished.  It is asked once at least."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        unknown_since: float | None = None
        while True:
            status, told = await self._look(provider_job)
            if status in _GONE:
                unknown_since = clock() if unknown_since is None else unknown_since
                if clock() - unknown_since >= self._options.grace_s:
                    message = f"engine {self._name} no longer knows the job that it took"
                    raise EngineFailed(message)
            elif status == _OK and isinstance(told.get("status"), str):
                unknown_since = None
                yield told
                if told["status"] == _FINISHED:
                    return
                if told["status"] in _ENDED:
                    message = f"engine {self._name} failed: {error_message(told.get('error') or told['status'])}"
                    raise EngineFailed(message)
            else:
                message = f"engine {self._name} does not say how the job stands (status {status})"
                raise EngineTimeout(message)
            if clock() - begin >= patience_s:
                message = f"engine {self._name} has not finished the job yet"
                raise EngineTimeout(message)
            await asyncio.sleep(self._options.poll_s)

    async def _fetch(self, provider_job: str, done: Done) -> AsyncGenerator[Media]:
        """The file.  Raises EngineFailed, with the work that the upstream will bill, when there is none after all."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        while True:
            size = 0
            lack = "has no content for it"
            try:
                async with contextlib.aclosing(self._content(provider_job)) as pieces:
                    async for piece in pieces:
                        size += len(piece)
                        if size > CONTENT_BYTES_MAX:
                            message = f"engine {self._name} sent a file of more than {CONTENT_BYTES_MAX} bytes"
                            raise EngineFailed(message, work=done.work)
                        yield Media(piece)
            except NoFilmError as error:
                lack = str(error)
            if size:
                return
            if clock() - begin >= self._options.grace_s:
                message = f"engine {self._name} says that the video is completed, and {lack}"
                raise EngineFailed(message, work=done.work)
            await asyncio.sleep(self._options.poll_s)

    async def _content(self, provider_job: str) -> AsyncGenerator[bytes]:
        """The bytes there are; none when there is no file.

        Raises NoFilmError before the first when it is no video, EngineTimeout when they do not all arrive.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
        url = self._url(f"/videos/{quote(provider_job, safe='')}/content")
        try:
            async with self._open().get(url, timeout=timeout) as answer:
                if answer.status in _GONE:
                    return
                if answer.status != _OK:
                    message = f"engine {self._name} does not hand out the content now (status {answer.status})"
                    raise EngineTimeout(message)
                head = await _head(answer)
                if head and not is_film(answer.content_type, head):
                    message = f"hands out {answer.content_type[:100]} that is no video file"
                    raise NoFilmError(message)
                if head:
                    yield head
                async for piece in answer.content.iter_chunked(1 << 20):
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"engine {self._name} broke off in the middle of the content"
            raise EngineTimeout(message) from error

    async def _call_off(self, job: Job) -> AsyncGenerator[Event]:
        provider_job = job.provider_job or await self._find(job)
        if provider_job is None:
            message = f"whether {self._name} took the order is not known, so it cannot be called off"
            raise EngineTimeout(message)
        yield Started(provider_job=provider_job, detached=True)
        verdict = _standing(*await self._look(provider_job))
        if verdict is None:
            await self._call("DELETE", f"/videos/{quote(provider_job, safe='')}")
            # Not its word that it has stopped is believed, but that it has.
            verdict = _standing(*await self._look(provider_job))
            verdict = "cancelled" if verdict in ("gone", "failed") else verdict
        if verdict is None:
            message = f"engine {self._name} goes on with a job that was called off"
            raise EngineTimeout(message)
        yield Done(work={}, detail={"provider": verdict})

    async def _look(self, provider_job: str) -> tuple[int, Mapping[str, Any]]:
        return await self._call("GET", f"/videos/{quote(provider_job, safe='')}")

    async def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON object of an answer; an empty object when it is none.

        Raises EngineUnavailable when nothing was sent, EngineTimeout when there was no answer to it.
        """
        timeout = aiohttp.ClientTimeout(total=CALL_S, connect=CONNECT_S)
        try:
            async with self._open().request(
                method, self._url(path), data=body, headers=dict(headers or {}), timeout=timeout, allow_redirects=False
            ) as answer:
                told = parse_json(await _read(answer))
                return answer.status, told if isinstance(told, Mapping) else {}
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            message = f"engine {self._name} cannot be reached"
            raise EngineUnavailable(message) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"engine {self._name} did not answer"
            raise EngineTimeout(message) from error

    def _open(self) -> aiohttp.ClientSession:
        """The client session, made when it is first needed because it belongs to the running event loop."""
        if self._closed:
            message = f"engine {self._name} is closed"
            raise EngineUnavailable(message)
        if self._session is None:
            # A connection for each call: one that was kept may be closing, and then nobody could say whether an order was taken.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def _fields(self, job: Job) -> dict[str, str]:
        request = job.request
        seconds = Decimal(request["frames"]) / request["fps"]
        fields = {
            "model": job.model,
            "prompt": request["prompt"],
            "size": f"{request['width']}x{request['height']}",
            "seconds": format(seconds.quantize(Decimal("0.01")).normalize(), "f"),
        }
        if self._options.extra_fields:
            fields |= {name: str(request[name]).lower() for name in _EXTRA_FIELDS if request.get(name) is not None}
        if self._options.lookup:
            fields[f"metadata[{METADATA_KEY}]"] = job.id
        return fields


def _is_name(told: object) -> bool:
    """Whether a provider's name of a job can be kept and asked for again."""
    return isinstance(told, str) and 0 < len(told) <= NAME_CHARS_MAX and told.isprintable() and REPLACEMENT not in told


async def _head(answer: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a file, or all of a shorter one."""
    try:
        return await answer.content.readexactly(HEAD_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    raw = b""
    async for piece in answer.content.iter_any():
        raw += piece
        if len(raw) > JSON_BYTES_MAX:
            break
    return raw


def _standing(status: int, told: Mapping[str, Any]) -> str | None:
    """How a job stands, in one word; None while it runs, or nobody knows."""
    if status in _GONE:
        return "gone"
    state = told.get("status") if status == _OK else None
    if state == _FINISHED:
        return "completed"
    return "failed" if state in _ENDED else None
