"""Completed videos against the list of the object store, both ways."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.metering.objects import ListedFile, Objects
from taximeter.metering.reconciliation.model import SHOWN, Check

_SQL = sql.load("taximeter.metering.reconciliation")

PREFIX = "videos/"
PAGE = 1_000
ORPHAN_AGE_S = 3_600
"""A file that no job needs is removed by whoever made it needless; after this time nobody will."""
FIRST_ID = UUID(int=0)


async def compare_files(connection: asyncpg.Connection, objects: Objects, clock: Clock, most: int | None = None) -> Check:
    """Every result is there with its size, and nothing else is there for long.

    Args:
        connection: to read the jobs.
        objects: the object store.
        clock: tells how old a file is.
        most: when there are more files than this, only say so.

    Raises OSError when the object store does not answer.
    """
    began = utc_from_ms(clock.now_ms())
    listed: dict[str, ListedFile] = {}
    async for page in objects.list(PREFIX, PAGE):
        listed.update((file.key, file) for file in page)
        if most is not None and len(listed) > most:
            return Check(name="objects_jobs", unit="files", notes=(f"more than {most} files; `taximeter reconcile` compares them",))
    expected = 0
    wrong: list[str] = []
    last = FIRST_ID
    while rows := await connection.fetch(_SQL["files"], began, last, PAGE):
        last = rows[-1]["id"]
        expected += len(rows)
        for row in rows:
            file = listed.pop(row["object_key"], None)
            if (file is None or file.size != row["object_bytes"]) and await _is_wrong(connection, objects, row):
                wrong.append(row["object_key"])
    old = began - timedelta(seconds=ORPHAN_AGE_S)
    orphans = await _orphans(connection, [file.key for file in listed.values() if file.modified_at < old])
    return Check(
        name="objects_jobs",
        unit="files",
        compared=expected + len(orphans),
        left=expected,
        right=expected - len(wrong) + len(orphans),
        differences=len(wrong) + len(orphans),
        first=(*wrong, *orphans)[:SHOWN],
    )


async def _is_wrong(connection: asyncpg.Connection, objects: Objects, row: asyncpg.Record) -> bool:
    """Look again: the file may have been removed, with its job, since it was listed."""
    file = await objects.find(row["object_key"])
    if file is not None and file.size == row["object_bytes"]:
        return False
    return bool(await connection.fetchval(_SQL["file_is_expected"], row["id"], row["object_key"]))


async def _orphans(connection: asyncpg.Connection, keys: Sequence[str]) -> list[str]:
    orphans: list[str] = []
    for start in range(0, len(keys), PAGE):
        page = keys[start : start + PAGE]
        jobs = {key: job for key in page if (job := _job_of(key)) is not None}
        rows = await connection.fetch(_SQL["files_in_use"], list(jobs.values()), list(jobs))
        used = {row["key"] for row in rows}
        orphans += [key for key in page if key not in used]
    return sorted(orphans)


def _job_of(key: str) -> UUID | None:
    """``videos/<job>/<attempt>.mp4``."""
    try:
        return UUID(key.removeprefix(PREFIX).partition("/")[0])
    except ValueError:
        return None
