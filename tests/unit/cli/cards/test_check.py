"""``taximeter cards check --offline``."""

from pathlib import Path

import pytest

from taximeter.cli import main
from taximeter.pricing import builtin_dir

FAULTY = """
kind: rate_card
name: mine
version: 1
effective_from: 2026-01-01
lines:
  - {label: Steps, quantity: steps, tokens: -1}
  - {label: Frames, quantity: frames, tokens: 0}
colour: red
"""


def test_every_fault_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(FAULTY, encoding="utf-8")
    assert main(["cards", "check", "--offline", "-f", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert [line.rpartition("yaml:")[2].partition(":")[0] for line in printed.out.splitlines()] == ["7", "8", "9"]
    assert printed.err == "taximeter cards check: 3 faults; nothing would be published\n"


def test_a_version_that_is_built_in_cannot_be_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (builtin_dir() / "40-video.yaml").read_text(encoding="utf-8")
    (tmp_path / "video.yaml").write_text(text, encoding="utf-8")
    assert main(["cards", "check", "--offline", "-f", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 would be published")
    (tmp_path / "video.yaml").write_text(text.replace("tokens: 0.1,", "tokens: 0.2,"), encoding="utf-8")
    assert main(["cards", "check", "--offline", "-f", str(tmp_path)]) == 1
    assert "rate_card sketch-video-calibrated@1: this version is in the built-in catalog with other content" in capsys.readouterr().out
