"""The wire to an upstream: one pooled HTTP client, and HTTP's failures in the engine's words."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from yarl import URL

from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.http_connection import Answer, WentAwayError
from taximeter.engines.http_pool import HttpPool, UnreachableError
from taximeter.kernel.texts import storable_throughout

ERROR_BODY_BYTES = 65_536
MESSAGE_CHARS_MAX = 500
_RETRY_HEADERS = ("Retry-After", "retry-after-ms")
_REFUSED = frozenset({400, 404, 422})
_BUSY = frozenset({429, 503})
_KEY_REFUSED = frozenset({401, 403})
_OK = 200
_ONE_CHECK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """How much patience and room an upstream gets.

    Attributes:
        connections: most connections at a time; further requests wait ``connect_s`` for one.
        connect_s: seconds to get a connection, waiting in the pool included.
        silence_s: seconds without a byte after which the upstream counts as hung.
        keepalive_s: seconds an idle connection is kept; below the 5 s after which uvicorn (vLLM, SGLang)
            hangs up, so that no request is sent into a connection that is just closing.  0 makes a
            connection for each request, for servers that hang up without saying so.
        slots: how many jobs the upstream works on at the same time, as its operator says; None: nobody knows.
        answer_bytes_max: largest answer, and largest line of a stream, that is read.
        slots: how many requests the upstream works on at once; None: as many as come.
    """

    connections: int = 256
    connect_s: float = 5.0
    silence_s: float = 120.0
    keepalive_s: float = 4.0
    answer_bytes_max: int = 64 * 1024 * 1024
    slots: int | None = None


class Link:
    """Posts JSON to one upstream and gives back an open answer with status 200, or raises an EngineError."""

    def __init__(self, name: str, base_url: str, api_key: str, limits: UpstreamLimits) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"upstream {name!r}: base_url {base_url!r} is not an http(s) address such as https://host/v1"
            raise ValueError(message)
        self.name = name
        self.limits = limits
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self.pool = HttpPool(name, URL(base_url), headers, connections=limits.connections, connect_s=limits.connect_s, keepalive_s=limits.keepalive_s)

    async def post(self, path: str, body: bytes, *, deadline_s: float) -> Answer:
        """Send ``body``; the answer's status is 200 and its body is still to be read.

        ``deadline_s`` covers reading the body as well.  The caller gives the answer back to the pool.
        """
        with self.pool.failures():
            answer = await self.pool.post(path, body, deadline_s=deadline_s, silence_s=self.limits.silence_s)
            if answer.status == _OK:
                return answer
            try:
                raw = await _head(answer)
            except (WentAwayError, OSError):  # A timeout is an OSError, too.
                raw = b""
            finally:
                self.pool.release(answer)
        raise self._verdict(answer.status, answer.headers, raw)

    async def body(self, answer: Answer) -> bytes:
        """The whole body.  Raises EngineFailed when it is larger than the limit."""
        most = self.limits.answer_bytes_max
        pieces = []
        size = 0
        while piece := await answer.some():
            size += len(piece)
            if size > most:
                message = f"engine {self.name} answered with more than {most} bytes"
                raise EngineFailed(message)
            pieces.append(piece)
        return b"".join(pieces)

    async def models(self) -> list[str]:
        """Names of the upstream's models; empty when it does not list them.  Raises EngineUnavailable."""
        try:
            answer = await self.pool.get("/models", deadline_s=_ONE_CHECK_S)
            try:
                raw = await _head(answer)
            finally:
                self.pool.release(answer)
        except (UnreachableError, WentAwayError, OSError) as error:
            message = f"engine {self.name} cannot be reached"
            raise EngineUnavailable(message) from error
        status = answer.status
        if status in _KEY_REFUSED:
            message = f"engine {self.name} refuses the operator's upstream key"
            raise EngineUnavailable(message)
        if status in _BUSY or status >= 500:  # noqa: PLR2004 - HTTP's range of server errors
            message = f"engine {self.name} answers its health check with status {status}"
            raise EngineUnavailable(message)
        listed = parse_json(raw)
        entries = listed.get("data") if isinstance(listed, Mapping) else None
        names = [entry.get("id") for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
        return [name for name in names if isinstance(name, str)]

    def failed(self, raw: object, work: Mapping[str, int] | None = None) -> EngineFailed:
        """The error for an ``error`` object inside an answer that pretended to be fine."""
        return EngineFailed(f"engine {self.name} failed: {error_message(raw)}", work=work)

    def _verdict(self, status: int, headers: Mapping[str, str], raw: bytes) -> EngineError:
        inner = parse_json(raw)
        inner = inner.get("error", inner) if isinstance(inner, Mapping) else inner
        told = error_message(inner)
        if status in _BUSY:
            told_when = {name: headers.get(name.lower(), "") for name in _RETRY_HEADERS}
            again = {name: value[:40] for name, value in told_when.items() if value and value.isprintable()}
            return EngineUnavailable(f"engine {self.name} has no room now; try again later", headers=again)
        if status in _REFUSED:
            param = inner.get("param") if isinstance(inner, Mapping) else None
            return EngineRefused(f"engine {self.name} refused the request: {told}", param=param if isinstance(param, str) else None)
        if status in _KEY_REFUSED:
            # The upstream's words often repeat part of the key, so they are not passed on.
            return EngineFailed(f"engine {self.name} refuses the operator's upstream key; the operator must correct it")
        return EngineFailed(f"engine {self.name} failed with status {status}: {told}")


class DataLines:
    """Cuts an event stream into the payloads of its ``data:`` lines, whatever the network's piece sizes."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The payloads that ``piece`` completes.  Raises EngineFailed when a line has no end."""
        rows = piece.split(b"\n")
        if self._rest and len(rows) > 1:
            rows[0] = bytes(self._rest) + rows[0]
            self._rest.clear()
        # A long line comes in many pieces: it must not be copied for each of them.
        self._rest += rows.pop()
        if len(self._rest) > self._line_bytes_max:
            message = f"the engine sent a line of more than {self._line_bytes_max} bytes"
            raise EngineFailed(message)
        return [data for row in rows if row.startswith(b"data:") and (data := row[5:].strip())]


def error_message(raw: object) -> str:
    """What an upstream's error object says, on one line of bounded length."""
    text = raw.get("message") or raw.get("detail") if isinstance(raw, Mapping) else raw
    if not isinstance(text, str) or not text.strip():
        return "no reason given"
    return " ".join(text.split())[:MESSAGE_CHARS_MAX]


async def _head(answer: Answer) -> bytes:
    raw = b""
    while piece := await answer.some():
        raw += piece
        if len(raw) >= ERROR_BODY_BYTES:
            break
    return raw[:ERROR_BODY_BYTES]


def parse_json(raw: bytes) -> Any:  # noqa: ANN401 - whatever the upstream sent
    """Decode what an upstream calls JSON, NaN and halves of surrogate pairs included; None when it is not."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(raw)
    with contextlib.suppress(ValueError, RecursionError):
        # Python's servers write NaN, and whoever cuts an emoji in two writes its half.
        return storable_throughout(json.loads(raw))
    return None
