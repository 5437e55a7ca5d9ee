"""Verdicts on keys, remembered for a moment, so that the database is not asked for every request."""

import asyncio
from collections.abc import Awaitable, Callable

from taximeter.identity.errors import Unauthenticated
from taximeter.identity.model import Caller, Credential, KeyText
from taximeter.identity.rules import judge
from taximeter.kernel.clock import Clock

KNOWN_MAX = 20_000
REFUSED_MAX = 5_000

Lookup = Callable[[KeyText], Awaitable[Credential | None]]
Verdict = Caller | type[Unauthenticated]


class VerdictCache:
    """Answers who a key is, asking ``lookup`` at most once per key and ``ttl_s``.

    A verdict's life is counted from *before* the look-up, so a key revoked at any moment is refused
    ``ttl_s`` later plus the time of one query.  Concurrent questions about one key share one look-up;
    a questioner that goes away does not take the look-up from the others.  Refused keys are kept
    apart, so that guessing keys cannot push the real ones out.  A failed look-up is not remembered.
    """

    def __init__(self, lookup: Lookup, clock: Clock, ttl_s: float) -> None:
        self._lookup = lookup
        self._clock = clock
        self._ttl_s = ttl_s
        self._known: dict[KeyText, tuple[float, Verdict]] = {}
        self._refused: dict[KeyText, tuple[float, Verdict]] = {}
        self._running: dict[KeyText, asyncio.Task[Verdict]] = {}

    def remembered(self, key: KeyText) -> Caller | None:
        """Who presents this key, if that was asked a moment ago and he was somebody."""
        entry = self._known.get(key)
        if entry is not None and self._clock.monotonic_s() < entry[0] and isinstance(entry[1], Caller):
            return entry[1]
        return None

    def was_right(self, key: KeyText) -> bool:
        """Whether this key was right when it was looked up the last time, however long ago."""
        return key in self._known

    async def caller(self, key: KeyText) -> Caller:
        """Who presents this key.  Raises Unauthenticated (a subclass), or whatever the look-up raised."""
        verdict = self._remembered(key)
        if verdict is None:
            verdict = await self._ask(key)
        if isinstance(verdict, Caller):
            return verdict
        raise verdict

    def _remembered(self, key: KeyText) -> Verdict | None:
        entry = self._known.get(key) or self._refused.get(key)
        if entry is not None and self._clock.monotonic_s() < entry[0]:
            return entry[1]
        return None

    async def _ask(self, key: KeyText) -> Verdict:
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._refresh(key))
            self._running[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    async def _refresh(self, key: KeyText) -> Verdict:
        started = self._clock.monotonic_s()
        credential = await self._lookup(key)
        until = started + self._ttl_s
        try:
            verdict: Verdict = judge(credential, key)
        except Unauthenticated as refusal:
            self._known.pop(key, None)
            _keep(self._refused, REFUSED_MAX, key, (until, type(refusal)))
            return type(refusal)
        if credential is not None and credential.remaining_s is not None:
            until = min(until, started + credential.remaining_s)
        self._refused.pop(key, None)
        _keep(self._known, KNOWN_MAX, key, (until, verdict))
        return verdict

    def _finished(self, key: KeyText, task: asyncio.Task[Verdict]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # Everybody who asked may be gone; asyncio would then complain that nobody looked.


def _keep(entries: dict[KeyText, tuple[float, Verdict]], size_max: int, key: KeyText, entry: tuple[float, Verdict]) -> None:
    entries.pop(key, None)
    if len(entries) >= size_max:
        del entries[next(iter(entries))]  # The oldest, which has expired or soon will.
    entries[key] = entry
