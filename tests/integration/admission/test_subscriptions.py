"""Subscriptions: periods, renewals by any number of workers, changes of plan, credit lines."""

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from taximeter.admission.plans import By, CreditLineInUse, NotPostpaid, NotSubscribed, Subscription, Upkeep
from taximeter.identity import Caller
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import format_tokens, parse_tokens
from taximeter.ledger import AccountCode, InsufficientBalance, Kind, Leg, Status, operator_account
from tests.support.plans import OPERATOR, known, post, ride
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio

# A start on the last day of January, in the middle of the day; the built-in plan gives 50,000 a month.
START = datetime(2027, 1, 31, 15, 30, tzinfo=UTC)
MONTH = parse_tokens("50000")


@pytest.fixture(autouse=True)
async def more_plans(town: Town) -> None:
    """A plan for twice as much, and one with a line for two chats."""
    catalog = town.office.desk.catalog
    double = replace(catalog.plans["standard"], name="double", allowance_utok=2 * MONTH)
    boundless = replace(catalog.plans["enterprise"], name="boundless", credit_line_utok=None)
    town.office.desk.catalog = replace(catalog, plans={**catalog.plans, "double": double, "boundless": boundless})


async def subscribe(town: Town, caller: Caller, plan: str, now: datetime = START, **how: object) -> Subscription:
    return await town.office.plans.subscribe(caller.project_id, plan, OPERATOR, now=now, **how)  # type: ignore[arg-type]


async def given(town: Town, caller: Caller) -> list[tuple[str, int, datetime, datetime | None]]:
    """Every grant that there ever was: its kind, amount, start and end; oldest first."""
    grants = (await town.office.tenancy.purse(caller.project_id, ended=True)).grants
    return [(grant.kind, grant.amount_utok, grant.starts_at, grant.expires_at) for grant in sorted(grants, key=lambda grant: grant.starts_at)]


async def test_a_month_is_granted_at_once_and_then_at_each_end_once_by_any_number_of_workers(town: Town) -> None:
    caller = await town.caller("0")
    zone = "Europe/Berlin"
    await town.office.plans.set_zone(caller.organisation_id, zone)
    made = await asyncio.gather(*(subscribe(town, caller, "standard") for _ in range(5)))
    ends = [datetime(2027, 2, 27, 23, tzinfo=UTC), datetime(2027, 3, 30, 22, tzinfo=UTC), datetime(2027, 4, 29, 22, tzinfo=UTC)]
    assert {subscription.period_end for subscription in made} == {ends[0]}
    assert await given(town, caller) == [("renewal", MONTH, START, ends[0])]
    workers = [Upkeep(town.office.plans), Upkeep(town.office.plans)]
    await asyncio.gather(*(worker.turn(ends[0] - timedelta(microseconds=1)) for worker in workers))
    assert len(await given(town, caller)) == 1
    for turn in (0, 1):
        await asyncio.gather(*(worker.turn(ends[turn]) for worker in workers for _ in range(3)))
        assert (await given(town, caller))[1:] == [("renewal", MONTH, start, end) for start, end in itertools.pairwise(ends[: turn + 2])]
    count = await town.office.pool.fetchval("select count(*) from admission.events where type = 'subscription.renewed'")
    assert count == 2
    await town.assert_books_agree()


async def test_a_worker_that_was_down_for_three_months_grants_the_current_one_alone(town: Town) -> None:
    caller = await town.caller("0")
    await subscribe(town, caller, "standard")
    now = datetime(2027, 5, 31, 0, 0, tzinfo=UTC)
    await Upkeep(town.office.plans).turn(now)
    current = ("renewal", MONTH, now, datetime(2027, 6, 30, tzinfo=UTC))
    assert await given(town, caller) == [("renewal", MONTH, START, datetime(2027, 2, 28, tzinfo=UTC)), current]
    await town.assert_books_agree()


async def test_who_moves_to_another_time_zone_gets_no_month_twice_and_none_is_lost(town: Town) -> None:
    caller = await town.caller("0")
    await town.office.plans.set_zone(caller.organisation_id, "Pacific/Auckland")
    first = await subscribe(town, caller, "standard", datetime(2027, 6, 9, 20, tzinfo=UTC))
    assert first.period_end == datetime(2027, 7, 9, 12, tzinfo=UTC)
    await town.office.plans.set_zone(caller.organisation_id, "America/Los_Angeles")
    upkeep = Upkeep(town.office.plans)
    for now in (first.period_end, first.period_end + timedelta(hours=23), datetime(2027, 8, 10, 7, tzinfo=UTC)):
        await upkeep.turn(now)
    starts_and_ends = [(start, end) for _, _, start, end in await given(town, caller)]
    assert starts_and_ends[1:] == [
        (first.period_end, datetime(2027, 8, 10, 7, tzinfo=UTC)),
        (datetime(2027, 8, 10, 7, tzinfo=UTC), datetime(2027, 9, 10, 7, tzinfo=UTC)),
    ]
    with pytest.raises(InvalidRequest):
        await town.office.plans.set_zone(caller.organisation_id, "Mars/Olympus")
    await town.assert_books_agree()


async def test_more_of_the_same_begins_now_with_the_difference_for_the_rest_of_the_period(town: Town) -> None:
    caller = await town.caller("0")
    start = datetime(2027, 4, 1, tzinfo=UTC)
    await subscribe(town, caller, "standard", start)
    # Ten of thirty days are over, and a third of a second is not.
    now = start + timedelta(days=10, milliseconds=333)
    await asyncio.gather(*(subscribe(town, caller, "double", now) for _ in range(3)))
    whole_us, left_us = 30 * 86_400_000_000, 20 * 86_400_000_000 - 333_000
    difference = round(MONTH * left_us / whole_us)
    kinds = [(kind, amount) for kind, amount, _, _ in await given(town, caller)]
    assert kinds == [("renewal", MONTH), ("proration", difference)]
    await Upkeep(town.office.plans).turn(datetime(2027, 5, 1, tzinfo=UTC))
    assert (await given(town, caller))[2][:2] == ("renewal", 2 * MONTH)
    await town.assert_books_agree()


async def test_less_begins_when_the_period_ends_and_now_only_when_somebody_says_so(town: Town) -> None:
    caller = await town.caller("0")
    start = datetime(2027, 4, 1, tzinfo=UTC)
    await subscribe(town, caller, "double", start)
    planned = await subscribe(town, caller, "standard", start + timedelta(days=10))
    assert (planned.plan, planned.next_plan) == ("double", "standard")
    # A change of mind, and another one.
    assert (await subscribe(town, caller, "double", start + timedelta(days=11))).next_plan is None
    await subscribe(town, caller, "standard", start + timedelta(days=12))
    await Upkeep(town.office.plans).turn(datetime(2027, 5, 1, tzinfo=UTC))
    assert [amount for _, amount, _, _ in await given(town, caller)] == [2 * MONTH, MONTH]
    # Half of May is over: half of what it gave is taken back, and half of nothing given.
    await subscribe(town, caller, "free", datetime(2027, 5, 16, 12, tzinfo=UTC), when="now")
    purse = await town.office.plans.purse(caller.project_id, datetime(2027, 5, 16, 12, tzinfo=UTC))
    assert sorted((grant.kind, grant.free_utok) for grant in purse.grants) == [("once", parse_tokens("1000")), ("renewal", MONTH // 2)]
    # What is given once is given once ever.
    await subscribe(town, caller, "standard", datetime(2027, 5, 17, tzinfo=UTC))
    await subscribe(town, caller, "free", datetime(2027, 5, 18, tzinfo=UTC), when="now")
    assert [kind for kind, _, _, _ in await given(town, caller)].count("once") == 1
    ended = await town.office.plans.unsubscribe(caller.project_id, OPERATOR)
    assert ended.plan == "free"
    with pytest.raises(NotSubscribed):
        await town.office.plans.unsubscribe(caller.project_id, OPERATOR)
    await subscribe(town, caller, "free", datetime(2027, 5, 19, tzinfo=UTC))
    assert [kind for kind, _, _, _ in await given(town, caller)].count("once") == 1
    changes = [row["event"] for row in await town.office.plans.changes(caller.project_id, 20)]
    assert changes[::-1] == ["started", "planned", "changed", "planned", "renewed", "changed", "changed", "changed", "ended", "started"]
    await town.assert_books_agree()


async def spend_everything(town: Town, caller: Caller) -> None:
    for grant in (await town.office.tenancy.purse(caller.project_id, ended=True)).grants:
        if grant.free_utok:
            leg = Leg(grant.account, operator_account(AccountCode.REVENUE, caller.lane))
            outcome = await post(town, caller, Kind.DIRECT, town.office.desk.ids.new(), grant.free_utok, [leg])
            assert outcome.status is Status.APPLIED


async def test_who_leaves_a_plan_and_comes_back_gets_no_month_twice(town: Town) -> None:
    caller = await town.caller("0")
    start = datetime(2027, 4, 1, tzinfo=UTC)

    async def months_given() -> list[int]:
        return [amount for kind, amount, _, _ in await given(town, caller) if kind != "once"]

    for hour in range(1, 4):
        now = start + timedelta(hours=hour)
        await subscribe(town, caller, "standard", start if hour == 1 else now)
        await spend_everything(town, caller)
        await subscribe(town, caller, "free", now, when="now")
    await subscribe(town, caller, "speech-free", start + timedelta(hours=3))
    assert [amount // 10**9 for amount in await months_given()] == [50, 49], "what was spent of the first month is not given again"
    await spend_everything(town, caller)
    back = await subscribe(town, caller, "standard", start + timedelta(hours=4), when="now")
    assert len(await months_given()) == 2
    # Nor by ending the subscription; its period goes on.
    await town.office.plans.unsubscribe(caller.project_id, OPERATOR, start + timedelta(hours=5))
    again = await subscribe(town, caller, "standard", start + timedelta(days=15), anchor=date(2027, 4, 1))
    assert (again.period_start, again.period_end, again.month, len(await months_given())) == (start, back.period_end, 0, 2)
    # More is due for half a month of more, less what was given before.
    await subscribe(town, caller, "double", start + timedelta(days=29))
    assert sum(await months_given()) < 2 * MONTH
    await Upkeep(town.office.plans).turn(datetime(2027, 5, 1, tzinfo=UTC))
    assert (await months_given())[-1] == 2 * MONTH
    # A plan that gave nothing for its period begins no old one: the next one begins anew, with all of its month.
    await subscribe(town, caller, "free", datetime(2027, 5, 2, tzinfo=UTC))
    await Upkeep(town.office.plans).turn(datetime(2027, 6, 1, tzinfo=UTC))
    anew = await subscribe(town, caller, "standard", datetime(2027, 6, 3, tzinfo=UTC), anchor=date(2027, 6, 1))
    assert (anew.anchor, anew.given_utok) == (date(2027, 6, 1), (await months_given())[-1])
    assert anew.given_utok == round(MONTH * 28 / 30)


async def test_a_day_to_count_from_in_the_middle_of_a_period_is_refused(town: Town) -> None:
    caller = await town.caller("0")
    now = datetime(2027, 4, 16, tzinfo=UTC)
    with pytest.raises(InvalidRequest, match="leave 'when' out"):
        await subscribe(town, caller, "standard", now, when="period_end")
    await subscribe(town, caller, "standard", now)
    for plan in ("standard", "double", "free"):
        with pytest.raises(InvalidRequest, match=r"this one goes on until 2027-05-16T00:00:00\+00:00: its months are counted from 2027-04-16"):
            await subscribe(town, caller, plan, now, anchor=date(2027, 4, 1))
    assert (await subscribe(town, caller, "double", now, anchor=date(2027, 4, 16))).plan == "double"


async def test_months_that_are_counted_from_an_earlier_day_begin_with_a_part_of_one(town: Town) -> None:
    caller = await town.caller("0")
    subscription = await subscribe(town, caller, "standard", datetime(2027, 4, 16, tzinfo=UTC), anchor=date(2027, 4, 1))
    assert subscription.period_end == datetime(2027, 5, 1, tzinfo=UTC)
    assert [amount for _, amount, _, _ in await given(town, caller)] == [MONTH // 2]
    other = await town.caller("0")
    for anchor in (date(2027, 4, 17), date(1, 1, 1), date(9999, 12, 31)):
        with pytest.raises(InvalidRequest):
            await subscribe(town, other, "standard", datetime(2027, 4, 16, tzinfo=UTC), anchor=anchor)
    with pytest.raises(InvalidRequest):
        await subscribe(town, other, "gold")
    await town.assert_books_agree()


async def test_an_allowance_for_speech_pays_for_speech_alone(town: Town) -> None:
    caller = await town.caller("0")
    await town.office.plans.subscribe(caller.project_id, "speech-free", OPERATOR)
    with pytest.raises(InsufficientBalance):
        await ride(town, await known(town, caller))
    await town.metering.open(town.order(await known(town, caller), "speech"))
    wallet = await town.wallet(caller)
    assert (wallet["balance"], wallet["granted"], wallet["grants"][0]["modality"]) == ("0", "0", "speech")
    assert wallet["held"] == wallet["grants"][0]["held"] != "0"


async def test_a_period_that_is_due_begins_with_the_first_request_that_needs_it(town: Town) -> None:
    caller = await town.caller("0")
    # Its month was over long before any worker came by.
    await subscribe(town, caller, "standard", datetime.now(UTC) - timedelta(days=100))
    # Terms of the month before: no grant that could be spent.
    stale = replace(caller, terms=type(caller.terms)(subscription="standard"))
    await ride(town, stale)
    assert len(await given(town, caller)) == 2
    await town.assert_books_agree()


async def test_a_credit_line_is_lent_used_owed_paid_and_lowered(town: Town) -> None:
    caller = await town.caller("0")
    plans = town.office.plans
    with pytest.raises(NotPostpaid):
        await plans.pay(caller.project_id, 1, OPERATOR)
    await plans.subscribe(caller.project_id, "enterprise", OPERATOR)
    wallet = await town.wallet(caller)
    assert (wallet["balance"], wallet["postpaid"]) == ("1000000", {"active": True, "line": "1000000", "owed": "0", "available": "1000000"})
    fare = (await ride(town, await known(town, caller))).charged_utok
    assert (await town.wallet(caller))["postpaid"]["owed"] == format_tokens(fare)
    with pytest.raises(CreditLineInUse):
        await plans.set_line(caller.project_id, fare - 1, OPERATOR)
    await plans.set_line(caller.project_id, fare, OPERATOR)
    with pytest.raises(InsufficientBalance):
        await ride(town, await known(town, caller))
    paid = By(operator="Kim", reference="invoice 1")
    # A line that came with a plan goes with it; what is owed stays.
    await plans.subscribe(caller.project_id, "standard", OPERATOR)
    assert (await known(town, caller)).terms.postpaid is None
    await plans.subscribe(caller.project_id, "free", OPERATOR, when="now")
    # One that was agreed on apart does not care for plans.
    await plans.set_line(caller.project_id, fare, OPERATOR)
    await plans.subscribe(caller.project_id, "standard", OPERATOR)
    assert (await known(town, caller)).terms.postpaid is not None
    answers = await asyncio.gather(*(plans.pay(caller.project_id, fare + 5, paid) for _ in range(4)))
    assert sorted((owed, replayed) for _, owed, replayed in answers) == [(0, True), (0, True), (0, True), (fare, False)]
    wallet = await town.wallet(caller)
    assert (wallet["postpaid"]["owed"], wallet["postpaid"]["available"], wallet["prepaid"]) == ("0", format_tokens(fare), "0.000005")
    await town.assert_books_agree()


async def test_a_line_without_a_bound_gets_one_and_ends_and_what_is_owed_stays_to_be_paid(town: Town) -> None:
    caller = await town.caller("0")
    plans = town.office.plans
    await plans.subscribe(caller.project_id, "boundless", OPERATOR)
    fare = sum([(await ride(town, await known(town, caller))).charged_utok for _ in range(2)])
    wallet = await town.wallet(caller)
    assert (wallet["balance"], wallet["postpaid"]["line"], wallet["postpaid"]["owed"]) == (format_tokens(-fare), None, format_tokens(fare))
    await plans.set_line(caller.project_id, fare + 7, OPERATOR)
    wallet = await town.wallet(caller)
    assert (wallet["balance"], wallet["postpaid"]["owed"]) == ("0.000007", format_tokens(fare))
    await town.office.tenancy.top_up(caller.project_id, parse_tokens("1000"), "")
    running = await town.metering.open(town.order(await known(town, caller)))
    await plans.unsubscribe(caller.project_id, OPERATOR)
    assert (await known(town, caller)).terms.postpaid is None
    wallet = await town.wallet(caller)
    assert (wallet["postpaid"]["active"], wallet["postpaid"]["owed"]) == (False, format_tokens(fare))
    await running.events().aclose()
    await plans.pay(caller.project_id, fare - 1, OPERATOR)
    assert (await town.wallet(caller))["postpaid"]["owed"] == "0.000001"
    await town.sweeper.sweep()
    await plans.pay(caller.project_id, 1, OPERATOR)
    assert (await town.wallet(caller))["postpaid"]["owed"] == "0"
    await Upkeep(plans).turn()
    # And back without a bound: nothing of the old line is left over.
    await plans.set_line(caller.project_id, None, OPERATOR)
    await ride(town, await known(town, caller))
    await Upkeep(plans).turn()
    await town.assert_books_agree()
