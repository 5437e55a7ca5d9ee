"""The seven rules that no shortcut may break (ARCHITECTURE.md), each with its tests."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from taximeter.engines import Chunk, Done, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable, Event, Media, Modality, Vectors
from taximeter.kernel.units import format_tokens
from taximeter.ledger import InsufficientBalance
from taximeter.metering import Receipt, Ride
from taximeter.metering.errors import AboveCallersMaximum, ReceiptNotFound, WrongModality
from taximeter.metering.fares import quote_fare
from taximeter.meters import BadReport
from taximeter.pricing import ModelNotPriced
from tests.support.tenants import MODELS, Town, open_town

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORTS: dict[Modality, Done] = {
    "chat": Done(work={"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 7, "reasoning_tokens": 0}, engine_ms=5),
    "embeddings": Done(work={"prompt_tokens": 4, "inputs": 2}),
    "speech": Done(work={"characters": 12, "phoneme_tokens": 14, "audio_frames": 40, "audio_samples": 24000, "audio_ms": 1000}),
}
RESULTS: dict[Modality, Event] = {"chat": TEXT, "embeddings": Vectors(vectors=[b"\0" * 8, b"\0" * 8]), "speech": Media(data=b"RIFF")}
SYNCHRONOUS: tuple[Modality, ...] = ("chat", "embeddings", "speech")


async def finish(ride: Ride) -> Receipt:
    items = [item async for item in ride.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


def total(wallet: dict[str, Any]) -> Decimal:
    return Decimal(wallet["balance"]) + Decimal(wallet["held"])


# 1. Every modality is held before it runs, for its maximum.


@pytest.mark.parametrize("modality", SYNCHRONOUS)
async def test_the_maximum_is_held_while_the_engine_runs(town: Town, modality: Modality) -> None:
    caller = await town.caller("1000")
    go = asyncio.Event()
    town.engines[modality].script = (go, RESULTS[modality], REPORTS[modality])
    ride = await town.metering.open(town.order(caller, modality))
    running = asyncio.create_task(finish(ride))
    await town.engines[modality].running.wait()
    held = (await town.wallet(caller))["held"]
    assert held == format_tokens(ride.fare.maximum_utok) != "0"
    go.set()
    receipt = await running
    after = await town.wallet(caller)
    assert after["held"] == "0"
    assert Decimal(1000) - Decimal(after["balance"]) == Decimal(format_tokens(receipt.charged_utok)) > 0
    await town.assert_books_agree()


async def test_a_video_is_held_for_its_maximum_while_it_waits(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    assert (await town.wallet(caller))["held"] == format_tokens(view.receipt.held_utok) != "0"
    assert view.to_api()["status"] == "queued"


async def test_the_engine_is_told_the_bound_that_the_hold_pays_for(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, REPORTS["chat"])
    await finish(await town.metering.open(town.order(caller, max_tokens=13)))
    job = town.engines["chat"].jobs[0]
    assert job.bound == {"output_tokens": 13}
    assert job.request["max_tokens"] == 13


async def test_rich_callers_are_held_too(town: Town) -> None:
    """one-api and new-api hold nothing for users above a threshold: N parallel calls are then unbounded."""
    caller = await town.caller("1000000")
    go = asyncio.Event()
    town.engines["chat"].script = (go, TEXT, REPORTS["chat"])
    running = asyncio.create_task(finish(await town.metering.open(town.order(caller))))
    await town.engines["chat"].running.wait()
    assert (await town.wallet(caller))["held"] != "0"
    go.set()
    await running


# 2. An unknown price is refused, never zero.


async def test_a_model_without_a_price_is_refused(town: Town) -> None:
    caller = await town.caller()
    town.office.desk.catalog = _without_card(town, "smollm2-135m-calibrated")
    with pytest.raises(ModelNotPriced):
        await town.metering.open(town.order(caller))
    assert await town.open_holds() == 0
    assert town.engines["chat"].jobs == []


def _without_card(town: Town, name: str) -> Any:  # noqa: ANN401 - a catalog
    catalog = town.office.desk.catalog
    return replace(catalog, cards={key: card for key, card in catalog.cards.items() if card.name != name})


# 3. Nothing is charged for what was not delivered.


@pytest.mark.parametrize("error", [EngineFailed("it broke"), EngineUnavailable("it is full"), EngineRefused("no"), EngineTimeout("too long")])
@pytest.mark.parametrize("modality", SYNCHRONOUS)
async def test_a_failed_engine_costs_nothing_and_the_receipt_says_why(town: Town, modality: Modality, error: EngineFailed) -> None:
    caller = await town.caller("1000")
    town.engines[modality].script = (error,)
    ride = await town.metering.open(town.order(caller, modality))
    with pytest.raises(type(error)):
        await finish(ride)
    receipt = await town.records.receipt(caller, ride.id)
    assert (receipt.outcome, receipt.charged_utok, receipt.settlement) == ("failed", 0, "settled")
    assert error.message in str(receipt.reason)
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.open_holds() == 0


async def test_a_stream_that_breaks_after_some_text_costs_nothing(town: Town) -> None:
    caller = await town.caller("1000")
    town.engines["chat"].script = (TEXT, TEXT, EngineFailed("the upstream hung up"))
    with pytest.raises(EngineFailed):
        await finish(await town.metering.open(town.order(caller, stream=True)))
    assert (await town.wallet(caller))["balance"] == "1000"


async def test_an_engine_that_ends_without_a_report_costs_nothing(town: Town) -> None:
    caller = await town.caller("1000")
    town.engines["chat"].script = (TEXT,)
    with pytest.raises(EngineFailed, match="without a report"):
        await finish(await town.metering.open(town.order(caller)))
    assert (await town.wallet(caller))["balance"] == "1000"


@pytest.mark.parametrize("work", [{}, {"prompt_tokens": 3}, {"prompt_tokens": -1, "cached_tokens": 0, "output_tokens": 1, "reasoning_tokens": 0}])
async def test_a_report_that_makes_no_sense_costs_nothing(town: Town, work: dict[str, int]) -> None:
    caller = await town.caller("1000")
    town.engines["chat"].script = (TEXT, Done(work=work))
    with pytest.raises(BadReport):
        await finish(await town.metering.open(town.order(caller)))
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.open_holds() == 0


async def test_an_engine_that_never_answers_is_given_up_at_the_deadline(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, chat_timeout_s=0.2) as town:
        caller = await town.caller("1000")
        town.engines["chat"].script = (asyncio.Event(),)
        with pytest.raises(EngineTimeout):
            await finish(await town.metering.open(town.order(caller)))
        assert town.engines["chat"].closed_early == 1
        assert (await town.wallet(caller))["balance"] == "1000"


async def test_a_reader_who_leaves_a_stream_pays_for_what_was_generated_until_then(town: Town) -> None:
    """litellm #35958 recorded nothing for cancelled streams, new-api #4168 billed the whole request."""
    caller = await town.caller("1000")
    five = Chunk(choices=[{"index": 0, "delta": {"content": "."}, "finish_reason": None}], output_tokens=5)
    town.engines["chat"].script = (TEXT, five, asyncio.Event())
    ride = await town.metering.open(town.order(caller, stream=True))
    events = ride.events()
    await anext(events)
    await anext(events)
    await events.aclose()
    receipt = await town.records.receipt(caller, ride.id)
    assert (receipt.outcome, receipt.work["output_tokens"], receipt.measured) == ("disconnected", 5, False)
    assert 0 < receipt.charged_utok < receipt.held_utok
    assert town.engines["chat"].closed_early == 1
    await town.assert_books_agree()


async def test_a_reader_who_leaves_before_the_first_token_pays_nothing(town: Town) -> None:
    caller = await town.caller("1000")
    town.engines["chat"].script = (asyncio.Event(),)
    ride = await town.metering.open(town.order(caller, stream=True))
    waiting = asyncio.create_task(finish(ride))
    await town.engines["chat"].running.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    receipt = await town.records.receipt(caller, ride.id)
    assert (receipt.outcome, receipt.charged_utok) == ("disconnected", 0)
    assert await town.open_holds() == 0


@pytest.mark.parametrize("modality", SYNCHRONOUS)
async def test_a_caller_who_leaves_before_a_plain_answer_pays_nothing(town: Town, modality: Modality) -> None:
    caller = await town.caller("1000")
    town.engines[modality].script = (RESULTS[modality], asyncio.Event())
    ride = await town.metering.open(town.order(caller, modality))
    waiting = asyncio.create_task(finish(ride))
    await town.engines[modality].running.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.open_holds() == 0


# 4. An empty wallet is 402; limits of the caller's own are refused before anything runs.


async def test_an_empty_wallet_is_402_and_nothing_runs(town: Town) -> None:
    caller = await town.caller("0")
    with pytest.raises(InsufficientBalance) as refusal:
        await town.metering.open(town.order(caller))
    assert refusal.value.status == 402
    assert town.engines["chat"].jobs == []
    assert await town.open_holds() == 0


async def test_a_request_above_the_callers_own_maximum_is_refused_before_it_runs(town: Town) -> None:
    caller = await town.caller()
    order = town.order(caller)
    fare = quote_fare(town.office.desk.catalog, MODELS["chat"], order.request)
    with pytest.raises(AboveCallersMaximum):
        await town.metering.open(replace(order, tokens_max_utok=fare.maximum_utok - 1))
    town.engines["chat"].script = (TEXT, REPORTS["chat"])
    receipt = await finish(await town.metering.open(replace(order, tokens_max_utok=fare.maximum_utok)))
    assert receipt.held_utok == fare.maximum_utok


async def test_a_model_of_another_kind_is_refused(town: Town) -> None:
    caller = await town.caller()
    with pytest.raises(WrongModality):
        await town.metering.open(replace(town.order(caller), model=MODELS["speech"]))


async def test_parallel_requests_spend_exactly_what_the_wallet_affords(town: Town) -> None:
    """litellm #34732, new-api #5690, one-api #2440: concurrent requests overspend."""
    caller = await town.caller("0")
    fare = quote_fare(town.office.desk.catalog, MODELS["chat"], town.order(caller).request)
    await town.office.tenancy.top_up(caller.project_id, 7 * fare.maximum_utok + fare.maximum_utok // 2, "")
    go = asyncio.Event()
    town.engines["chat"].script = (go, TEXT, REPORTS["chat"])

    async def attempt() -> str:
        try:
            ride = await town.metering.open(town.order(caller))
        except InsufficientBalance:
            return "refused"
        return (await finish(ride)).outcome or ""

    attempts = [asyncio.create_task(attempt()) for _ in range(200)]
    while len(town.engines["chat"].jobs) < 7:
        await asyncio.sleep(0)
    done, _ = await asyncio.wait(attempts, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert done
    await _until_only(attempts, 7)
    go.set()
    outcomes = await asyncio.gather(*attempts)
    assert (outcomes.count("completed"), outcomes.count("refused")) == (7, 193)
    await town.assert_books_agree()


async def _until_only(tasks: list[asyncio.Task[str]], running: int) -> None:
    while sum(not task.done() for task in tasks) > running:
        await asyncio.wait([task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)


# 5. Two short transactions, none across an engine call.


async def test_no_connection_is_held_while_the_engine_runs(town: Town) -> None:
    caller = await town.caller()
    go = asyncio.Event()
    town.engines["chat"].script = (go, TEXT, REPORTS["chat"])
    running = asyncio.create_task(finish(await town.metering.open(town.order(caller))))
    await town.engines["chat"].running.wait()
    assert town.office.pool.get_idle_size() == town.office.pool.get_size()
    busy = await town.office.pool.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
    )
    assert busy == 0
    go.set()
    await running


# 6. and 7. Integers, and one ledger that everything else agrees with.


async def test_receipts_usage_wallet_and_ledger_tell_the_same_sum(town: Town) -> None:
    caller = await town.caller("1000")
    for modality in SYNCHRONOUS:
        town.engines[modality].script = (RESULTS[modality], REPORTS[modality])
        for _ in range(3):
            await finish(await town.metering.open(town.order(caller, modality)))
    receipts = await town.records.receipts(caller, None, 100)
    charged = sum(receipt.charged_utok for receipt in receipts)
    now = datetime.now(UTC)
    usage = await town.records.usage(caller, ["model"], now - timedelta(hours=1), now + timedelta(hours=1))
    assert sum(Decimal(row["tokens_charged"]) for row in usage) == Decimal(format_tokens(charged))
    assert {row["model"]: row["requests"] for row in usage} == {MODELS[modality]: 3 for modality in SYNCHRONOUS}
    assert Decimal(1000) - Decimal((await town.wallet(caller))["balance"]) == Decimal(format_tokens(charged))
    figures = await town.office.figures()
    assert figures["taximeter_revenue_utok"][1] == charged
    await town.assert_books_agree()


async def test_the_lines_of_a_receipt_add_up_to_what_was_consumed(town: Town) -> None:
    caller = await town.caller("1000")
    town.engines["chat"].script = (TEXT, REPORTS["chat"])
    receipt = await finish(await town.metering.open(town.order(caller)))
    assert sum(Decimal(line["tokens"]) for line in receipt.lines) == Decimal(format_tokens(receipt.consumed_utok))
    assert {name: count for name, count in receipt.work.items() if count or name == "reasoning_tokens"} == {
        "fresh_prompt_tokens": 6, "cached_prompt_tokens": 4, "output_tokens": 7, "reasoning_tokens": 0, "prompt_tokens": 10, "total_tokens": 17,
    }  # fmt: skip


async def test_another_projects_receipt_does_not_exist(town: Town) -> None:
    owner, stranger = await town.caller(), await town.caller()
    town.engines["chat"].script = (TEXT, REPORTS["chat"])
    receipt = await finish(await town.metering.open(town.order(owner)))
    with pytest.raises(ReceiptNotFound):
        await town.records.receipt(stranger, receipt.id)
    assert await town.records.receipts(stranger, None, 10) == []
