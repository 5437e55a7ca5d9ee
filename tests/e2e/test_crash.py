"""The short version of ``make crash``: real processes are killed at every named point, and nothing is lost, doubled or stuck."""

import asyncio
from pathlib import Path

import pytest

from bench.crash import plan
from bench.crash.controls import CONTROLS
from bench.crash.run import Options, run
from taximeter.kernel.faults import POINTS


@pytest.mark.slow
def test_kills_at_every_named_point_lose_double_and_block_nothing(tmp_path: Path) -> None:
    cells = list(plan.short(seed=1))
    result = asyncio.run(run(Options(out=tmp_path, cells=iter(cells), kills=100, seed=1)))
    struck = {strike.moment for strike in result.strikes}
    assert struck >= {*POINTS, *(cell.moment for cell in cells)}
    books = result.books
    assert books.acknowledged.total() > 100
    assert (books.lost.total(), books.doubled.total(), books.stuck.total(), books.differences) == (0, 0, 0, []), books.sentences
    assert result.server["fsync"] == result.server["synchronous_commit"] == "on"


@pytest.mark.slow
def test_a_system_that_does_lose_is_found_out(tmp_path: Path) -> None:
    control = CONTROLS["commits-unsynced"]
    assert control.is_caught(asyncio.run(control.run(tmp_path, seed=1)))
