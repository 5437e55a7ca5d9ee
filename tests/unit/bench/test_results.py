"""What is kept of the runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import estimates_page, results


def run_of(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"name": name, "machine": {"cpus": 2}, "tables": [{"title": f"About {name}", "columns": ["a"], "rows": [["1"]], "notes": []}], **more}


def test_a_benchmark_that_did_not_run_keeps_what_was_kept_before(tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "results"
    out.mkdir()
    kept.mkdir()
    (kept / "latest.json").write_text(json.dumps([run_of("gateway", when="before"), run_of("ledger", when="before")]), encoding="utf-8")
    (out / "ledger.json").write_text(json.dumps(run_of("ledger", when="now")), encoding="utf-8")
    (out / "soak.json").write_text(json.dumps(run_of("soak", when="now")), encoding="utf-8")
    found = results.gathered(out, kept)
    assert [(one["name"], one["when"]) for one in found] == [("ledger", "now"), ("gateway", "before"), ("soak", "now")]


def test_the_page_has_the_tables_and_the_pictures() -> None:
    page = results.page([run_of("soak", picture="soak.svg")])
    assert "### About soak" in page
    assert "![soak](soak.svg)" in page


def test_keeping_writes_the_page_the_figures_and_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "OUT", tmp_path / "out")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    assert results.main() == 1
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "soak.json").write_text(json.dumps(run_of("soak", picture="soak.svg")), encoding="utf-8")
    (tmp_path / "out" / "soak.svg").write_text("<svg/>", encoding="utf-8")
    assert results.main() == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["latest.json", "latest.md", "soak.svg"]


def test_keeping_the_estimates_writes_their_page_among_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUT", "RESULTS", "CONCEPTS"):
        monkeypatch.setattr(results, name, tmp_path / name)
        (tmp_path / name).mkdir()
    (tmp_path / "OUT" / "estimates.json").write_text(json.dumps(run_of("estimates", picture="estimates.svg")), encoding="utf-8")
    (tmp_path / "OUT" / "estimates.svg").write_text("<svg/>", encoding="utf-8")
    assert results.main() == 0
    assert "## About estimates" in (tmp_path / "CONCEPTS" / "estimates.md").read_text(encoding="utf-8")
    assert (tmp_path / "CONCEPTS" / "estimates.svg").read_text(encoding="utf-8") == "<svg/>"


def test_the_page_of_the_estimates_says_what_the_kept_run_says() -> None:
    kept = {run["name"]: run for run in json.loads((results.RESULTS / "latest.json").read_text(encoding="utf-8"))}
    written = (results.CONCEPTS / estimates_page.PAGE).read_text(encoding="utf-8")
    assert written == estimates_page.page(kept["estimates"])
    assert (results.CONCEPTS / estimates_page.PICTURE).read_bytes() == (results.RESULTS / "estimates.svg").read_bytes()
