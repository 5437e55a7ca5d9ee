"""Produced files, in a folder or in S3."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from taximeter.kernel.errors import SetupError

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file that can be read in parts."""

    store: ObjectStore
    key: str
    size: int
    etag: str

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``end``, in pieces of at most a megabyte."""
        while start < end:
            stop = min(end, start + PIECE_BYTES)
            piece = await obstore.get_range_async(self.store, self.key, start=start, end=stop)
            yield bytes(piece)
            start = stop


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as the store lists it."""

    key: str
    size: int
    modified_at: datetime


class Objects:
    """The object store: keys are paths such as ``videos/<id>/1.mp4``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str, home: Path) -> "Objects":
        """The store at ``url``, or the folder ``objects`` in ``home``.  Raises SetupError."""
        try:
            if url:
                return cls(from_url(url))
            folder = home / "objects"
            folder.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(folder))
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            message = f"cannot use the object store ({error}); check TAXIMETER_OBJECT_URL"
            raise SetupError(message) from error

    async def put(self, key: str, data: bytes) -> None:
        """Store a file.  Raises OSError when the store cannot take it."""
        try:
            await obstore.put_async(self._store, key, data)
        except obstore.exceptions.BaseError as error:
            raise OSError(str(error)) from error

    async def find(self, key: str) -> StoredFile | None:
        """A file, or None when there is none."""
        try:
            meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        etag = (meta["e_tag"] or f"{meta['size']:x}").strip('"')
        return StoredFile(self._store, key, meta["size"], f'"{etag}"')

    async def list(self, prefix: str, page: int) -> AsyncIterator[Sequence[ListedFile]]:
        """All files whose key begins so, in pages of about ``page``.  Raises OSError when the store does not answer."""
        try:
            async for metas in obstore.list(self._store, prefix, chunk_size=page):
                yield [ListedFile(meta["path"], meta["size"], meta["last_modified"]) for meta in metas]
        except obstore.exceptions.BaseError as error:
            raise OSError(str(error)) from error

    async def remove(self, key: str) -> None:
        """Remove a file; one that is not there is fine."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
