"""The file with the keys that this installation signs with: a JSON Web Key Set, readable by its owner alone.

One key has its secret part: the one that signs now.  Earlier ones stay without theirs, so that what they signed can be checked.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from taximeter.kernel.signatures import PublicKey, SigningKey

MODE = 0o600
NAME = "signing.json"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a file.

    Attributes:
        signing: signs now.
        public: check what was ever signed, the newest first; the first is that of ``signing``.
    """

    signing: SigningKey
    public: tuple[PublicKey, ...]


def key_path(settings: Settings) -> Path:
    """Where the keys are."""
    return Path(settings.signing_keys_file) if settings.signing_keys_file else settings.home / "keys" / NAME


def open_keys(settings: Settings) -> KeyRing:
    """The keys; those in the data folder are made when there are none.  Raises SetupError."""
    path = key_path(settings)
    if not settings.signing_keys_file and not path.exists():
        create_keys(path)
    return read_keys(path)


def create_keys(path: Path) -> None:
    """Make a file with one new key, unless there is one: of several processes that do this at once, one makes it."""
    ring = KeyRing(key := SigningKey.generate(), (key.public,))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = _write(path, ring)
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
        scratch.unlink()
    except OSError as error:
        raise _unusable(path, error) from error


def rotate_keys(path: Path) -> KeyRing:
    """Sign with a new key from now on; the others only check.  Raises SetupError."""
    before = read_keys(path)
    key = SigningKey.generate()
    ring = KeyRing(key, (key.public, *before.public))
    try:
        _write(path, ring).replace(path)
    except OSError as error:
        raise _unusable(path, error) from error
    return ring


def read_keys(path: Path) -> KeyRing:
    """The keys of a file.  Raises SetupError."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        signing = [SigningKey.from_jwk(entry) for entry in entries if "d" in entry]
        public = [PublicKey.from_jwk(entry) for entry in entries]
    except OSError as error:
        raise _unusable(path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{path} is not a file of signing keys ({error}); restore it, or move it away and `taximeter signing-keys create` another"
        raise SetupError(message) from error
    if len(signing) != 1:
        message = f"{path} has {len(signing)} keys with a secret part; exactly one signs"
        raise SetupError(message)
    others = [key for key in public if key.id != signing[0].id]
    return KeyRing(signing[0], (signing[0].public, *others))


def public_set(keys: tuple[PublicKey, ...], revoked: Mapping[str, datetime] | None = None) -> dict[str, Any]:
    """Public keys as a JSON Web Key Set; those that are revoked say from when on (``revoked_from``)."""
    times = revoked or {}
    return {"keys": [key.to_jwk() | ({"revoked_from": times[key.id].isoformat()} if key.id in times else {}) for key in keys]}


def _write(path: Path, ring: KeyRing) -> Path:
    """Write the keys to a file beside the one that is meant."""
    entries = [ring.signing.to_jwk(), *(key.to_jwk() for key in ring.public[1:])]
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps({"keys": entries}, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return scratch


def _unusable(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"the signing keys in {path} cannot be used ({error.strerror}); TAXIMETER_SIGNING_KEYS_FILE names them,"
        f" `taximeter signing-keys create` makes them"
    )
