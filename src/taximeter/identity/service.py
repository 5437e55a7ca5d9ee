"""Identity's face: who calls, and the keys that prove it."""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from taximeter.identity import rules
from taximeter.identity.cache import VerdictCache
from taximeter.identity.errors import InvalidAdminKey, InvalidApiKey, TooManyFailedKeys
from taximeter.identity.guesses import Guesses, place_of
from taximeter.identity.model import NO_LIMITS, ApiKey, Beside, Caller, IssuedKey, KeyLimits, KeyText, NewKey, Organisation, Project
from taximeter.identity.store import IdentityStore
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import ALPHABET, IdFactory
from taximeter.kernel.settings import Settings

# 40 random bits: two draws that meet are rare, five in a row do not happen.
PREFIX_DRAWS_MAX = 5
DOUBTED_AT_ONCE = 2
"""Look-ups for those who have presented many wrong keys, at the same time: of a process's six connections."""
DOUBTED_WAITING_MAX = 50


class Identity:
    """Authenticates callers and manages keys.

    Projects are made in ``metering``, together with their ledger accounts.
    """

    def __init__(self, store: IdentityStore, ids: IdFactory, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._ids = ids
        self._clock = clock
        self._cache = VerdictCache(store.find_credential, clock, settings.key_cache_s)
        self._guesses = Guesses(settings.key_failures_max, settings.key_block_max_s)
        self._doubted = Narrow(DOUBTED_AT_ONCE, DOUBTED_WAITING_MAX)
        # Without an admin key nobody is an administrator: the hash of a random token matches nothing.
        self._admin_sha256 = hashlib.sha256((settings.admin_key or secrets.token_hex(32)).encode()).digest()

    async def authenticate(self, header: str | None, address: str | None = None) -> Caller:
        """The caller behind an ``Authorization`` header.

        Args:
            header: as it came.
            address: where it came from; None: from ourselves, where nothing is guessed.

        Raises InvalidApiKey, ExpiredApiKey or RevokedApiKey; TooManyFailedKeys instead of the first where too many were wrong.
        What it answers is at most ``settings.key_cache_s`` old.
        """
        try:
            key = rules.parse_key(header)
        except InvalidApiKey:
            if rules.bearer_token(header) is not None:
                self._was_wrong(_sources(address))
            raise
        known = self._cache.remembered(key)
        if known is not None:
            return known
        sources = _sources(address, key.prefix)
        try:
            if self._wait_s(sources) and not self._cache.was_right(key):
                return await self._doubt(key, sources)
            return await self._cache.caller(key)
        except InvalidApiKey:
            self._was_wrong(sources)
            raise

    def require_admin(self, header: str | None, address: str | None = None) -> None:
        """Raises InvalidAdminKey unless the header carries the admin key; TooManyFailedKeys where too many were wrong."""
        token = rules.bearer_token(header)
        if not rules.same_token(token, self._admin_sha256):
            if token is not None:
                self._was_wrong(_sources(address))
            raise InvalidAdminKey

    async def _doubt(self, key: KeyText, sources: tuple[str, ...]) -> Caller:
        """Look a key up that comes from where many were wrong: few of them at a time, so that nobody else waits for it."""
        if not self._doubted.has_room:
            raise TooManyFailedKeys(self._wait_s(sources))
        async with self._doubted:
            return await self._cache.caller(key)

    def _wait_s(self, sources: tuple[str, ...]) -> float:
        return self._guesses.wait_s(sources, self._clock.monotonic_s())

    def _was_wrong(self, sources: tuple[str, ...]) -> None:
        """Count a wrong key.  Raises TooManyFailedKeys when there were too many before."""
        blocked = self._wait_s(sources) > 0
        self._guesses.wrong(sources, self._clock.monotonic_s())
        if blocked:
            raise TooManyFailedKeys(self._wait_s(sources))

    async def issue_key(
        self, project_id: UUID, name: str, expires_at: datetime | None = None, limits: KeyLimits = NO_LIMITS, beside: Beside | None = None
    ) -> IssuedKey:
        """Make a key for a project.  Its text is in the answer and nowhere else.

        ``beside`` writes what belongs to the key in the same transaction; what it raises leaves no key behind.

        Raises NotFound for an unknown project, InvalidRequest for a bad name or limit, or an expiry that is past, without a zone or beyond all
        calendars.
        """
        name = rules.check_name(name)
        rules.check_limits(limits)
        if expires_at is not None:
            rules.check_expiry(expires_at, utc_from_ms(self._clock.now_ms()))
        await self.project(project_id)
        for _ in range(PREFIX_DRAWS_MAX):
            prefix, secret = _draw(rules.PREFIX_LENGTH), _draw(rules.SECRET_LENGTH)
            text = KeyText(prefix, rules.hash_secret(secret))
            new = NewKey(id=self._ids.new(), name=name, text=text, expires_at=expires_at, limits=limits)
            key = await self._store.insert_key(project_id, new, beside)
            if key is not None:
                return IssuedKey(key, rules.format_key(prefix, secret))
        message = f"{PREFIX_DRAWS_MAX} key prefixes in a row were taken"
        raise AssertionError(message)

    async def keys(self, project_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]:
        """A project's keys, newest first.  Raises NotFound for an unknown project."""
        await self.project(project_id)
        return await self._store.list_keys(project_id, after, limit)

    async def limit_key(self, project_id: UUID, key_id: UUID, limits: KeyLimits, changed: Sequence[str], operator: str) -> ApiKey:
        """Give a key other limits: the fields of ``limits`` that are named in ``changed``.  Every gateway keeps them within ``settings.key_cache_s``.

        Raises InvalidRequest for a bad limit, NotFound when the project has no such key.
        """
        rules.check_limits(limits)
        key = await self._store.limit_key(project_id, key_id, limits, changed, operator)
        if key is None:
            message = "This project has no key with this id."
            raise NotFound(message)
        return key

    async def revoke_key(self, project_id: UUID, key_id: UUID) -> ApiKey:
        """Withdraw a key: refused here at once by the database, by every gateway within ``settings.key_cache_s``.

        Raises NotFound when the project has no such key.
        """
        key = await self._store.revoke_key(project_id, key_id)
        if key is None:
            message = "This project has no key with this id."
            raise NotFound(message)
        return key

    async def project(self, project_id: UUID) -> Project:
        """One project.  Raises NotFound."""
        project = await self._store.find_project(project_id)
        if project is None:
            message = "There is no project with this id."
            raise NotFound(message)
        return project

    async def change_project(self, project_id: UUID, plan: str | None, currency: str | None) -> Project:
        """Give a project another plan or currency, which the catalog has been asked about; None leaves what it has.  Raises NotFound."""
        project = await self._store.update_project(project_id, plan, currency)
        if project is None:
            message = "There is no project with this id."
            raise NotFound(message)
        return project

    async def projects(self, after: UUID | None, organisation_id: UUID | None, limit: int) -> list[Project]:
        """Projects, newest first, of one organisation or all."""
        return await self._store.list_projects(after, organisation_id, limit)

    async def organisation(self, organisation_id: UUID) -> Organisation:
        """One organisation.  Raises NotFound."""
        organisation = await self._store.find_organisation(organisation_id)
        if organisation is None:
            message = "There is no organisation with this id."
            raise NotFound(message)
        return organisation

    async def organisations(self, after: UUID | None, limit: int) -> list[Organisation]:
        """Organisations, newest first."""
        return await self._store.list_organisations(after, limit)


class Narrow:
    """A gate that lets few through at a time, with a bounded crowd before it.

    Args:
        at_once: how many.
        waiting_max: how many may wait.
    """

    def __init__(self, at_once: int, waiting_max: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._room = at_once + waiting_max
        self._inside = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may come."""
        return self._inside < self._room

    async def __aenter__(self) -> None:
        """Wait for one's turn."""
        self._inside += 1
        try:
            await self._free.acquire()
        except BaseException:
            self._inside -= 1
            raise

    async def __aexit__(self, *_error: object) -> None:
        """Make room."""
        self._inside -= 1
        self._free.release()


def _sources(address: str | None, prefix: str | None = None) -> tuple[str, ...]:
    """What a wrong key is counted by."""
    if address is None:
        return ()
    place = place_of(address)
    return (place,) if prefix is None else (place, f"{rules.KEY_START}{prefix}")


def _draw(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
