"""Identity's face: who calls, and the keys that prove it."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from taximeter.identity import rules
from taximeter.identity.cache import VerdictCache
from taximeter.identity.errors import InvalidAdminKey
from taximeter.identity.model import NO_LIMITS, ApiKey, Beside, Caller, IssuedKey, KeyLimits, KeyText, NewKey, Organisation, Project
from taximeter.identity.store import IdentityStore
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import ALPHABET, IdFactory
from taximeter.kernel.settings import Settings

# 40 random bits: two draws that meet are rare, five in a row do not happen.
PREFIX_DRAWS_MAX = 5


class Identity:
    """Authenticates callers and manages keys.

    Projects are made in ``metering``, together with their ledger accounts.
    """

    def __init__(self, store: IdentityStore, ids: IdFactory, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._ids = ids
        self._clock = clock
        self._cache = VerdictCache(store.find_credential, clock, settings.key_cache_s)
        # Without an admin key nobody is an administrator: the hash of a random token matches nothing.
        self._admin_sha256 = hashlib.sha256((settings.admin_key or secrets.token_hex(32)).encode()).digest()

    async def authenticate(self, header: str | None) -> Caller:
        """The caller behind an ``Authorization`` header.

        Raises InvalidApiKey, ExpiredApiKey or RevokedApiKey.  What it answers is at most
        ``settings.key_cache_s`` old.
        """
        return await self._cache.caller(rules.parse_key(header))

    def require_admin(self, header: str | None) -> None:
        """Raises InvalidAdminKey unless the header carries the admin key."""
        if not rules.same_token(rules.bearer_token(header), self._admin_sha256):
            raise InvalidAdminKey

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


def _draw(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
