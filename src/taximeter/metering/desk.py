"""What every ride needs: the books, the engines, the catalog; and how an order is priced and held."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

from taximeter import admission, pricing
from taximeter.admission import Ask, budgets, fairness, limits, shedding
from taximeter.admission import surge as surge_prices
from taximeter.engines import Engine, EngineUnavailable
from taximeter.identity import Caller, terms
from taximeter.kernel.clock import Clock, SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.faults import reach
from taximeter.kernel.ids import IdFactory, decode_id
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import AMOUNT_UTOK_MAX, format_tokens
from taximeter.ledger import AccountClosed, Books, InsufficientBalance, Kind, Operation, Outcome, Status, Wallet
from taximeter.metering.disk import Disk
from taximeter.metering.errors import AboveCallersMaximum, TooExpensive, WrongModality
from taximeter.metering.fares import Fare, quote_fare
from taximeter.metering.guard import Guard
from taximeter.metering.model import QUOTE_PREFIX, Order
from taximeter.metering.moment import buyer_at, check_multiplier
from taximeter.metering.rules import NOTHING, encode_fact, key_fact, receipt_fact, request_fact
from taximeter.metering.settlements import Settlements
from taximeter.pricing import Buyer, Plan, Versions


async def _as_known(caller: Caller) -> terms.Terms:
    return caller.terms


def _permille() -> int:
    return secrets.randbelow(1001)


@dataclass
class Desk:
    """What every ride needs, made once by the composition root.

    ``catalog`` is replaced by the composition root when something was published, ``surge`` whenever it was read again.
    ``fresh_terms`` looks up what is agreed with a caller at this moment.  Without ``bounds`` no caller may have any budget.
    ``chance`` gives another number from 0 to 1000 each time.  Without a ``room`` nobody
    waits for an engine.
    """

    settings: Settings
    books: Books
    settlements: Settlements
    disk: Disk
    engines: Mapping[str, Engine]
    clock: Clock
    ids: IdFactory
    catalog: pricing.Catalog
    process_id: UUID
    fresh_terms: Callable[[Caller], Awaitable[terms.Terms]] = _as_known
    bounds: budgets.Budgets | None = None
    surge: surge_prices.Board = field(default_factory=lambda: surge_prices.Board(SystemClock()))
    room: fairness.WaitingRoom | None = None
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    chance: Callable[[], int] = _permille
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        """Set the guard of the engines up."""
        self.guard = Guard(self.settings, self.clock, self.chance)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something to its end even when nobody waits for it any more."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    def engine_of(self, fare: Fare) -> Engine:
        """The engine that runs the fare's model.  Raises EngineUnavailable."""
        engine = self.engines.get(fare.model.engine or "")
        if engine is None:
            message = f"no engine runs {fare.model.name} here; it can be quoted only"
            raise EngineUnavailable(message, headers={"retry-after": "60", "x-should-retry": "false"})
        return engine

    def timeout_s(self, modality: str) -> float:
        """How long a job of this kind may take."""
        limits = {"speech": self.settings.speech_timeout_s, "video": self.settings.video_timeout_s}
        return limits.get(modality, self.settings.chat_timeout_s)


def wallet_of(caller: Caller) -> Wallet:
    """The caller's accounts in the ledger."""
    return Wallet(lane=caller.lane, allowance=caller.allowance_account, prepaid=caller.prepaid_account)


def buyer_of(caller: Caller) -> Buyer:
    """Whom prices are for when this caller asks."""
    return Buyer(plan=caller.plan, currency=caller.currency)


class Offered(Protocol):
    """A quote that an order is to be held to."""

    @property
    def versions(self) -> Versions:
        """What it was computed by."""
        ...

    @property
    def buyer(self) -> Buyer:
        """Whose prices it was computed with."""
        ...

    @property
    def approved(self) -> bool:
        """Whether an operator has approved it, above its plan's cap."""
        ...

    def held_to(self, fare: Fare) -> Fare:
        """The fare at the quoted maximum.  Raises QuoteMismatch."""
        ...


def price_order(desk: Desk, order: Order, offer: Offered | None = None) -> Fare:
    """The fare of an order, checked against what its sender allows; with a quote, what was quoted, whatever was published since.

    Raises ModelNotFound, ModelNotPriced (CurrencyNotPriced, PlanNotPriced), TierNotOffered, WrongModality, InvalidRequest,
    QuoteMismatch, TooExpensive, AboveCallersMaximum, MultiplierAboveMaximum.
    """
    model = desk.catalog.model(order.model)
    if model.modality != order.modality:
        message = f"{model.name} is a model for {model.modality}, not for {order.modality}; GET /v1/models lists what each is for"
        raise WrongModality(message, param="model")
    if offer is None:
        buyer = buyer_at(desk.surge, desk.catalog, buyer_of(order.caller), order.model, order.request)
        fare = quote_fare(desk.catalog, order.model, order.request, buyer=buyer)
    else:
        fare = offer.held_to(quote_fare(desk.catalog, order.model, order.request, buyer=offer.buyer, versions=offer.versions))
    check_amount(fare)
    check_multiplier(desk.surge, fare, order.multiplier_max, "taximeter-max-multiplier")
    if order.tokens_max_utok is not None and fare.maximum_utok > order.tokens_max_utok:
        message = (
            f"this request may cost up to {format_tokens(fare.maximum_utok)} Tokens, more than the"
            f" {format_tokens(order.tokens_max_utok)} that its taximeter-max-tokens header allows; nothing was run"
        )
        raise AboveCallersMaximum(message, param="taximeter-max-tokens")
    return fare


def check_amount(fare: Fare) -> Fare:
    """The fare, when it is one that a request may have.  Raises TooExpensive."""
    if fare.maximum_utok > AMOUNT_UTOK_MAX:
        message = f"this request may cost up to {format_tokens(fare.maximum_utok)} Tokens; no single request may cost more than 10^9"
        raise TooExpensive(message)
    return fare


def must_wait(desk: Desk, order: Order, fare: Fare, offer: Offered | None) -> bool:
    """Whether a request must wait for an operator, because it is above its plan's cap and not approved.  Raises AbovePlanCap."""
    if order.caller.terms.subscription is None or (offer is not None and offer.approved):
        return False
    return admission.approvals.needs_approval(ask_of(desk, order, fare))


@dataclass(frozen=True, slots=True)
class Held(Outcome):
    """What became of a hold.

    Attributes:
        told: headers that say what is left of the limits that it met.
    """

    told: Mapping[str, str] = field(default_factory=dict)


async def hold(  # noqa: PLR0913 - who posts it is another one where an approval must begin in the same transaction
    desk: Desk,
    request_id: UUID,
    order: Order,
    fare: Fare,
    *,
    ttl_s: int,
    job: Mapping[str, Any] | None,
    post: Callable[[Operation], Awaitable[Outcome]] | None = None,
) -> Held:
    """Reserve the maximum of a fare; with a job, an idempotency key or a quote, write their rows in the same transaction.

    ``post`` stands in for the ledger's queue.

    Status KEY_USED: nothing was held, the key belongs to another request.  QUOTE_USED: likewise, the quote.  APPROVAL_DECIDED: likewise.

    Raises DiskFull, RateLimited, ConcurrencyLimited, AboveRateLimit, InsufficientBalance, BudgetExceeded, AccountClosed, LedgerBusy,
    LedgerUnavailable, and InvalidRequest for an end user that no budget can be kept for.
    """
    desk.disk.check()
    process_id = desk.process_id if job is None else None
    fact: dict[str, Any] = {"request": request_fact(order.caller, fare, process_id, end_user_of(order))}
    if job is not None:
        fact["job"] = job
    if order.idempotency_key is not None:
        fact["idempotency"] = key_fact(order)
    if order.quote_id is not None:
        use_quote(order, fact)
    ask = ask_of(desk, order, fare)
    queue = _place_wanted(desk, order, fare, ask, is_job=job is not None)
    if queue is not None:
        fact["queue"] = queue
    met = limits.limits_on(ask)
    bounds = await bounds_of(desk, ask)
    if bounds:
        fact["budgets"] = [bound.id for bound in bounds]
    outcome = await (post or desk.books.submit)(
        Operation(
            id=request_id,
            kind=Kind.HOLD,
            lane=order.caller.lane,
            amount_utok=fare.maximum_utok,
            legs=(*admission.wallet_legs(ask, desk.clock.now_ms()), *budgets.budget_legs(bounds, order.caller.lane, fare.maximum_utok)),
            ttl_s=ttl_s,
            fact=encode_fact(fact),
            take=limits.take(met),
            shared=any(limit.scope == "model" for limit in met),
            undo=_UNDO[job is not None],
        )
    )
    reach("metering.held")
    told = limits.headers(met, outcome) if met else {}
    if outcome.status in (Status.REFUSED, Status.REPLAYED_REFUSED):
        refused = await _refusal(desk, bounds, fare, outcome)
        refused.headers = {**told, **refused.headers}
        raise refused
    if outcome.status is Status.RATE_LIMITED:
        refusal = limits.refusal(met[outcome.total_utok], ask.model, fare.maximum_utok, outcome.available_utok)
        refusal.headers = {**told, **refusal.headers}
        raise refusal
    if outcome.status is Status.ACCOUNT_CLOSED:
        message = "this project's wallet is closed; ask its administrator"
        raise AccountClosed(message)
    assert outcome.status in (Status.APPLIED, Status.REPLAYED, Status.KEY_USED, Status.QUOTE_USED, Status.APPROVAL_DECIDED), outcome
    return Held(outcome.status, outcome.total_utok, outcome.available_utok, outcome.notes, told)


async def hold_with_fresh_terms(desk: Desk, order: Order, fare: Fare, *, ttl_s: int, job: Mapping[str, Any] | None) -> tuple[UUID, Order, Held]:
    """As ``hold``, under an id of its own; a wallet that is empty is looked at again, for what was granted a moment ago.

    What is agreed with a caller is remembered for half a second.  A refusal is final for its id, so the second try has another one.
    """
    request_id = desk.ids.new()
    try:
        return request_id, order, await hold(desk, request_id, order, fare, ttl_s=ttl_s, job=job)
    except InsufficientBalance:
        fresh = await desk.fresh_terms(order.caller)
        if fresh == order.caller.terms:
            raise
    order = replace(order, caller=replace(order.caller, terms=fresh))
    request_id = desk.ids.new()
    return request_id, order, await hold(desk, request_id, order, fare, ttl_s=ttl_s, job=job)


async def _refusal(desk: Desk, bounds: tuple[terms.Budget, ...], fare: Fare, outcome: Outcome) -> budgets.BudgetExceeded | InsufficientBalance:
    """Whether a budget or the wallet did not have enough."""
    if bounds:
        assert desk.bounds is not None
        exceeded = await desk.bounds.refusal(bounds, fare.maximum_utok, outcome.available_utok)
        if exceeded is not None:
            return exceeded
    message = (
        f"this request may cost up to {format_tokens(fare.maximum_utok)} Tokens and the wallet has"
        f" {format_tokens(outcome.available_utok)} available; top it up, or ask for less"
    )
    return InsufficientBalance(message, headers={"taximeter-balance": format_tokens(outcome.available_utok)})


async def bounds_of(desk: Desk, ask: Ask) -> tuple[terms.Budget, ...]:
    """The budgets that a request is held on.  Asks the database only for an end user that this process does not know."""
    if not ask.caller.terms.budgets:
        return ()
    assert desk.bounds is not None
    return await desk.bounds.bounding(ask)


def end_user_of(order: Order) -> str | None:
    """Whom the sender says that he asks for, if he does.  Raises InvalidRequest for what is no text."""
    end_user = order.request.get("user")
    if end_user is not None and not isinstance(end_user, str):
        # Taken for none, it would pass by every budget of end users.
        message = "'user' must be a text."
        raise InvalidRequest(message, param="user")
    return end_user


def plan_of(desk: Desk, caller: Caller) -> Plan | None:
    """The plan that the caller's project has subscribed to; None: none, or one that is not in force any more."""
    return None if caller.terms.subscription is None else desk.catalog.plans.get(caller.terms.subscription)


def ask_of(desk: Desk, order: Order, fare: Fare) -> Ask:
    """What admission is asked for a priced order."""
    caller = order.caller
    return Ask(
        caller=caller,
        model=fare.model.name,
        engine=fare.model.engine or "",
        modality=fare.model.modality,
        tier=fare.tier,
        maximum_utok=fare.maximum_utok,
        end_user=end_user_of(order),
        plan=plan_of(desk, caller),
    )


def rider_of(desk: Desk, order: Order, fare: Fare) -> shedding.Rider:
    """Whose request it is, as the fair queue will see it."""
    plan = plan_of(desk, order.caller)
    return shedding.Rider(
        tenant=_tenant(desk, order.caller),
        rank=fairness.CLASSES.get(fare.tier, fairness.CLASSES["standard"]),
        amount_utok=max(1, _expected_utok(fare)),
        weight=1 if plan is None else plan.queue_weight,
    )


def _tenant(desk: Desk, caller: Caller) -> UUID:
    return caller.organisation_id if desk.settings.queue_tenant == "organisation" else caller.project_id


def _expected_utok(fare: Fare) -> int:
    """What it consumes, whatever that costs at this hour."""
    return sum(line.expected_utok for line in fare.parts.lines)


def slots_of(engine: Engine | None) -> int | None:
    """How many requests an engine works on at once; None: as many as come."""
    return None if engine is None else engine.slots


def _place_wanted(desk: Desk, order: Order, fare: Fare, ask: Ask, *, is_job: bool) -> Mapping[str, Any] | None:
    """What is asked of the fair queue: by jobs always, because they wait for a worker; by others when their engine has slots."""
    if order.deadline_ms is not None and order.deadline_ms <= desk.clock.now_ms():
        message = (
            f"the header taximeter-deadline says {utc_from_ms(order.deadline_ms).isoformat()}, which has passed; leave it out, or allow more time"
        )
        raise fairness.DeadlinePassed(message, param="taximeter-deadline")
    slots = slots_of(desk.engines.get(ask.engine))
    if desk.room is None or (slots is None and not is_job):
        return None
    settings = desk.settings
    bounds_s = (settings.queue_standard_s, settings.queue_flex_s, settings.queue_batch_s)
    fact = fairness.queue_fact(ask, _tenant(desk, ask.caller), _expected_utok(fare), slots, bounds_s, settings.queue_long_s)
    if ask.tier in fairness.PATIENT:
        fact |= _deadline(desk, order, fare, is_job=is_job)
    return {**fact, "ahead": settings.queue_ahead} if settings.queue_ahead and not is_job else fact


def _deadline(desk: Desk, order: Order, fare: Fare, *, is_job: bool) -> Mapping[str, Any]:
    """When the result of a request that may wait is worthless, as its place is told; for a job at the end of its hold at the latest."""
    settings, now_ms = desk.settings, desk.clock.now_ms()
    deadline_ms = order.deadline_ms
    if deadline_ms is None:
        return {"deadline": utc_from_ms(now_ms + settings.video_hold_ttl_s * 1000).isoformat()} if is_job else {}
    if deadline_ms < now_ms + settings.queue_deadline_min_s * 1000:
        message = (
            f"the header taximeter-deadline leaves less than {settings.queue_deadline_min_s} seconds, which the service tier"
            f" {fare.tier} does not promise; ask for a quicker tier"
        )
        raise fairness.DeadlineTooNear(message, param="taximeter-deadline")
    return {"deadline": utc_from_ms(deadline_ms).isoformat(), "said": True}


def use_quote(order: Order, fact: dict[str, Any]) -> None:
    """Say in a fact that the order uses its quote; with a hold also in the request's row, for its receipt."""
    if order.quote_id is None:
        return
    quote_id = decode_id(QUOTE_PREFIX, order.quote_id)
    assert quote_id is not None, "it was looked up"
    fact["quote"] = str(quote_id)
    if "request" in fact:
        fact["request"]["fare"]["quote"] = order.quote_id


def _given_up(*, is_job: bool) -> dict[str, Any]:
    reason = "the database did not answer in time, and the request was refused; nothing was run or charged"
    fact: dict[str, Any] = {"receipt": receipt_fact(NOTHING, "failed", f"ledger_unavailable: {reason}", {}, 0)}
    if is_job:
        fact["job"] = {"state": "failed", "error_code": "ledger_unavailable", "error_message": reason}
    return fact


# By whether a job began with the hold: what is written when the hold was refused because the database did not answer, and is found
# to have been made.  Made once: every hold carries one of the two, and hardly ever is it written.
_UNDO = {is_job: encode_fact(_given_up(is_job=is_job)) for is_job in (False, True)}
