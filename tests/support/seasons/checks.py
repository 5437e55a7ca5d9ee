"""What is compared after every step, and what must hold at the end."""

from uuid import UUID

from taximeter.db.pool import connect_app
from taximeter.ledger.replay import replay
from taximeter.metering.reconciliation import Span, reconcile
from tests.support.seasons.season import Season

ACCOUNTS = """
select id, debits_pending, debits_posted, credits_pending, credits_posted from ledger.accounts
where code in (1, 2, 3, 5) or code in (11, 12, 13, 14, 16) and id % 100 < 2
"""
LEFTOVERS = """
select (select count(*) from ledger.holds) as holds, (select count(*) from admission.running) as running,
       (select count(*) from admission.taken) as taken, (select count(*) from admission.places) as places,
       (select coalesce(sum(running + waiting + running_long), 0) from admission.pools) as pools,
       (select coalesce(sum(waiting), 0) from admission.pool_tenants) as tenants,
       (select count(*) from ledger.accounts where debits_pending <> 0 or credits_pending <> 0) as pending,
       (select count(*) from admission.approvals where state = 'pending' and expires_at <= seasons.clock_timestamp()) as approvals
"""


async def compare(season: Season) -> None:
    """Accounts, budgets, limits and the queue are what the paper says."""
    await _accounts(season)
    await _budgets(season)
    await _limits(season)
    await _queue(season)


async def _accounts(season: Season) -> None:
    kept = {row["id"]: tuple(row.values())[1:] for row in await season.stage.owner.fetch(ACCOUNTS)}
    paper = {number: account.sums() for number, account in season.books.ledger.accounts.items()}
    assert kept == paper, {number: (kept.get(number), paper.get(number)) for number in kept.keys() | paper if kept.get(number) != paper.get(number)}


async def _budgets(season: Season) -> None:
    bounds, now = season.books.bounds, season.books.now
    rows = await season.stage.owner.fetch(
        "select (n.budget).id, n.used_utok, n.held_utok, n.left_utok, a.credits_posted - a.debits_posted - a.debits_pending as free, (n.budget).hard"
        " from admission.budgets_now($1) n join ledger.accounts a on a.id = (n.budget).account",
        [bound.id for bound in bounds if not bound.removed],
    )
    told = {row["id"]: (row["used_utok"], row["held_utok"], row["left_utok"]) for row in rows}
    paper = {bound.id: (bound.used(now), sum(bound.held.values()), bound.left(now)) for bound in bounds if not bound.removed}
    assert told == paper, {
        (bound.id, bound.span, bound.window_s): (told[bound.id], paper[bound.id]) for bound in bounds if told.get(bound.id) != paper.get(bound.id)
    }
    assert all(row["free"] >= 0 for row in rows if row["hard"])
    assert all(bound.never_passed() for bound in bounds)


async def _limits(season: Season) -> None:
    owner, limits = season.stage.owner, season.books.buckets
    kept = {str(row["id"]): (row["requests_at"], row["tokens_at"]) for row in await owner.fetch("select * from admission.buckets")}
    paper = {id_: (bucket.requests_at, bucket.tokens_at) for id_, bucket in limits.buckets.items()}
    assert kept == paper, (kept, paper)
    running = {(row["request_id"], str(row["bucket"])) for row in await owner.fetch("select * from admission.running")}
    assert running == {(request_id, id_) for id_, bucket in limits.buckets.items() for request_id in bucket.running}
    shadowed = {
        str(row["bucket"]): row["n"] for row in await owner.fetch("select bucket, sum(refused)::int as n from admission.shadow_refusals group by 1")
    }
    assert shadowed == dict(limits.shadowed)


async def _queue(season: Season) -> None:
    books = season.books
    places = await season.stage.owner.fetch("select * from admission.places")
    assert {row["id"] for row in places} == set(books.arrivals)
    assert {row["id"] for row in places if row["granted_at"] is not None} == set(books.granted_ms)
    order = await season.stage.owner.fetch("select id from admission.pool_standings('script') order by place")
    assert [row["id"] for row in order] == [UUID(int=each) for each in books.pool.order(books.clock.now_ms())]
    row = await season.stage.owner.fetchrow("select * from admission.pools")
    if row is not None:
        kept = [row[name] for name in ("virtual", "highest", "running", "waiting", "served_utok", "served_ms")]
        pool, pace = books.pool, books.pace
        paper = [pool.virtual, pool.highest, pool.running, pool.waiting, pace.served_utok, pace.served_ms]
        assert kept == paper, (kept, paper)
        assert books.slots is None or row["running"] <= books.slots


async def nothing_is_left(season: Season) -> None:
    row = await season.stage.owner.fetchrow(LEFTOVERS)
    assert row is not None
    assert not any(row.values()), dict(row)
    for trip in season.books.trips.values():
        receipts = await season.stage.owner.fetch("select charged_utok from metering.receipts where id = $1", trip.ride.id)
        assert sum(receipt["charged_utok"] for receipt in receipts) == trip.charged, trip
        assert trip.refunded <= trip.charged <= trip.maximum
    uses = await season.stage.owner.fetch(
        "select q.fare ->> 'quote' as quote, count(*) as n from metering.requests q join metering.receipts r on r.id = q.id"
        " where q.fare ? 'quote' and r.charged_utok > 0 group by 1 having count(*) > 1"
    )
    assert uses == [], "a quote binds once"


async def auditors_agree(season: Season) -> None:
    """The replay of the log, and the reconciliation of everything that tells what was charged."""
    office = season.stage.office
    report = await replay(season.stage.owner)
    assert (report.differences, report.open_holds) == ([], 0)
    connection = await connect_app(office.settings.database_url)
    try:
        found = await reconcile(connection, office.objects, office.desk.clock, Span(), office.settings.process_dead_s)
    finally:
        await connection.close()
    different = [check for check in found if not check.agrees]
    assert different == [], different
