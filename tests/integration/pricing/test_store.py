"""What the database itself refuses."""

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import SetupError
from taximeter.pricing.service import apply
from taximeter.pricing.store import CatalogStore
from taximeter.pricing.yaml_source import load_text

pytestmark = pytest.mark.anyio

TARIFF = "kind: tariff\nname: t\nversion: 1\neffective_from: 2026-01-01\ncurrency: USD\nprice_per_token: 0.0003\n"
INSERT = "insert into pricing.documents (kind, name, version, effective_from, body, sha256) values ($1, $2, $3, now(), $4, {digest})"
DIGEST = "encode(sha256(convert_to($4, 'UTF8')), 'hex')"
BODY = '{"kind":"plan","name":"p","version":1}'


async def publish(database_url: str) -> asyncpg.Connection:
    connection = await connect_owner(database_url)
    await apply(connection, load_text(TARIFF))
    return connection


@pytest.mark.parametrize(
    "statement",
    [
        "update pricing.documents set body = replace(body, '0.0003', '0.0001')",
        "delete from pricing.documents",
        "truncate pricing.documents",
    ],
)
async def test_not_even_the_owner_rewrites_a_published_version(statement: str, database_url: str) -> None:
    connection = await publish(database_url)
    try:
        with pytest.raises(asyncpg.RestrictViolationError, match="immutable"):
            await connection.execute(statement)
        assert (await CatalogStore(connection).load()).tariffs["t"].price_nano == 300_000
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into pricing.documents (kind, name, version, effective_from, body, sha256) values ('plan', 'p', 1, now(), '{}', '')",
        "update pricing.documents set version = 2",
        "delete from pricing.documents",
        "truncate pricing.documents",
        "alter table pricing.documents disable trigger all",
    ],
)
async def test_the_application_only_reads(statement: str, database_url: str, pool: asyncpg.Pool) -> None:
    connection = await publish(database_url)
    await connection.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)
    assert "t" in (await CatalogStore(pool).load()).tariffs


@pytest.mark.parametrize(
    ("values", "digest"),
    [
        (("plan", "p", 1, BODY), "'00'"),
        (("plan", "q", 1, BODY), DIGEST),
        (("plan", "p", 2, BODY), DIGEST),
        (("tariff", "p", 1, BODY), DIGEST),
        (("gift", "p", 1, BODY.replace("plan", "gift")), DIGEST),
        (("plan", "P!", 1, BODY.replace('"p"', '"P!"')), DIGEST),
        (("plan", "p", 0, BODY.replace(":1", ":0")), DIGEST),
    ],
)
async def test_a_row_must_be_what_it_says(values: tuple[str, str, int, str], digest: str, database_url: str) -> None:
    connection = await connect_owner(database_url)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(INSERT.format(digest=digest), *values)
    finally:
        await connection.close()


async def test_an_entry_of_a_newer_release_says_what_to_do(database_url: str) -> None:
    connection = await connect_owner(database_url)
    try:
        await connection.execute(INSERT.format(digest=DIGEST), "plan", "p", 1, BODY)
        with pytest.raises(SetupError, match="use the newest release"):
            await CatalogStore(connection).load()
    finally:
        await connection.close()
