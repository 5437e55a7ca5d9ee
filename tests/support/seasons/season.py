"""One season: weeks of asking, giving, waiting and dying that a seed has chosen, on PostgreSQL and on paper at once."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from taximeter.admission.budgets import NewBudget
from taximeter.admission.limits import LimitOrder
from taximeter.admission.plans import Upkeep
from taximeter.identity import Caller, KeyLimits
from taximeter.kernel.errors import Refusal
from taximeter.ledger import AccountCode, Kind, Status
from taximeter.metering import Metering, Order, Receipt, Ride
from taximeter.metering.fares import quote_fare
from tests.support.ledger_model import Account
from tests.support.seasons.books import Books, Wish, ends_at
from tests.support.seasons.paper import Asked, Bound, Offer, Purse, SetLimit, Trip
from tests.support.seasons.stage import APPROVAL_TTL_S, MESSAGES, PLANS, TIERS, Stage

TOKEN = 1_000_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "America/Havana", "America/Santiago")
SPANS_MS = (1, 500, 3_000, 20_000, 61_000, 400_000, 1_000_000, 3_600_000, 7 * 3_600_000, 86_400_000, 9 * 86_400_000, 31 * 86_400_000)
USERS = (None, None, "ann", "bob")


@dataclass
class Season:
    """Both sides of it.

    Attributes:
        told: how often what was answered.
        trace: what happened, line by line.
    """

    rng: random.Random
    stage: Stage
    books: Books
    told: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    defaults: list[Bound] = field(default_factory=list)
    dead: set[UUID] = field(default_factory=set)
    surge: tuple[int, datetime] = (100, datetime.max.replace(tzinfo=UTC))

    def note(self, line: str) -> None:
        self.trace.append(f"{self.stage.clock.now.isoformat(timespec='milliseconds')} {line}")

    # What there is at the beginning.

    async def move_in(self) -> None:
        rng, stage = self.rng, self.stage
        for _ in range(rng.randint(1, 2)):
            zone = rng.choice(ZONES)
            organisation = await stage.office.tenancy.create_organisation("House", zone)
            for _ in range(rng.randint(1, 2)):
                project = await stage.office.tenancy.create_project(organisation.id, "Room")
                purse = Purse(project.id, organisation.id, project.lane, zone, project.allowance_account, project.prepaid_account)
                self.books.purses[project.id] = purse
                for account in (purse.allowance, purse.prepaid):
                    self.books.ledger.accounts[account] = Account(limited=True)
                for _ in range(rng.randint(1, 2)):
                    slow = rng.random() < 0.2
                    limits = KeyLimits(
                        requests_per_minute=rng.randint(2, 6) if slow else None,
                        tokens_per_minute_utok=rng.choice([200, 900]) * TOKEN if rng.random() < 0.2 else None,
                    )
                    await stage.caller(project, limits)
                await self.top_up(purse, rng.choice([0, 50, 900, 3000]) * TOKEN)
        for _ in range(rng.randint(0, 4)):
            await self.make_budget()
        for _ in range(rng.randint(0, 4)):
            await self.make_limit()

    async def top_up(self, purse: Purse, amount: int) -> None:
        if amount:
            code = self.rng.choice([AccountCode.PREPAID, AccountCode.PREPAID, AccountCode.ALLOWANCE])
            put = self.stage.office.tenancy.top_up if code is AccountCode.PREPAID else self.stage.office.tenancy.grant
            await put(purse.id, amount, "")
            self.books.move(purse, AccountCode.TREASURY, purse.prepaid if code is AccountCode.PREPAID else purse.allowance, amount)

    async def make_budget(self) -> None:
        rng, caller = self.rng, self.rng.choice(self.stage.callers)
        owner: dict[str, UUID]
        scope, owner = rng.choice([
            ("organisation", {"organisation_id": caller.organisation_id}),
            ("project", {"project_id": caller.project_id}),
            ("key", {"key_id": caller.key_id}),
            ("end_user", {"project_id": caller.project_id}),
        ])  # fmt: skip
        span = rng.choice(["day", "month", "rolling"])
        window_s = rng.choice([60, 3600, 100_000]) if span == "rolling" else None
        limit, hard = rng.choice([150, 600, 2000]) * TOKEN, rng.random() < 0.8
        wanted = NewBudget(scope=scope, limit_utok=limit, window=span, window_s=window_s, hard=hard, operator="test", **owner)  # type: ignore[arg-type]
        try:
            state = await self.stage.office.budgets.create(wanted)
        except Refusal as refusal:
            assert refusal.code == "budget_exists"  # noqa: PT017 - as the paper expects
            return
        zone = self.books.purses[caller.project_id].zone
        bound = Bound(state.id, scope, next(iter(owner.values())), span, window_s, limit, hard, zone, self.books.now, limits=[limit])
        (self.defaults if scope == "end_user" else self.books.bounds).append(bound)
        self.note(f"a {'hard' if hard else 'soft'} budget of {limit // TOKEN} a {span} {window_s or ''} for {scope}")

    async def make_limit(self) -> None:
        rng, caller = self.rng, self.rng.choice(self.stage.callers)
        scope = rng.choice(["key", "project", "model"])
        owner = {"key": caller.key_id, "project": caller.project_id, "model": None}[scope]
        kind = rng.choice(["requests", "tokens", "concurrency"])
        most = {"requests": rng.randint(2, 9), "tokens": rng.choice([120, 500, 2000]) * TOKEN, "concurrency": rng.randint(1, 4)}[kind]
        window_s, shadow = (None if kind == "concurrency" else rng.choice([60, 3600])), rng.random() < 0.25
        model = "teller" if scope == "model" else None
        order = LimitOrder(scope=scope, owner=owner, model=model, kind=kind, most=most, window_s=window_s, shadow=shadow, operator="test")  # type: ignore[arg-type]
        made = await self.stage.limits.set(order)
        self.books.set_limit(SetLimit(str(made.id), scope, owner, kind, most, window_s or 0, shadow))
        self.note(f"a limit of {most} {kind} in {window_s} for {scope}{' in the shadow' if shadow else ''}")

    # Requests.

    def body(self, asked: Asked) -> dict[str, Any]:
        tokens, tier, user = asked
        user_field = {} if user is None else {"user": user}
        return {"messages": MESSAGES, "max_tokens": tokens, "service_tier": tier, **user_field}

    def factor(self, tier: str) -> int:
        """What surge multiplies a price by at this moment, in percent; cheap tiers wait for the calm instead."""
        percent, until = self.surge
        return 100 if tier in ("flex", "batch") or until <= self.books.now else percent

    async def ask(self) -> None:
        """Somebody asks, perhaps by a quote, which may be somebody else's or for something else."""
        rng = self.rng
        caller, asked, offer = rng.choice(self.stage.callers), self.something(), None
        if self.offers and rng.random() < 0.45:
            offer = rng.choice(self.offers[-6:])
            keys = [one for one in self.stage.callers if one.project_id == offer.project]
            caller = caller if rng.random() < 0.15 else rng.choice(keys)
            asked = offer.asked if rng.random() < 0.85 else asked
        caller = await self.known(caller)
        desk, stream = rng.choice(self.stage.desks), rng.random() < 0.5
        base = quote_fare(desk.catalog, "teller", self.body(asked))
        maximum = base.maximum_utok * self.factor(asked[1]) // 100
        wish = Wish(caller, asked, offer, maximum if offer is None else offer.maximum, sum(line.expected_utok for line in base.parts.lines))
        quote_id = None if offer is None else offer.id
        order = Order(caller=caller, model="teller", modality="chat", request=self.body(asked), stream=stream, quote_id=quote_id)
        expected = self.refusal_before(wish)
        ride, told, headers = await self.open(Metering(desk, self.stage.office.store), order)
        by = "by quote " if offer else ""
        self.note(f"{self.name(caller)} asks for {asked} {by}at most {wish.maximum // TOKEN}: {told} {'' if ride is None else ride.id}")
        self.told[told] += 1
        if expected is not None:
            assert told == expected, (told, expected, wish)
            if told == "needs_approval":
                self.park(wish, headers)
            return
        await self.open_user_budgets(wish)
        refused, legs = self.books.ask(wish, self.stage.office.desk.ids.new() if ride is None else ride.id)
        assert (told in refused) if refused else (told == "open"), (told, refused, wish, self.books.purses[caller.project_id])
        if ride is not None:
            self.let_in(ride, wish, legs, desk.process_id, base.maximum_utok, stream=stream)

    def something(self) -> Asked:
        rng = self.rng
        return rng.choice([1, 10, 20, 40, 140]), rng.choice(TIERS), rng.choice(USERS)

    def park(self, wish: Wish, headers: Mapping[str, str]) -> None:
        """It waits for an operator; the same request waits in the same place."""
        waits = [one for one in self.offers if one.approval is not None and (one.project, one.asked[:2]) == (wish.caller.project_id, wish.asked[:2])]
        waits = [
            one for one in waits if one.expires > self.books.now and one.state != "declined" and (one.used_by is None or self.released(one.used_by))
        ]
        approval, quote = headers["taximeter-approval"], headers["taximeter-quote"]
        if waits:
            assert [one.id for one in waits] == [quote]
            return
        expires = self.books.now + timedelta(seconds=APPROVAL_TTL_S)
        factor = str(Fraction(self.factor(wish.tier), 100))
        self.offers.append(Offer(quote, wish.caller.project_id, wish.asked, wish.maximum, factor, expires, approval=approval, state="pending"))

    async def open(self, metering: Metering, order: Order) -> tuple[Ride | None, str, Mapping[str, str]]:
        try:
            return await metering.open(order), "open", {}
        except Refusal as refusal:
            return None, refusal.code, refusal.headers or {}

    def refusal_before(self, wish: Wish) -> str | None:  # noqa: PLR0911 - one line an answer
        """What is told before anything is held; None: it comes to a hold."""
        offer, now = wish.offer, self.books.now
        if offer is not None:
            if offer.project != wish.caller.project_id:
                return "quote_not_found"
            if offer.used_by is not None and not self.released(offer.used_by):
                return "quote_used"
            if offer.expires <= now:
                return "quote_expired"
            if offer.asked[:2] != wish.asked[:2]:
                return "quote_mismatch"
        percent, until = self.surge
        if wish.tier in ("flex", "batch") and percent > 100 and until > now:
            return "flex_unavailable"
        month = self.books.purses[wish.caller.project_id].month
        plan = PLANS[month.plan] if month is not None else {}
        if wish.maximum > plan.get("cap", wish.maximum) and not (offer is not None and offer.state == "approved"):
            if not plan.get("approve"):
                return "above_plan_cap"
            return "approval_decided" if offer is not None and offer.state == "declined" else "needs_approval"
        return None

    def released(self, request_id: UUID) -> bool:
        trip = self.books.trips[request_id]
        return request_id not in self.books.ledger.holds and not trip.settled

    def let_in(self, ride: Ride, wish: Wish, legs: Any, process: UUID, base: int, *, stream: bool) -> None:  # noqa: ANN401
        offer = wish.offer
        factor = offer.multiplier if offer is not None else str(Fraction(self.factor(wish.tier), 100))
        assert ride.fare.maximum_utok == wish.maximum
        assert Fraction(ride.fare.parts.multiplier) == Fraction(factor), "a quote keeps its price, and everybody else pays that of the moment"
        assert wish.maximum == base * Fraction(factor)
        purse = self.books.purses[wish.caller.project_id]
        position = self.books.join(wish, ride.id)
        bounds, ends = self.books.bounding(wish), ends_at(self.books)
        trip = Trip(ride, purse, wish.maximum, legs, bounds, offer, position, process, stream, ends, factor, wish.asked[0])
        self.books.trips[ride.id] = trip
        told = ride.headers().get("taximeter-queue-position")
        assert told == (None if self.books.slots is None else str(position)), (told, position)
        if offer is not None:
            offer.used_by = ride.id

    async def open_user_budgets(self, wish: Wish) -> None:
        """The first request of an end user that comes to a hold opens what the defaults say."""
        for default in self.defaults:
            mine = wish.end_user is not None and default.owner == wish.caller.project_id
            if mine and not any(bound.end_user == wish.end_user and bound.default is default for bound in self.books.bounds):
                row = await self.stage.owner.fetchrow(
                    "select id, created_at from admission.budgets where default_id = $1 and end_user = $2", default.id, wish.end_user
                )
                assert row["created_at"] == self.books.now
                new: dict[str, Any] = {"created": self.books.now, "charged": [], "held": {}, "limits": [default.limit]}
                one = replace(default, id=row["id"], end_user=wish.end_user, default=default, **new)
                self.books.bounds.append(one)

    async def known(self, caller: Caller) -> Caller:
        """The caller as his next verdict knows him; a month that is due has begun by then, with the one before if not with the worker."""
        plans = self.stage.office.plans
        earlier = replace(caller, terms=await plans.fresh_terms(caller))
        fresh = replace(caller, terms=await plans.fresh_terms(earlier))
        self.books.renew(self.books.purses[caller.project_id])
        self.stage.callers[self.stage.callers.index(caller)] = fresh
        await self.meet()
        return fresh

    def name(self, caller: Caller) -> str:
        return f"key {[one.key_id for one in self.stage.callers].index(caller.key_id)}"

    async def end_one(self) -> None:
        """A request that may run ends in one of the ways in which requests end."""
        able = [trip for trip in self.books.trips.values() if trip.open and (trip.position == 0 or trip.ride.id in self.books.granted_ms)]
        if not able:
            return
        trip, engine, rng = self.rng.choice(able), self.stage.engine, self.rng
        estimated = trip.ride.expected_work["prompt_tokens"]
        engine.prompt, engine.tokens, engine.breaks = rng.randint(1, estimated), rng.randint(1, trip.tokens), rng.random() < 0.15
        leaves = rng.random() < 0.15
        prompt, tokens = engine.prompt, engine.tokens
        trip.open = False
        told: Receipt | str
        if leaves:
            told = await self.leave(trip)
            prompt, tokens = estimated, 1
        else:
            told = await self.run(trip)
        charges = not (engine.breaks and not leaves) and not (leaves and not trip.stream)
        consumed = (prompt + 2 * tokens) * TOKEN
        charged = min(_half_even(consumed * Fraction(trip.factor)), trip.maximum)
        status = self.books.end(trip, Kind.SETTLE if charges else Kind.VOID, charged, consumed)
        self.books.fill()
        self.note(f"{trip.ride.id} ends: {told if isinstance(told, str) else told.outcome}, {charged // TOKEN} Tokens, {status.name}")
        self.told[f"ended {'settled' if charges else 'void'} {status.name}"] += 1
        if isinstance(told, Receipt):
            assert told.settlement == "settled"
            if status in (Status.APPLIED, Status.SETTLED_LATE):
                assert told.charged_utok == trip.charged

    async def run(self, trip: Trip) -> Receipt | str:
        try:
            items = [item async for item in trip.ride.events()]
        except Refusal as refusal:
            return refusal.code
        assert isinstance(items[-1], Receipt)
        return items[-1]

    async def leave(self, trip: Trip) -> str:
        """The caller has gone after the first piece."""
        events = trip.ride.events()
        await anext(events)
        await events.aclose()
        return "left"

    # Time, deaths, upkeep.

    async def pass_time(self) -> None:
        span_ms = self.rng.choice(SPANS_MS if self.rng.random() < 0.5 else SPANS_MS[:6])
        await self.stage.quiet()
        await self.stage.clock.advance(span_ms)
        self.books.ledger.now_s = self.stage.clock.now_ms() / 1000
        self.note(f"{span_ms} ms pass")

    async def kill_one(self) -> None:
        """A gateway dies with all that it has; another one takes its place."""
        place = self.rng.randrange(len(self.stage.desks))
        process = self.stage.desks[place].process_id
        self.dead.add(process)
        for trip in self.books.trips.values():
            trip.open = trip.open and trip.process != process
        await self.stage.start_gateway(place)
        self.note("a gateway dies")

    async def sweep(self) -> None:
        """Which end comes first of several is the database's affair: it is read from its log."""
        due = {trip.ride.id: trip for trip in self.books.overdue(self.dead)}
        found = await self.stage.sweeper.sweep()
        assert found == len(due), (found, due)
        rows = await self.stage.owner.fetch(
            "select id, batch from ledger.transfers where id = any ($1) and phase = 1 and leg = 0 order by batch, pos", list(due)
        )
        assert len(rows) == len(due)
        for number, row in enumerate(rows):
            if number and row["batch"] != rows[number - 1]["batch"]:
                self.books.fill()
            self.books.end(due[row["id"]], Kind.EXPIRE)
            due[row["id"]].open = due[row["id"]].open and due[row["id"]].position == 0
        self.books.fill()
        self.note(f"a sweep: {found}")

    async def keep_up(self) -> None:
        """The worker's turn at plans; two at once do no harm."""
        for purse in self.books.purses.values():
            self.books.renew(purse)
        await asyncio.gather(*(Upkeep(self.stage.office.plans).turn() for _ in range(2)))
        await self.meet()
        self.books.expire()
        for purse in self.books.purses.values():
            self.books.shrink(purse)
        self.note("the worker keeps plans up")

    async def meet(self) -> None:
        """Grants and lines that the paper expects, and no others, are there."""
        rows = await self.stage.owner.fetch("select * from admission.grants order by id")
        known = {pot.id for purse in self.books.purses.values() for pot in purse.pots if pot.account}
        for row in rows:
            if row["id"] not in known:
                purse = self.books.purses[row["project_id"]]
                pot = next((pot for pot in purse.pots if not pot.account and pot.same(row)), None)
                assert pot is not None, ("nobody gave this grant", dict(row), purse)
                self.books.meet(purse, pot, row)
        missing = [pot for purse in self.books.purses.values() for pot in purse.pots if not pot.account]
        assert missing == [], "a grant is missing"
        for purse in self.books.purses.values():
            if purse.line is not None and purse.line.account < 0:
                account = await self.stage.owner.fetchval("select account from admission.credit_lines where project_id = $1", purse.id)
                assert account is not None
                self.books.meet_line(purse, account)


def _half_even(value: Fraction) -> int:
    return round(value)
