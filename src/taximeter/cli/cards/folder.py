"""A model's configuration files: the JSON objects in a folder and its subfolders that are about the model, not its vocabulary."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taximeter.kernel.errors import InvalidRequest

# config.json, generation_config.json, scheduler_config.json, model_index.json; an index of weights says how large they are.
CONFIGURATION = re.compile(r"(?:.*config|model_index|.*\.index)\.json")
FILE_BYTES_MAX = 32_000_000
FILES_MAX = 200


def read_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """The objects by their path inside the folder (``transformer/config.json``).

    Raises InvalidRequest, naming the file, when there is none, or when one cannot be read or is broken.
    """
    if not folder.is_dir():
        said = "is a file; give the folder that it stands in" if folder.exists() else "does not exist"
        message = f"{folder} {said}: --from-config takes the folder of a model as it is published"
        raise InvalidRequest(message)
    files = {str(path.relative_to(folder)): read_object(path) for path in _paths(folder)}
    found = {name: content for name, content in files.items() if content is not None}
    if not found:
        message = (
            f"there is no config.json and no model_index.json in {folder}; give the folder of a model as it is published: "
            "with model_index.json (diffusers), or with config.json (Hugging Face, VoxCPM)"
        )
        raise InvalidRequest(message)
    return found


def read_object(path: Path) -> dict[str, Any] | None:
    """A file's object; None when it holds something else.  Raises InvalidRequest naming file, line and column."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            message = f"{path} is larger than {FILE_BYTES_MAX} bytes; that is no configuration file"
            raise InvalidRequest(message)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise InvalidRequest(message) from error
    except json.JSONDecodeError as error:
        message = f"{path}:{error.lineno}:{error.colno}: this is not JSON ({error.msg}); copy the file again"
        raise InvalidRequest(message) from error
    # The last are numbers of more digits than Python reads.
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        message = f"{path}: this is not JSON ({error}); copy the file again"
        raise InvalidRequest(message) from error
    return content if isinstance(content, dict) else None


def _paths(folder: Path) -> Iterator[Path]:
    """Two levels, in the order of their names: the model's own files, and those of its parts."""
    try:
        inside = sorted(folder.iterdir())
        found = [path for path in inside if path.is_file()]
        found += [path for part in inside if part.is_dir() for path in sorted(part.iterdir()) if path.is_file()]
    except OSError as error:
        message = f"cannot read {error.filename}: {error.strerror}"
        raise InvalidRequest(message) from error
    wanted = [path for path in found if CONFIGURATION.fullmatch(path.name)]
    if len(wanted) > FILES_MAX:
        message = f"there are {len(wanted)} configuration files in {folder}; give the folder of one model"
        raise InvalidRequest(message)
    yield from wanted
