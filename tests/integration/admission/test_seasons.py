"""A few seasons: weeks of admission on PostgreSQL and on paper.  ``make seasons`` plays as many as one likes."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.seasons.bugs import BUGS
from tests.support.seasons.play import play

pytestmark = pytest.mark.anyio

AGAIN = "make seasons ARGS='--seed {} --steps {}' shows what happened"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Batches are lost on purpose; what the product logs of it is not wanted."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("seed", "steps"), [(1, 60), (5, 60)])
async def test_a_season_on_postgresql_is_as_it_is_on_paper(database_url: str, tmp_path: Path, seed: int, steps: int) -> None:
    played = await play(seed, database_url, tmp_path, steps)
    assert played.problem == "", "\n".join([*played.trace, AGAIN.format(seed, steps)])
    assert played.told["open"] > 0


@pytest.mark.parametrize(("bug", "seed"), [("gives_slots_twice", 3)])
async def test_a_season_finds_a_database_that(database_url: str, tmp_path: Path, bug: str, seed: int) -> None:
    """One of them; ``make seasons`` puts each of the others in with ``--bug``."""
    assert bug in BUGS
    assert (await play(seed, database_url, tmp_path, bug=bug)).problem
