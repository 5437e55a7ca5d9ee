"""The verdict cache: how old an answer may be, who shares a look-up, what stays bounded."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from taximeter.identity import cache as cache_module
from taximeter.identity.cache import VerdictCache
from taximeter.identity.errors import ExpiredApiKey, InvalidApiKey, RevokedApiKey
from taximeter.identity.model import Caller, Credential, KeyText
from taximeter.kernel.clock import ManualClock

pytestmark = pytest.mark.anyio

KEY = KeyText("0123abcd", b"\1" * 32)
TTL_S = 0.5


@dataclass
class Lookup:
    """A store in memory that counts questions and can be held back."""

    rows: dict[str, Credential] = field(default_factory=dict)
    questions: int = 0
    gate: asyncio.Event | None = None
    error: Exception | None = None

    async def __call__(self, key: KeyText) -> Credential | None:
        self.questions += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.rows.get(key.prefix)


@pytest.fixture
def lookup(caller: Caller) -> Lookup:
    return Lookup({KEY.prefix: Credential(caller=caller, secret_sha256=KEY.secret_sha256, revoked=False, remaining_s=None)})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(lookup: Lookup, clock: ManualClock) -> VerdictCache:
    return VerdictCache(lookup, clock, TTL_S)


async def test_a_second_question_within_the_time_is_answered_from_memory(cache: VerdictCache, lookup: Lookup, caller: Caller) -> None:
    assert await cache.caller(KEY) is caller
    assert await cache.caller(KEY) is caller
    assert lookup.questions == 1


async def test_a_revoked_key_is_refused_once_the_time_is_over(cache: VerdictCache, lookup: Lookup, clock: ManualClock) -> None:
    await cache.caller(KEY)
    lookup.rows[KEY.prefix] = replace(lookup.rows[KEY.prefix], revoked=True)
    clock.advance(TTL_S)
    with pytest.raises(RevokedApiKey):
        await cache.caller(KEY)


async def test_the_time_is_counted_from_before_the_look_up(cache: VerdictCache, lookup: Lookup, clock: ManualClock) -> None:
    lookup.gate = asyncio.Event()
    task = asyncio.create_task(cache.caller(KEY))
    while lookup.questions == 0:
        await asyncio.sleep(0)
    clock.advance(TTL_S)
    lookup.gate.set()
    await task
    await cache.caller(KEY)
    assert lookup.questions == 2


async def test_a_verdict_does_not_outlive_the_key(cache: VerdictCache, lookup: Lookup, clock: ManualClock) -> None:
    lookup.rows[KEY.prefix] = replace(lookup.rows[KEY.prefix], remaining_s=0.1)
    await cache.caller(KEY)
    lookup.rows[KEY.prefix] = replace(lookup.rows[KEY.prefix], remaining_s=-0.05)
    clock.advance(0.15)
    with pytest.raises(ExpiredApiKey):
        await cache.caller(KEY)


async def test_callers_at_the_same_moment_share_one_look_up(cache: VerdictCache, lookup: Lookup) -> None:
    lookup.gate = asyncio.Event()
    tasks = [asyncio.create_task(cache.caller(KEY)) for _ in range(50)]
    await asyncio.sleep(0)
    lookup.gate.set()
    assert len({(await task).key_id for task in tasks}) == 1
    assert lookup.questions == 1


async def test_a_caller_who_leaves_does_not_take_the_look_up_along(cache: VerdictCache, lookup: Lookup, caller: Caller) -> None:
    lookup.gate = asyncio.Event()
    first = asyncio.create_task(cache.caller(KEY))
    second = asyncio.create_task(cache.caller(KEY))
    while lookup.questions == 0:
        await asyncio.sleep(0)
    first.cancel()
    lookup.gate.set()
    assert await second is caller
    with pytest.raises(asyncio.CancelledError):
        await first
    assert lookup.questions == 1


async def test_an_unknown_key_is_remembered_too(cache: VerdictCache, lookup: Lookup) -> None:
    unknown = KeyText("zzzzzzzz", b"\2" * 32)
    for _ in range(3):
        with pytest.raises(InvalidApiKey):
            await cache.caller(unknown)
    assert lookup.questions == 1


async def test_a_failed_look_up_is_not_remembered(cache: VerdictCache, lookup: Lookup, caller: Caller) -> None:
    lookup.error = ConnectionError("no database")
    with pytest.raises(ConnectionError):
        await cache.caller(KEY)
    lookup.error = None
    assert await cache.caller(KEY) is caller


async def test_a_wrong_secret_does_not_disturb_the_right_one(cache: VerdictCache, lookup: Lookup, caller: Caller) -> None:
    assert await cache.caller(KEY) is caller
    with pytest.raises(InvalidApiKey):
        await cache.caller(KeyText(KEY.prefix, b"\3" * 32))
    assert await cache.caller(KEY) is caller
    assert lookup.questions == 2


async def test_guessing_keys_fills_only_its_own_bounded_corner(
    cache: VerdictCache, lookup: Lookup, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "REFUSED_MAX", 10)
    assert await cache.caller(KEY) is caller
    for number in range(40):
        with pytest.raises(InvalidApiKey):
            await cache.caller(KeyText(f"{number:08}", b"\4" * 32))
    assert len(cache._refused) == 10
    assert await cache.caller(KEY) is caller
    assert lookup.questions == 41
