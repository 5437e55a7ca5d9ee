"""Medians, spreads and tables."""

import json
from pathlib import Path

import pytest

from bench import figures
from bench.figures import Table, publish, spread, verdict


def test_a_spread_shows_the_median_and_how_far_the_rounds_lay_apart() -> None:
    assert spread([1300, 1100, 1234]).show() == "1,234 (1,100-1,300)"
    assert spread([2.5]).show(1) == "2.5"


def test_a_verdict_says_whether_the_goal_is_met() -> None:
    assert verdict(">= 25 x litellm", 27.06, met=True) == "goal >= 25 x litellm: 27.1, met"
    assert verdict("drift <= 1.5", 1.618, met=False, digits=2) == "goal drift <= 1.5: 1.62, not met"


def test_what_is_published_is_printed_and_kept_with_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "OUT", tmp_path)
    publish("soak", [Table("A title", ("table", "rows"), [("ledger.holds", "12")])], {"seconds": 5, "spread": spread([1.0])}, "<svg/>")
    kept = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert (kept["name"], kept["seconds"], kept["spread"]["median"], kept["picture"]) == ("soak", 5, 1.0, "soak.svg")
    assert (tmp_path / "soak.svg").read_text(encoding="utf-8") == "<svg/>"
    assert "ledger.holds    12" in capsys.readouterr().out
