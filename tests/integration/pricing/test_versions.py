"""Versions by date: by the database's clock, and never over what was priced before."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.metering.pricebook import HISTORY
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.service import apply, apply_dir, publish_builtin
from taximeter.pricing.store import CatalogStore
from taximeter.pricing.yaml_source import builtin_dir, load_text
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

TARIFF = """kind: tariff
name: standard
version: 3
effective_from: {since}
currency: USD
price_per_token: 0.0004
service_tiers: {{batch: 0.5, priority: 2}}
"""


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect_owner(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as opened:
        yield opened


def moment(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%S.%fZ}"


ENTRIES = {
    "tariff": TARIFF,
    "rate_card": (
        "kind: rate_card\nname: smollm2-135m-calibrated\nversion: 9\neffective_from: {since}\nlines:\n"
        "  - {{label: Prompt, quantity: fresh_prompt_tokens, tokens: 1}}\n  - {{label: Cached, quantity: cached_prompt_tokens, tokens: 1}}\n"
        "  - {{label: Answer, quantity: output_tokens, tokens: 1}}\n  - {{label: Reasoning, quantity: reasoning_tokens, tokens: 1}}\n"
        "unpriced: [prompt_tokens, total_tokens]\n"
    ),
    "model": (
        "kind: model\nname: smollm2-135m\nversion: 9\neffective_from: {since}\nmodality: chat\nmeter: {{id: text.tokens/1}}\n"
        "default_card: now\ncards: {{now: {{rate_card: smollm2-135m-calibrated, tariff: standard}}}}\n"
    ),
    "plan": "kind: plan\nname: standard\nversion: 9\neffective_from: {since}\nallowance_period: none\n",
}


@pytest.mark.parametrize("kind", ENTRIES)
async def test_a_version_dated_before_what_was_priced_is_refused_with_the_earliest_date(town: Town, owner: asyncpg.Connection, kind: str) -> None:
    caller = await town.caller()
    before = await owner.fetchval("select clock_timestamp()")
    await town.metering.open(town.order(caller))
    last = await owner.fetchval("select max(created_at) from metering.requests")
    entry = ENTRIES[kind]
    with pytest.raises(CatalogInvalid) as caught:
        await apply(owner, load_text("# What is new.\n" + entry.format(since=moment(before)), "new.yaml"), history=HISTORY)
    earliest = last.replace(microsecond=0) + timedelta(seconds=1)
    (problem,) = caught.value.problems
    assert str(problem).startswith("new.yaml:5: ")
    assert f"effective_from must be {earliest:%Y-%m-%dT%H:%M:%SZ} or later" in problem.message
    result = await apply(owner, load_text(entry.format(since=moment(earliest))), history=HISTORY)
    assert len(result.created) == 1


async def test_a_version_of_a_new_name_may_have_any_date(town: Town, owner: asyncpg.Connection) -> None:
    await town.metering.open(town.order(await town.caller()))
    await apply(owner, load_text(TARIFF.format(since="2026-01-01").replace("name: standard", "name: mine")), history=HISTORY)


async def test_what_priced_nothing_may_be_followed_by_a_version_with_a_past_date(town: Town, owner: asyncpg.Connection) -> None:
    """Its date is past, but it is in force from its publication only."""
    await apply(owner, load_text(TARIFF.format(since="2026-11-21T00:00:01Z")), history=HISTORY)
    (document,) = [each.document for each in (await CatalogStore(owner).load()).history("tariff") if each.document.entry.id == "standard@3"]
    assert document.published_at is not None
    assert document.in_force_from == document.published_at > document.entry.effective_from
    assert town.office.desk.catalog.tariffs


async def test_the_built_in_catalog_of_an_upgrade_comes_into_force_at_its_publication(town: Town, owner: asyncpg.Connection, tmp_path: Path) -> None:
    """Receipts priced since its date name the version before: nothing about them changes."""
    await town.metering.open(town.order(await town.caller()))
    assert (await publish_builtin(owner, METERS)).created == ()
    text = (builtin_dir() / "00-tariffs.yaml").read_text(encoding="utf-8")
    (tmp_path / "upgrade.yaml").write_text(text.split("---\n")[1].replace("version: 2", "version: 3").replace("2026-11-21", "2026-11-21T00:00:01Z"))
    upgraded_at = await owner.fetchval("select clock_timestamp()")
    await apply_dir(owner, tmp_path, METERS)
    catalog = await CatalogStore(owner).load()
    states = {each.document.entry.id: each for each in catalog.history("tariff")}
    assert (states["standard@2"].state, states["standard@3"].state) == ("past", "in_force")
    assert states["standard@2"].in_force_until == states["standard@3"].in_force_from > upgraded_at


async def test_names_that_the_operator_has_versions_of_are_his(owner: asyncpg.Connection) -> None:
    """An upgrade must neither fail because of them, nor put its own prices over his."""
    old = load_text((builtin_dir() / "00-tariffs.yaml").read_text(encoding="utf-8").split("---\n")[0])
    await apply(owner, old)
    await apply(owner, load_text(TARIFF.format(since="2026-03-01").replace("version: 3", "version: 2")))
    result = await publish_builtin(owner, METERS)
    assert result.left == ("tariff standard@1", "tariff standard@2")
    assert "tariff article-text@1" in result.created
    catalog = await CatalogStore(owner).load()
    assert (catalog.tariffs["standard"].id, catalog.tariffs["standard"].price_nano) == ("standard@2", 400_000)
    assert catalog.priced("sketch-video").offered() == ("batch", "standard", "priority")


async def test_future_versions_are_visible_and_come_into_force_by_the_databases_clock(owner: asyncpg.Connection) -> None:
    await publish_builtin(owner, METERS)
    soon = await owner.fetchval("select clock_timestamp() + interval '1.2 seconds'")
    await apply(owner, load_text(TARIFF.format(since=moment(soon))), history=HISTORY)
    store = CatalogStore(owner)
    before = await store.load()
    assert [(each.document.entry.version, each.state) for each in before.history("tariff") if each.document.entry.name == "standard"] == [
        (1, "past"),
        (2, "in_force"),
        (3, "future"),
    ]
    assert before.next_change == soon
    assert before.priced("smollm2-135m").tariff.id == "standard@2"
    await owner.execute("select pg_sleep_until($1)", soon)
    after = await store.refresh(before)
    assert (after.priced("smollm2-135m").tariff.id, after.next_change) == ("standard@3", None)


async def test_of_two_publishers_at_once_one_sees_what_the_other_published(owner: asyncpg.Connection, database_url: str) -> None:
    other = await connect_owner(database_url)
    texts = [TARIFF.format(since="2026-05-01"), TARIFF.format(since="2026-04-01").replace("version: 3", "version: 4")]
    try:
        results = await asyncio.gather(
            *(apply(each, load_text(text)) for each, text in zip((owner, other), texts, strict=True)), return_exceptions=True
        )
    finally:
        await other.close()
    assert sorted(type(result).__name__ for result in results) == ["ApplyResult", "CatalogInvalid"]
