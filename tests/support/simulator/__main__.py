"""``make fuzz``: schedules for as long as one likes, or one schedule again with everything that happened in it."""

import argparse
import logging
import sys
import time
from collections import Counter

from tests.support.simulator.bugs import BUGS
from tests.support.simulator.dice import FAULTS
from tests.support.simulator.schedule import Outcome, run

PROGRESS_EVERY_S = 10.0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report(count: int, took_s: float, hits: Counter[str], told: Counter[str], handles: int) -> None:
    """What was played, so that one sees that it is not blind."""
    say(f"{count} schedules in {took_s:.1f} s ({count / took_s:.0f}/s), {handles} steps, callers were told: {dict(told.most_common())}")
    for fault in sorted(FAULTS, key=lambda name: -hits[name]):
        say(f"  {hits[fault]:8}  {fault}")
    missed = [fault for fault in FAULTS if not hits[fault]]
    say(f"faults injected: {sum(hits.values())}, of {len(FAULTS) - len(missed)} kinds out of {len(FAULTS)}")
    if missed:
        say(f"never: {', '.join(missed)}")


def show(outcome: Outcome) -> None:
    for line in outcome.trace:
        say(line)
    for problem in outcome.problems:
        say(f"PROBLEM {problem}")
    say(f"seed {outcome.seed}: {'all promises kept' if not outcome.problems else f'{len(outcome.problems)} problems'}, {outcome.handles} steps")


def fuzz(first: int, seconds: float, bug: str | None) -> int:
    """Play schedules from a seed on; returns the exit status."""
    started_s = shown_s = time.monotonic()
    hits: Counter[str] = Counter()
    told: Counter[str] = Counter()
    count = handles = failed = 0
    while time.monotonic() - started_s < seconds:
        outcome = run(first + count, bug=BUGS[bug] if bug else None)
        count, handles = count + 1, handles + outcome.handles
        hits += outcome.hits
        told += outcome.told
        if outcome.problems:
            failed += 1
            with_bug = f" --bug {bug}" if bug else ""
            say(f"FAILED seed {outcome.seed}: {outcome.problems[0]}   (again: make fuzz ARGS='--seed {outcome.seed} --trace{with_bug}')")
        if time.monotonic() - shown_s > PROGRESS_EVERY_S:
            shown_s = time.monotonic()
            say(f"... seed {first + count}, {count / (shown_s - started_s):.0f} schedules/s, {failed} failed")
    report(count, time.monotonic() - started_s, hits, told, handles)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play (60)")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; alone, or with --trace, the only one")
    parser.add_argument("--trace", action="store_true", help="play one seed and print what happened")
    parser.add_argument("--bug", choices=sorted(BUGS), help="put a known mistake in, to see that it is found")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    only_one = given.trace or (given.seed is not None and "--seconds" not in sys.argv)
    if only_one:
        outcome = run(given.seed or 0, bug=BUGS[given.bug] if given.bug else None, traces=True)
        show(outcome)
        return 1 if outcome.problems else 0
    return fuzz(int(time.time()) * 1000 if given.seed is None else given.seed, given.seconds, given.bug)


if __name__ == "__main__":
    sys.exit(main())
