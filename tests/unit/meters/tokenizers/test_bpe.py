"""Byte-pair tokenizers."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from taximeter.meters import tokenizers
from taximeter.meters.tokenizers import bpe

# Counted by llama.cpp itself (its server's /tokenize, special tokens recognised) for the same model file.
LLAMA_CPP = [
    ("Hello", 1),
    ("Hello, world!", 4),
    (" leading and trailing ", 4),
    ("Größe naïve façade", 7),
    ("你好，世界！今天天气怎么样？", 29),
    ("一位穿着汉服的女孩在樱花树下跳舞,微风吹起她的长发", 53),
    ("日本語のテスト", 13),
    ("한국어 문장입니다", 21),
    ("مرحبا بالعالم", 10),
    ("😀🎉👩‍👩‍👧‍👦🇩🇪", 30),
    ("def f(x):\n\treturn x ** 2  # square\n", 16),
    ("1234567890 3.14159 2024-11-21", 29),
    ("a\r\nb\r\n\r\nc", 7),
    ("   \n\n\t  x", 4),
    ("<|im_start|>user\nhi<|im_end|>\n", 6),
    ("<|endoftext|>", 1),
    ("'s 't 're 've 'm 'll 'd I'll we've", 17),
    ("UPPERCASE lowercase MiXeD", 9),
    ("https://example.com/a?b=c&d=%20", 16),
    ("\u200b\u200d\ufeff zero width", 9),
    ("\ufdfa \ufdfd \u00bd \u00b2 \u2167 \u2460", 19),
    ("x" * 200, 50),
    ("ab " * 50, 51),
    ("SELECT * FROM t WHERE a='b';", 9),
    ("Zażółć gęślą jaźń", 17),
    ('{"a": [1, 2, {"b": null}]}', 15),
    ("\x00\x01\x7f", 3),
    ("สวัสดี", 12),
]

# Marks, parts of marks, and what the tokenizer joins over its own borders: blanks, line ends, digits, accents.
PIECES = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<repo_name>",
    "<|im_",
    "start|>",
    "<",
    "|",
    ">",
    "user\n",
    "\n",
    " ",
    "  ",
    "1",
    "a",
    "e\u0301",
    "'s",
    "你",
)


@pytest.mark.parametrize(("text", "count"), LLAMA_CPP)
def test_smollm2_counts_as_llama_cpp_does(text: str, count: int) -> None:
    assert tokenizers.load("smollm2").count(text) == count


ascii_text = st.text(st.characters(max_codepoint=127), max_size=40)


@settings(max_examples=1000)
@given(st.lists(st.sampled_from([piece for piece in PIECES if piece.isascii()]) | ascii_text, max_size=12).map("".join))
def test_ascii_words_are_the_words_of_the_library(text: str) -> None:
    for kind, pattern in bpe._ASCII_WORDS.items():
        cut = bpe._PRE_TOKENIZERS[kind].pre_tokenize_str(text)
        assert pattern.findall(text) == [text[start:end] for _, (start, end) in cut]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=12).map("".join))
def test_counting_between_the_marks_is_counting_the_whole(text: str) -> None:
    tokenizer = tokenizers.load("smollm2")
    assert isinstance(tokenizer, bpe.HubTokenizer)
    assert tokenizer.count(text) == len(tokenizer._encoder.encode(text, add_special_tokens=False).ids)


def test_every_mark_counts_as_one() -> None:
    tokenizer = tokenizers.load("smollm2")
    assert isinstance(tokenizer, bpe.HubTokenizer)
    marks = [token.content for token in tokenizer._encoder.get_added_tokens_decoder().values()]
    assert len(marks) > 10
    assert tokenizer.count("".join(marks)) == len(marks)


def test_a_tokenizer_json_is_read_without_truncation(tmp_path: Path) -> None:
    encoder = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    encoder.pre_tokenizer = pre_tokenizers.Whitespace()
    encoder.enable_truncation(2)
    encoder.save(str(tmp_path / "tokenizer.json"))
    assert tokenizers.load(f"file:{tmp_path / 'tokenizer.json'}").count("a b a b") == 4


def test_another_file_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json is not a tokenizer\.json"):
        bpe.from_json(tmp_path / "x.json")
