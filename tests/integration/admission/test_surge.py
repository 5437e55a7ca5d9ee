"""Surge prices in the books: who leads, what is on record, what is charged, and what waits for the calm."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import asyncpg
import msgspec
import pytest

from taximeter.admission.surge import EnginePlan, FlexUnavailable, MultiplierAboveMaximum, Point, Policy, Sample, SurgeLeader
from taximeter.admission.surge.model import Demand
from taximeter.admission.surge.policy_file import OccupancySource
from taximeter.admission.surge.sources import Occupancy
from taximeter.admission.surge.store import LeaderStore
from taximeter.db.pool import connect_app, connect_owner
from taximeter.engines import Chunk, Done, EngineUnavailable, Media
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.metering import Quotes, Receipt
from taximeter.metering.claims import calm_s
from taximeter.metering.desk import price_order
from taximeter.metering.fares import METERS
from taximeter.metering.quotes import QuoteStore
from taximeter.pricing import apply_dir
from tests.support.surges import set_price
from tests.support.tenants import MODELS, REQUESTS, Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})
FILM = Done(work={"steps": 20, "frames": 16, "width": 640, "height": 360, "passes": 20, "latent_tokens": 1})
CURVE = (Point(8_500, 100), Point(10_000, 175), Point(15_000, 250))
QUICK = Policy(curve=CURVE, smoothing_s=0, deadband_bp=400, step_s=1, rise_pct=25, fall_pct=10)
ENGINE = "demo-text"


class Meter:
    """A source that shows what a test sets."""

    def __init__(self, load_bp: int | None) -> None:
        self.sample_now = Sample(load_bp, "" if load_bp is not None else "unplugged")
        self.asked: list[Demand] = []

    async def sample(self, demand: Demand) -> Sample:
        self.asked.append(demand)
        return self.sample_now

    async def close(self) -> None:
        return


@pytest.fixture
async def town(database_url: str, open_folder: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, open_folder, surge=True, surge_interval_s=0.05, catalog_refresh_s=0.05) as opened:
        opened.engines["chat"].script = (TEXT, REPORT)
        opened.engines["video"].script = (Media(b"film"), FILM)
        yield opened


def leader(town: Town, meter: Meter, policy: Policy = QUICK, engine: str = ENGINE) -> SurgeLeader:
    settings = town.office.settings
    plan = EnginePlan(engine, policy, OccupancySource())
    return SurgeLeader(lambda: connect_app(settings.database_url), [(plan, meter)], lambda: town.office.desk.catalog, settings)


@contextlib.asynccontextmanager
async def running(*leaders: SurgeLeader) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(each.run()) for each in leaders]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def factor(town: Town, engine: str = ENGINE) -> Callable[[], int]:
    def now() -> int:
        current = town.office.desk.surge.find(engine)
        return 100 if current is None else current.state.factor_pct

    return now


async def ride(town: Town) -> Receipt:
    caller = await town.caller()
    opened = await town.metering.open(town.order(caller))
    receipt = [event async for event in opened.events()][-1]
    assert isinstance(receipt, Receipt)
    return receipt


async def test_of_two_workers_one_leads_and_the_other_takes_over_when_it_dies(town: Town) -> None:
    first, second = Meter(9_000), Meter(9_000)
    async with running(leader(town, first)) as [leading]:
        await until(lambda: bool(first.asked))
        async with running(leader(town, second)):
            asked = len(first.asked)
            await until(lambda: len(first.asked) > asked + 3)
            assert second.asked == [], "two lead at once"
            leading.cancel()
            await until(lambda: bool(second.asked))
            asked = len(first.asked)
            await until(lambda: len(second.asked) > 3)
            assert len(first.asked) == asked
    changes = await town.office.surge.changes(ENGINE, None, 100)
    assert [(change.from_pct, change.to_pct) for change in changes] == [(100, 125)]


async def test_a_leader_whose_connection_is_killed_loses_the_lead_and_the_price_goes_on(town: Town, database_url: str) -> None:
    first, second = Meter(9_000), Meter(9_000)
    async with running(leader(town, first), leader(town, second)):
        await until(lambda: factor(town)() == 125)
        owner = await connect_owner(database_url)
        here = "database = (select oid from pg_database where datname = current_database())"
        assert await owner.fetchval(f"select count(pg_terminate_backend(pid)) from pg_locks where classid = 7468 and granted and {here}") == 1  # noqa: S608
        await owner.close()
        asked = len(first.asked) + len(second.asked)
        await until(lambda: len(first.asked) + len(second.asked) > asked + 3)
        assert factor(town)() == 125


async def test_a_price_moves_by_the_policy_is_published_and_every_change_is_on_record(town: Town) -> None:
    meter = Meter(10_000)
    async with running(leader(town, meter)):
        await until(lambda: factor(town)() == 175)
        meter.sample_now = Sample(None, "unplugged")
        await until(lambda: factor(town)() == 165)
    changes = (await town.office.surge.changes(ENGINE, None, 100))[::-1]
    assert [(change.from_pct, change.to_pct) for change in changes] == [(100, 125), (125, 150), (150, 175), (175, 165)]
    assert [change.load_bp for change in changes] == [10_000, 10_000, 10_000, None]
    assert {change.policy for change in changes} == {QUICK}
    assert changes[-1].reason == "unplugged"
    rows = await town.office.pool.fetch("select data from admission.events where type = 'surge.changed' order by id")
    assert [json.loads(row["data"])["change"] for row in rows] == [change.number for change in changes]
    for statement in ("update admission.surge_changes set to_pct = 5", "delete from admission.surge_changes", "truncate admission.surge_changes"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await town.office.pool.execute(statement)


async def test_a_price_that_nobody_looks_after_is_1_and_begins_again_at_1(town: Town) -> None:
    await set_price(town.office, ENGINE, 250, good_s=0.0)
    assert factor(town)() == 100
    assert (await ride(town)).multiplier == "1"
    assert await town.office.pool.fetchval("select admission.surge_now($1)", ENGINE) == 1
    async with running(leader(town, Meter(10_000))):
        await until(lambda: factor(town)() == 125)
    changes = (await town.office.surge.changes(ENGINE, None, 100))[::-1]
    assert [(change.from_pct, change.to_pct) for change in changes][:3] == [(100, 250), (250, 100), (100, 125)]
    assert "nobody has sampled it" in changes[1].reason


async def test_an_engine_that_is_down_is_not_idle(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down() -> dict[str, object]:
        message = "down"
        raise EngineUnavailable(message)

    engine = town.engines["chat"]
    monkeypatch.setattr(engine, "check", down)
    settings = town.office.settings
    plan = (EnginePlan(ENGINE, QUICK, OccupancySource(2)), Occupancy(engine, 2))
    work = SurgeLeader(lambda: connect_app(settings.database_url), [plan], lambda: town.office.desk.catalog, settings)
    async with running(work):
        await until(lambda: town.office.desk.surge.find(ENGINE) is not None)
    current = town.office.desk.surge.find(ENGINE)
    assert current is not None
    assert (current.load_bp, current.reason) == (None, "the engine does not answer its check (EngineUnavailable)")


async def test_what_a_surge_costs_is_a_line_that_is_computed_again(town: Town) -> None:
    plain = await ride(town)
    assert plain.multipliers == ()
    await set_price(town.office, ENGINE, 125)
    receipt = await ride(town)
    assert receipt.multiplier == "1.25"
    assert (receipt.consumed_utok, receipt.charged_utok) == (plain.consumed_utok, round(plain.charged_utok * 1.25))
    change = (await town.office.surge.changes(ENGINE, None, 1))[0].number
    [line] = receipt.multipliers
    assert (line["name"], line["factor"], line["label"]) == ("surge", "1.25", f"Surge at demo-text, change {change} by policy {Policy().id}")
    # Whatever the price has become since.
    await set_price(town.office, ENGINE, 200)
    explanation = await town.records.explanation(town.office.desk.catalog, receipt.id)
    assert explanation.agrees
    assert [step for step in explanation.steps if step.agrees is False] == []
    await town.assert_books_agree()


async def test_other_engines_and_cheap_tiers_have_no_surge(town: Town) -> None:
    desk, caller = town.office.desk, await town.caller()
    before = {tier: price_order(desk, town.order(caller, "video", service_tier=tier)) for tier in ("batch", "standard", "priority")}
    await set_price(town.office, "demo-video", 150)
    after = {tier: price_order(desk, town.order(caller, "video", service_tier=tier)) for tier in ("batch", "standard", "priority")}
    assert after["batch"] == before["batch"]
    assert after["standard"].maximum_utok == round(before["standard"].maximum_utok * 1.5)
    assert after["priority"].parts.multiplier == "2.25"
    assert price_order(desk, town.order(caller)).parts.multiplier == "1"
    # The tariff's highest product counts for the surge too.
    await set_price(town.office, "demo-video", 1_000)
    assert price_order(desk, town.order(caller, "video")).parts.multiplier == "4"


async def test_a_quote_keeps_its_multiplier_whatever_becomes_of_the_price(town: Town) -> None:
    quotes, caller = Quotes(town.office.desk, QuoteStore(town.office.pool)), await town.caller()

    async def quoted() -> dict[str, object]:
        document: dict[str, object] = json.loads(await quotes.make(caller, (MODELS["chat"], REQUESTS["chat"], None)))
        return document

    async def charged(quote: dict[str, object]) -> Receipt:
        opened = await town.metering.open(replace(town.order(caller), quote_id=str(quote["id"])))
        receipt = [event async for event in opened.events()][-1]
        assert isinstance(receipt, Receipt)
        assert receipt.quote == quote["id"]
        return receipt

    calm = await quoted()
    await set_price(town.office, ENGINE, 175)
    rush = await quoted()
    assert (calm["multiplier"], rush["multiplier"]) == ("1", "1.75")
    at_calm = await charged(calm)
    assert (at_calm.multiplier, at_calm.held_utok) == ("1", round(float(str(calm["tokens_max"])) * 1_000_000))
    await set_price(town.office, ENGINE, 250)
    at_rush = await charged(rush)
    assert at_rush.multiplier == "1.75"
    assert at_rush.multipliers[0]["label"] == rush["multipliers"][0]["label"]  # type: ignore[index]
    assert at_rush.charged_utok == round(at_calm.charged_utok * 1.75)
    for receipt in (at_calm, at_rush):
        assert (await town.records.explanation(town.office.desk.catalog, receipt.id)).agrees


async def test_a_request_above_the_highest_multiplier_that_it_takes_holds_nothing(town: Town) -> None:
    caller = await town.caller()
    await set_price(town.office, ENGINE, 175)
    order = town.order(caller)
    with pytest.raises(MultiplierAboveMaximum) as refused:
        await town.metering.open(replace(order, multiplier_max=Fraction(174, 100)))
    assert refused.value.headers["taximeter-multiplier"] == "1.75"
    assert 1 <= int(refused.value.headers["retry-after"]) <= 7_200
    with pytest.raises(MultiplierAboveMaximum) as refused:
        await town.metering.open(replace(order, multiplier_max=Fraction(1, 2)))
    assert "retry-after" not in refused.value.headers, "it never comes down so far"
    assert await town.open_holds() == 0
    opened = await town.metering.open(replace(order, multiplier_max=Fraction(7, 4)))
    assert isinstance([event async for event in opened.events()][-1], Receipt)


async def test_flex_and_batch_videos_wait_for_the_calm_but_not_for_ever(town: Town) -> None:
    caller, jobs = await town.caller("100000"), town.office.jobs
    await set_price(town.office, "demo-video", 150)
    batch = await town.videos.submit(town.order(caller, "video", service_tier="batch"))
    assert await jobs.claim("video", 5, calm_s=60) is None
    standard = await town.videos.submit(town.order(caller, "video"))
    claimed = await jobs.claim("video", 5, calm_s=60)
    assert claimed is not None
    assert claimed.id == standard.job.id
    assert await jobs.claim("video", 5, calm_s=60) is None
    # Its last moment has come: it runs at what its tier costs.
    claimed = await jobs.claim("video", 5, calm_s=0.001)
    assert claimed is not None
    assert claimed.id == batch.job.id
    await town.runner.run_job(claimed)
    assert (await town.videos.find(caller, batch.id)).receipt.multiplier == "0.5"
    # Another one runs when the calm has come.
    later = await town.videos.submit(town.order(caller, "video", service_tier="batch"))
    assert await jobs.claim("video", 5, calm_s=60) is None
    await set_price(town.office, "demo-video", 100)
    claimed = await jobs.claim("video", 5, calm_s=60)
    assert claimed is not None
    assert claimed.id == later.job.id


def test_a_hold_outlasts_all_tries_at_a_job_that_has_waited(tmp_path: Path) -> None:
    assert calm_s(Settings(home=tmp_path)) == 0
    assert calm_s(Settings(home=tmp_path, surge=True)) == 43_200
    assert calm_s(Settings(home=tmp_path, surge=True, surge_wait_max_s=10)) == 10
    assert calm_s(Settings(home=tmp_path, surge=True, video_hold_ttl_s=20_000)) == 20_000 - 3 * 3_600
    assert calm_s(Settings(home=tmp_path, surge=True, video_hold_ttl_s=3_600)) == 0


async def test_what_waits_for_the_calm_does_not_keep_the_price_up(town: Town) -> None:
    """Else a queue of batch jobs would hold the surge that holds them back."""
    caller = await town.caller("100000")
    for tier in ("batch", "batch", "standard"):
        await town.videos.submit(town.order(caller, "video", service_tier=tier))
    connection = await connect_app(town.office.settings.database_url)
    store = LeaderStore(connection)
    assert await store.open_requests() == {"sketch-video": Demand(1, 0)}
    await town.metering.open(town.order(caller))
    assert await store.open_requests() == {"sketch-video": Demand(1, 0), "smollm2-135m": Demand(1, 0)}
    assert await town.office.jobs.claim("video", 5) is not None
    assert await town.office.jobs.claim("video", 5) is not None
    assert await store.open_requests() == {"sketch-video": Demand(1, 1), "smollm2-135m": Demand(1, 0)}
    await connection.close()


async def test_a_discount_is_paid_out_of_what_the_surge_has_brought_in_to_the_micro_token(town: Town) -> None:
    policy = msgspec.structs.replace(QUICK, discount=(Point(3_000, 80), Point(6_000, 100)))
    meter = Meter(1_000)
    work = leader(town, meter, policy)
    plain = await ride(town)
    connection = await connect_app(town.office.settings.database_url)
    store = LeaderStore(connection)
    await work.tick(store)
    await set_price(town.office, ENGINE, 175)
    dear = await ride(town)
    brought = dear.charged_utok - plain.charged_utok
    assert brought > 0
    await work.tick(store)
    await work.tick(store)
    assert (await store.read())[ENGINE].surplus_utok == brought
    # Nothing is given away by who has the price of his quote; a discount is taken off the account likewise.
    await set_price(town.office, ENGINE, 80)
    cheap = await ride(town)
    assert cheap.charged_utok < plain.charged_utok
    assert cheap.multipliers[0]["label"].startswith("Calm at demo-text, change ")
    await work.tick(store)
    assert (await store.read())[ENGINE].surplus_utok == brought + cheap.charged_utok - plain.charged_utok
    await connection.close()
    assert (await town.records.explanation(town.office.desk.catalog, cheap.id)).agrees
    await town.assert_books_agree()


BEARING = """kind: rate_card
name: smollm2-135m-calibrated
version: 1000
effective_from: 2026-11-22
lines:
  - {label: Answer, quantity: output_tokens, tokens: 0.00533}
  - {label: Reasoning, quantity: reasoning_tokens, tokens: 0.00533}
  - {label: Prompt, quantity: fresh_prompt_tokens, tokens: 0.00107, borne: true}
unpriced: [
    cached_prompt_tokens, cache_write_5m_tokens, cache_write_1h_tokens, audio_input_tokens, image_input_tokens, audio_output_tokens,
    prompt_tokens, total_tokens,
  ]
"""


async def test_a_surge_brings_in_nothing_on_what_is_borne(town: Town, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "bearing.yaml").write_text(BEARING, encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "bearing.yaml", METERS)
    await owner.close()
    await until(lambda: town.office.desk.catalog.cards["smollm2-135m-calibrated"].version == 1000)
    work = leader(town, Meter(1_000), msgspec.structs.replace(QUICK, discount=(Point(3_000, 80), Point(6_000, 100))))
    plain = await ride(town)
    connection = await connect_app(town.office.settings.database_url)
    store = LeaderStore(connection)
    await work.tick(store)
    await set_price(town.office, ENGINE, 175)
    dear = await ride(town)
    assert plain.consumed_utok == dear.consumed_utok > plain.charged_utok
    assert [line["name"] for line in dear.multipliers] == ["borne", "surge"]
    borne, surge = (parse_tokens(line["tokens"].removeprefix("-")) for line in dear.multipliers)
    assert dear.consumed_utok - borne + surge == dear.charged_utok
    await work.tick(store)
    await work.tick(store)
    assert (await store.read())[ENGINE].surplus_utok == dear.charged_utok - plain.charged_utok
    await connection.close()
    assert (await town.records.explanation(town.office.desk.catalog, dear.id)).agrees
    await town.assert_books_agree()


async def test_the_receipts_of_before_the_surge_are_not_read(town: Town) -> None:
    await ride(town)
    connection = await connect_app(town.office.settings.database_url)
    store = LeaderStore(connection)
    await store.fold(lambda _: (ENGINE, 1))
    query = "select p.folded, max(t.batch) as last from admission.surge_positions p join ledger.transfers t using (lane) group by p.lane, p.folded"
    [row] = await connection.fetch(query)
    assert row["folded"] == row["last"] > 0
    await connection.close()


async def test_a_call_of_a_cheap_tier_is_told_to_come_back_when_there_is_no_calm(town: Town) -> None:
    await set_price(town.office, ENGINE, 110)
    with pytest.raises(FlexUnavailable) as refused:
        town.office.desk.surge.check_calm(ENGINE, "flex")
    assert 1 <= int(refused.value.headers["retry-after"]) <= 7_200
    town.office.desk.surge.check_calm(ENGINE, "standard")
    town.office.desk.surge.check_calm("demo-speech", "flex")
    await set_price(town.office, ENGINE, 80)
    town.office.desk.surge.check_calm(ENGINE, "flex")
