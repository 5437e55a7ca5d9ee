"""What must become of everything that is asked, step by step: which requests are let in, who pays, who waits, and what is left.

Each method is told what the product did, and says by its own reckoning what it had to do: an assertion is a difference.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from taximeter.admission.fairness import Arrival, FairPool
from taximeter.admission.fairness.model import CLASSES
from taximeter.admission.limits import plan_bucket
from taximeter.identity import Caller
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Outcome, SettleCode, Status, operator_account
from tests.support.ledger_model import LATE, Account, LedgerModel
from tests.support.seasons.calendar import month_begins, month_of, today
from tests.support.seasons.clock import SeasonClock
from tests.support.seasons.paper import Asked, Bound, Line, Month, Offer, Period, Pot, Purse, SetLimit, Trip
from tests.support.seasons.stage import BOUNDS_S, HOLD_TTL_S, LONG_S, PLANS, TIMEOUT_S, WAIT_S
from tests.support.simulator.limits import Buckets

NS_PER_MS = 1_000_000
RATE_UTOK = 4_000_000
MEMORY = 32
OPERATORS = (AccountCode.REVENUE, AccountCode.TREASURY, AccountCode.SHORTFALL, AccountCode.EXPIRED, AccountCode.CREDIT)
HELD = (AccountCode.ALLOWANCE, AccountCode.PREPAID, AccountCode.POSTPAID, AccountCode.GRANT)


@dataclass
class Wish:
    """What somebody asks for.

    Attributes:
        maximum: what it may cost at most at this moment, or by its quote.
        expected: what it is expected to consume.
    """

    caller: Caller
    asked: Asked
    offer: Offer | None
    maximum: int
    expected: int

    @property
    def tier(self) -> str:
        return self.asked[1]

    @property
    def end_user(self) -> str | None:
        return self.asked[2]


@dataclass
class Pace:
    """What a slot of the engine gets done."""

    served_utok: int = 0
    served_ms: int = 0

    def rate(self) -> int:
        return max(1, self.served_utok * 1000 // self.served_ms) if self.served_ms > 0 else RATE_UTOK

    def note(self, used: int, took_ms: int) -> None:
        self.served_utok += used - self.served_utok // MEMORY
        self.served_ms += took_ms - self.served_ms // MEMORY


@dataclass
class Books:
    """All of it, on paper."""

    clock: SeasonClock
    lanes: int
    slots: int | None
    ledger: LedgerModel = field(default_factory=LedgerModel)
    purses: dict[UUID, Purse] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)
    limits: list[SetLimit] = field(default_factory=list)
    buckets: Buckets = field(default_factory=Buckets)
    pace: Pace = field(default_factory=Pace)
    arrivals: dict[UUID, Arrival] = field(default_factory=dict)
    granted_ms: dict[UUID, int] = field(default_factory=dict)
    trips: dict[UUID, Trip] = field(default_factory=dict)
    named: dict[tuple[UUID, str], Pot] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """An operator's accounts have no bound."""
        self.pool = FairPool(self.slots, BOUNDS_S)
        for lane in range(self.lanes):
            for code in OPERATORS:
                self.ledger.accounts[operator_account(code, lane)] = Account()

    @property
    def now(self) -> datetime:
        return self.clock.now

    @property
    def now_ns(self) -> int:
        return self.clock.now_ms() * NS_PER_MS

    # Money that comes and goes without a request.

    def move(self, purse: Purse, debit: AccountCode | int, credit: AccountCode | int, amount: int) -> None:
        """One transfer between two accounts; an operator's is named by its code."""
        sides = [operator_account(side, purse.lane) if isinstance(side, AccountCode) else side for side in (debit, credit)]
        leg = Leg(sides[0], sides[1], amount, cascade=False)
        (outcome,) = self.ledger.post(purse.lane, [Operation(id=uuid4(), kind=Kind.DIRECT, lane=purse.lane, amount_utok=amount, legs=(leg,))])
        assert outcome.status is Status.APPLIED, (purse, debit, credit, amount)

    def meet(self, purse: Purse, pot: Pot, row: Any) -> None:  # noqa: ANN401 - a row
        """A grant that the paper expects is there; its account and its id are the product's to choose."""
        pot.account, pot.id, pot.created = row["account"], row["id"], row["created_at"]
        self.ledger.accounts[pot.account] = Account(limited=True)
        self.move(purse, AccountCode.TREASURY, pot.account, pot.amount)

    def expire(self) -> None:
        """What is left of grants whose time is over is nobody's; what requests hold of it follows later."""
        for purse in self.purses.values():
            for pot in purse.pots:
                if not pot.closed and pot.expires is not None and pot.expires <= self.now:
                    account = self.ledger.accounts[pot.account]
                    if account.free > 0:
                        self.move(purse, pot.account, AccountCode.EXPIRED, account.free)
                    pot.closed = account.debits_pending == 0

    # Plans.

    def begin(self, purse: Purse, plan: str) -> bool:
        """Somebody subscribes who has no plan; False: more is owed than the plan's line allows."""
        terms, day = PLANS[plan], today(self.now, purse.zone)
        if not self.agree(purse, terms.get("line")):
            return False
        period = purse.period
        if period is not None and period.ends > self.now and period.given:
            purse.month = Month(plan, period.anchor, period.number, period.ends)
            period.change(terms.get("month", 0), self.now)
            owed = period.due - period.given
            if owed > 0:
                period.given += owed
                purse.pots.append(Pot(purse.id, owed, self.now, period.ends, "proration", modality=terms.get("modality"), plan=plan))
        else:
            purse.month = Month(plan, day, 0, month_begins(day, 1, purse.zone))
            self._give_month(purse, terms, plan, self.now)
        self._give_once(purse, terms, plan)
        return True

    def renew(self, purse: Purse) -> None:
        """Begin the month that it is time for, once; those that nobody was there for are not made up for."""
        month = purse.month
        if month is None or month.ends > self.now:
            return
        number = max(month_of(month.anchor, self.now, purse.zone), month.number + 1)
        start = month.ends if number == month.number + 1 else month_begins(month.anchor, number, purse.zone)
        plan, before = month.next_plan or month.plan, month.plan
        purse.month = Month(plan, month.anchor, number, month_begins(month.anchor, number + 1, purse.zone))
        terms = PLANS[plan]
        self._give_month(purse, terms, plan, start)
        if plan != before:
            self._give_once(purse, terms, plan)
            self._change_line(purse, terms, PLANS[before])

    def end_plan(self, purse: Purse) -> None:
        assert purse.period is not None
        purse.period.change(0, self.now)
        purse.month = None
        self._end_line(purse)

    def _give_month(self, purse: Purse, terms: Mapping[str, Any], plan: str, start: datetime) -> None:
        month, amount = purse.month, terms.get("month", 0)
        assert month is not None
        purse.period = Period(month.anchor, month.number, start, month.ends, amount, amount, amount)
        if amount:
            purse.pots.append(Pot(purse.id, amount, start, month.ends, "renewal", modality=terms.get("modality"), plan=plan))

    def _give_once(self, purse: Purse, terms: Mapping[str, Any], plan: str) -> None:
        if "once" in terms and plan not in purse.once:
            purse.once.add(plan)
            purse.pots.append(Pot(purse.id, terms["once"], self.now, None, "once", plan=plan))

    # Credit.

    def agree(self, purse: Purse, agreed: int | None) -> bool:
        """Lend up to so much; False, and nothing changes, when more is owed.  The account is seen by ``meet_line``."""
        if agreed is None:
            return True
        if purse.owed(self.ledger) > agreed:
            return False
        if purse.line is None:
            purse.line = Line(-1, agreed)
            return True
        purse.line.agreed, purse.line.active = agreed, True
        self._lend(purse)
        return True

    def meet_line(self, purse: Purse, account: int) -> None:
        assert purse.line is not None
        purse.line.account = account
        self.ledger.accounts[account] = Account(limited=True)
        self._lend(purse)

    def _lend(self, purse: Purse) -> None:
        line = purse.line
        assert line is not None
        if line.agreed > line.lent:
            self.move(purse, AccountCode.CREDIT, line.account, line.agreed - line.lent)
            line.lent = line.agreed
        self.shrink(purse)

    def _change_line(self, purse: Purse, terms: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """A line that came with a plan goes with it; who owes more than the new one allows keeps the one that he has."""
        if "line" in terms:
            self.agree(purse, terms["line"])
        elif "line" in before:
            self._end_line(purse)

    def _end_line(self, purse: Purse) -> None:
        if purse.line is not None and purse.line.active:
            purse.line.active = False
            self.shrink(purse)

    def shrink(self, purse: Purse) -> None:
        """What was lent above the line is taken back as far as it is free."""
        line = purse.line
        if line is None or line.account < 0:
            return
        less = min(line.lent - (line.agreed if line.active else 0), self.ledger.accounts[line.account].free)
        if less > 0:
            self.move(purse, line.account, AccountCode.CREDIT, less)
            line.lent -= less

    def pay(self, purse: Purse, amount: int) -> None:
        """What is owed first; the rest is bought."""
        assert purse.line is not None
        part = min(amount, max(purse.owed(self.ledger), 0))
        if part:
            self.move(purse, AccountCode.TREASURY, purse.line.account, part)
        if amount > part:
            self.move(purse, AccountCode.TREASURY, purse.prepaid, amount - part)
        self.shrink(purse)

    # Requests.

    def set_limit(self, limit: SetLimit) -> None:
        """A limit, or another height of one: what was used of it stays used, up to all of it."""
        old = next((one for one in self.limits if one.id == limit.id), None)
        if old is not None and limit.kind != "concurrency":
            self.buckets.rescale(self.now_ns, limit.id, limit.kind, (old.most, limit.most), limit.window_s)
        self.limits = [*(one for one in self.limits if one is not old), limit]

    def bounding(self, wish: Wish) -> list[Bound]:
        """The budgets that a request counts on."""
        caller = wish.caller
        owners = {"organisation": caller.organisation_id, "project": caller.project_id, "key": caller.key_id}
        found = [bound for bound in self.bounds if not bound.removed and owners.get(bound.scope) == bound.owner]
        if wish.end_user is not None:
            found += [
                bound
                for bound in self.bounds
                if not bound.removed and bound.scope == "end_user" and bound.owner == caller.project_id and bound.end_user == wish.end_user
            ]
        return found

    def takes(self, wish: Wish) -> list[dict[str, Any]]:
        """The limits that a request meets."""
        caller, month = wish.caller, self.purses[wish.caller.project_id].month
        owners = {"key": caller.key_id, "project": caller.project_id, "model": None}
        found = [(one.id, one.kind, one.most, one.window_s, one.shadow) for one in self.limits if owners[one.scope] == one.owner]
        if caller.requests_per_minute is not None:
            found.append((str(caller.key_id), "requests", caller.requests_per_minute, 60, False))
        if caller.tokens_per_minute_utok is not None:
            found.append((str(caller.key_id), "tokens", caller.tokens_per_minute_utok, 60, False))
        for kind in ("requests", "tokens", "concurrency") if month is not None else ():
            most = PLANS[month.plan].get(kind) if month is not None else None
            if most is not None:
                found.append((plan_bucket(caller.project_id), kind, most, 0 if kind == "concurrency" else 60, False))
        return [
            {"bucket": bucket, "kind": kind, "most": most, "window_s": window_s, "shadow": shadow, "amount": wish.maximum if kind == "tokens" else 1}
            for bucket, kind, most, window_s, shadow in found
        ]

    def ask(self, wish: Wish, request_id: UUID) -> tuple[set[str], tuple[Leg, ...]]:
        """What a request had to be told, as codes of which one is right; empty: it is held, and this is what it is paid from."""
        purse, now = self.purses[wish.caller.project_id], self.now
        legs = purse.legs(self.ledger, now, "chat")
        ttl_s = (0 if self.slots is None else WAIT_S) + TIMEOUT_S + HOLD_TTL_S
        fact = json.dumps({"take": self.takes(wish)})
        operation = Operation(id=request_id, kind=Kind.HOLD, lane=purse.lane, amount_utok=wish.maximum, legs=legs, ttl_s=ttl_s, fact=fact)
        asked = self.buckets.ask(self.now_ns, set(self.ledger.holds), [operation])
        one = asked.get(request_id)
        if one is not None and one.refused is not None:
            self.buckets.finish(self.now_ns, asked, [(operation, one.refused)])
            kinds = {take["kind"] for take in one.takes if not take["shadow"]}
            if one.refused.available_utok < 0:
                return {"above_rate_limit"}, ()
            return {"concurrency_limit_exceeded"} if kinds == {"concurrency"} else {"concurrency_limit_exceeded", "rate_limit_exceeded"}, ()
        bounds = self.bounding(wish)
        refused: set[str] = set()
        if not all(bound.allows(wish.maximum, now) for bound in bounds):
            refused.add("budget_exceeded")
        if sum(max(self.ledger.accounts[leg.debit].free, 0) for leg in legs) < wish.maximum:
            refused.add("insufficient_balance")
        self.ledger.now_s = self.clock.now_ms() / 1000
        outcome = Outcome(Status.REFUSED, 0, 0) if refused else self.ledger.post(purse.lane, [operation])[0]
        assert refused or outcome.status is Status.APPLIED
        self.buckets.finish(self.now_ns, asked, [(operation, outcome)])
        if not refused:
            for bound in bounds:
                bound.held[request_id] = wish.maximum
        return refused, legs

    def join(self, wish: Wish, request_id: UUID) -> int:
        """A request that was let in takes its place; its number among those who wait, 0: it may run."""
        if self.slots is None:
            return 0
        month = self.purses[wish.caller.project_id].month
        weight = 1 if month is None else PLANS[month.plan].get("weight", 1)
        long = wish.expected // self.pace.rate() >= LONG_S
        arrival = Arrival(
            id=request_id.int, tenant=str(wish.caller.project_id), amount_utok=wish.expected, weight=weight, rank=CLASSES[wish.tier], long=long
        )
        self.arrivals[request_id] = arrival
        self.pool.join(arrival, self.clock.now_ms())
        self.fill()
        return 0 if request_id in self.granted_ms else self.pool.order(self.clock.now_ms()).index(request_id.int) + 1

    def fill(self) -> None:
        for arrival in self.pool.fill(self.clock.now_ms()):
            self.granted_ms[UUID(int=arrival.id)] = self.clock.now_ms()

    def _leave(self, request_id: UUID, used: int | None) -> None:
        arrival = self.arrivals.pop(request_id, None)
        if arrival is None:
            return
        granted_ms = self.granted_ms.pop(request_id, None)
        if granted_ms is not None:
            took_ms = max(1, self.clock.now_ms() - granted_ms)
            counted = min(arrival.amount_utok, took_ms * self.pace.rate() // 1000) if used is None else used
            self.pool.leave(arrival.id, counted, self.clock.now_ms())
            if used is not None:
                self.pace.note(used, took_ms)
        else:
            self.pool.leave(arrival.id, 0, self.clock.now_ms())

    def end(self, trip: Trip, kind: Kind, charged: int = 0, consumed: int = 0) -> Status:
        """A request ends: what it pays, what comes back, who has its slot next.  A settlement may come late, or for nothing."""
        request_id, purse = trip.ride.id, trip.purse
        lost = trip.offer is not None and trip.offer.used_by != request_id
        code = SettleCode.NEVER_LATE if lost and kind is Kind.SETTLE else SettleCode.LATE_AFTER_EXPIRY
        operation = Operation(id=request_id, kind=kind, lane=purse.lane, amount_utok=charged if kind is Kind.SETTLE else 0, code=code)
        (outcome,) = self.ledger.post(purse.lane, [operation])
        if outcome.status is Status.APPLIED:
            self.buckets.finish(self.now_ns, {}, [(operation, outcome)])
            self._leave(request_id, consumed if kind is Kind.SETTLE else None)
        for bound in trip.bounds:
            held = bound.held.pop(request_id, None)
            if outcome.status is Status.APPLIED and held is not None and kind is Kind.SETTLE:
                bound.charged.append((self.now, charged))
            elif outcome.status is Status.SETTLED_LATE:
                bound.charged.append((self.now, min(charged, bound.left(self.now)) if bound.hard else charged))
        if outcome.status in (Status.APPLIED, Status.SETTLED_LATE):
            trip.charged += outcome.total_utok
            trip.settled = trip.settled or kind is Kind.SETTLE
            trip.expired = trip.expired or kind is Kind.EXPIRE
        return outcome.status

    def paid(self, request_id: UUID) -> dict[int, int]:
        """What a request took from each account."""
        rows = [row for (id_, _, phase), row in self.ledger.log.items() if id_ == request_id and phase > 0 and row.cascade]
        sums: dict[int, int] = {}
        for row in rows:
            if row.kind in (Kind.SETTLE, LATE):
                sums[row.debit] = sums.get(row.debit, 0) + row.amount
        return sums

    def refund(self, trip: Trip, amount: int) -> None:
        revenue = operator_account(AccountCode.REVENUE, trip.purse.lane)
        for account, part in trip.purse.given_back(self.paid(trip.ride.id), trip.refunded, amount, self.now).items():
            self.move(trip.purse, revenue, account, part)
        trip.refunded += amount

    def overdue(self, dead: set[UUID]) -> list[Trip]:
        """Requests that a sweep releases: their time is over, or their process is not heard of any more."""
        open_ones = [trip for id_, trip in self.trips.items() if id_ in self.ledger.holds]
        return [trip for trip in open_ones if trip.ends < self.now or trip.process in dead]


def ends_at(books: Books) -> datetime:
    """Until when a hold that is made now lasts."""
    return books.now + timedelta(seconds=(0 if books.slots is None else WAIT_S) + TIMEOUT_S + HOLD_TTL_S)
