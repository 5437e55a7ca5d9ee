"""What operators and customers do at a desk: quotes, grants, plans, payments, refunds, budgets, surge prices, approvals."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from fractions import Fraction

from taximeter.admission.plans import By, GrantOrder
from taximeter.kernel.errors import Refusal
from taximeter.kernel.ids import decode_id
from taximeter.kernel.units import parse_tokens
from taximeter.metering.approvals import ApprovalStore
from tests.support.seasons.paper import Offer, Pot
from tests.support.seasons.season import TOKEN, Season
from tests.support.seasons.stage import PLANS, POOL
from tests.support.surges import set_price

OPERATOR = By(operator="test")


async def quote(season: Season) -> None:
    """Somebody asks what it would cost."""
    rng, now = season.rng, season.books.now
    caller, asked = rng.choice(season.stage.callers), season.something()
    document = json.loads(await season.stage.quotes.make(caller, ("teller", season.body(asked), None)))
    factor = Fraction(season.factor(asked[1]), 100)
    offer = Offer(
        document["id"], caller.project_id, asked, parse_tokens(document["tokens_max"]), str(factor), datetime.fromisoformat(document["expires_at"])
    )
    told = {each["name"]: Fraction(each["factor"]) for each in document.get("multipliers", ())}
    assert told.get("surge", Fraction(1)) == factor
    assert offer.expires > now
    season.offers.append(offer)
    season.note(f"a quote of {offer.maximum // TOKEN} for {asked}")


async def give(season: Season) -> None:
    """A grant, that may begin later and end soon."""
    rng, books = season.rng, season.books
    purse = rng.choice(list(books.purses.values()))
    now = books.now
    starts = now + timedelta(seconds=rng.choice([30, 90_000])) if rng.random() < 0.2 else None
    ends = (starts or now) + timedelta(seconds=rng.choice([2, 50, 1000, 40_000, 2_000_000])) if rng.random() < 0.7 else None
    modality = rng.choice([None, None, "chat", "video"])
    amount, priority = rng.choice([5, 40, 200]) * TOKEN, rng.choice([50, 10, 90])
    reference = rng.choice(["", "", "spring"])
    order = GrantOrder(amount_utok=amount, starts_at=starts, expires_at=ends, priority=priority, modality=modality)
    by = By(operator="test", reference=reference)
    wanted = Pot(purse.id, amount, starts or now, ends, "manual", priority, modality)
    named = books.named.get((purse.id, reference)) if reference else None
    try:
        _, replayed = await season.stage.office.plans.give(purse.id, order, by)
    except Refusal as refusal:
        assert (refusal.code, named is not None) == ("id_reused", True)  # noqa: PT017 - as the paper expects
        return
    assert replayed == (named is not None)
    if not replayed:
        purse.pots.append(wanted)
        if reference:
            books.named[purse.id, reference] = wanted
    await season.meet()
    season.note(f"a grant of {amount // TOKEN} until {ends}{', again' if replayed else ''}")


async def top_up(season: Season) -> None:
    """Somebody buys."""
    await season.top_up(season.rng.choice(list(season.books.purses.values())), season.rng.choice([20, 300]) * TOKEN)


async def subscribe(season: Season) -> None:
    """A plan begins, ends, or is to be another one from the next month on."""
    rng, books, plans = season.rng, season.books, season.stage.office.plans
    purse = rng.choice(list(books.purses.values()))
    if purse.month is None:
        plan = rng.choice(list(PLANS))
        expected = books.begin(purse, plan)
        try:
            await plans.subscribe(purse.id, plan, OPERATOR)
        except Refusal as refusal:
            assert (refusal.code, expected) == ("credit_line_in_use", False)  # noqa: PT017 - as the paper expects
        else:
            assert expected
        told = f"begins {plan}{'' if expected else ', refused'}"
    elif rng.random() < 0.4:
        await plans.unsubscribe(purse.id, OPERATOR)
        books.end_plan(purse)
        told = "ends its plan"
    else:
        books.renew(purse)
        plan = rng.choice([name for name in PLANS if name != purse.month.plan])
        await plans.subscribe(purse.id, plan, OPERATOR, when="period_end")
        purse.month.next_plan = plan
        told = f"will have {plan}"
    await season.meet()
    season.note(f"a project {told}")


async def credit(season: Season) -> None:
    """A line is agreed on, or something is paid."""
    rng, books, plans = season.rng, season.books, season.stage.office.plans
    purse = rng.choice(list(books.purses.values()))
    amount = rng.choice([1, 60, 250, 800]) * TOKEN
    if purse.line is not None and rng.random() < 0.6:
        _, owed, _ = await plans.pay(purse.id, amount, OPERATOR)
        assert owed == min(amount, max(purse.owed(books.ledger), 0))
        books.pay(purse, amount)
        season.note(f"{amount // TOKEN} are paid, of which {owed // TOKEN} were owed")
        return
    expected = books.agree(purse, amount)
    try:
        await plans.set_line(purse.id, amount, OPERATOR)
    except Refusal as refusal:
        assert (refusal.code, expected) == ("credit_line_in_use", False)  # noqa: PT017 - as the paper expects
    else:
        assert expected
    await season.meet()
    season.note(f"a credit line of {amount // TOKEN}: {expected}")


async def refund(season: Season) -> None:
    """Something is given back, sometimes too much of it, sometimes again."""
    rng, books = season.rng, season.books
    settled = [trip for trip in books.trips.values() if trip.settled]
    if not settled:
        return
    trip = rng.choice(settled[-8:])
    left = trip.charged - trip.refunded
    amount = rng.choice([None, TOKEN, 7 * TOKEN + 1])
    reference = f"refund {rng.randint(1, 3)}"
    before = trip.refunds.get(reference)
    try:
        made = await season.stage.records.refunds.make(trip.ride.id, amount, reason="it was wrong", operator="test", reference=reference)
    except Refusal as refusal:
        told = refusal.code
        if before is not None:
            assert told == "id_reused"
            assert before[0] != amount
        else:
            assert told == ("nothing_charged" if trip.charged == 0 else "refund_above_charge")
            assert left < (TOKEN if amount is None else amount) or trip.charged == 0
    else:
        told = f"{made.amount_utok}"
        if before is not None:
            assert (made.replayed, made.amount_utok) == (True, before[1])
        else:
            assert made.amount_utok == (left if amount is None else amount) <= left
            books.refund(trip, made.amount_utok)
            trip.refunds[reference] = (amount, made.amount_utok)
    season.told["refunded" if told.isdigit() else told] += 1
    season.note(f"a refund of {amount} for {trip.ride.id}: {told}")


async def change_budget(season: Season) -> None:
    """A budget is made, raised, lowered or removed."""
    rng, books, budgets = season.rng, season.books, season.stage.office.budgets
    there = [bound for bound in books.bounds if not bound.removed]
    if not there or rng.random() < 0.3:
        await season.make_budget()
        return
    bound = rng.choice(there)
    if bound.default is None and rng.random() < 0.2:
        await budgets.remove(bound.id)
        bound.removed = True
        season.note(f"the budget {bound.id} is removed")
        return
    bound.limit = rng.choice([1, 80, 700, 3000]) * TOKEN
    bound.limits.append(bound.limit)
    await budgets.change(bound.id, bound.limit, None)
    season.note(f"the budget {bound.id} is {bound.limit // TOKEN} now")


async def change_limit(season: Season) -> None:
    """A limit is set, or another height of one, or removed."""
    books = season.books
    if books.limits and season.rng.random() < 0.4:
        one = season.rng.choice(books.limits)
        found = await season.stage.owner.fetchval("select id from admission.limits where id::text = $1", one.id)
        await season.stage.limits.remove(found, "test")
        books.limits.remove(one)
        season.note(f"the limit {one.id} is removed")
    else:
        await season.make_limit()


async def surge(season: Season) -> None:
    """The price of the moment is another one."""
    percent, good_s = season.rng.choice([100, 125, 150, 240]), season.rng.choice([5, 90, 4000])
    await set_price(season.stage.office, POOL, percent, good_s=good_s)
    for desk in season.stage.desks:
        desk.surge = season.stage.office.desk.surge
    season.surge = percent, season.books.now + timedelta(seconds=good_s)
    season.note(f"surge {percent} for {good_s} s")


async def decide(season: Season) -> None:
    """An operator looks at what waits; what was decided is not decided again."""
    rng, approvals = season.rng, season.stage.approvals
    waiting = [offer for offer in season.offers if offer.approval is not None]
    if not waiting:
        return
    offer = rng.choice(waiting)
    approval_id = decode_id("apr", offer.approval or "")
    assert approval_id is not None
    wants = rng.choice(["approved", "approved", "declined"])
    expired = offer.state == "pending" and offer.expires <= season.books.now
    try:
        await (approvals.approve(approval_id, "test") if wants == "approved" else approvals.decline(approval_id, "test", "too much"))
    except Refusal as refusal:
        assert refusal.code == "approval_decided"  # noqa: PT017 - as the paper expects
        assert expired or offer.state not in ("pending", wants)
    else:
        assert not expired
        assert offer.state in ("pending", wants)
        offer.state = wants
    season.told[f"approval {offer.state}"] += 1
    season.note(f"an approval is {offer.state}")


async def keep_house(season: Season) -> None:
    """What a worker does once in a while."""
    await season.stage.office.store.fold_usage(1000)
    await ApprovalStore(season.stage.office.pool).keep_house(100)
    await season.stage.owner.fetchval("select admission.tell_budgets(100)")
    for row in await season.stage.owner.fetch("select * from admission.due_budgets(100)"):
        await season.stage.owner.fetchval("select admission.roll_budgets($1, $2)", row["lane"], row["ids"])


ACTS: tuple[tuple[Callable[[Season], Awaitable[None]], int], ...] = (
    (Season.ask, 34),
    (Season.end_one, 20),
    (Season.pass_time, 14),
    (Season.sweep, 5),
    (Season.keep_up, 4),
    (Season.kill_one, 2),
    (quote, 7),
    (give, 5),
    (top_up, 2),
    (subscribe, 4),
    (credit, 3),
    (refund, 5),
    (change_budget, 3),
    (change_limit, 2),
    (surge, 3),
    (decide, 3),
    (keep_house, 2),
)
"""What may be next, and how often it is."""
