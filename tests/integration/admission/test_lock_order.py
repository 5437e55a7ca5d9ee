"""Batches, jobs and the sweeper lock pools in one order: none of them ever waits for one that waits for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from taximeter.admission.budgets import NewBudget
from taximeter.identity import Caller
from taximeter.kernel.units import parse_tokens
from tests.support.plans import SCRIPT, known
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

WAITING = "select count(*) from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()"


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def are_waiting(owner: asyncpg.Connection, number: int) -> bool:
    return bool(await owner.fetchval(WAITING) == number)


async def test_the_sweeper_takes_pools_that_have_jobs_before_the_others(town: Town, owner: asyncpg.Connection, database_url: str) -> None:
    await owner.execute(
        "insert into admission.pools (name, bounds, running, has_jobs) values ('chats', '{1,2,3}', 1, false), ('films', '{1,2,3}', 1, true)"
    )
    assert town.office.desk.room is not None
    batch = await asyncpg.connect(database_url)
    await batch.execute("begin; select from admission.pools where name = 'films' for update")
    tending = asyncio.create_task(town.office.desk.room.store.tend(()))
    await until(lambda: are_waiting(owner, 1))
    await batch.execute("select from admission.pools where name = 'chats' for update nowait; commit")
    await tending
    await batch.close()


async def relative(town: Town, organisation_id: UUID, lane: int) -> Caller:
    """Somebody of the organisation, on that lane."""
    project = await town.office.tenancy.create_project(organisation_id, "Relative")
    await town.office.tenancy.top_up(project.id, parse_tokens("1000"), "")
    return replace(
        await town.caller("0"),
        organisation_id=organisation_id,
        project_id=project.id,
        lane=lane,
        allowance_account=project.allowance_account,
        prepaid_account=project.prepaid_account,
    )


async def test_the_first_job_of_an_engine_and_a_chat_that_ends_there_do_not_wait_for_each_other(
    database_url: str, tmp_path: Path, owner: asyncpg.Connection
) -> None:
    async with open_town(database_url, tmp_path) as town, open_town(database_url, tmp_path) as other:
        organisation_id = (await town.caller("0")).organisation_id
        wanted = NewBudget(scope="organisation", organisation_id=organisation_id, limit_utok=parse_tokens("1000"), window="month", operator="test")
        await town.office.budgets.create(wanted)
        callers = [await relative(town, organisation_id, lane) for lane in (0, 1)]
        await owner.execute(
            "update ledger.accounts a set lane = u.lane from unnest($1::uuid[], $2::int[]) u (owner, lane) where a.owner = u.owner",
            [caller.project_id for caller in callers],
            [0, 1],
        )
        chatting, filming = [await known(town, caller) for caller in callers]
        town.engines["chat"].script = SCRIPT
        ride = await town.metering.open(town.order(chatting))
        # Its engine makes films, too: nobody has ordered one yet.
        await owner.execute("insert into admission.pools (name, bounds, running) values ('demo-video', '{1,2,3}', 1)")
        await owner.execute("update admission.places set pool = 'demo-video'; update admission.pools set running = 1")

        holder = await asyncpg.connect(database_url)
        await holder.execute("begin; select from ledger.accounts where code = 4 for update")

        async def end() -> None:
            async for _ in ride.events():
                pass

        chat = asyncio.create_task(end())
        await until(lambda: are_waiting(owner, 1))
        film = asyncio.create_task(other.videos.submit(other.order(filming, "video")))
        await until(lambda: are_waiting(owner, 2))
        await holder.execute("commit")
        await asyncio.gather(chat, film)
        assert sum(lane.counters.retries for each in (town, other) for lane in each.office.desk.books.lanes) == 0
        await holder.close()
