"""Plans' face to those who run projects: everything by the project's id, and what its wallet looks like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.plans import store
from taximeter.admission.plans.credit import Credit
from taximeter.admission.plans.grants import Grants
from taximeter.admission.plans.model import By, CreditAccount, CreditLine, Grant, GrantOrder, Subscription, When
from taximeter.admission.plans.rules import check_terms, paying_ones, spending_order
from taximeter.admission.plans.subscriptions import Subscriptions
from taximeter.identity import Caller, IdentityStore, Project, terms
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import IdFactory
from taximeter.pricing import Catalog

TEXT_MAX = 500
REFERENCE_MAX = 255
DEFAULT_ZONE = "UTC"


@dataclass(frozen=True, slots=True)
class Purse:
    """What a project has beside its allowance and what it bought.

    Attributes:
        grants: that can be spent now or later, in the order in which they are spent.
        line: None: there is none.
        accounts: that the line stands on, or stood.
        at: when this was so.
    """

    grants: Sequence[Grant]
    subscription: Subscription | None
    line: CreditLine | None
    accounts: Sequence[CreditAccount]
    at: datetime

    @property
    def owed_utok(self) -> int:
        """What was used on credit and not paid for; below 0 when more was paid."""
        return sum(account.owed_utok for account in self.accounts)

    @property
    def credit_utok(self) -> int:
        """What may be used on credit now; below 0, as much as is owed, where there is no bound."""
        line = self.line
        return 0 if line is None or not line.active else next(account.free_utok for account in self.accounts if account.account == line.account)

    def granted_utok(self, modality: str | None = None) -> int:
        """What a request may take from grants, of this modality or of any."""
        usable = [grant for grant in self.grants if grant.in_force(self.at) and grant.modality in (None, modality)]
        return sum(grant.free_utok for grant in paying_ones(usable))


class Plans:
    """Subscriptions, grants, corrections, credit lines."""

    def __init__(self, pool: asyncpg.Pool, identity: IdentityStore, ids: IdFactory, catalog: Callable[[], Catalog]) -> None:
        self._pool = pool
        self._identity = identity
        self._catalog = catalog
        self.credit = Credit(pool, ids)
        self.grants = Grants(pool, ids)
        self.subscriptions = Subscriptions(pool, ids, self.credit, catalog)

    async def subscribe(
        self, project_id: UUID, plan: str, by: By, *, when: When | None = None, anchor: date | None = None, now: datetime | None = None
    ) -> Subscription:
        """See ``Subscriptions.subscribe``.  Raises NotFound too."""
        return await self.subscriptions.subscribe(await self._project(project_id), plan, by, when=when, anchor=anchor, now=now)

    async def unsubscribe(self, project_id: UUID, by: By, now: datetime | None = None) -> Subscription:
        """End a project's subscription.  Raises NotFound, NotSubscribed."""
        return await self.subscriptions.end(await self._project(project_id), by, now)

    async def subscribed(self, project_ids: Sequence[UUID]) -> dict[UUID, Subscription]:
        """The subscriptions of those of these projects that have one."""
        async with self._pool.acquire() as connection:
            return {found.project_id: found for found in await store.subscriptions(connection, project_ids)}

    async def renew(self, project_id: UUID, now: datetime | None = None) -> bool:
        """Begin the period that it is time for, unless that was done."""
        return await self.subscriptions.renew(await self._project(project_id), now) is not None

    async def expire(self, project_id: UUID, grant_id: UUID, now: datetime | None = None) -> int:
        """Post what is left of a grant whose time is over."""
        return await self.grants.expire(await self._project(project_id), grant_id, now)

    async def shrink_line(self, project_id: UUID) -> None:
        """Take back what was lent above a project's line."""
        await self.credit.shrink(await self._project(project_id), By(operator="worker"))

    async def tell_low_wallets(self, below_utok: int) -> int:
        """Tell once of each wallet that has less than so much left; how many were told."""
        async with self._pool.acquire() as connection:
            return await store.tell_low_wallets(connection, below_utok)

    async def give(self, project_id: UUID, order: GrantOrder, by: By, now: datetime | None = None) -> tuple[Grant, bool]:
        """Give Tokens on terms.  Raises NotFound, InvalidRequest, DifferentBody."""
        _check(by)
        check_terms(order)
        project = await self._project(project_id)
        async with self._pool.acquire() as connection:
            at = now or await store.database_now(connection)
        if order.expires_at is not None and order.expires_at <= max(at, order.starts_at or at):
            message = "'expires_at' must be in the future, and after 'starts_at'"
            raise InvalidRequest(message, param="expires_at")
        return await self.grants.give(project, order, by, now)

    async def correct(self, project_id: UUID, amount_utok: int, by: By) -> tuple[UUID, bool]:
        """Put Tokens on a wallet or take them.  Raises NotFound, InvalidRequest, CorrectionAboveBalance, DifferentBody."""
        _check(by, needs_reason=True)
        return await self.grants.correct(await self._project(project_id), amount_utok, by)

    async def pay(self, project_id: UUID, amount_utok: int, by: By) -> tuple[UUID, int, bool]:
        """Book a payment.  Raises NotFound, InvalidRequest, NotPostpaid, DifferentBody."""
        _check(by)
        return await self.credit.pay(await self._project(project_id), amount_utok, by)

    async def set_line(self, project_id: UUID, line_utok: int | None, by: By) -> CreditLine:
        """Agree on how far a wallet may go below nothing.  Raises NotFound, InvalidRequest, CreditLineInUse."""
        _check(by)
        return await self.credit.set_line(await self._project(project_id), line_utok, by)

    async def note(self, transfer_id: UUID, project_id: UUID, entry: tuple[str, int], by: By) -> None:
        """Keep who booked a top-up or a plain grant, and why.  The same transfer is noted once."""
        _check(by)
        async with self._pool.acquire() as connection:
            await store.insert_adjustment(connection, transfer_id, project_id, *entry, by)

    async def purse(self, project_id: UUID, at: datetime, *, ended: bool = False) -> Purse:
        """What a project has by plans; with ``ended`` all grants that it ever had."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            grants = await store.grants(connection, project_id, at, ended=ended)
            line = await store.credit_line(connection, project_id)
            return Purse(
                grants=sorted(grants, key=spending_order),
                subscription=await store.find_subscription(connection, project_id),
                line=line,
                accounts=[] if line is None else await store.credit_accounts(connection, project_id),
                at=at,
            )

    async def adjustments(self, project_id: UUID, after: UUID | None, limit: int) -> Sequence[Any]:
        """What people and plans did to a wallet, newest first."""
        async with self._pool.acquire() as connection:
            return await store.adjustments(connection, project_id, after, limit)

    async def changes(self, project_id: UUID, limit: int) -> Sequence[Any]:
        """What became of a project's subscriptions, newest first."""
        async with self._pool.acquire() as connection:
            return await store.changes(connection, project_id, limit)

    async def fresh_terms(self, caller: Caller) -> terms.Terms:
        """What is agreed with a caller at this moment; a period that is to begin begins now, and not when a worker comes by."""
        if caller.terms.subscription is not None and await self.subscriptions.is_due(caller.project_id):
            await self.renew(caller.project_id)
        return await self.terms(caller)

    async def terms(self, caller: Caller) -> terms.Terms:
        """What is agreed with a caller, as it is written."""
        async with self._pool.acquire() as connection:
            return await store.terms_of(connection, caller)

    async def set_zone(self, organisation_id: UUID, zone: str) -> None:
        """Say where an organisation is; its next periods begin at midnight there.  Raises NotFound, InvalidRequest."""
        async with self._pool.acquire() as connection:
            await set_zone(connection, organisation_id, zone)

    async def _project(self, project_id: UUID) -> Project:
        project = await self._identity.find_project(project_id)
        if project is None:
            message = "there is no project with this id"
            raise NotFound(message)
        return project


async def set_zone(connection: asyncpg.Connection, organisation_id: UUID, zone: str) -> None:
    """Say where an organisation is, in a transaction of the caller's.  Raises NotFound, InvalidRequest."""
    if zone == DEFAULT_ZONE and await store.zone(connection, organisation_id) == zone:
        return
    try:
        found = await store.set_zone(connection, organisation_id, zone)
    except asyncpg.CheckViolationError as error:
        message = f"there is no time zone {zone[:100]!r}; it is a name of the IANA database such as Europe/Berlin"
        raise InvalidRequest(message, param="time_zone") from error
    if not found:
        message = "There is no organisation with this id."
        raise NotFound(message)


def _check(by: By, *, needs_reason: bool = False) -> None:
    for text, name, most, needed in ((by.reason, "reason", TEXT_MAX, needs_reason), (by.reference, "reference", REFERENCE_MAX, False)):
        if len(text) > most or "\0" in text or (needed and not text.strip()):
            message = f"'{name}' must be a text of 1 to {most} characters"
            raise InvalidRequest(message, param=name)
