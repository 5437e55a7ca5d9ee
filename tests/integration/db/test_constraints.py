"""Everything that the database forbids is tried, and without its constraint each attempt would succeed.

So none of them can be removed, weakened or forgotten unseen.  All of it happens in transactions that are rolled back.
"""

import logging
import re
from collections.abc import Iterator

import asyncpg
import pytest

import tests.support.attempted  # noqa: F401 - adds to both
from taximeter.db.pool import connect_owner
from tests.support.attempts import ATTEMPTS, ROWS, Attempt, first, second

pytestmark = pytest.mark.anyio
log = logging.getLogger(__name__)

SCHEMAS = ["ledger", "metering", "jobs", "identity", "pricing", "admission"]
DAY = re.compile(r"_\d{8}\b")
ADD = "tests/support/attempts.py: add a line to ATTEMPTS that tries what it forbids (and its table's row to ROWS)"

# Checks, keys and references; unique indexes; triggers.  Partitions have what their parents have, and triggers of their own.
GUARDS = """
select c.conrelid::regclass::text as held_by, c.conname as name, 'constraint' as kind
from pg_constraint c join pg_class t on t.oid = c.conrelid
where t.relnamespace = any ($1::regnamespace[]) and not t.relispartition and c.contype in ('c', 'f', 'p', 'u', 'x')
union all
select x.indrelid::regclass::text, i.relname, 'index'
from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class t on t.oid = x.indrelid
where t.relnamespace = any ($1::regnamespace[]) and not t.relispartition and x.indisunique
    and not exists (select from pg_constraint c where c.conindid = i.oid and c.contype in ('p', 'u', 'x'))
union all
select g.tgrelid::regclass::text, g.tgname, 'trigger'
from pg_trigger g join pg_class t on t.oid = g.tgrelid
where t.relnamespace = any ($1::regnamespace[]) and not g.tgisinternal and g.tgparentid = 0
order by 1, 2
"""
TABLES = "select oid::regclass::text as name from pg_class where relnamespace = any ($1::regnamespace[]) and relkind in ('r', 'p')"


async def guards(connection: asyncpg.Connection) -> dict[str, tuple[str, str]]:
    """What forbids something: its name, and the statement that removes it with the day's partition that it speaks of."""
    found: dict[str, tuple[str, str]] = {}
    for row in await connection.fetch(GUARDS, SCHEMAS):
        table, name = row["held_by"], row["name"]
        removal = {
            "constraint": f"alter table {table} drop constraint {name} cascade",
            "index": f"drop index {table.partition('.')[0]}.{name}",
            "trigger": f"drop trigger {name} on {table}",
        }
        found[f"{DAY.sub('_<day>', table)}.{name}"] = (removal[row["kind"]], table)
    return found


async def make_room(connection: asyncpg.Connection, attempt: Attempt, table: str) -> None:
    """Valid rows everywhere; and for a truncation, nobody else who would forbid it."""
    for each in ROWS:
        await connection.execute(first(each))
    if attempt.before:
        await connection.execute(attempt.before)
    if attempt.sql.startswith("truncate"):
        for row in await connection.fetch(TABLES, SCHEMAS):
            if row["name"] != table:
                await connection.execute(f"alter table only {row['name']} disable trigger user")


def statements(attempt: Attempt, table: str) -> Iterator[str]:
    day = DAY.search(table)
    for statement in attempt.sql.split("; "):
        yield statement.replace("_<day>", day.group() if day else "")


async def is_refused(connection: asyncpg.Connection, statement: str) -> bool:
    """Try, and take it back either way."""
    attempted = connection.transaction()
    await attempted.start()
    try:
        await connection.execute(statement)
    except asyncpg.IntegrityConstraintViolationError:
        return True
    else:
        return False
    finally:
        await attempted.rollback()


async def look(connection: asyncpg.Connection, attempt: Attempt, removal: str, table: str) -> list[str]:
    """What is wrong with an attempt: it is not refused, or it still is without its constraint."""
    wrong = []
    for statement in statements(attempt, table):
        room = connection.transaction()
        await room.start()
        await make_room(connection, attempt, table)
        if not await is_refused(connection, statement):
            wrong.append(f"is not refused: {statement}")
        await connection.execute(removal)
        if await is_refused(connection, statement):
            wrong.append(f"is refused by something else as well, so nothing would tell if this were gone: {statement}")
        await room.rollback()
    return wrong


async def test_everything_that_is_forbidden_is_tried(database_url: str) -> None:
    connection = await connect_owner(database_url)
    found = await guards(connection)
    await connection.close()
    assert [f"{name} has no attempt; {ADD}" for name in found.keys() - ATTEMPTS.keys()] == []
    assert [f"{name} does not exist any more; remove its attempt" for name in ATTEMPTS.keys() - found.keys()] == []


async def test_each_attempt_is_refused_and_succeeds_without_its_constraint(database_url: str) -> None:
    connection = await connect_owner(database_url)
    found = await guards(connection)
    wrong: dict[str, list[str]] = {}
    for name, attempt in ATTEMPTS.items():
        wrong[name] = await look(connection, attempt, *found[name])
        log.info("%s: %s", name, "; ".join(wrong[name]) or f"refuses, and without it is done: {attempt.sql[:100]}")
    await connection.close()
    assert {name: sentences for name, sentences in wrong.items() if sentences} == {}


async def test_second_rows_that_nothing_is_wrong_with_are_taken(database_url: str) -> None:
    """Otherwise an attempt might be refused for being nonsense."""
    connection = await connect_owner(database_url)
    for table in ROWS:
        room = connection.transaction()
        await room.start()
        await make_room(connection, second(table), table)
        assert not await is_refused(connection, second(table).sql), table
        await room.rollback()
    await connection.close()


async def test_an_attempt_without_a_constraint_is_noticed(database_url: str) -> None:
    """The test is not blind: with a constraint gone, its attempt is reported; and so is one that tries nothing."""
    connection = await connect_owner(database_url)
    found = await guards(connection)
    name = "ledger.accounts.no_overdraft"
    await connection.execute(found[name][0])
    wrong = await look(connection, ATTEMPTS[name], "select 1", "ledger.accounts")
    await connection.close()
    assert len(wrong) == 1
    assert "is not refused" in wrong[0]
