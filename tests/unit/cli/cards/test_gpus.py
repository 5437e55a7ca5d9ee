"""``taximeter cards gpus``, and the page that lists the same."""

import json
import re
from pathlib import Path

import pytest

from taximeter.cli import main
from taximeter.pricing.gpus import builtin_gpus

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "gpus.md"


def test_every_gpu_is_listed_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards", "gpus"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["gpu", "status"]
    assert [row.split()[0] for row in rows] == ["A100", "H100", "H20", "H200", "RTX4090"]
    assert rows[1].split() == ["H100", "published", "281.6", "737.1", "3350", "80", "2.50", "USD", "2026-05-01"]
    assert main(["cards", "gpus", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown[2]["price"] is None
    assert all(gpu["sources"] and gpu["title"] for gpu in shown)


def test_the_page_of_the_profiles_has_their_figures() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*(\|.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for name, gpu in builtin_gpus().items():
        rates = [f"{float(rate) / 1e12:.1f}" for rate in (gpu.linear_flop_s, gpu.attention_flop_s)]
        sizes = [str(gpu.memory_bytes // 10**9), f"{gpu.bandwidth_bytes_s // 10**9:,}"]
        price = f"{float(gpu.price.per_hour):.2f} {gpu.price.currency} " if gpu.price else ""
        assert rows[name] == f"| {gpu.status} | {' | '.join([*rates, *sizes])} | {price}|"
