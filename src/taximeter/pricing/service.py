"""Publishing a catalog: all of it or none of it, and never over a version that is already published."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import asyncpg

from taximeter.pricing import checks, store, yaml_source
from taximeter.pricing.catalog import Catalog
from taximeter.pricing.errors import CatalogInvalid, Problem
from taximeter.pricing.model import Document, Kind


class History(Protocol):
    """What was priced by published versions so far."""

    async def last_priced(self, connection: asyncpg.Connection, kind: Kind, name: str, since: datetime) -> datetime | None:
        """When the newest request was made, from ``since`` on, that any version of this name priced; None: there is none."""
        ...


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What a publication did, each as ``kind name@version``.

    Attributes:
        left: built-in versions of names that the operator has published versions of: those stand.
    """

    created: tuple[str, ...]
    unchanged: tuple[str, ...]
    left: tuple[str, ...] = ()


async def apply(
    connection: asyncpg.Connection, documents: Sequence[Document], meters: checks.MeterBook | None = None, history: History | None = None
) -> ApplyResult:
    """Publish documents in one transaction; the connection is the owner's.

    Args:
        connection: of the owner of the tables.
        documents: what to publish.
        meters: what the meters produce; with it, models and cards are checked against them.
        history: what was priced so far; with it, no version is dated before what an earlier one priced.

    Raises:
        VersionIsPublished: a version exists with other content; the message names each and says what to do.
        CatalogInvalid: together with what is published already, the documents do not fit.
    """
    async with connection.transaction():
        await store.lock(connection)
        published = await store.find_published(connection, documents)
        yaml_source.refuse_changed([document for document in documents if published.get(document.key, document.sha256) != document.sha256])
        existing = await store.CatalogStore(connection).documents()
        problems = checks.problems(documents, existing, meters)
        created = [document for document in documents if document.key not in published]
        if history is not None and not problems:
            problems = [problem for document in created for problem in await _past(connection, document, existing, history)]
        if problems:
            raise CatalogInvalid(problems)
        for document in created:
            await store.insert(connection, document)
    unchanged = [document for document in documents if document.key in published]
    return ApplyResult(created=tuple(map(label, created)), unchanged=tuple(map(label, unchanged)))


async def _past(connection: asyncpg.Connection, document: Document, existing: Sequence[Document], history: History) -> list[Problem]:
    """A version must not claim a time in which another version of its name has priced requests."""
    kind, name, version = document.key
    if not any(other.key[:2] == (kind, name) for other in existing):
        return []
    last = await history.last_priced(connection, kind, name, document.entry.effective_from)
    if last is None:
        return []
    earliest = last.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    message = (
        f"{kind} {name}@{version} would have been in force when another version priced requests, the last of them at {last:%Y-%m-%dT%H:%M:%SZ};"
        f" effective_from must be {earliest:%Y-%m-%dT%H:%M:%SZ} or later"
    )
    return [Problem(document.file, document.lines.get("effective_from", document.line), message)]


async def apply_dir(
    connection: asyncpg.Connection, path: Path, meters: checks.MeterBook | None = None, history: History | None = None
) -> ApplyResult:
    """Publish a folder of YAML files, which may refer to what is published already.

    Raises CatalogInvalid with every fault and its line, VersionIsPublished as ``apply`` does.
    """
    existing = await store.CatalogStore(connection).documents()
    return await apply(connection, yaml_source.load_dir(path, meters, existing, to_publish=True), meters, history)


async def publish_builtin(connection: asyncpg.Connection, meters: checks.MeterBook | None = None) -> ApplyResult:
    """Publish what comes with this release: it comes into force now, whatever its dates say, so no past receipt is touched.

    A name of which the operator has published a version of his own is his: its built-in versions are left out.
    """
    documents = yaml_source.load_dir(yaml_source.builtin_dir(), meters)
    ours = {document.key: document.sha256 for document in documents}
    taken = {document.key[:2] for document in await store.CatalogStore(connection).documents() if ours.get(document.key) != document.sha256}
    result = await apply(connection, [document for document in documents if document.key[:2] not in taken], meters)
    return replace(result, left=tuple(label(document) for document in documents if document.key[:2] in taken))


def read_dir(path: Path, as_of: datetime, meters: checks.MeterBook | None = None) -> Catalog:
    """The catalog of a folder of YAML files at a moment, without a database.  Raises CatalogInvalid."""
    return store.snapshot(yaml_source.load_dir(path, meters), as_of)


def label(document: Document) -> str:
    """``rate_card standard@1``."""
    kind, name, version = document.key
    return f"{kind} {name}@{version}"
