"""What the books say when all is quiet, against what clients were told."""

import asyncio
import os
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import processes
from bench.crash.acknowledgements import Operation, read
from bench.crash.system import System
from taximeter.kernel.ids import encode_id
from taximeter.metering.model import RECEIPT_PREFIX

QUIET_PATIENCE_S = 90.0
SENTENCES_MAX = 20
_REQUESTS = """
select q.id, q.end_user, j.state, exists (select from ledger.holds h where h.id = q.id) as open,
    coalesce(sum(r.charged_utok), 0)::bigint as charged_utok, count(r.id) as receipts, count(r.id) filter (where r.charged_utok > 0) as charges
from metering.requests q
left join metering.receipts r on r.id = q.id
left join jobs.jobs j on j.id = q.id
group by q.id, j.state
"""
_OPEN = """
select (select count(distinct id) from ledger.holds) as holds, (select count(*) from jobs.jobs where state in ('queued', 'in_progress')) as jobs
"""
_PAID = """
select coalesce(sum(debits_posted), 0)::bigint as paid, coalesce(sum(debits_pending), 0)::bigint as held,
    (select coalesce(sum(charged_utok), 0)::bigint from metering.receipts) as receipts
from ledger.accounts where code in (1, 2)
"""


@dataclass
class Books:
    """The findings.

    Attributes:
        acknowledged: answers that told a charge, or that a video will be made, by window (which kill was next).
        lost: acknowledged, and the books say otherwise.
        doubled: charged more than once, or without an answer that could have been lost.
        stuck: holds that stay open, jobs that do not end, keys whose request never ends.
        resent: operations that broke or were refused, and were answered when they were sent again.
        differences: wallets, receipts and the log do not tell the same sums.
        sentences: the first findings in words.
    """

    acknowledged: Counter[int] = field(default_factory=Counter)
    lost: Counter[int] = field(default_factory=Counter)
    doubled: Counter[int] = field(default_factory=Counter)
    stuck: Counter[int] = field(default_factory=Counter)
    resent: Counter[int] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def agree(self) -> bool:
        """Nothing lost, doubled, stuck, or different."""
        return not (self.lost.total() or self.doubled.total() or self.stuck.total() or self.differences)

    def find(self, column: Counter[int], window: int, sentence: str) -> None:
        """Count a finding."""
        column[window] += 1
        if len(self.sentences) < SENTENCES_MAX:
            self.sentences.append(sentence)


async def quiet(system: System) -> float:
    """Wait until no hold is open, no job unfinished and no settlement in the spool, or until patience ends; seconds it took."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < QUIET_PATIENCE_S:
        system.supervise()
        row = (await system.query(_OPEN))[0]
        if not row["holds"] and not row["jobs"] and not system.spooled():
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - started_s


async def audit(system: System, log: Path) -> Books:
    """Compare.  Nobody sends anything any more."""
    books = Books()
    operations = read(log)
    rows = await system.query(_REQUESTS)
    by_operation: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_operation[row["end_user"]].append(row)
    for name, operation in operations.items():
        judge(books, operation, by_operation.pop(name, []))
    for name, requests in by_operation.items():
        books.find(books.doubled, 0, f"{len(requests)} requests of {name!r}, whom nobody sent")
    left = system.spooled()
    if left:
        books.find(books.stuck, 0, f"{left} settlements stay in the spool")
    await _compare_files(books, system)
    await _compare_sums(books, system)
    kinds = Counter(operation.kind for operation in operations.values())
    refusals = Counter(f"{entry.status} {entry.detail}" for operation in operations.values() for entry in operation.of("refused", "broken"))
    books.facts = {
        "ended_by_themselves": system.ends,
        "operations": dict(kinds),
        "attempts": sum(operation.sent for operation in operations.values()),
        "requests": len(rows),
        "unanswered": sum(not operation.of("answered", "ordered", "gone") for operation in operations.values()),
        "pending": sum(entry.settlement == "pending" for operation in operations.values() for entry in operation.of("answered")),
        "not_answered": dict(refusals.most_common()),
        **books.facts,
    }
    return books


def judge(books: Books, operation: Operation, requests: Sequence[Mapping[str, Any]]) -> None:
    """One operation: what was told against what is in the books."""
    known = {encode_id(RECEIPT_PREFIX, row["id"]): row for row in requests}
    acknowledged: set[tuple[str, str]] = set()
    for entry in operation.of("answered", "ordered", "gone"):
        if (entry.what, entry.receipt) in acknowledged:
            continue
        acknowledged.add((entry.what, entry.receipt))
        books.acknowledged[entry.window] += entry.what != "gone"
        row = known.get(entry.receipt)
        if row is None or not row["receipts"] or (entry.what == "answered" and row["charged_utok"] != entry.charged_utok):
            said = "nothing" if row is None else f"{row['charged_utok']} in {row['receipts']} receipts"
            books.find(
                books.lost, entry.window, f"{operation.name} was {entry.what} with {entry.charged_utok} ({entry.receipt}); the books say {said}"
            )
        elif entry.what == "ordered" and row["state"] != "completed":
            books.find(books.lost, entry.window, f"{operation.name} was ordered as {entry.receipt}; the video is {row['state']}")
    _judge_charges(books, operation, known)
    for receipt, row in known.items():
        if row["open"] or row["state"] in ("queued", "in_progress"):
            books.find(books.stuck, operation.window, f"{operation.name}: {receipt} is still open, its job {row['state']}")
    last = operation.told[-1] if operation.told else None
    if last is None or (operation.keyed and last.detail == "idempotency_in_progress"):
        books.find(books.stuck, operation.window, f"{operation.name} never ended")
    if operation.of("broken", "refused") and last is not None and last.what in ("answered", "ordered", "gone"):
        books.resent[operation.window] += 1


def _judge_charges(books: Books, operation: Operation, known: Mapping[str, Mapping[str, Any]]) -> None:
    """Each charge has an answer that told it, or one that broke on its way; a key has one charge at most."""
    charged = {receipt for receipt, row in known.items() if row["charges"]}
    told = {entry.receipt for entry in operation.of("answered", "ordered", "gone")}
    unexplained = max(0, len(charged - told) - len(operation.of("broken")))
    extra = max(0, len(charged) - 1) if operation.keyed else 0
    twice = sum(row["charges"] > 1 for row in known.values())
    for _ in range(max(unexplained, extra) + twice):
        sentence = (
            f"{operation.name} ({'keyed' if operation.keyed else 'no key'}, sent {operation.sent} times) was charged as {', '.join(sorted(charged))}"
        )
        books.find(books.doubled, operation.window, sentence)


async def _compare_files(books: Books, system: System) -> None:
    """Each video that was made can be fetched."""
    rows = await system.query("select id, object_key from jobs.jobs where state = 'completed'")
    books.facts["videos"] = len(rows)
    missing = [row["id"] for row in rows if not (system.home / "objects" / row["object_key"]).is_file()]
    books.differences += [f"video {video} was made and its file is not there" for video in missing[:SENTENCES_MAX]]


async def _compare_sums(books: Books, system: System) -> None:
    sums = (await system.query(_PAID))[0]
    if sums["held"]:
        books.differences.append(f"wallets still hold {sums['held']}")
    if sums["paid"] != sums["receipts"]:
        books.differences.append(f"wallets paid {sums['paid']}, receipts say {sums['receipts']}")
    environ = {**os.environ, "TAXIMETER_DATABASE_URL": system.url, "TAXIMETER_HOME": str(system.home)}
    environ["PYTHONPATH"] = str(processes.ROOT / "src")
    command = processes.python("taximeter.cli", "replay")
    done = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
    books.facts["replay"] = lines[0]
    books.facts["charged_utok"] = sums["paid"]
    if done.returncode != 0:
        books.differences += [f"taximeter replay: {line}" for line in lines[:SENTENCES_MAX]]
