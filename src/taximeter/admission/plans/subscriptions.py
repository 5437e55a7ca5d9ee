"""What a project has subscribed to: the start, changes, renewals and the end, each with its grants in one transaction."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from uuid import UUID

import asyncpg

from taximeter.admission.plans import store
from taximeter.admission.plans.credit import Credit
from taximeter.admission.plans.errors import CreditLineInUse, NotSubscribed
from taximeter.admission.plans.grants import WORKER, give, take_back
from taximeter.admission.plans.model import By, GrantOrder, Subscription, When
from taximeter.admission.plans.rules import YEARS, Change, change_of, due_after, monthly, prorated, to_give, to_take_back
from taximeter.identity import Project
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import IdFactory, named_id
from taximeter.pricing import Catalog, Plan

log = logging.getLogger(__name__)


class Subscriptions:
    """Each method is one transaction that has the lane of the project's wallet."""

    def __init__(self, pool: asyncpg.Pool, ids: IdFactory, credit: Credit, catalog: Callable[[], Catalog]) -> None:
        self._pool = pool
        self._ids = ids
        self._credit = credit
        self._catalog = catalog

    async def subscribe(
        self, project: Project, plan_name: str, by: By, *, when: When | None = None, anchor: date | None = None, now: datetime | None = None
    ) -> Subscription:
        """Give a project a plan, or another one; see ``rules.change_of`` for what that does and when.

        Args:
            project: whose wallet it is.
            plan_name: a plan that is in force.
            by: who does it.
            when: for a change; None: as the change itself decides.
            anchor: where a period begins: the day that months are counted from, today or before; the first month is then a part of
                one, and so is its allowance.
            now: for tests; None: by the database's clock.

        Raises InvalidRequest for a plan that is not in force, an anchor in the future or in the middle of a period, and for a period's
        end that nobody can wait for; and CreditLineInUse.
        """
        plan = self._catalog().plans.get(plan_name)
        if plan is None:
            message = f"there is no plan {plan_name[:100]!r} in force; there are {', '.join(sorted(self._catalog().plans)) or 'none'}"
            raise InvalidRequest(message, param="plan")
        async with store.locked(self._pool, project.lane) as connection:
            now = now or await store.database_now(connection)
            before = await store.find_subscription(connection, project.id)
            if before is None and when == "period_end":
                message = "this project has no subscription whose period's end could be waited for; leave 'when' out"
                raise InvalidRequest(message, param="when")
            if before is not None and before.period_end <= now:
                before = await self._renew(connection, project, before, now)
            going_on = before or await _left_one(connection, project, now)
            change = Change.RESTART if going_on is None else Change.RAISE if before is None else change_of(going_on, plan, when)
            if going_on is None or change is Change.RESTART:
                return await self._start(connection, project, plan, by, anchor or await store.today(connection, project.id, now), now, before)
            _check_anchor(going_on, anchor)
            return going_on if change is Change.NOTHING else await self._change(connection, project, going_on, (plan, change), by, now)

    async def end(self, project: Project, by: By, now: datetime | None = None) -> Subscription:
        """End it at once.  What was granted may be used to its end; nothing more is lent.  Raises NotSubscribed."""
        async with store.locked(self._pool, project.lane) as connection:
            now = now or await store.database_now(connection)
            before = await store.find_subscription(connection, project.id)
            if before is None:
                message = "this project has not subscribed to a plan"
                raise NotSubscribed(message)
            await store.end_subscription(connection, project.id, due_after(before, 0, now))
            await self._credit.end(connection, project, by)
            await self._keep(connection, "ended", before, before.plan, by)
            return before

    async def renew(self, project: Project, now: datetime | None = None) -> Subscription | None:
        """Begin the period that it is time for; None when that was done, or there is nothing to renew."""
        async with store.locked(self._pool, project.lane) as connection:
            now = now or await store.database_now(connection)
            before = await store.find_subscription(connection, project.id)
            if before is None or before.period_end > now:
                return None
            return await self._renew(connection, project, before, now)

    async def due(self, limit: int, now: datetime | None = None) -> list[UUID]:
        """Projects whose period is over."""
        async with self._pool.acquire() as connection:
            return await store.due(connection, now or await store.database_now(connection), limit)

    async def is_due(self, project_id: UUID, now: datetime | None = None) -> bool:
        """Whether a project's period is over."""
        async with self._pool.acquire() as connection:
            return await store.is_due(connection, project_id, now)

    async def _start(  # noqa: PLR0913, PLR0917
        self, connection: asyncpg.Connection, project: Project, plan: Plan, by: By, anchor: date, now: datetime, before: Subscription | None = None
    ) -> Subscription:
        today = await store.today(connection, project.id, now)
        if anchor.year not in YEARS:
            message = f"the months cannot be counted from the year {anchor.year}; a day of the last month gives the same periods"
            raise InvalidRequest(message, param="anchor")
        if anchor > today:
            message = f"the months cannot be counted from {anchor}, which is still to come"
            raise InvalidRequest(message, param="anchor")
        month, start, end = await store.period(connection, project.id, anchor, now)
        # Who begins today has a whole month before him, whatever the hour.
        is_whole = anchor == today
        amount_utok = monthly(plan) if is_whole else prorated(monthly(plan), start, now, end)
        subscription = Subscription(
            project_id=project.id, plan=plan.name, next_plan=None, anchor=anchor, month=month, period_start=now if is_whole else start,
            period_end=end, allowance_utok=monthly(plan), allowance_modality=plan.allowance_modality,
            started_at=now if before is None else before.started_at, due_utok=amount_utok, given_utok=amount_utok,
        )  # fmt: skip
        await store.put_subscription(connection, subscription)
        await self._give_month(connection, project, subscription, amount_utok, now)
        await self._give_once(connection, project, plan, by, now)
        await self._agree(connection, project, plan, None if before is None else before.plan, by)
        await self._keep(connection, "started" if before is None else "changed", subscription, None if before is None else before.plan, by)
        return subscription

    async def _change(
        self, connection: asyncpg.Connection, project: Project, before: Subscription, wanted: tuple[Plan, Change], by: By, now: datetime
    ) -> Subscription:
        plan, change = wanted
        if change is Change.WAIT:
            after = replace(before, next_plan=plan.name)
            await store.put_subscription(connection, after)
            await self._keep(connection, "planned", after, before.plan, by)
            return after
        keeps = change is Change.RAISE and (plan.postpaid or plan.name == before.plan)
        allowance_utok = max(before.allowance_utok, monthly(plan)) if keeps else monthly(plan)
        modality = before.allowance_modality if keeps and before.allowance_utok else plan.allowance_modality
        change_id, unsigned = self._ids.new(), replace(by, reference="")
        given_utok, due_utok = before.given_utok, due_after(before, allowance_utok, now)
        if change is Change.SWITCH:
            accounts = [grant.account for grant in await store.grants_of_period(connection, project.id, before.period_end)]
            rest_utok = to_take_back(before, now)
            given_utok -= await take_back(connection, named_id(change_id, "proration", "back"), project, accounts, rest_utok, unsigned)
        amount_utok = to_give(due_utok, given_utok)
        if amount_utok > 0:
            order = GrantOrder(amount_utok=amount_utok, kind="proration", expires_at=before.period_end, modality=modality, plan=plan.name)
            await give(connection, named_id(change_id, "proration", "given"), project, order, unsigned, now)
        after = replace(
            before, plan=plan.name, next_plan=None, allowance_utok=allowance_utok, allowance_modality=modality,
            due_utok=due_utok, given_utok=given_utok + amount_utok,
        )  # fmt: skip
        await store.put_subscription(connection, after)
        plan_before = before.plan or None
        await self._give_once(connection, project, plan, by, now)
        await self._agree(connection, project, plan, plan_before, by)
        await self._keep(connection, "changed" if plan_before else "started", after, plan_before, by)
        return after

    async def _renew(self, connection: asyncpg.Connection, project: Project, before: Subscription, now: datetime) -> Subscription:
        """Months that nobody was there for are not made up for: whoever used nothing in them has lost nothing."""
        name = before.next_plan or before.plan
        plan = self._catalog().plans.get(name)
        month, start, end = await store.period(connection, project.id, before.anchor, now, before.month + 1)
        if month == before.month + 1:
            # One after the other without a gap, also when the customer has moved to another time zone.
            start = before.period_end
        if plan is None:
            log.error("the plan %s of project %s is not in force: nothing is granted", name, project.id)
        amount_utok = 0 if plan is None else monthly(plan)
        after = replace(
            before, plan=name, next_plan=None, month=month, period_start=start, period_end=end, allowance_utok=amount_utok,
            allowance_modality=None if plan is None else plan.allowance_modality, due_utok=amount_utok, given_utok=amount_utok,
        )  # fmt: skip
        by = By(operator=WORKER)
        await store.put_subscription(connection, after)
        await self._give_month(connection, project, after, amount_utok, start)
        if plan is not None and name != before.plan:
            await self._give_once(connection, project, plan, by, now)
            try:
                await self._agree(connection, project, plan, before.plan, by)
            except CreditLineInUse as refusal:
                # Nothing is lent above the line that there is; what is owed does not keep the period from beginning.
                log.warning("project %s keeps the credit line that it has: %s", project.id, refusal.message)
        await self._keep(connection, "renewed", after, before.plan, by)
        return after

    async def _give_month(
        self, connection: asyncpg.Connection, project: Project, subscription: Subscription, amount_utok: int, starts_at: datetime
    ) -> None:
        """The id is made from what it is for: whoever comes second finds it."""
        if amount_utok > 0:
            order = GrantOrder(
                amount_utok=amount_utok, kind="renewal", starts_at=starts_at, expires_at=subscription.period_end,
                modality=subscription.allowance_modality, plan=subscription.plan,
            )  # fmt: skip
            grant_id = named_id(project.id, "renewal", f"{subscription.plan}/{subscription.period_start.isoformat()}")
            await give(connection, grant_id, project, order, By(operator=WORKER), starts_at)

    async def _give_once(self, connection: asyncpg.Connection, project: Project, plan: Plan, by: By, now: datetime) -> None:
        """What a plan gives once, a project gets once, however often it comes back to the plan."""
        if plan.allowance_period == "once" and plan.allowance_utok > 0:
            grant_id = named_id(project.id, "once", plan.name)
            if await store.find_grant(connection, grant_id) is None:
                order = GrantOrder(amount_utok=plan.allowance_utok, kind="once", modality=plan.allowance_modality, plan=plan.name)
                await give(connection, grant_id, project, order, replace(by, reference=""), now)

    async def _agree(self, connection: asyncpg.Connection, project: Project, plan: Plan, plan_before: str | None, by: By) -> None:
        """A line that came with a plan goes with it; one that was agreed on apart stays."""
        old = None if plan_before is None else self._catalog().plans.get(plan_before)
        if plan.postpaid:
            await self._credit.agree(connection, project, plan.credit_line_utok, by)
        elif old is not None and old.postpaid:
            await self._credit.end(connection, project, by)

    async def _keep(self, connection: asyncpg.Connection, event: str, after: Subscription, plan_before: str | None, by: By) -> None:
        change_id = self._ids.new()
        await store.insert_change(connection, change_id, event, after, plan_before, by.operator)
        data = {
            "event": event, "plan": after.plan, "next_plan": after.next_plan, "plan_before": plan_before,
            "period_start": after.period_start.isoformat(), "period_end": after.period_end.isoformat(),
        }  # fmt: skip
        kind = "subscription.renewed" if event == "renewed" else "plan.changed"
        await store.emit(connection, kind, after.project_id, data, f"{kind}/{change_id}")


async def _left_one(connection: asyncpg.Connection, project: Project, now: datetime) -> Subscription | None:
    """A subscription that has ended within its period, as one to a plan without a name that gives nothing; None when there is none."""
    period = await store.open_period(connection, project.id, now)
    if period is None:
        return None
    return Subscription(project_id=project.id, plan="", next_plan=None, allowance_utok=0, allowance_modality=None, started_at=now, **period)


def _check_anchor(subscription: Subscription, anchor: date | None) -> None:
    """Raises InvalidRequest for a day that the months of a period which goes on are not counted from."""
    if anchor is not None and anchor != subscription.anchor:
        message = (
            f"'anchor' counts where a period begins, and this one goes on until {subscription.period_end.isoformat()}: its months are counted from"
            f" {subscription.anchor}; leave 'anchor' out"
        )
        raise InvalidRequest(message, param="anchor")
