"""Tenants and their wallets: where identity, the ledger and plans meet."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission import limits, plans
from taximeter.identity import ApiKey, Caller, IdentityStore, NewProject, Organisation, Project, check_name
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import encode_id, named_id
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountCode, DifferentBody, Kind, Leg, Operation, Status, operator_account
from taximeter.ledger import store as ledger_store
from taximeter.metering.bounds import bounds_view
from taximeter.metering.desk import Desk
from taximeter.metering.wallet import wallet_view

TOP_UP_CODE = 100
GRANT_CODE = 101


@dataclass(frozen=True, slots=True)
class _Entry:
    """How a credit is named: in the API, in its id, in the log, and by its sender."""

    kind: str
    prefix: str
    code: int
    reference: str
    by: plans.By | None


class Tenancy:
    """Creates projects with their accounts, and puts Tokens on them."""

    def __init__(self, pool: asyncpg.Pool, store: IdentityStore, desk: Desk, kept: plans.Plans) -> None:
        self._pool = pool
        self._store = store
        self._desk = desk
        self._ids = desk.ids
        self._plans = kept
        self._limits = limits.LimitsOffice(limits.LimitStore(pool), desk.ids)

    async def create_organisation(self, name: str, time_zone: str = "UTC") -> Organisation:
        """A new organisation.  Raises InvalidRequest for a bad name or an unknown time zone."""
        async with self._pool.acquire() as connection, connection.transaction():
            made = await self._store.insert_organisation(connection, self._ids.new(), check_name(name))
            await plans.set_zone(connection, made.id, time_zone)
        return replace(made, time_zone=time_zone)

    async def create_project(self, organisation_id: UUID | None, name: str, plan: str | None = None, currency: str | None = None) -> Project:
        """A new project with an empty wallet; without an organisation, one of the same name is made.

        Plan and currency, which the catalog has been asked about, decide what it pays for a Token.

        Raises InvalidRequest for a bad name and NotFound for an unknown organisation.
        """
        name = check_name(name)
        project_id = self._ids.new()
        if organisation_id is not None and await self._store.find_organisation(organisation_id) is None:
            message = "there is no organisation with this id"
            raise NotFound(message)
        async with self._pool.acquire() as connection, connection.transaction():
            if organisation_id is None:
                organisation_id = (await self._store.insert_organisation(connection, self._ids.new(), name)).id
            # Projects of one organisation share its budgets' accounts: in one lane they do not wait for each other's transactions.
            lane = int.from_bytes(hashlib.blake2b(organisation_id.bytes, digest_size=4).digest()) % self._desk.settings.lanes
            wallet = await ledger_store.open_wallet(connection, project_id, lane)
            project = NewProject(
                id=project_id,
                organisation_id=organisation_id,
                name=name,
                lane=lane,
                allowance_account=wallet.allowance,
                prepaid_account=wallet.prepaid,
                **({} if plan is None else {"plan": plan}),
                **({} if currency is None else {"currency": currency}),
            )
            return await self._store.insert_project(connection, project)

    async def top_up(self, project_id: UUID, amount_utok: int, reference: str, by: plans.By | None = None) -> dict[str, Any]:
        """Put prepaid Tokens on a wallet.  The same reference is booked once.  ``by``: who does it and why, to be kept.

        Raises NotFound, and DifferentBody when the reference was booked with another amount.
        """
        project = await self._project(project_id)
        return await self._credit(project, project.prepaid_account, amount_utok, _Entry("top_up", "top", TOP_UP_CODE, reference, by))

    async def grant(self, project_id: UUID, amount_utok: int, reference: str, by: plans.By | None = None) -> dict[str, Any]:
        """Put Tokens on a wallet's allowance, which is spent before what was bought and never expires.  The same reference is booked once.

        Raises NotFound, and DifferentBody when the reference was booked with another amount.
        """
        project = await self._project(project_id)
        return await self._credit(project, project.allowance_account, amount_utok, _Entry("grant", "grt", GRANT_CODE, reference, by))

    async def _credit(self, project: Project, account: int, amount_utok: int, entry: _Entry) -> dict[str, Any]:
        reference = entry.reference
        operation_id = named_id(project.id, entry.kind, reference) if reference else self._ids.new()
        leg = Leg(operator_account(AccountCode.TREASURY, project.lane), account, amount_utok, cascade=False)
        outcome = await self._desk.books.submit(
            Operation(id=operation_id, kind=Kind.DIRECT, lane=project.lane, amount_utok=amount_utok, legs=(leg,), code=entry.code)
        )
        if outcome.status is Status.DIFFERENT_BODY:
            message = f"the reference {reference!r} was booked before with another amount; use a new reference"
            raise DifferentBody(message, param="reference")
        if entry.by is not None:
            await self._plans.note(operation_id, project.id, (entry.kind, amount_utok), entry.by)
        return {
            "id": encode_id(entry.prefix, operation_id),
            "object": entry.kind,
            "project_id": encode_id("prj", project.id),
            "tokens": format_tokens(amount_utok),
            "reference": reference or None,
            "replayed": outcome.status is Status.REPLAYED,
            "wallet": await self.wallet(project.id),
        }

    async def wallet(self, project_id: UUID) -> dict[str, Any]:
        """What a wallet holds.  Raises NotFound."""
        async with self._pool.acquire() as connection:
            found = await ledger_store.find_wallet(connection, project_id)
        if found is None:
            message = "there is no project with this id"
            raise NotFound(message)
        _, balances = found
        purse = await self.purse(project_id)
        return wallet_view(project_id, (balances.allowance_utok, balances.prepaid_utok, balances.held_utok), purse)

    async def limits(self, caller: Caller, model: str | None = None, end_user: str | None = None, *, shadows: bool = False) -> dict[str, Any]:
        """All that binds a caller's requests, or those for one model, and what of it is left.  ``shadows``: also what only counts."""
        return await bounds_view(self._desk, self._limits, caller, model=model, end_user=end_user, shadows=shadows)

    async def caller(self, project_id: UUID, key: ApiKey | None = None) -> Caller:
        """Whoever asks with this key; without one, with a key of the project that has no limits of its own.  Raises NotFound."""
        project = await self._project(project_id)
        caller = Caller(
            organisation_id=project.organisation_id,
            project_id=project.id,
            key_id=UUID(int=0) if key is None else key.id,
            key_name="" if key is None else key.name,
            lane=project.lane,
            allowance_account=project.allowance_account,
            prepaid_account=project.prepaid_account,
            requests_per_minute=None if key is None else key.requests_per_minute,
            tokens_per_minute_utok=None if key is None else key.tokens_per_minute_utok,
            plan=project.plan,
            currency=project.currency,
        )
        return replace(caller, terms=await self._plans.terms(caller))

    async def purse(self, project_id: UUID, *, ended: bool = False) -> plans.Purse:
        """What a project has by plans now; with ``ended`` all grants that it ever had."""
        return await self._plans.purse(project_id, utc_from_ms(self._desk.clock.now_ms()), ended=ended)

    async def _project(self, project_id: UUID) -> Project:
        project = await self._store.find_project(project_id)
        if project is None:
            message = "there is no project with this id"
            raise NotFound(message)
        return project
