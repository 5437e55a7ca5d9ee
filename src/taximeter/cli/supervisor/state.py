"""What other commands may know about a running server: ``home/run/state.json``, readable by its owner alone."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from taximeter.db.embedded import FolderLock

SECRET_MODE = 0o600


@dataclass(frozen=True, slots=True)
class State:
    """A running server.

    Attributes:
        pid: the supervisor.
        url: where it answers.
        database_url: the owner's URL of its database.
        processes: process ids by name.
    """

    pid: int
    url: str
    database_url: str
    processes: Mapping[str, int] = field(default_factory=dict)


def serve_lock(home: Path) -> FolderLock:
    """The lock that a server holds on its folder for as long as it lives."""
    return FolderLock(run_folder(home) / "serve.lock", "taximeter")


def run_folder(home: Path) -> Path:
    """The private folder for what concerns the running server; created when missing."""
    folder = home / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_state(home: Path, state: State) -> None:
    """Tell the others, replacing what an earlier server told."""
    write_secret(run_folder(home) / "state.json", json.dumps(asdict(state), indent=2) + "\n")


def read_state(home: Path) -> State | None:
    """What the last server told; whether it still runs is another question."""
    try:
        values = json.loads((run_folder(home) / "state.json").read_text(encoding="utf-8"))
        return State(**values)
    except (OSError, ValueError, TypeError):
        return None


def remove_state(home: Path) -> None:
    """The server is gone."""
    (run_folder(home) / "state.json").unlink(missing_ok=True)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)
