"""The catalogs that a card is looked up in: what is built in, what a folder holds, what a database has published."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.fares import METERS
from taximeter.pricing import Catalog, RateCard, builtin_dir
from taximeter.pricing import checks as catalog_checks
from taximeter.pricing.errors import CatalogInvalid, Problem
from taximeter.pricing.model import Document
from taximeter.pricing.service import ApplyResult, label
from taximeter.pricing.store import snapshot
from taximeter.pricing.yaml_source import load_dir, load_text


def builtin_documents() -> tuple[Document, ...]:
    """The catalog that comes with the program."""
    return load_dir(builtin_dir(), METERS)


def folder_documents(path: Path | None, existing: Sequence[Document] = ()) -> tuple[Document, ...]:
    """The documents of a folder, which may refer to ``existing`` ones; none when there is no folder.  Raises CatalogInvalid."""
    return () if path is None else load_dir(path, METERS, existing)


def check_text(text: str, file: str, existing: Sequence[Document]) -> tuple[Document, ...]:
    """The documents of a text, checked as ``taximeter cards check`` would beside ``existing``.  Raises CatalogInvalid."""
    documents = load_text(text, file)
    problems = catalog_checks.problems(documents, existing, METERS) + catalog_checks.offers(documents, existing)
    if problems:
        raise CatalogInvalid(problems)
    compare_versions(documents, existing)
    return documents


def compare_versions(documents: Sequence[Document], existing: Sequence[Document]) -> ApplyResult:
    """What publishing ``documents`` after ``existing`` would do.  Raises CatalogInvalid when a version would change."""
    digests = {document.key: document.sha256 for document in existing}
    changed = [document for document in documents if digests.get(document.key, document.sha256) != document.sha256]
    if changed:
        message = "this version is in the built-in catalog with other content; published versions never change, so write a higher version"
        raise CatalogInvalid([Problem(document.file, document.line, f"{label(document)}: {message}") for document in changed])
    return ApplyResult(
        created=tuple(label(document) for document in documents if document.key not in digests),
        unchanged=tuple(label(document) for document in documents if document.key in digests),
    )


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where cards and models are taken from: the published ones, and those of a folder that may come.

    Attributes:
        published: what is in force, with every version.
        coming: the same, together with the folder's documents, as if these were in force.
    """

    published: Catalog
    coming: Catalog

    def card(self, reference: str) -> RateCard:
        """A card by ``name@version``, or by its name: the published version in force, else the folder's newest.

        Raises InvalidRequest, naming cards that are like it.
        """
        card = self.published.cards.get(reference) or self.coming.cards.get(reference)
        if card is None:
            names = sorted({known.name for known in self.coming.cards.values()})
            message = f"there is no rate card {reference[:120]!r}; there are {', '.join(names)}; one of a folder that is not published needs -f DIR"
            raise InvalidRequest(message)
        return card

    def tariff(self, reference: str) -> str:
        """The id of a tariff by ``name@version``, or by its name: the published version in force, else the folder's newest.

        Raises InvalidRequest, naming those there are.
        """
        tariff = self.published.tariffs.get(reference) or self.coming.tariffs.get(reference)
        if tariff is None:
            names = sorted({known.name for known in self.coming.tariffs.values()})
            message = f"there is no tariff {reference[:120]!r}; there are {', '.join(names)}; one of a folder that is not published needs -f DIR"
            raise InvalidRequest(message)
        return tariff.id


def shelve(published: Sequence[Document], folder: Sequence[Document], as_of: datetime) -> Shelf:
    """Both catalogs at a moment; a folder's versions count as if they came into force now."""
    now = snapshot(published, as_of)
    if not folder:
        return Shelf(now, now)
    known = {document.key for document in published}
    later = [*published, *(document for document in folder if document.key not in known)]
    latest = max([as_of, *(document.entry.effective_from for document in folder)])
    return Shelf(now, snapshot(later, latest))
