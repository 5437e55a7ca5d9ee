"""Recomputes every balance and open hold from the log alone, and compares.

Written apart from the ledger on purpose: it imports nothing of it and reads the tables with statements of its
own, so that a mistake there is not repeated here.  Codes are spelled out again for the same reason.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

HOLD, SETTLE, VOID, EXPIRE, DIRECT, OVERRUN, SHORTFALL, LATE = 1, 2, 3, 4, 5, 6, 7, 8
LIMITED = 1
FETCH = 5_000
PROGRESS_EVERY = 50_000
DIFFERENCES_SHOWN = 20

_LOG = """
select id, leg, phase, kind, status, debit, credit, amount, hold_amount, cascade, requested, total
from ledger.transfers order by lane, batch, pos, phase, leg
"""
_ACCOUNTS = "select id, flags, debits_pending, debits_posted, credits_pending, credits_posted from ledger.accounts"
_HOLDS = "select id, leg, debit, credit, amount from ledger.holds"
_RECEIPTS = "select id, phase, charged_utok from metering.receipts"


@dataclass
class Account:
    """Balances as the log gives them: debits and credits, pending and posted."""

    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0


@dataclass
class Report:
    """What was read and what differs.

    Attributes:
        charged_utok: what wallets paid for, over the whole log.
        differences: one sentence each, with the ids; empty when everything agrees.
    """

    rows: int = 0
    accounts: int = 0
    open_holds: int = 0
    charged_utok: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """The tables say what the log says."""
        return not self.differences


class _Replay:
    def __init__(self, flags: dict[int, int]) -> None:
        self.report = Report()
        self.accounts: dict[int, Account] = {}
        self.holds: dict[tuple[UUID, int], tuple[int, int, int]] = {}
        self.paid: dict[tuple[UUID, int], int] = {}
        self.claimed: dict[tuple[UUID, int], int] = {}
        self._flags = flags

    def differ(self, sentence: str) -> None:
        self.report.differences.append(sentence)

    def account(self, number: int) -> Account:
        found = self.accounts.get(number)
        if found is None:
            found = self.accounts[number] = Account()
        return found

    def apply(self, row: asyncpg.Record) -> None:
        self.report.rows += 1
        if row["status"] != 0:
            if row["amount"] != 0 or row["phase"] != 0:
                self.differ(f"refused transfer {row['id']} moved {row['amount']}")
            return
        kind = row["kind"]
        debit, credit = self.account(row["debit"]), self.account(row["credit"])
        if kind == HOLD:
            debit.debits_pending += row["amount"]
            credit.credits_pending += row["amount"]
            self.holds[row["id"], row["leg"]] = (row["debit"], row["credit"], row["amount"])
        else:
            if kind in (SETTLE, VOID, EXPIRE):
                self._release(row, debit, credit)
            debit.debits_posted += row["amount"]
            credit.credits_posted += row["amount"]
            self._count(row)
        self._check_overdraft(row, debit)

    def _release(self, row: asyncpg.Record, debit: Account, credit: Account) -> None:
        held = self.holds.pop((row["id"], row["leg"]), None)
        if held is None:
            self.differ(f"{row['id']} leg {row['leg']} was resolved without an open hold")
            return
        if held != (row["debit"], row["credit"], row["hold_amount"]):
            self.differ(f"{row['id']} leg {row['leg']} released {row['hold_amount']}, but {held[2]} was held")
        if row["kind"] == SETTLE and row["cascade"] and row["amount"] > held[2]:
            self.differ(f"{row['id']} leg {row['leg']} settled {row['amount']} above its hold of {held[2]}")
        if row["kind"] != SETTLE and row["amount"] != 0:
            self.differ(f"{row['id']} leg {row['leg']} was released and moved {row['amount']}")
        debit.debits_pending -= held[2]
        credit.credits_pending -= held[2]

    def _count(self, row: asyncpg.Record) -> None:
        """What wallets paid, leg by leg, against what the first leg claims as the total."""
        if row["kind"] == DIRECT:
            return
        key = (row["id"], row["phase"])
        if row["cascade"]:
            self.paid[key] = self.paid.get(key, 0) + row["amount"]
            self.report.charged_utok += row["amount"]
        if row["leg"] == 0:
            self.claimed[key] = row["total"]

    def _check_overdraft(self, row: asyncpg.Record, debit: Account) -> None:
        if self._flags.get(row["debit"], 0) & LIMITED and debit.debits_posted + debit.debits_pending > debit.credits_posted:
            self.differ(f"account {row['debit']} was overdrawn by {row['id']} leg {row['leg']} phase {row['phase']}")


async def replay(connection: asyncpg.Connection, progress: Callable[[int], None] = lambda _rows: None) -> Report:
    """Replay the log of one consistent snapshot.

    Args:
        connection: with the right to read the schemas ledger and metering.
        progress: called now and then with the number of rows read.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        stored = {row["id"]: row for row in await connection.fetch(_ACCOUNTS)}
        run = _Replay({number: row["flags"] for number, row in stored.items()})
        async for row in _rows(connection):
            run.apply(row)
            if run.report.rows % PROGRESS_EVERY == 0:
                progress(run.report.rows)
        _compare_accounts(run, stored)
        _compare_holds(run, await connection.fetch(_HOLDS))
        _compare_receipts(run, await connection.fetch(_RECEIPTS))
    run.report.open_holds = len({key[0] for key in run.holds})
    run.report.accounts = len(run.accounts)
    return run.report


async def _rows(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(_LOG, prefetch=FETCH):
        yield row


def _compare_accounts(run: _Replay, stored: dict[int, asyncpg.Record]) -> None:
    for number, row in sorted(stored.items()):
        mine = run.accounts.get(number, Account())
        for name in ("debits_pending", "debits_posted", "credits_pending", "credits_posted"):
            if getattr(mine, name) != row[name]:
                run.differ(f"account {number}: {name} is {row[name]}, the log gives {getattr(mine, name)}")
    for number in sorted(run.accounts.keys() - stored.keys()):
        run.differ(f"account {number} stands in the log and does not exist")
    sums = [sum(row[name] for row in stored.values()) for name in ("debits_posted", "credits_posted", "debits_pending", "credits_pending")]
    if sums[0] != sums[1] or sums[2] != sums[3]:
        run.differ(f"debits and credits do not balance: posted {sums[0]} and {sums[1]}, pending {sums[2]} and {sums[3]}")


def _compare_holds(run: _Replay, rows: list[asyncpg.Record]) -> None:
    stored = {(row["id"], row["leg"]): (row["debit"], row["credit"], row["amount"]) for row in rows}
    for key in sorted(stored.keys() - run.holds.keys()):
        run.differ(f"hold {key[0]} leg {key[1]} is open, and the log has resolved it or never made it")
    for key in sorted(run.holds.keys() - stored.keys()):
        run.differ(f"hold {key[0]} leg {key[1]} is open in the log and missing from the holds")
    for key in sorted(stored.keys() & run.holds.keys()):
        if stored[key] != run.holds[key]:
            run.differ(f"hold {key[0]} leg {key[1]} is {stored[key]}, the log gives {run.holds[key]}")


def _compare_receipts(run: _Replay, rows: list[asyncpg.Record]) -> None:
    for key, total in run.claimed.items():
        if run.paid.get(key, 0) != total:
            run.differ(f"{key[0]} phase {key[1]} claims a total of {total}, its legs paid {run.paid.get(key, 0)}")
    for row in rows:
        paid = run.claimed.get((row["id"], row["phase"]))
        if paid is None:
            run.differ(f"receipt {row['id']} phase {row['phase']} has no resolution in the log")
        elif paid != row["charged_utok"]:
            run.differ(f"receipt {row['id']} says {row['charged_utok']} was charged, the log says {paid}")
