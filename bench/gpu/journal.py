"""The journal of a run: one line of JSON for whatever was done, on the disk before the next thing begins."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

NAME = "journal.jsonl"
Record = dict[str, Any]


class Journal:
    """Lines of a file, in the order of time; a line that a crash tore off is thrown away when the file is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        self.records = self._load()

    def _load(self) -> list[Record]:
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, record: Record) -> None:
        """One whole line in one write, then down to the disk."""
        line = json.dumps(record, sort_keys=True).encode() + b"\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(handle, line)
            assert written == len(line), "the disk is full"
            os.fsync(handle)
        finally:
            os.close(handle)
        # As it will be read again, so that a report is the same after a run and later.
        self.records.append(json.loads(line))

    def cells(self) -> dict[str, Record]:
        """What is known of each cell: of a predicted one nothing from before its family's fit set was measured again."""
        known: dict[str, Record] = {}
        for record in self.records:
            if record["what"] != "cell":
                continue
            if is_fitted(record):
                known = {name: other for name, other in known.items() if not (is_predicted(other) and other["family"] == record["family"])}
            known[record["cell"]] = record
        return known

    def registrations(self) -> dict[str, Record]:
        """What is predicted for each family; nothing for one whose fit set was measured again since it was."""
        valid: dict[str, Record] = {}
        for record in self.records:
            if record["what"] == "registration":
                valid[record["family"]] = record
            elif is_fitted(record):
                valid.pop(record["family"], None)
        return valid

    def registered(self, family: str) -> int:
        """How often predictions were written for a family."""
        return len([record for record in self.records if record["what"] == "registration" and record["family"] == family])

    def sessions(self) -> list[Record]:
        """The calls that made it, with their machines."""
        return [record for record in self.records if record["what"] == "session"]


def is_fitted(record: Record) -> bool:
    """Whether predictions follow from this record: a cell of a fit set, or the soak, that was measured."""
    return record["what"] == "cell" and record.get("role") in ("fit", "soak") and record["status"] == "done"


def is_predicted(record: Record) -> bool:
    """Whether this record is of a cell that is predicted before it is measured."""
    return record["what"] == "cell" and record.get("role") in ("holdout", "check")


def write_whole(path: Path, content: str) -> str:
    """Write a file so that nobody sees half of it; its SHA-256."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return hashlib.sha256(content.encode()).hexdigest()
