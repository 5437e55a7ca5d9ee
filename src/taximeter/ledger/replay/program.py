"""The replay of one consistent snapshot: the log is read once, then everything else is compared with it."""

from collections.abc import Callable, Iterable
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.ledger.replay import acknowledged
from taximeter.ledger.replay.journal import Account, HeldLeg, Journal, place
from taximeter.ledger.replay.report import Difference, Report

Progress = Callable[[int, int], None]

# Reading a log takes as long as it takes.
PATIENCE_S = 7 * 86_400.0
SUMS = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
_SQL = sql.load("taximeter.ledger.replay")
# Joins of the whole log are done in memory while they fit, sorts spill to the disk.
_SETTINGS = "set local statement_timeout = 0; set local work_mem = '64MB'; set local jit = off"
_COMPARISONS = (
    ("I9", "holds_and_requests"),
    ("I9", "resolutions_and_receipts"),
    ("I9", "refunds_and_transfers"),
    ("I9", "grants_and_transfers"),
    ("I9", "expired_unspent"),
    ("I9", "budgets_and_accounts"),
    ("I8", "ends_of_requests"),
    ("I8", "ends_of_jobs"),
)


async def replay(
    connection: asyncpg.Connection,
    progress: Progress = lambda _rows, _of: None,
    acknowledgements: Iterable[str] | None = None,
) -> Report:
    """Replay the log and check the invariants I1 to I9 (``docs/operating/reconciliation.md``).

    Args:
        connection: with the right to read the schemas admission, identity, jobs, ledger and metering.
        progress: called now and then with the number of rows read, and of all.
        acknowledgements: lines of a file that a client wrote outside; see ``acknowledged``.

    Raises InvalidRequest for a line of the acknowledgements that cannot be understood.
    """
    report = Report()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_SETTINGS)
        stored = await connection.fetch(_SQL["accounts"])
        journal = Journal(report, {str(row["id"]): Account(row["limited"], str(row["unit"]), str(row["lane"])) for row in stored})
        await _read(connection, journal, progress)
        _compare_sums(stored, report)
        _compare_balances(journal, stored)
        await _compare_holds(connection, journal)
        _tell_overdrafts(journal)
        await _check_late(connection, journal)
        if await connection.fetchval(_SQL["is_metered"]):
            await _compare_records(connection, report)
        else:
            report.notes.append("no project and no request: the ledger is used without metering, and I8 and I9 have nothing to compare")
        if acknowledgements is not None:
            await acknowledged.check(connection, _SQL["logged"], acknowledged.read(acknowledgements), report)
    report.open_holds = len(journal.holds)
    report.accounts = len(journal.accounts)
    return report


async def _read(connection: asyncpg.Connection, journal: Journal, progress: Progress) -> None:
    """Feed the log.  It comes as text, in pieces that each end with a row; the server waits while one is worked on."""
    of = await connection.fetchval(_SQL["rows"])

    async def take(piece: bytes) -> None:
        journal.feed(piece.decode("ascii").splitlines())
        progress(journal.report.rows, of)

    await connection.copy_from_query(_SQL["log"], output=take, null="", timeout=PATIENCE_S)
    journal.finish()
    progress(journal.report.rows, of)


def _compare_sums(stored: Iterable[asyncpg.Record], report: Report) -> None:
    """I1: debits are credits, posted and pending, in every unit."""
    sums: dict[int, dict[str, int]] = {}
    for row in stored:
        of_unit = sums.setdefault(row["unit"], dict.fromkeys(SUMS, 0))
        for name in SUMS:
            of_unit[name] += row[name]
    for unit, found in sorted(sums.items()):
        for state in ("posted", "pending"):
            debits, credited = found[f"debits_{state}"], found[f"credits_{state}"]
            if debits != credited:
                report.differ(Difference("I1", f"sum of {state}", {"unit": unit}, f"credits of {debits}", credited))


def _compare_balances(journal: Journal, stored: Iterable[asyncpg.Record]) -> None:
    """I3: balances are those of the log."""
    for row in stored:
        mine = journal.accounts[str(row["id"])]
        for name in SUMS:
            expected = getattr(mine, name)
            if expected != row[name]:
                journal.report.differ(Difference("I3", "balance", {"account": row["id"], "sum": name}, expected, row[name]))
    for number, transfer in journal.unknown.items():
        journal.report.differ(Difference("I3", "account", {"account": int(number), "id": transfer}, "an account", "none"))


async def _compare_holds(connection: asyncpg.Connection, journal: Journal) -> None:
    """I4: open holds are those of the log, and add up to what is pending."""
    report = journal.report
    open_legs = {(ident, leg): held for ident, legs in journal.holds.items() for leg, held in legs.items()}
    async for row in connection.cursor(_SQL["holds"], prefetch=5_000):
        stands = HeldLeg(str(row["debit"]), str(row["credit"]), row["amount"], row["cascade"])
        expected = open_legs.pop((str(row["id"]), str(row["leg"])), None)
        ids = {"id": str(row["id"]), "leg": row["leg"]}
        report.overdue_holds += row["overdue"] and row["leg"] == 0
        if expected is None:
            report.differ(Difference("I4", "hold that the log does not have open", ids, "none", _leg(stands)))
        elif expected != stands:
            report.differ(Difference("I4", "hold", ids, _leg(expected), _leg(stands)))
    for (ident, leg), held in sorted(open_legs.items()):
        report.differ(Difference("I4", "hold that is missing", {"id": ident, "leg": int(leg)}, _leg(held), "none"))
    for row in await connection.fetch(_SQL["pending"]):
        expected_sums, found = f"{row['held_debits']} and {row['held_credits']}", f"{row['debits_pending']} and {row['credits_pending']}"
        report.differ(Difference("I4", "pending", {"account": row["id"]}, expected_sums, found))


def _leg(held: HeldLeg) -> str:
    return f"{held.amount} from {held.debit} to {held.credit}{' in cascade' if held.cascade else ''}"


def _tell_overdrafts(journal: Journal) -> None:
    """I2: no limited account was ever overdrawn.  The order of the log is that of one lane; see ``Account.misrouted``."""
    misrouted = 0
    for number, account in journal.accounts.items():
        if account.misrouted:
            misrouted += 1
            over = account.debits_posted + account.debits_pending - account.credits_posted
            if account.limited and over > 0:
                journal.report.differ(Difference("I2", "overdraft", {"account": int(number)}, 0, over))
        elif account.overdrawn is not None:
            row, over = account.overdrawn
            journal.report.differ(Difference("I2", "overdraft", {"account": int(number), **place(row)}, 0, over))
    if misrouted:
        journal.report.notes.append(f"{misrouted} accounts were posted on by several lanes: their order is unknown, only their ends were checked")


async def _check_late(connection: asyncpg.Connection, journal: Journal) -> None:
    """I5: a settlement of phase 2 comes after a release."""
    if journal.late:
        rows = await connection.fetch(_SQL["never_released"], [UUID(ident) for ident in journal.late])
        for row in rows:
            journal.report.differ(
                Difference("I5", "late settlement without a release", {"id": str(row["id"]), "leg": 0, "phase": 2}, "kind 3 or 4", "none")
            )


async def _compare_records(connection: asyncpg.Connection, report: Report) -> None:
    """I8 and I9: requests, receipts and jobs say what the log says."""
    for invariant, name in _COMPARISONS:
        for row in await connection.fetch(_SQL[name]):
            ids = {"id": str(row["id"]), "phase": row["phase"]}
            report.differ(Difference(invariant, row["kind"], ids, row["expected"], row["found"]), row["differing"])
