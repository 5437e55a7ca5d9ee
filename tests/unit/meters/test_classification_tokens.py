"""Classification, in tokens."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, PromptTooLong, get

METER = get("classification.tokens/1")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"很好坏的电影", "good", "bad", "##ly", "##s", "movie", ",", "."]
BYTES = {"tokenizer": "bytes", "labels": ["bad", "good"], "tokens_per_input": 20, "inputs": 3, "chars_per_request": 200}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, str]:
    """A small tokenizer of BERT's kind, as the model would load it: it cuts and adds its marks itself."""
    made = Tokenizer(models.WordPiece(vocab={piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_truncation(12)
    path: Path = tmp_path_factory.mktemp("bert") / "tokenizer.json"
    made.save(str(path))
    return made, f"file:{path}"


@given(st.lists(st.text(alphabet="很好坏的电影 goodlybads,.xY", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=4))
def test_it_counts_what_the_model_reads(encoder: tuple[Tokenizer, str], texts: list[str]) -> None:
    model, spec = encoder
    entry = {"tokenizer": spec, "exact": True, "labels": ["bad", "good"], "tokens_per_input": 12}
    read = [len(model.encode(text).ids) for text in texts]
    estimate = METER.estimate({"input": texts}, entry)
    assert estimate.expected == estimate.maximum
    assert estimate.maximum["prompt_tokens"] == sum(read)
    assert estimate.maximum["positions"] == max(read) * len(read)
    assert estimate.maximum["inputs"] == len(texts)
    assert METER.estimate({"input": texts}, {**entry, "padding": "fixed"}).maximum["positions"] == 12 * len(texts)
    assert METER.estimate({"input": texts}, {**entry, "padding": "none"}).maximum["positions"] == sum(read)


def test_the_chinese_model_reads_a_token_a_character(profile: Callable[[str], Mapping[str, Any]]) -> None:
    entry = profile("bert-base-chinese-sentiment")
    work = METER.estimate({"input": ["这家餐厅的菜很好吃。", "好"]}, entry).maximum
    assert work == {"prompt_tokens": 12 + 3, "positions": 24, "inputs": 2, "truncated_inputs": 0}
    long = METER.estimate({"input": "好" * 600}, entry).maximum
    assert long == {"prompt_tokens": 512, "positions": 512, "inputs": 1, "truncated_inputs": 1}


def test_a_model_that_does_not_cut_refuses_instead() -> None:
    with pytest.raises(PromptTooLong, match=r"input\[1\] has 52 tokens; this model reads at most 20"):
        METER.estimate({"input": ["good", "x" * 150]}, {**BYTES, "truncate": False})


def test_a_tokenizer_that_is_not_the_models_own_is_bounded_by_bytes() -> None:
    estimate = METER.estimate({"input": "good movie"}, BYTES)
    assert (estimate.expected["prompt_tokens"], estimate.maximum["prompt_tokens"]) == (6, 12)
    assert estimate.bound == {"positions": 12}


@pytest.mark.parametrize("value", [None, [], {}, 5, True, [""], ["a", " "], ["a", None], "", ["\ud800"]])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        METER.estimate({"input": value}, BYTES)
    assert (caught.value.param or "").startswith("input")


def test_limits_name_what_is_too_much() -> None:
    with pytest.raises(PromptTooLong, match="4 texts"):
        METER.estimate({"input": ["a"] * 4}, BYTES)
    with pytest.raises(PromptTooLong, match="201 characters"):
        METER.estimate({"input": "b" * 201}, BYTES)
    with pytest.raises(PromptTooLong, match="the inputs have 240 characters"):
        METER.estimate({"input": ["b" * 120] * 2}, BYTES)


def test_the_engines_count_is_billed() -> None:
    estimate = METER.estimate({"input": ["a", "b" * 90]}, BYTES)
    assert METER.actual({"prompt_tokens": 9}, estimate, BYTES) == {"prompt_tokens": 9, "positions": 9, "inputs": 2, "truncated_inputs": 1}
    assert METER.actual({"prompt_tokens": 9, "positions": 16}, estimate, BYTES)["positions"] == 16
    with pytest.raises(BadReport):
        METER.actual({"inputs": 2}, estimate, BYTES)


@pytest.mark.parametrize(
    ("entry", "key"),
    [({"labels": ["good"]}, "labels"), ({"labels": ["a", "a"]}, "labels"), ({"inputs": 0}, "inputs"), ({"special_tokens": 20}, "special_tokens")],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**BYTES, **entry})
    assert caught.value.key == key
