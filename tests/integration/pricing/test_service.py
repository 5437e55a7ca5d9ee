"""Publishing a catalog in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.pricing.errors import CatalogInvalid, VersionIsPublished
from taximeter.pricing.service import apply, apply_dir
from taximeter.pricing.store import CatalogStore
from taximeter.pricing.yaml_source import builtin_dir, load_text

pytestmark = pytest.mark.anyio

TARIFF = "kind: tariff\nname: t\nversion: 1\neffective_from: 2026-01-01\ncurrency: USD\nprice_per_token: 0.0003\n"


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect_owner(database_url)
    yield connection
    await connection.close()


async def count(connection: asyncpg.Connection) -> int:
    rows: int = await connection.fetchval("select count(*) from pricing.documents")
    return rows


async def test_the_built_in_catalog_is_published_once(owner: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    first = await apply_dir(owner, builtin_dir(), METERS)
    assert len(first.created) == await count(owner)
    assert first.unchanged == ()
    second = await apply_dir(owner, builtin_dir(), METERS)
    assert (second.created, sorted(second.unchanged)) == ((), sorted(first.created))
    catalog = await CatalogStore(pool).load()
    assert catalog.priced("sketch-video").card.id == "sketch-video-calibrated@1"
    assert set(catalog.plans) == {"free", "standard", "enterprise", "speech-free"}


async def test_a_published_version_cannot_be_changed_and_nothing_else_is_published_with_it(owner: asyncpg.Connection) -> None:
    await apply(owner, load_text(TARIFF))
    changed = TARIFF.replace("0.0003", "0.0004") + "---\n" + TARIFF.replace("name: t", "name: other")
    with pytest.raises(VersionIsPublished, match=r"x.yaml:1: tariff t@1 is published with other content; .*write version: 2"):
        await apply(owner, load_text(changed, "x.yaml"))
    assert await count(owner) == 1


async def test_a_changed_version_is_refused_as_such_and_not_for_what_it_says(owner: asyncpg.Connection, tmp_path: Path) -> None:
    await apply_dir(owner, builtin_dir(), METERS)
    (tmp_path / "a.yaml").write_text(TARIFF.replace("name: t\nversion: 1", "name: standard\nversion: 2"))
    with pytest.raises(VersionIsPublished, match=r"^a.yaml:1: tariff standard@2 is published with other content; .*write version: 3$"):
        await apply_dir(owner, tmp_path, METERS)


async def test_a_higher_version_is_published_beside_the_old_one(owner: asyncpg.Connection) -> None:
    await apply(owner, load_text(TARIFF))
    result = await apply(owner, load_text(TARIFF.replace("version: 1", "version: 2").replace("0.0003", "0.0004").replace("2026-01-01", "2026-02-01")))
    assert result.created == ("tariff t@2",)
    catalog = await CatalogStore(owner).load()
    assert (catalog.tariffs["t"].price_nano, catalog.tariffs["t@1"].price_nano) == (400_000, 300_000)


async def test_references_may_point_to_what_is_published(owner: asyncpg.Connection, tmp_path: Path) -> None:
    await apply_dir(owner, builtin_dir(), METERS)
    text = (builtin_dir() / "40-video.yaml").read_text(encoding="utf-8").split("\n---\n")[0]
    (tmp_path / "more.yaml").write_text(text.replace("name: sketch-video\n", "name: sketch-two\n"))
    assert (await apply_dir(owner, tmp_path, METERS)).created == ("model sketch-two@1",)
    (tmp_path / "more.yaml").write_text(text.replace("name: sketch-video\n", "name: x\n").replace("tariff: standard", "tariff: gold"))
    with pytest.raises(CatalogInvalid, match=r"more.yaml:\d+: there is no tariff 'gold'"):
        await apply_dir(owner, tmp_path, METERS)


async def test_two_publications_at_once_leave_one_of_each(owner: asyncpg.Connection, database_url: str) -> None:
    other = await connect_owner(database_url)
    try:
        results = await asyncio.gather(apply_dir(owner, builtin_dir(), METERS), apply_dir(other, builtin_dir(), METERS))
    finally:
        await other.close()
    assert sorted(len(result.created) for result in results) == [0, await count(owner)]


async def test_a_snapshot_is_kept_until_something_is_published(owner: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    store = CatalogStore(pool)
    empty = await store.load()
    assert (empty.seq, empty.models) == (0, {})
    assert await store.refresh(empty) is empty
    await apply(owner, load_text(TARIFF))
    fresh = await store.refresh(empty)
    assert "t@1" in fresh.tariffs
    assert await store.refresh(fresh) is fresh


async def test_a_version_comes_into_force_by_the_databases_clock(owner: asyncpg.Connection) -> None:
    await apply(owner, load_text(TARIFF))
    moment = await owner.fetchval("select to_char((clock_timestamp() + interval '1.5 seconds') at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")
    soon = TARIFF.replace("version: 1", "version: 2").replace("2026-01-01", f"{moment}Z")
    await apply(owner, load_text(soon))
    store = CatalogStore(owner)
    before = await store.load()
    assert before.tariffs["t"].version == 1
    assert before.next_change is not None
    await owner.execute("select pg_sleep_until($1)", before.next_change)
    after = await store.refresh(before)
    assert (after.tariffs["t"].version, after.next_change) == (2, None)
