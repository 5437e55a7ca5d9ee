"""A wallet over six weeks, for docs/concepts/plans.md: ``python -m bench.wallet_month``.

Nothing in the picture is drawn by hand: a project on an embedded PostgreSQL has the built-in plan, a promotional grant and some
bought Tokens; time is stepped hour by hour, requests are held and settled by the ledger on the accounts that admission chooses, and
the worker's upkeep renews and expires.
"""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.pictures import Line, Panel, svg
from taximeter.admission import Ask, wallet_legs
from taximeter.admission.plans import By, GrantOrder, Upkeep
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import connect_owner
from taximeter.identity import Caller, Project
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.ledger import Kind, Operation, Status
from taximeter.ledger import store as ledger_store
from taximeter.ledger.replay import replay
from taximeter.metering import Office, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir, builtin_dir

PICTURE = Path(__file__).parents[1] / "docs" / "concepts" / "plans.svg"
# Far ahead, so that the ledger's own clock, which lets nobody spend what is over, never overtakes it.
START = datetime(2099, 3, 10, 9, tzinfo=UTC)
DAYS = 45
STEP = timedelta(hours=1)
PROMOTION_STARTS, PROMOTION_ENDS = 8, 18
BOUGHT, PROMOTION = 20_000 * UTOK_PER_TOKEN, 15_000 * UTOK_PER_TOKEN
OPERATOR = By(operator="bench")
NAMES = ("50,000 a month", "15,000 for ten days", "bought")


def fare_utok(hour: int) -> int:
    """What is used in an hour: more by day, little at the weekend, and a busy week towards the end of the first month."""
    day, of_day = divmod(hour + START.hour, 24)
    if not 8 <= of_day < 18:
        return 0
    weekend = (START + timedelta(days=day)).weekday() >= 5
    busy = 22 <= day < 30
    return (20 if weekend else 750 if busy else 150) * UTOK_PER_TOKEN


async def spend(office: Office, project: Project, amount_utok: int, now: datetime) -> None:
    """One request of this price at this time."""
    caller = Caller(
        organisation_id=project.organisation_id, project_id=project.id, key_id=project.id, key_name="bench", lane=project.lane,
        allowance_account=project.allowance_account, prepaid_account=project.prepaid_account,
    )  # fmt: skip
    caller = replace(caller, terms=await office.plans.fresh_terms(caller))
    ask = Ask(caller=caller, model="m", engine="e", modality="chat", tier="standard", maximum_utok=amount_utok)
    held = Operation(
        id=office.desk.ids.new(), kind=Kind.HOLD, lane=project.lane, amount_utok=amount_utok,
        legs=wallet_legs(ask, int(now.timestamp() * 1000)), ttl_s=60,
    )  # fmt: skip
    async with office.pool.acquire() as connection:
        outcomes = await ledger_store.post(connection, project.lane, [held])
        if outcomes[0].status is Status.APPLIED:
            settled = Operation(id=held.id, kind=Kind.SETTLE, lane=project.lane, amount_utok=amount_utok)
            await ledger_store.post(connection, project.lane, [settled])


async def look(office: Office, project: Project, now: datetime) -> tuple[int, int, int]:
    """What is left of the month, of the promotion, and of what was bought."""
    grants = (await office.plans.purse(project.id, now)).grants
    month = sum(grant.free_utok for grant in grants if grant.kind == "renewal")
    promotion = sum(grant.free_utok for grant in grants if grant.kind == "promotional" and grant.in_force(now))
    async with office.pool.acquire() as connection:
        found = await ledger_store.find_wallet(connection, project.id)
    assert found is not None
    return month, promotion, found[1].prepaid_utok


async def live(office: Office) -> list[Line]:
    """The points of the three lines."""
    project = await office.tenancy.create_project(None, "Research")
    await office.plans.set_zone(project.organisation_id, "Europe/Berlin")
    await office.tenancy.top_up(project.id, BOUGHT, "")
    await office.plans.subscribe(project.id, "standard", OPERATOR, now=START)
    order = GrantOrder(
        amount_utok=PROMOTION,
        kind="promotional",
        starts_at=START + timedelta(days=PROMOTION_STARTS),
        expires_at=START + timedelta(days=PROMOTION_ENDS),
    )
    await office.plans.give(project.id, order, OPERATOR, START)
    upkeep = Upkeep(office.plans)
    points: list[list[tuple[float, float]]] = [[], [], []]
    for hour in range(DAYS * 24 + 1):
        now = START + hour * STEP
        await upkeep.turn(now)
        if amount_utok := fare_utok(hour):
            await spend(office, project, amount_utok, now)
        for line, left_utok in zip(points, await look(office, project, now), strict=True):
            line.append((hour / 24, left_utok / UTOK_PER_TOKEN))
    async with office.pool.acquire() as connection:
        report = await replay(connection)
    # There are no requests behind these holds; everything else must agree.
    assert set(report.counts) <= {"hold without a request", "settlement without a receipt"}, report.differences
    return [Line(name, _bends(line)) for name, line in zip(NAMES, points, strict=True)]


def _bends(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those between two of the same height."""
    inner = [point for before, point, after in zip(points, points[1:], points[2:], strict=False) if not before[1] == point[1] == after[1]]
    return [points[0], *inner, points[-1]]


def folder_for_all() -> Path:
    """A folder that everybody may enter: as root the embedded server runs as another user."""
    home = Path(tempfile.mkdtemp(prefix="taximeter-wallet-"))
    home.chmod(0o755)
    return home


async def draw(home: Path) -> str:
    """Run it on a database of its own; the picture."""
    server = EmbeddedPostgres(home)
    try:
        url = server.start()
        await migrate(url)
        owner = await connect_owner(url)
        await apply_dir(owner, builtin_dir(), METERS)
        await owner.close()
        async with open_office(Settings(home=home, database_url=url), {}, "bench", SystemClock()) as office:
            lines = await live(office)
    finally:
        server.stop()
    return svg([Panel("Tokens left, by what they are: what expires first is spent first", "days since the project subscribed", lines)])


def main() -> None:
    """Write the picture."""
    home = folder_for_all()
    try:
        PICTURE.write_text(asyncio.run(draw(home)), encoding="utf-8")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
