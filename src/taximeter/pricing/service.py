"""Publishing a catalog: all of it or none of it, and never over a version that is already published."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg

from taximeter.pricing import checks, store, yaml_source
from taximeter.pricing.catalog import Catalog
from taximeter.pricing.errors import CatalogInvalid, VersionIsPublished
from taximeter.pricing.model import Document


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What a publication did, each as ``kind name@version``."""

    created: tuple[str, ...]
    unchanged: tuple[str, ...]


async def apply(connection: asyncpg.Connection, documents: Sequence[Document], meters: checks.MeterBook | None = None) -> ApplyResult:
    """Publish documents in one transaction; the connection is the owner's.

    Raises:
        VersionIsPublished: a version exists with other content; the message names each and says what to do.
        CatalogInvalid: together with what is published already, the documents do not fit.
    """
    async with connection.transaction():
        await store.lock(connection)
        published = await store.find_published(connection, documents)
        changed = [document for document in documents if published.get(document.key, document.sha256) != document.sha256]
        if changed:
            raise VersionIsPublished("\n".join(_changed_text(document) for document in changed))
        problems = checks.problems(documents, await store.CatalogStore(connection).documents(), meters)
        if problems:
            raise CatalogInvalid(problems)
        created = [document for document in documents if document.key not in published]
        for document in created:
            await store.insert(connection, document)
    unchanged = [document for document in documents if document.key in published]
    return ApplyResult(created=tuple(map(label, created)), unchanged=tuple(map(label, unchanged)))


async def apply_dir(connection: asyncpg.Connection, path: Path, meters: checks.MeterBook | None = None) -> ApplyResult:
    """Publish a folder of YAML files, which may refer to what is published already.

    Raises CatalogInvalid with every fault and its line, VersionIsPublished as ``apply`` does.
    """
    existing = await store.CatalogStore(connection).documents()
    return await apply(connection, yaml_source.load_dir(path, meters, existing), meters)


def read_dir(path: Path, as_of: datetime, meters: checks.MeterBook | None = None) -> Catalog:
    """The catalog of a folder of YAML files at a moment, without a database.  Raises CatalogInvalid."""
    return store.snapshot(yaml_source.load_dir(path, meters), as_of)


def label(document: Document) -> str:
    """``rate_card standard@1``."""
    kind, name, version = document.key
    return f"{kind} {name}@{version}"


def _changed_text(document: Document) -> str:
    kind, name, version = document.key
    return (
        f"{document.file}:{document.line}: {kind} {name}@{version} is published with other content; "
        f"published versions never change, so write version: {version + 1}"
    )
