"""Tables of a run, and the line that moves while it runs."""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.crash.campaign import Strike
from bench.crash.controls import CONTROLS
from bench.crash.run import Result
from bench.figures import Table

LINE_EVERY = 25


@dataclass
class Progress:
    """Tells how far it is: one line that moves on a terminal, a line now and then elsewhere."""

    kills: int
    started_s: float = field(default_factory=time.monotonic)

    def __call__(self, strikes: Sequence[Strike]) -> None:
        """After each kill."""
        count = len(strikes)
        each_s = (time.monotonic() - self.started_s) / count
        left_s = max(0, self.kills - count) * each_s
        line = f"crash: {count} of {self.kills} kills, {each_s:.1f} s each, {left_s / 60:.0f} min left; {strikes[-1].moment}: {strikes[-1].victim}"
        if sys.stderr.isatty():
            print(f"\r{line[:118]:<118}", end="\n" if count >= self.kills else "", file=sys.stderr, flush=True)
        elif count % LINE_EVERY == 0 or count == self.kills:
            print(line, file=sys.stderr, flush=True)


def table(result: Result, seed: int, minutes: float) -> Table:
    """One row for each moment and victim."""
    made = Table(
        f"Crash: {len(result.strikes)} kills in {minutes:.1f} min, seed {seed}",
        ("moment: victim", "kills", "acknowledged", "lost", "doubled", "stuck", "recovered by resend", "recovery s, median", "most"),
    )
    rows: dict[str, list[int]] = {}
    for window, strike in enumerate(result.strikes):
        rows.setdefault(f"{strike.moment}: {strike.victim}", []).append(window)
    for name in sorted(rows):
        made.rows.append(_row(name, result, rows[name]))
    made.rows.append(_row("after the last kill", result, [len(result.strikes)], struck=False))
    made.rows.append(_row("all", result, range(len(result.strikes) + 1)))
    made.notes = tuple(notes(result))
    return made


def _row(name: str, result: Result, windows: Sequence[int], *, struck: bool = True) -> Sequence[str]:
    books = result.books
    strikes = [result.strikes[window] for window in windows if window < len(result.strikes)]
    times = [strike.recovery_s for strike in strikes if strike.recovery_s is not None]
    counts = [sum(column[window] for window in windows) for column in (books.acknowledged, books.lost, books.doubled, books.stuck, books.resent)]
    kills = f"{len(strikes)}" if struck else ""
    return (name, kills, *(f"{count:,}" for count in counts), *((f"{statistics.median(times):.1f}", f"{max(times):.1f}") if times else ("", "")))


def notes(result: Result) -> list[str]:
    """What stands below the table."""
    facts, books = result.books.facts, result.books
    settings = ", ".join(f"{name} {value}" for name, value in sorted(result.server.items()))
    refused = ", ".join(f"{name}: {count}" for name, count in facts["not_answered"].items())
    sent = f"{facts['attempts']:,} requests sent for {sum(facts['operations'].values()):,} operations ({_kinds(facts['operations'])})"
    return [
        f"{sent}; {facts['requests']:,} of them were held",
        f"{facts['pending']:,} answers said pending; {facts['unanswered']:,} operations had no answer",
        f"processes that ended by themselves: {len(facts['ended_by_themselves'])}",
        f"not answered: {refused or 'none'}",
        f"silence after {result.quiet_s:.1f} s; {facts['replay']}",
        f"database: {settings}",
        *(["FINDINGS", *books.sentences, *books.differences] if not books.agree else []),
    ]


def _kinds(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


def controls_table(results: Mapping[str, Result]) -> Table:
    """One row for each negative control."""
    columns = ("fault", "acknowledged", "lost", "doubled", "stuck", "found")
    made = Table("Negative controls: systems with a fault, which the same audit must find", columns)
    for name, result in results.items():
        books, control = result.books, CONTROLS[name]
        counts = [f"{column.total():,}" for column in (books.acknowledged, books.lost, books.doubled, books.stuck)]
        made.rows.append((control.about, *counts, "yes" if control.is_caught(result) else "NO"))
    return made
