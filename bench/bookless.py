"""Our gateway process with the ledger taken out: the same command, with a book in memory.

`taximeter gateway-process` is started unchanged, except that `open_office` gives it an office without a
database.  What stays: HTTP, parsing, the key check with its cache, the prompt counted by the model's
tokenizer, the fare of the request, the engine, the bill of the measured work, the receipt in the answer,
headers and metrics.  What is missing: the batcher, PostgreSQL, and with them every row and every fsync.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from taximeter import app, cli
from taximeter.engines import Engine
from taximeter.identity import Caller
from taximeter.identity.model import Credential, KeyText
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Kind, Operation, Outcome, Status
from taximeter.metering import Desk
from taximeter.metering.disk import Disk
from taximeter.metering.fares import read_catalog
from taximeter.metering.settlements import Settlements
from taximeter.metering.spool import Spool, spool_folder

CATALOG = Path(__file__).parent / "catalog"
WALLET_UTOK = 10**15


class MemoryBooks(Books):
    """One wallet as an integer: holds and settlements are additions, and nothing is written down."""

    def __init__(self) -> None:
        self._available_utok = WALLET_UTOK
        self._held_utok: dict[UUID, int] = {}

    def begin(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Hold, settle or void."""
        if operation.kind is Kind.HOLD:
            total = operation.amount_utok
            self._held_utok[operation.id] = total
            self._available_utok -= total
        else:
            total = operation.amount_utok
            self._available_utok += self._held_utok.pop(operation.id) - total
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        answer.set_result(Outcome(Status.APPLIED, total, self._available_utok))
        return answer

    @property
    def lanes(self) -> tuple[()]:
        """There are none."""
        return ()

    def down_for_s(self, lane: int) -> float:  # noqa: ARG002 - the ledger's signature
        """Never."""
        return 0.0

    async def close(self) -> None:
        """Forget everything."""


@dataclass(frozen=True)
class AnyKey:
    """Knows every well-formed key."""

    caller: Caller

    async def find_credential(self, text: KeyText) -> Credential:
        """The one caller."""
        return Credential(caller=self.caller, secret_sha256=text.secret_sha256, revoked=False, remaining_s=None)


@dataclass(frozen=True)
class MemoryOffice:
    """What a gateway needs of an office; the parts that chat never touches are empty."""

    settings: Settings
    desk: Desk
    identity_store: AnyKey
    store: None = None
    pool: None = None
    jobs: None = None
    objects: None = None
    tenancy: None = None
    breakers: None = None
    surge: None = None

    async def check_database(self) -> Mapping[str, object]:
        """There is none, and that is fine."""
        return {"version": "none"}

    async def figures(self) -> Mapping[str, tuple[str, float]]:
        """No ledger, no figures."""
        return {}


@asynccontextmanager
async def open_memory_office(settings: Settings, engines: Mapping[str, Engine], _kind: str, clock: Clock) -> AsyncIterator[MemoryOffice]:
    """In place of ``taximeter.metering.open_office``."""
    ids = IdFactory(clock)
    catalog = read_catalog(CATALOG, max(utc_from_ms(clock.now_ms()), datetime(2026, 1, 2, tzinfo=UTC)))
    process_id, books, folder = ids.new(), MemoryBooks(), spool_folder(settings.home)
    desk = Desk(
        settings=settings,
        books=books,
        settlements=Settlements(books, Spool(folder, process_id, clock), settings.settle_patience_s),
        disk=Disk(folder, settings.disk_free_min_bytes, clock),
        engines=engines,
        clock=clock,
        ids=ids,
        catalog=catalog,
        process_id=process_id,
    )
    caller = Caller(
        organisation_id=ids.new(), project_id=ids.new(), key_id=ids.new(), key_name="bench", lane=0, allowance_account=10_000, prepaid_account=10_001
    )
    try:
        yield MemoryOffice(settings, desk, AnyKey(caller))
    finally:
        for engine in engines.values():
            await engine.close()


def main() -> int:
    """Serve on the listening socket that was handed down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", required=True)
    # By name: it is a detail of that module, not a thing it offers.
    vars(app)["open_office"] = open_memory_office
    return cli.main(["gateway-process", "--fd", parser.parse_args().fd])


if __name__ == "__main__":
    sys.exit(main())
