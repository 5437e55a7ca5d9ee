"""Posts what processes that died have left in their spools."""

import asyncio
import logging
from pathlib import Path

import asyncpg
import msgspec

from taximeter.jobs import JobStore
from taximeter.kernel.faults import reach
from taximeter.ledger import Books, Status
from taximeter.metering.objects import Objects
from taximeter.metering.spool import DAMAGED_SUFFIX, REJECTED_SUFFIX, Orphan, adopt, spool_files
from taximeter.metering.spool_format import Entry

log = logging.getLogger(__name__)


class Adoption:
    """Looks through the spools of a home; two at once do no harm: the lock decides, and ids make posting again harmless."""

    def __init__(self, folder: Path, books: Books, jobs: JobStore, objects: Objects) -> None:
        self._folder = folder
        self._books = books
        self._jobs = jobs
        self._objects = objects

    async def run(self) -> int:
        """Post the entries of all spools without an owner, then put the files away; returns how many entries.

        Waits for the database as long as it takes.  A file that is damaged, or has an entry which the ledger does not
        know what to do with, is kept aside under another name.  Raises OSError when the disk fails.
        """
        count = 0
        for path in await asyncio.to_thread(spool_files, self._folder):
            orphan = await asyncio.to_thread(adopt, path)
            if orphan is None:
                continue
            try:
                count += await self._settle(orphan)
            finally:
                orphan.release()
        return count

    async def _settle(self, orphan: Orphan) -> int:
        entries = orphan.contents.entries.values()
        name = orphan.path.name
        if orphan.contents.torn:
            log.warning("the last record of spool %s is incomplete: its process died while writing it, and nobody was told that it is kept", name)
        results = await asyncio.gather(*(self._post(entry) for entry in entries))
        suffix = ""
        if not all(results):
            suffix = REJECTED_SUFFIX
        if orphan.contents.damaged:
            suffix = DAMAGED_SUFFIX
            log.error("spool %s is damaged in %s places; the rest is posted, the file is kept aside", name, orphan.contents.damaged)
        orphan.put_away(suffix)
        if entries:
            log.warning("posted %s of %s settlements from the spool %s of a process that died", sum(results), len(entries), name)
        return len(entries)

    async def _post(self, entry: Entry) -> bool:
        """Post one entry; False when it needs a person."""
        reach("metering.adoption.begun")
        try:
            outcome = await self._books.submit(entry.operation())
        except asyncpg.PostgresError:
            log.exception("the database rejects spooled operation %s", entry.id)
            return False
        reach("metering.adoption.posted")
        if outcome.status is Status.NO_SUCH_HOLD:
            log.error("the ledger knows no hold for spooled operation %s: is this its database?", entry.id)
            return False
        if outcome.status is not Status.APPLIED:
            await self._drop_file(entry)
        return True

    async def _drop_file(self, entry: Entry) -> None:
        """The hold had ended otherwise.  A file that was stored for it, and is not the job's result, belongs to nobody."""
        key = _object_key(entry)
        if key is not None and await self._jobs.object_key(entry.id) != key:
            await self._objects.remove(key)


def _object_key(entry: Entry) -> str | None:
    fact = msgspec.json.decode(entry.fact) if entry.fact is not None else {}
    key = fact.get("job", {}).get("object_key")
    return key if isinstance(key, str) else None
