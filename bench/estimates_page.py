"""The page about estimates, made from a kept run, so that it says nothing that the figures do not."""

from pathlib import Path
from typing import Any

from bench.figures import Table

NAME, PAGE, PICTURE = "estimates", "estimates.md", "estimates.svg"
_INTRODUCTION = """# Estimates

A quote has two numbers: what a request is **expected** to take, and the **maximum** that is held for it and that the engine
must stop at. This page says how good both are, for every demo engine, with real requests on the real engines.

![what was expected and what was held, over what it took](estimates.svg)

A dot on the dashed line is an estimate that came true. A circle is what was held for the same request: none may lie below the line.
Only in text nobody can know: a model may answer with one word or with a page, so dots without a limit lie side by side at one height.
"""
_MENDED = """## What a run has changed

The first run found Chinese speech expected a third too long (25 requests: median lean +28.7 %, sum +31.7 %) and English a little (+6.2 %).
Version 2 of `kokoro-82m` expects 8 frames a Chinese character instead of 11, and has a longer silence around each text.
It was fitted to the texts of the rows *English* and *Chinese*; those of *unseen*, in other voices too, were written afterwards.
What is held did not change.
"""
_METHOD = """## How it is measured

`make bench ARGS=estimates` quotes each request with the built-in catalog, runs it on the demo engine with the bound of the
quote, and bills the engine's report, with the code that the gateway uses. The requests are varied on purpose: one word and several
sentences, limits from 16 tokens to none, English and Chinese, digits and abbreviations, speeds from 0.8 to 1.25, films of five sizes and lengths.
All amounts are Tokens of the `calibrated` cards.

- **median error**, **90th percentile**: |expected - actual| / actual.
- **median lean**: expected / actual - 1 in the middle request; **sum expected**: the same of all requests together. Plus is too much.
- **above the hold**: requests that took more than was held. It must be 0, and the benchmark fails otherwise.
- **stopped at it**: answers that the engine ended because they had reached the bound.
- **hold given back**: the share of all that was held which nobody paid.
"""
_REASONS = """## What decides how good they are

- **Text.** The prompt is counted exactly. How long the answer becomes nobody knows before: the meter expects the model's usual
  answer, or the caller's `max_tokens` when that is less. Held is `max_tokens`, or the model's default; what was not generated is given back.
- **Embeddings.** Counted with the model's own tokenizer: expected, held and done are the same.
- **Speech.** The model decides how long a text lasts. The meter expects frames by class of character (letters, digits, Chinese, marks) and
  holds more than was ever seen of each class, because a file must not break off; what was not spoken is given back.
- **Video.** Pixels x frames x steps of the request: expected, held and done are the same.

An estimate that leans is mended in the model's profile, as a new version of its entry in the catalog; old quotes and receipts keep theirs.
"""


def page(run: dict[str, Any]) -> str:
    """The page of a run."""
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in run["machine"].items() if name in {"when", "commit"})
    tables = "\n".join(Table(**table).markdown().replace("### ", "## ", 1) for table in run["tables"])
    return "\n".join([_INTRODUCTION, tables, f"The run: {facts}.\n", _MENDED, _METHOD, _REASONS]).rstrip() + "\n"


def write(run: dict[str, Any], picture: Path, folder: Path) -> None:
    """Put the page and its picture into the documents."""
    (folder / PAGE).write_text(page(run), encoding="utf-8")
    if picture.exists():
        (folder / PICTURE).write_bytes(picture.read_bytes())
