"""A process that is killed between the decision about an approval and its job: there is no such moment."""

import asyncio
import dataclasses
import os
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

import taximeter
from taximeter.admission.approvals import Approval
from taximeter.db.pool import connect_owner
from taximeter.identity import Caller, Identity
from taximeter.identity.terms import Terms
from taximeter.ledger import InsufficientBalance
from taximeter.metering.videos import ParkedVideo
from tests.support.server import clean_environ
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def parked(town: Town, tokens: str = "1000") -> tuple[Caller, Approval]:
    """A video that waits, of a project with a key and a plan whose cap it is above."""
    office = town.office
    caller = await town.caller(tokens)
    key = await Identity(office.identity_store, office.desk.ids, office.desk.clock, office.settings).issue_key(caller.project_id, "k")
    plan = dataclasses.replace(office.desk.catalog.plans["standard"], request_caps={"video": 1}, above_cap="approve")
    office.desk.catalog = dataclasses.replace(office.desk.catalog, plans={**office.desk.catalog.plans, "standard": plan})
    caller = dataclasses.replace(caller, key_id=key.key.id, terms=Terms(subscription="standard"))
    view = await town.videos.submit(town.order(caller, "video"))
    assert isinstance(view, ParkedVideo)
    return caller, view.waits


async def started(pool: asyncpg.Pool, approval: Approval) -> tuple[str, int, int, int]:
    """The approval's state, and how many jobs, holds and requests there are."""
    row = await pool.fetchrow(
        "select (select state from admission.approvals where id = $1) as state, (select count(*) from jobs.jobs where id = $1) as jobs,"
        " (select count(distinct id) from ledger.holds) as holds, (select count(*) from metering.requests) as requests",
        approval.id,
    )
    return row["state"], row["jobs"], row["holds"], row["requests"]


async def test_a_process_that_is_killed_while_it_approves_has_done_all_of_it_or_nothing(town: Town, database_url: str, tmp_path: Path) -> None:
    caller, approval = await parked(town)
    owner = await connect_owner(database_url)
    # It has come as far as the lane's lock, behind which everything happens.
    await owner.execute("select pg_advisory_lock(7466, $1)", caller.lane)
    environ = {
        **clean_environ(),
        "PYTHONPATH": str(Path(taximeter.__file__).parents[1]),
        "TAXIMETER_HOME": str(tmp_path / "other"),
        "TAXIMETER_DATABASE_URL": database_url,
    }
    arguments = ("-m", "taximeter.cli", "approvals", "approve", approval.public_id, "--operator", "ada")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environ, cwd=os.sep)
    waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
    await until(lambda: owner.fetchval(waits), 60)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert await started(town.office.pool, approval) == ("pending", 0, 0, 0)
    await owner.execute("select pg_advisory_unlock_all()")
    await until(lambda: _nobody_waits(owner))
    state = await started(town.office.pool, approval)
    assert state in (("pending", 0, 0, 0), ("approved", 1, 1, 1)), "the server may have ended what the dead had asked for"
    await owner.close()

    again = await asyncio.gather(*(town.videos.approvals.approve(approval.id, "bob") for _ in range(5)))
    assert {each.state for each in again} == {"used"}
    assert await started(town.office.pool, approval) == ("approved", 1, 1, 1)
    await town.assert_books_agree()


async def _nobody_waits(owner: asyncpg.Connection) -> bool:
    busy = "select exists (select from pg_stat_activity where query like '%submit_approved%' and state <> 'idle' and pid <> pg_backend_pid())"
    return not await owner.fetchval(busy)


async def test_a_hold_that_is_refused_leaves_no_trace_in_the_log(town: Town) -> None:
    """A refusal sticks to its id for ever; the approval's id is to be held later."""
    _, approval = await parked(town, "2")
    for _ in range(3):
        with pytest.raises(InsufficientBalance, match="2 available"):
            await town.videos.approvals.approve(approval.id, "ada")
    assert await started(town.office.pool, approval) == ("pending", 0, 0, 0)
    assert not await town.office.pool.fetchval("select count(*) from ledger.transfers where id = $1", approval.id)
    await town.office.tenancy.top_up(approval.project_id, approval.maximum_utok - 2_000_000, "")
    assert (await town.videos.approvals.approve(approval.id, "ada")).state == "used"
    await town.assert_books_agree()
