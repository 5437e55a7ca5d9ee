"""A receipt is computed again from what is stored, whatever became of its request."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done, EngineFailed, Media, Vectors
from taximeter.ledger import AccountCode, Kind, Leg, Operation, operator_account
from taximeter.metering import Receipt
from taximeter.metering.desk import wallet_of
from taximeter.metering.errors import ReceiptNotFound
from taximeter.metering.explain import explain
from taximeter.metering.explanation import Explanation, Record
from taximeter.metering.fares import METERS
from taximeter.metering.rules import encode_fact
from taximeter.pricing import apply_dir
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 7, "reasoning_tokens": 2})
FILM = Done(work={"steps": 20, "frames": 16, "width": 640, "height": 360, "passes": 20, "latent_tokens": 1})


async def explained(town: Town, receipt_id: UUID) -> Explanation:
    return await town.records.explanation(town.office.desk.catalog, receipt_id)


async def agreed(town: Town, receipt_id: UUID) -> dict[str, list[tuple[str, str | None]]]:
    """The figures of each part, all of which agree with what is stored."""
    explanation = await explained(town, receipt_id)
    assert [step for step in explanation.steps if step.agrees is False] == []
    assert explanation.agrees
    parts: dict[str, list[tuple[str, str | None]]] = {}
    for step in explanation.steps:
        parts.setdefault(step.part, []).append((step.label, step.computed))
    return parts


async def ride_to_its_end(town: Town, caller: Any, modality: Any = "chat", **changes: Any) -> UUID:  # noqa: ANN401
    ride = await town.metering.open(town.order(caller, modality, **changes))
    assert [item async for item in ride.events() if isinstance(item, Receipt)]
    return ride.id


@pytest.mark.parametrize("truncated", [False, True])
async def test_a_completed_and_a_truncated_chat_are_computed_again(town: Town, *, truncated: bool) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, Done(work=REPORT.work, truncated=truncated))
    parts = await agreed(town, await ride_to_its_end(town, caller))
    assert ("output_tokens", "5") in parts["work"]
    assert parts["charge"][-1][0] == "Charge"
    assert [label for label, _ in parts["card"]] == ["Prompt", "Prompt from cache", "Answer", "Reasoning", "Consumed"]
    assert "factors" not in parts


async def test_embeddings_and_speech_are_computed_again(town: Town) -> None:
    caller = await town.caller()
    town.engines["embeddings"].script = (Vectors(vectors=[bytes(4)]), Done(work={"prompt_tokens": 3, "inputs": 2}))
    assert await agreed(town, await ride_to_its_end(town, caller, "embeddings"))
    town.engines["speech"].script = (Media(data=b"x"), Done(work={"characters": 12, "phoneme_tokens": 12, "audio_frames": 40}))
    assert await agreed(town, await ride_to_its_end(town, caller, "speech"))


async def test_a_stream_whose_caller_left_is_computed_from_what_was_delivered(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, asyncio.Event())
    ride = await town.metering.open(town.order(caller, stream=True))
    events = ride.events()
    await anext(events)
    await events.aclose()
    explanation = await explained(town, ride.id)
    assert explanation.agrees
    assert any("something was estimated" in step.how for step in explanation.steps)
    assert (await town.records.receipt(caller, ride.id)).charged_utok > 0


async def test_what_failed_was_cancelled_or_expired_costs_nothing_and_says_why(town: Town) -> None:
    caller = await town.caller()
    message = "the engine broke; nothing was charged"
    town.engines["chat"].script = (EngineFailed(message),)
    ride = await town.metering.open(town.order(caller))
    with pytest.raises(EngineFailed):
        [item async for item in ride.events()]
    assert (await agreed(town, ride.id))["charge"] == [("Charge", "0")]
    assert any(message in step.how for step in (await explained(town, ride.id)).steps)
    video = await town.videos.submit(town.order(caller, "video"))
    await town.videos.delete(caller, video.id)
    assert (await agreed(town, video.job.id))["charge"] == [("Charge", "0")]
    orphan = await town.metering.open(town.order(caller))
    assert any("has not ended" in note for note in (await explained(town, orphan.id)).notes)
    await town.office.store.goodbye(town.office.desk.process_id)
    assert await town.sweeper.sweep() == 1
    assert (await agreed(town, orphan.id))["charge"] == [("Charge", "0")]


async def test_a_late_settlement_and_what_the_wallet_did_not_cover_are_told_apart(town: Town) -> None:
    caller = await town.caller("0.2")
    go = asyncio.Event()
    town.engines["chat"].script = (TEXT, go, REPORT)
    ride = await town.metering.open(town.order(caller))
    running = asyncio.create_task(anext(_last(ride)))
    await town.engines["chat"].running.wait()
    await town.office.store.goodbye(town.office.desk.process_id)
    assert await town.sweeper.sweep() == 1
    # Meanwhile the wallet is spent to the last bit.
    balance = (await town.wallet(caller))["balance"]
    await _spend(town, caller, int(float(balance) * 10**6) - 7)
    go.set()
    await running
    parts = await agreed(town, ride.id)
    assert [label for label, _ in parts["charge"]] == ["Charge", "Charge (late)", "Not covered by the wallet", "Taken from the wallet"]
    assert (await town.records.receipt(caller, ride.id)).charged_utok == 7


async def test_a_refund_stands_behind_the_charge(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, REPORT)
    receipt_id = await ride_to_its_end(town, caller)
    await town.records.refunds.make(receipt_id, 1000, reason="blurred", operator="admin")
    assert [label for label, _ in (await agreed(town, receipt_id))["refunds"]][-1] == "Left to pay"


async def test_a_film_of_each_tier_is_made_in_their_order_and_computed_again_with_its_factor(town: Town) -> None:
    caller = await town.caller("1000")
    town.engines["video"].script = (Media(data=b"film"), FILM)
    views = {tier: await town.videos.submit(town.order(caller, "video", service_tier=tier)) for tier in ("batch", "auto", "priority")}
    made = []
    for _ in views:
        job = await town.office.jobs.claim("video", 30.0)
        assert job is not None
        made.append(job.id)
        await town.runner.run_job(job)
    assert made == [views[tier].job.id for tier in ("priority", "auto", "batch")]
    charged = {}
    for tier, view in views.items():
        receipt = await town.records.receipt(caller, view.job.id)
        parts = await agreed(town, view.job.id)
        assert ("factors" in parts) == (tier != "auto")
        changes = sum(int(float(line["tokens"]) * 10**6) for line in receipt.multipliers)
        assert receipt.consumed_utok + changes == receipt.charged_utok
        charged[tier] = (receipt.service_tier, receipt.multiplier, receipt.consumed_utok, receipt.charged_utok)
    full_utok = charged["auto"][3]
    assert charged == {
        "batch": ("batch", "0.5", full_utok, full_utok // 2),
        "auto": ("standard", "1", full_utok, full_utok),
        "priority": ("priority", "1.5", full_utok, full_utok * 3 // 2),
    }
    api = (await town.records.receipt(caller, views["priority"].job.id)).to_api()
    assert api["money"] == {"currency": "USD", "amount_nano": str(charged["priority"][3] * 3 // 10), "price_nano": "300000"}
    assert [line["name"] for line in api["multipliers"]] == ["service_tier"]
    await town.assert_books_agree()


async def test_whatever_differs_is_named_and_nothing_else(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, REPORT)
    receipt_id = await ride_to_its_end(town, caller)
    record = await town.office.store.find_record(receipt_id, caller.project_id)
    assert record is not None
    (phase,) = record.phases
    catalog = town.office.desk.catalog

    def differing(changed: Record) -> list[tuple[str, str]]:
        explanation = explain(catalog, changed)
        assert not explanation.agrees
        assert "DIFFERS" in explanation.text()
        return [(step.part, step.label) for step in explanation.steps if step.agrees is False]

    def with_phase(**changes: Any) -> Record:  # noqa: ANN401
        return msgspec.structs.replace(record, phases=[msgspec.structs.replace(phase, **changes)])

    assert differing(with_phase(charged_utok=phase.charged_utok + 1)) == [("charge", "Charge")]
    assert differing(with_phase(consumed_utok=phase.consumed_utok + 1)) == [("card", "Consumed")]
    assert differing(with_phase(work={**phase.work, "output_tokens": 6})) == [("work", "output_tokens")]
    lines = [{**phase.lines[0], "tokens": "9"}, *phase.lines[1:]]
    assert differing(with_phase(lines=lines)) == [("card", "Prompt")]
    assert ("money", "Price of a Token") in differing(msgspec.structs.replace(record, fare={**record.fare, "price_nano": 1}))
    assert ("estimate", "Held") in differing(msgspec.structs.replace(record, held_utok=1))
    report = {**phase.detail["reported"], "output_tokens": 8}
    assert ("work", "output_tokens") in differing(with_phase(detail={**phase.detail, "reported": report}))
    assert ("work", "Work") in differing(with_phase(detail={**phase.detail, "reported": {"prompt_tokens": 10}}))
    assert ("versions", "Rate card") in differing(msgspec.structs.replace(record, rate_card="nothing@1"))


async def test_a_receipt_of_an_earlier_release_is_explained_as_far_as_it_goes(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, REPORT)
    record = await town.office.store.find_record(await ride_to_its_end(town, caller), None)
    assert record is not None
    (phase,) = record.phases
    kept = {name: record.fare[name] for name in ("work_expected", "work_max", "expected_utok", "maximum_utok")}
    old = msgspec.structs.replace(record, fare=kept, phases=[msgspec.structs.replace(phase, detail={})])
    explanation = explain(town.office.desk.catalog, old)
    assert explanation.agrees
    assert "earlier release" in explanation.notes[0]
    assert {step.part for step in explanation.steps if step.agrees} == {"versions", "work", "card", "charge"}
    wrong = msgspec.structs.replace(old, phases=[msgspec.structs.replace(old.phases[0], charged_utok=1)])
    assert not explain(town.office.desk.catalog, wrong).agrees


async def test_a_receipt_is_explained_by_its_own_versions_when_there_are_newer_ones(town: Town, database_url: str, tmp_path: Path) -> None:
    caller = await town.caller("1000")
    town.engines["video"].script = (Media(data=b"film"), FILM)
    view = await town.videos.submit(town.order(caller, "video", service_tier="priority"))
    (tmp_path / "new.yaml").write_text(
        "kind: tariff\nname: standard\nversion: 3\neffective_from: 2026-11-21T00:00:01Z\ncurrency: USD\nprice_per_token: 0.001\n"
        "service_tiers: {priority: 3, batch: 0.1}\n"
    )
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "new.yaml", METERS)
    await owner.close()
    await until(lambda: town.office.desk.catalog.tariffs["standard"].version == 3)
    job = await town.office.jobs.claim("video", 30.0)
    assert job is not None
    await town.runner.run_job(job)
    parts = await agreed(town, view.job.id)
    assert ("Tariff", "standard@2") in parts["versions"]
    assert (await town.records.receipt(caller, view.job.id)).multiplier == "1.5"


async def test_foreign_and_unknown_receipts_are_not_explained(town: Town) -> None:
    caller, other = await town.caller(), await town.caller()
    town.engines["chat"].script = (TEXT, REPORT)
    receipt_id = await ride_to_its_end(town, caller)
    catalog = town.office.desk.catalog
    with pytest.raises(ReceiptNotFound):
        await town.records.explanation(catalog, receipt_id, other)
    explanation = await town.records.explanation(catalog, receipt_id, caller)
    assert json.loads(json.dumps(explanation.to_api()))["agrees"] is True


async def _last(ride: Any) -> Any:  # noqa: ANN401
    items = [item async for item in ride.events()]
    yield items[-1]


async def _spend(town: Town, caller: Any, amount_utok: int) -> None:  # noqa: ANN401
    """Take from a wallet by a hold of another kind of request."""
    wallet = wallet_of(caller)
    operation_id = town.office.desk.ids.new()
    leg = Leg(wallet.prepaid, operator_account(AccountCode.TREASURY, wallet.lane), amount_utok, cascade=False)
    await town.office.desk.books.submit(
        Operation(id=operation_id, kind=Kind.DIRECT, lane=wallet.lane, amount_utok=amount_utok, legs=(leg,), fact=encode_fact({}))
    )
