"""Grants from the day they are given to the entry of their expiry, each way ending with a replay of the log."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from taximeter.admission.plans import By, CorrectionAboveBalance, GrantOrder, Upkeep
from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.units import format_tokens, parse_tokens
from taximeter.ledger import DifferentBody, InsufficientBalance
from taximeter.metering import Receipt
from tests.support.plans import OPERATOR, SCRIPT, ahead, give, known, left, ride
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


def plans_by(reason: str) -> By:
    return By(operator="Kim", reason=reason)


async def events(town: Town, kind: str) -> int:
    count: int = await town.office.pool.fetchval("select count(*) from admission.events where type = $1", kind)
    return count


async def test_what_expires_first_is_spent_first_then_priority_then_what_fits_less_then_the_oldest(town: Town) -> None:
    caller = await town.caller("1")
    fare = (await ride(town, caller)).charged_utok
    end = ahead(days=2)
    forever = await give(town, caller, fare)
    any_chat = await give(town, caller, fare, expires_at=end)
    first_of_any = await give(town, caller, fare, expires_at=end, priority=10)
    chat_alone = await give(town, caller, fare, expires_at=end, modality="chat")
    tomorrow = await give(town, caller, fare, expires_at=ahead(days=1), priority=99)
    for_films = await give(town, caller, fare, expires_at=ahead(hours=1), modality="video")
    later = await give(town, caller, fare, starts_at=ahead(hours=1), expires_at=ahead(hours=2))
    # A reference makes the id, which then says nothing about its time.
    named = [await give(town, caller, fare, str(number)) for number in range(4)]
    order = [tomorrow, first_of_any, chat_alone, any_chat, forever, *named]
    shown = await town.office.plans.purse(caller.project_id, ahead(days=0))
    mine = [grant.id for grant in order]
    assert [grant.id for grant in shown.grants if grant.id in mine] == mine
    for spent in range(1, len(order) + 1):
        assert (await ride(town, await known(town, caller))).charged_utok == fare
        assert await left(town, caller, *order) == [0] * spent + [fare] * (len(order) - spent)
    # Then what was bought; never what is for something else, or for later.
    before = parse_tokens((await town.wallet(caller))["prepaid"])
    await ride(town, await known(town, caller))
    assert before - parse_tokens((await town.wallet(caller))["prepaid"]) == fare
    assert await left(town, caller, for_films, later) == [fare, fare]
    await town.assert_books_agree()


async def test_a_grant_of_a_moment_ago_pays_although_the_verdict_on_the_key_is_older(town: Town) -> None:
    caller = await town.caller("0")
    with pytest.raises(InsufficientBalance):
        await ride(town, caller)
    grant = await give(town, caller, "50", expires_at=ahead(hours=1))
    receipt = await ride(town, caller)
    assert await left(town, caller, grant) == [50_000_000 - receipt.charged_utok]
    # Videos too: they are held in the same way.
    view = await town.videos.submit(town.order(caller, "video"))
    assert view.receipt.held_utok <= 50_000_000
    await town.assert_books_agree()


async def test_many_small_grants_do_not_keep_a_large_one_away(town: Town) -> None:
    caller = await town.caller("0")
    small = [await give(town, caller, "0.000001", expires_at=ahead(days=number)) for number in range(1, 12)]
    large = await give(town, caller, "50", expires_at=ahead(days=30))
    assert (await town.wallet(caller))["granted"] == "50.000006"
    receipt = await ride(town, await known(town, caller))
    assert await left(town, caller, *small, large) == [0] * 6 + [1] * 5 + [50_000_006 - receipt.charged_utok]
    await town.assert_books_agree()


async def test_what_has_expired_pays_for_nothing_and_goes_to_the_operator_once(town: Town) -> None:
    caller = await town.caller("0")
    grant = await give(town, caller, "50", now=datetime.now(UTC) - 2 * DAY, starts_at=datetime.now(UTC) - 2 * DAY, expires_at=datetime.now(UTC) - DAY)
    with pytest.raises(InsufficientBalance):
        await ride(town, await known(town, caller))
    workers = [Upkeep(town.office.plans), Upkeep(town.office.plans)]
    await asyncio.gather(*(worker.turn() for worker in workers for _ in range(3)))
    assert await left(town, caller, grant) == [0]
    assert await events(town, "grant.expired") == 1
    expired = await town.office.pool.fetchval("select sum(credits_posted)::bigint from ledger.accounts where code = 14")
    assert expired == 50_000_000
    assert (await town.wallet(caller))["grants"] == []
    assert await Upkeep(town.office.plans).turn() == 0
    await town.assert_books_agree()


async def test_a_grant_is_spent_until_the_moment_of_its_end_and_not_from_then_on(town: Town) -> None:
    caller = await town.caller("0")
    end = ahead(hours=1)
    grant = await give(town, caller, "50", expires_at=end)
    plans = town.office.plans
    assert await plans.expire(caller.project_id, grant.id, end - timedelta(microseconds=1)) == 0
    assert await left(town, caller, grant) == [50_000_000]
    assert await plans.expire(caller.project_id, grant.id, end) == 50_000_000
    assert await plans.expire(caller.project_id, grant.id, end) == 0
    await town.assert_books_agree()


async def test_a_hold_that_spans_the_end_is_charged_and_what_it_gives_back_expires_then(town: Town) -> None:
    caller = await town.caller("0")
    end = ahead(hours=1)
    grant = await give(town, caller, "50", expires_at=end)
    opened = await town.metering.open(town.order(await known(town, caller)))
    held = opened.headers()["taximeter-tokens-held"]
    after = end + timedelta(seconds=1)
    assert format_tokens(50_000_000 - await town.office.plans.expire(caller.project_id, grant.id, after)) == held
    assert await Upkeep(town.office.plans).turn(after) == 0
    town.engines["chat"].script = SCRIPT
    receipt = [item async for item in opened.events()][-1]
    assert isinstance(receipt, Receipt)
    assert receipt.charged_utok > 0
    assert await Upkeep(town.office.plans).turn(after) == 1
    rows = await town.office.pool.fetch("select amount_utok from admission.expiries where grant_id = $1 order by created_at", grant.id)
    assert sum(row["amount_utok"] for row in rows) + receipt.charged_utok == 50_000_000
    assert len(rows) == 2
    assert await Upkeep(town.office.plans).turn(after) == 0
    await town.assert_books_agree()


async def test_of_grants_that_will_expire_soon_the_project_is_told_once(town: Town) -> None:
    caller = await town.caller("0")
    await give(town, caller, "5", expires_at=ahead(days=10))
    await give(town, caller, "5", expires_at=ahead(hours=1))
    for now, told in ((None, 0), (ahead(days=6, hours=23), 0), (ahead(days=7, hours=1), 1), (ahead(days=8), 1)):
        await Upkeep(town.office.plans).turn(now)
        assert await events(town, "grant.expiring") == told
    told_of = json.loads(await town.office.pool.fetchval("select data from admission.events where type = 'grant.expiring'"))
    assert (told_of["grant"][:4], told_of["left"]) == ("grt_", "5")
    await town.assert_books_agree()


async def test_of_a_wallet_that_is_low_the_project_is_told_once_until_it_has_more_again(town: Town) -> None:
    caller, never = await town.caller("3"), await town.caller("0")
    below = 2_000_000
    plans = town.office.plans
    assert await plans.tell_low_wallets(below) == 0
    await plans.correct(caller.project_id, -2_000_000, plans_by("spent"))
    # However many workers look, and however often.
    assert sorted(await asyncio.gather(*(plans.tell_low_wallets(below) for _ in range(3)))) == [0, 0, 1]
    await plans.correct(caller.project_id, 5_000_000, plans_by("paid"))
    assert await plans.tell_low_wallets(below) == 0
    await plans.correct(caller.project_id, -5_500_000, plans_by("spent again"))
    assert await plans.tell_low_wallets(below) == 1
    # A credit line is something left, until it is lowered; one without a bound is never low.
    await plans.set_line(caller.project_id, 50_000_000, plans_by("trust"))
    assert await plans.tell_low_wallets(below) == 0
    await plans.set_line(caller.project_id, 1_000_000, plans_by("less trust"))
    assert await plans.tell_low_wallets(below) == 1
    await plans.set_line(never.project_id, None, plans_by("all trust"))
    assert await plans.tell_low_wallets(below) == 0
    rows = await town.office.pool.fetch("select type, project_id, data from admission.events where type in ('wallet.low', 'credit.low') order by id")
    assert [(row["type"], row["project_id"] == caller.project_id) for row in rows] == [("wallet.low", True)] * 2 + [("credit.low", True)]
    assert [json.loads(row["data"])["left"] for row in rows] == ["1", "0.5", "1.5"]
    assert json.loads(rows[-1]["data"]) == {"left": "1.5", "below": "2", "line": "1", "owed": "0"}
    await town.assert_books_agree()


async def test_the_same_reference_is_one_grant_and_with_other_terms_refused(town: Town) -> None:
    caller = await town.caller("0")
    end = ahead(days=1)
    made = await asyncio.gather(*(give(town, caller, "5", "spring", expires_at=end) for _ in range(10)))
    assert len({grant.id for grant in made}) == 1
    assert (await town.wallet(caller))["granted"] == "5"
    for terms in ({"expires_at": ahead(days=2)}, {"expires_at": end, "modality": "chat"}, {"expires_at": end, "priority": 1}):
        with pytest.raises(DifferentBody):
            await give(town, caller, "5", "spring", **terms)
    with pytest.raises(DifferentBody):
        await give(town, caller, "6", "spring", expires_at=end)
    await town.assert_books_agree()


async def test_terms_that_make_no_sense_are_refused(town: Town) -> None:
    caller = await town.caller("0")
    for terms, param in (
        ({"expires_at": datetime.now(UTC)}, "expires_at"),
        ({"starts_at": ahead(days=2), "expires_at": ahead(days=1)}, "expires_at"),
        ({"expires_at": datetime(2030, 1, 1)}, "expires_at"),  # noqa: DTZ001 - without a zone
        ({"starts_at": datetime(1, 1, 1, tzinfo=UTC)}, "starts_at"),
        ({"starts_at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}, "starts_at"),
        ({"expires_at": datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))}, "expires_at"),
        ({"priority": 101}, "priority"),
        ({"modality": "smell"}, "modality"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await give(town, caller, "5", **terms)
        assert caught.value.param == param
    with pytest.raises(NotFound):
        await town.office.plans.give(town.office.desk.ids.new(), GrantOrder(amount_utok=1), OPERATOR)
    await town.assert_books_agree()


async def test_corrections_say_who_and_why_take_what_was_bought_first_and_never_more_than_there_is(town: Town) -> None:
    caller = await town.caller("5")
    plans, tenancy = town.office.plans, town.office.tenancy
    await tenancy.grant(caller.project_id, parse_tokens("3"), "", By(operator="Kim", reason="a welcome"))
    by = By(operator="Kim", reason="typed twice", reference="c1")
    taken = await asyncio.gather(*(plans.correct(caller.project_id, -6_000_000, by) for _ in range(5)))
    assert sorted(replayed for _, replayed in taken) == [False, True, True, True, True]
    wallet = await town.wallet(caller)
    assert (wallet["prepaid"], wallet["allowance"]) == ("0", "2")
    with pytest.raises(CorrectionAboveBalance):
        await plans.correct(caller.project_id, -2_000_001, By(operator="Kim", reason="too much", reference="c2"))
    # Nothing was booked: the same reference may be tried again when there is enough.
    await plans.correct(caller.project_id, 1, By(operator="Kim", reason="the missing one"))
    assert (await plans.correct(caller.project_id, -2_000_001, By(operator="Kim", reason="too much", reference="c2")))[1] is False
    with pytest.raises(DifferentBody):
        await plans.correct(caller.project_id, 7, by)
    with pytest.raises(InvalidRequest):
        await plans.correct(caller.project_id, 7, By(operator="Kim", reason=" "))
    rows = await plans.adjustments(caller.project_id, None, 10)
    assert {(row["kind"], row["amount_utok"], row["operator"]) for row in rows} == {
        ("grant", 3_000_000, "Kim"), ("correction", -6_000_000, "Kim"), ("correction", 1, "Kim"), ("correction", -2_000_001, "Kim"),
    }  # fmt: skip
    await town.assert_books_agree()


async def test_refunds_go_back_to_what_was_paid_from_and_of_an_expired_grant_to_the_allowance(town: Town) -> None:
    caller = await town.caller("1000")
    fare = (await ride(town, caller)).charged_utok
    end = ahead(days=1)
    ending = await give(town, caller, fare // 4, expires_at=end)
    lasting = await give(town, caller, fare // 4)
    await town.office.tenancy.grant(caller.project_id, fare // 4, "")
    receipt = await ride(town, await known(town, caller))
    bought = fare - 3 * (fare // 4)
    before = parse_tokens((await town.wallet(caller))["prepaid"])

    async def refund(amount_utok: int, reference: str) -> tuple[int, int]:
        made = await town.records.refunds.make(receipt.id, amount_utok, reason="it was wrong", operator="test", reference=reference)
        return made.prepaid_utok, made.allowance_utok

    assert await refund(bought - 1, "1") == (bought - 1, 0)
    assert await refund(1 + fare // 4 + 5, "2") == (1, fare // 4 + 5)
    wallet = await town.wallet(caller)
    assert (parse_tokens(wallet["prepaid"]) - before, wallet["allowance"]) == (bought, format_tokens(fare // 4))
    assert await left(town, caller, lasting, ending) == [5, 0]
    # The rest of the lasting one and some of the other, which is over by now.
    await _age(town, ending.account)
    assert await refund(fare // 4 - 5 + 7, "3") == (0, fare // 4 - 5 + 7)
    assert await left(town, caller, lasting) == [fare // 4]
    assert parse_tokens((await town.wallet(caller))["allowance"]) == fare // 4 + 7
    await Upkeep(town.office.plans).turn()
    await town.assert_books_agree()


async def _age(town: Town, account: int) -> None:
    """Let a grant be over: what no application may do, and time does."""
    owner = await connect_owner(town.office.settings.database_url)
    await owner.execute("alter table admission.grants disable trigger user")
    await owner.execute(
        "update admission.grants set starts_at = now() - interval '2 days', expires_at = now() - interval '1 day' where account = $1", account
    )
    await owner.execute("alter table admission.grants enable trigger user")
    await owner.close()
