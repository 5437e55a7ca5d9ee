"""``make seasons``: seasons for as long as one likes, or one again with everything that happened in it."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from tests.support.seasons.bugs import BUGS
from tests.support.seasons.play import STEPS, Played, play

TEMPLATE = "seasons_template"
TAIL = 40
"""Of a season that failed among many, so much is shown."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(server_url: str, seeds: range, given: argparse.Namespace, *, shows: bool) -> int:
    """Play them one after the other, each on a database of its own; returns how many failed."""
    connection = await asyncpg.connect(server_url)
    failed = lost = count = 0
    told: Counter[str] = Counter()
    ends_s = time.monotonic() + given.seconds
    for seed in seeds:
        if time.monotonic() > ends_s:
            break
        await connection.execute(f'create database season_{seed} template "{TEMPLATE}"')
        with tempfile.TemporaryDirectory() as home:
            played = await play(seed, _named(server_url, f"season_{seed}"), Path(home), given.steps, given.bug)
        await connection.execute(f"drop database season_{seed} with (force)")
        count, told, lost = count + 1, told + played.told, lost + played.lost
        failed += bool(played.problem)
        _report(played, shows=shows)
    await connection.close()
    say(f"{count} seasons, {failed} failed, {lost} batches or answers lost; what was told: {dict(told.most_common())}")
    return failed


def _report(played: Played, *, shows: bool) -> None:
    for line in played.trace if shows else played.trace[-TAIL:] if played.problem else ():
        say(line)
    if played.problem:
        say(f"FAILED seed {played.seed}: {played.problem}   (again: make seasons ARGS='--seed {played.seed}')")


def _named(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def prepare(server_url: str) -> None:
    connection = await asyncpg.connect(server_url)
    await connection.execute(f'create database "{TEMPLATE}"')
    await connection.close()
    await migrate(_named(server_url, TEMPLATE))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make seasons", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to play (60)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of a season ({STEPS})")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; without --seconds the only one, and shown line by line")
    parser.add_argument("--bug", choices=sorted(BUGS), help="put a known mistake in, to see that it is found")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    only_one = given.seed is not None and "--seconds" not in sys.argv
    first = int(time.time()) if given.seed is None else given.seed
    home = Path(tempfile.mkdtemp(prefix="taximeter-seasons-"))
    # As root the server runs as another user, who must be able to walk in.
    home.chmod(0o755)
    server = EmbeddedPostgres(home, options={"fsync": "off", "full_page_writes": "off"})
    try:
        url = server.start()
        asyncio.run(prepare(url))
        return asyncio.run(run(url, range(first, first + (1 if only_one else 10**9)), given, shows=only_one))
    except Exception:  # noqa: BLE001 - the edge of the process
        traceback.print_exc()
        return 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
