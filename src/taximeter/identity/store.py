"""Identity in PostgreSQL.  Methods that take a connection join the caller's transaction."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.identity.model import ApiKey, Beside, Caller, Credential, KeyLimits, KeyText, NewKey, NewProject, Organisation, Project
from taximeter.identity.terms import read_terms

_SQL = sql.load("taximeter.identity")


class IdentityStore:
    """Rows in, model out."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def insert_organisation(self, connection: asyncpg.Connection, organisation_id: UUID, name: str) -> Organisation:
        """Record an organisation."""
        row = await connection.fetchrow(_SQL["insert_organisation"], organisation_id, name)
        return Organisation(**row)

    async def insert_project(self, connection: asyncpg.Connection, project: NewProject) -> Project:
        """Record a project whose ledger accounts were made in the same transaction."""
        row = await connection.fetchrow(
            _SQL["insert_project"],
            project.id,
            project.organisation_id,
            project.name,
            project.lane,
            project.allowance_account,
            project.prepaid_account,
            project.plan,
            project.currency,
        )
        return Project(**row)

    async def update_project(self, project_id: UUID, plan: str | None, currency: str | None) -> Project | None:
        """Give a project another plan or currency; None leaves what it has.  None when there is no such project."""
        row = await self._pool.fetchrow(_SQL["update_project"], project_id, plan, currency)
        return None if row is None else Project(**row)

    async def find_organisation(self, organisation_id: UUID) -> Organisation | None:
        """One organisation."""
        row = await self._pool.fetchrow(_SQL["find_organisation"], organisation_id)
        return None if row is None else Organisation(**row)

    async def list_organisations(self, after: UUID | None, limit: int) -> list[Organisation]:
        """Newest first, those older than ``after``."""
        return [Organisation(**row) for row in await self._pool.fetch(_SQL["list_organisations"], after, limit)]

    async def find_project(self, project_id: UUID) -> Project | None:
        """One project."""
        row = await self._pool.fetchrow(_SQL["find_project"], project_id)
        return None if row is None else Project(**row)

    async def list_projects(self, after: UUID | None, organisation_id: UUID | None, limit: int) -> list[Project]:
        """Newest first, those older than ``after``, of one organisation or all."""
        return [Project(**row) for row in await self._pool.fetch(_SQL["list_projects"], after, organisation_id, limit)]

    async def insert_key(self, project_id: UUID, key: NewKey, beside: Beside | None = None) -> ApiKey | None:
        """Record a key, and what belongs to it in the same transaction; None when another key has its prefix."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                _SQL["insert_key"],
                key.id,
                project_id,
                key.name,
                key.text.prefix,
                key.text.secret_sha256,
                key.expires_at,
                key.limits.requests_per_minute,
                key.limits.tokens_per_minute_utok,
            )
            if row is not None and beside is not None:
                await beside(connection, key.id)
        return None if row is None else ApiKey(**row)

    async def list_keys(self, project_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]:
        """A project's keys, newest first, those older than ``after``."""
        return [ApiKey(**row) for row in await self._pool.fetch(_SQL["list_keys"], project_id, after, limit)]

    async def find_key(self, key_id: UUID) -> ApiKey | None:
        """A key of any project."""
        row = await self._pool.fetchrow(_SQL["key"], key_id)
        return None if row is None else ApiKey(**row)

    async def limit_key(self, project_id: UUID, key_id: UUID, limits: KeyLimits, changed: Sequence[str], operator: str) -> ApiKey | None:
        """Give a key of this project other limits: those whose names are in ``changed``; None when it has no such key."""
        requests, tokens_utok = limits.requests_per_minute, limits.tokens_per_minute_utok
        row = await self._pool.fetchrow(_SQL["limit_key"], project_id, key_id, requests, tokens_utok, list(changed), operator)
        return None if row is None else ApiKey(**row)

    async def revoke_key(self, project_id: UUID, key_id: UUID) -> ApiKey | None:
        """Withdraw a key of this project; None when it has no such key."""
        row = await self._pool.fetchrow(_SQL["revoke_key"], project_id, key_id)
        return None if row is None else ApiKey(**row)

    async def find_credential(self, text: KeyText) -> Credential | None:
        """What is known about a presented key's prefix; a use of the right key is noted."""
        row = await self._pool.fetchrow(_SQL["find_key"], text.prefix, text.secret_sha256)
        if row is None:
            return None
        caller = _caller(row)
        return Credential(caller=caller, secret_sha256=row["secret_sha256"], revoked=row["revoked"], remaining_s=row["remaining_s"])

    async def find_caller(self, key_id: UUID) -> Caller | None:
        """Whom a key proves; None when it was revoked or has expired.  For what was asked with it before: it is no proof of who asks now."""
        row = await self._pool.fetchrow(_SQL["find_caller"], key_id)
        return None if row is None else _caller(row)


def _caller(row: asyncpg.Record) -> Caller:
    return Caller(
        organisation_id=row["organisation_id"],
        project_id=row["project_id"],
        key_id=row["id"],
        key_name=row["name"],
        lane=row["lane"],
        allowance_account=row["allowance_account"],
        prepaid_account=row["prepaid_account"],
        requests_per_minute=row["requests_per_minute"],
        tokens_per_minute_utok=row["tokens_per_minute_utok"],
        plan=row["plan"],
        currency=row["currency"],
        terms=read_terms(row["terms"]),
    )
