"""Sends one attempt of a delivery: signed, with a limit on its time, to an address that was checked, and never further."""

import asyncio
import errno
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

import taximeter
from taximeter.admission.events.model import Due, Reply
from taximeter.admission.events.rules import check_url, is_public, refused, retry_after_s, signature
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import Refusal

TIMEOUT_S = 15.0
ERROR_CHARS_MAX = 300
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


class CheckedResolver(AbstractResolver):
    """Looks names up, and gives only addresses of the Internet away.

    The connection is made to an address that was checked: between the check and the call nobody can point the name elsewhere.
    """

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a name.  Raises OSError when it has none, or one that is not public."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
        # One bad address spoils the name: it is not for us to choose.
        if not all(is_public(ip_address(address[0])) for *_, address in found):
            raise OSError(errno.EACCES, refused(host).message)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Sender:
    """An HTTP client for webhooks; ``async with`` it.

    Args:
        clock: whose time is signed.
        private: addresses of this machine and of private networks may be called.
    """

    def __init__(self, clock: Clock, *, private: bool) -> None:
        self._clock = clock
        self._private = private
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open it."""
        # A connection for each attempt: a kept one would go to an address that was checked long ago.
        connector = aiohttp.TCPConnector(
            resolver=None if self._private else CheckedResolver(), use_dns_cache=False, force_close=True, limit=0, limit_per_host=0
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": f"Taximeter/{taximeter.__version__}"},
            trust_env=False,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close it; attempts that still run fail."""
        if self._session is not None:
            await self._session.close()

    async def send(self, due: Due) -> Reply:
        """Make one attempt.  Whatever goes wrong on the way is in the reply."""
        body = msgspec.json.encode(due.event.payload())
        begun_s = self._clock.monotonic_s()
        status: int | None = None
        error: str | None
        after_s: float | None = None
        try:
            # What was allowed when it was made may not be any more.
            check_url(due.url, private=self._private)
            status, after = await self._post(due.url, body, self._headers(due.secrets, due.event.public_id, body))
            error = problem_of(status)
            after_s = None if error is None else retry_after_s(after, datetime.fromtimestamp(self._clock.now_ms() / 1000, tz=UTC))
        except TimeoutError:
            error = f"no answer within {TIMEOUT_S:g} seconds"
        except Refusal as refusal:
            error = refusal.message
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        duration_ms = int((self._clock.monotonic_s() - begun_s) * 1000)
        return Reply(status, None if error is None else error[:ERROR_CHARS_MAX], after_s, duration_ms)

    def _headers(self, secrets: Sequence[str], message_id: str, body: bytes) -> dict[str, str]:
        timestamp_s = self._clock.now_ms() // 1000
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(secrets, message_id, timestamp_s, body),
        }

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str | None]:
        assert self._session is not None, "it is open"
        # A redirect would lead to an address that its owner has not signed for; the body of the answer is nobody's business.
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("retry-after")


def problem_of(status: int) -> str | None:
    """What is wrong with an answer; None: it was taken."""
    if status in _SUCCESS:
        return None
    return f"answered {status}, a redirect, which is not followed" if status in _REDIRECT else f"answered {status}"
