"""The catalog in PostgreSQL: published documents in, a snapshot out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import asyncpg

from taximeter.db import sql
from taximeter.kernel.errors import SetupError
from taximeter.pricing import documents
from taximeter.pricing.catalog import Catalog
from taximeter.pricing.model import Document, Entry, Kind, ModelEntry, Plan, RateCard, Tariff

_SQL = sql.load("taximeter.pricing")


class Executor(Protocol):
    """A pool or a connection."""

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """One row."""
        ...


class CatalogStore:
    """Reads the catalog; needs no more than SELECT."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def load(self) -> Catalog:
        """Everything published, as of the database's clock.

        Raises SetupError when a newer release of the program has published something this one cannot read.
        """
        newest = await self._newest()
        rows = await self._executor.fetch(_SQL["list_documents"])
        # Rows published between the two statements are newer than ``seq``: the next refresh reads again.
        return snapshot([_parse(row) for row in rows], newest["now"], newest["seq"])

    async def refresh(self, catalog: Catalog) -> Catalog:
        """``catalog`` itself while nothing changed, else a new one: something was published or came into force."""
        newest = await self._newest()
        due = catalog.next_change is not None and newest["now"] >= catalog.next_change
        return await self.load() if newest["seq"] != catalog.seq or due else catalog

    async def documents(self) -> tuple[Document, ...]:
        """Every published document, oldest first."""
        return tuple(_parse(row) for row in await self._executor.fetch(_SQL["list_documents"]))

    async def _newest(self) -> asyncpg.Record:
        row = await self._executor.fetchrow(_SQL["newest"])
        assert row is not None, "an aggregate has one row"
        return row


async def lock(connection: asyncpg.Connection) -> None:
    """Wait for other publications; held until the transaction ends."""
    await connection.execute(_SQL["lock"])


async def find_published(connection: asyncpg.Connection, wanted: Sequence[Document]) -> dict[tuple[Kind, str, int], str]:
    """The digests of those of ``wanted`` whose versions are published, by key."""
    kinds, names, versions = ([document.key[part] for document in wanted] for part in range(3))
    rows = await connection.fetch(_SQL["find_published"], kinds, names, versions)
    return {(row["kind"], row["name"], row["version"]): row["sha256"] for row in rows}


async def insert(connection: asyncpg.Connection, document: Document) -> None:
    """Publish a document; the caller holds the lock."""
    kind, name, version = document.key
    await connection.execute(_SQL["insert_document"], kind, name, version, document.entry.effective_from, document.body, document.sha256)


def snapshot(published: Iterable[Document], as_of: datetime, seq: int = 0) -> Catalog:
    """The catalog at a moment: of each name, the highest version that is in force."""
    every = tuple(published)
    coming = [document.in_force_from for document in every if document.in_force_from > as_of]
    entries = [document.entry for document in every]
    cards: dict[str, RateCard] = {entry.id: entry for entry in entries if isinstance(entry, RateCard)}
    tariffs: dict[str, Tariff] = {entry.id: entry for entry in entries if isinstance(entry, Tariff)}
    models: dict[str, ModelEntry] = {}
    plans: dict[str, Plan] = {}
    for document in sorted(every, key=lambda each: each.entry.version):
        if document.in_force_from <= as_of:
            _put(document.entry, models, plans, cards, tariffs)
    return Catalog(
        seq=seq,
        as_of=as_of,
        next_change=min(coming, default=None),
        models=models,
        plans=plans,
        cards=cards,
        tariffs=tariffs,
        models_by_id={entry.id: entry for entry in entries if isinstance(entry, ModelEntry)},
        plans_by_id={entry.id: entry for entry in entries if isinstance(entry, Plan)},
        published=every,
    )


def _put(entry: Entry, models: dict[str, ModelEntry], plans: dict[str, Plan], cards: dict[str, RateCard], tariffs: dict[str, Tariff]) -> None:
    match entry:
        case ModelEntry():
            models[entry.name] = entry
        case Plan():
            plans[entry.name] = entry
        case RateCard():
            cards[entry.name] = entry
        case Tariff():
            tariffs[entry.name] = entry


def _parse(row: asyncpg.Record) -> Document:
    try:
        return replace(documents.from_body(row["body"]), published_at=row["published_at"])
    except ValueError as error:
        message = f"the catalog in the database has an entry that this release cannot read ({error}); use the newest release"
        raise SetupError(message) from error
