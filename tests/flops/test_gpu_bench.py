"""The bench of a GPU on a processor: operations as torch counts them, a whole run that is killed and taken up again, its report."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from bench.gpu.journal import NAME, Journal
from bench.gpu.plan import cells
from bench.gpu.scales import FULL, TINY

ROOT = Path(__file__).parents[2]
FEW = 4


def load(name: str) -> ModuleType:
    """A module of the bench that needs torch."""
    return importlib.import_module(f"bench.gpu.{name}")


def bench(folder: Path, say: Callable[[str], None] = lambda _line: None) -> Any:
    torch: Any = importlib.import_module("torch")
    return load("run").Bench(TINY, torch.device("cpu"), Journal(folder), say)


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / NAME
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")] if path.exists() else []


def measured(folder: Path) -> list[str]:
    return [record["cell"] for record in lines(folder) if record["what"] == "cell"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of three calls: one that is killed in its midst, one whose budget ends, one that finishes."""
    results = tmp_path_factory.mktemp("results")
    folder = results / "cpu-tiny"
    command = [sys.executable, "-m", "bench.gpu", "--scale", "tiny", "--device", "cpu", "--results", str(results)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(FEW)]
        process.send_signal(signal.SIGKILL)
    assert told[-1].startswith(f"[{FEW}/".encode())
    before = len(measured(folder))
    with (folder / NAME).open("ab") as file:
        file.write(b'{"what": "cell", "cell": "A2/blo')
    assert before <= bench(folder).go(budget_s=1.0) + before <= len(cells(TINY))
    assert load("__main__").main(["--scale", "tiny", "--device", "cpu", "--results", str(results)]) == 0
    return folder


@pytest.mark.parametrize("kind", ["matmul", "attention", "block", "expert", "vae", "encoder", "request", "speech", "prefill", "decode"])
def test_torch_counts_the_operations_of_the_closed_form_at_the_true_dimensions(kind: str) -> None:
    mine = [cell for cell in cells(FULL) if cell.kind == kind]
    # The smallest of its kind; a request with one block in place of forty, of which the expert's count has all.
    cell = min(mine, key=lambda cell: (cell.estimate_s, cell.id))
    scale = replace(FULL, dit=replace(FULL.dit, layers=1)) if kind == "request" else FULL
    found = load("counting").count(cell, scale)
    assert found.counted == found.closed > 0


def test_a_closed_form_that_is_off_by_one_operation_stops_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TINY.encoder), "encode", lambda _form, _texts: 1)
    record = bench(tmp_path).one(next(cell for cell in cells(TINY) if cell.kind == "encoder"))
    assert record["status"] == "failed"
    assert "Miscounted" in record["reason"]
    assert "samples_s" not in record


def test_a_run_that_was_killed_goes_on_and_measures_no_cell_twice(finished: Path) -> None:
    assert sorted(measured(finished)) == sorted(cell.id for cell in cells(TINY))
    assert len([record for record in lines(finished) if record["what"] == "session"]) >= 2


def test_every_cell_ran_or_says_why_not_and_its_operations_were_counted(finished: Path) -> None:
    for record in lines(finished):
        if record["what"] != "cell":
            continue
        if record["status"] == "done":
            assert record.get("counted_flop") == record.get("closed_flop")
            assert record["kind"] in ("idle", "copy") or record["counted_flop"] > 0
            assert all(time_s > 0 for time_s in record["samples_s"])
        else:
            assert record["status"] == "skipped", record
            assert "GPU" in record["reason"]


def test_predictions_were_registered_before_what_they_predict(finished: Path) -> None:
    report = json.loads((finished / "report.json").read_text(encoding="utf-8"))
    for name, family in report["families"].items():
        assert family["in_order"], name
        assert family["registration"]["file_matches"]
        assert family["registration"]["at"] < family["first_holdout"]


def test_report_picture_and_cards_are_made(finished: Path) -> None:
    page = (finished / "README.md").read_text(encoding="utf-8")
    assert "says nothing about the speed" in page
    assert "May not be claimed" in page
    for cell in cells(TINY):
        assert cell.id in page
    picture = ET.parse(finished / "predicted.svg").getroot()  # noqa: S314 - our own text
    assert len([mark for mark in picture.iter() if mark.attrib.get("class") == "holdout"]) > 10
    cards = list(yaml.safe_load_all((finished / "cards.yaml").read_text(encoding="utf-8")))
    assert all(card["name"].startswith("indicative-cpu-tiny-") for card in cards)
    assert load("__main__").main(["--scale", "tiny", "--device", "cpu", "--results", str(finished.parent), "--report", "--calibrated"]) == 2


def test_nothing_is_measured_that_should_have_been_predicted_first(tmp_path: Path) -> None:
    said: list[str] = []
    remaining = bench(tmp_path, said.append).go(budget_s=100.0, only=["C2/decode-6x512"])
    assert (remaining, measured(tmp_path)) == (1, [])
    assert "waits" in said[0]


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_memory(*_: object) -> None:
        message = "CUDA out of memory\nTried to allocate 40 GiB"
        raise RuntimeError(message)

    monkeypatch.setitem(load("loads")._BUILDERS, "matmul", full_memory)
    running = bench(tmp_path)
    running.go(budget_s=100.0, only=["A1/matmul", "A1/copy"])
    known = Journal(tmp_path).cells()
    assert known["A1/matmul"]["status"] == "failed"
    assert known["A1/matmul"]["reason"] == "RuntimeError: CUDA out of memory"
    assert known["A1/copy"]["status"] == "done"
    assert "A1/matmul" not in {cell.id for cell in running.remaining()}
    running.retry = True
    assert "A1/matmul" in {cell.id for cell in running.remaining()}


def failing(monkeypatch: pytest.MonkeyPatch, part: str) -> Callable[[], None]:
    """Let every fit cell whose name holds ``part`` run out of memory, until what is returned is called."""
    run = load("run")
    whole = run.build

    def build(cell: Any, *more: object) -> Any:
        if part in cell.id and cell.role == "fit":
            message = "CUDA out of memory"
            raise RuntimeError(message)
        return whole(cell, *more)

    monkeypatch.setattr(run, "build", build)
    return lambda: monkeypatch.setattr(run, "build", whole)


def test_what_a_failed_fit_set_kept_from_being_predicted_runs_when_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repair = failing(monkeypatch, "C2/")
    assert bench(tmp_path).go(budget_s=100.0, only=["C2"]) == 0
    unseen = [cell.id for cell in cells(TINY) if cell.family == "text" and cell.is_predicted]
    assert {Journal(tmp_path).cells()[name]["status"] for name in unseen} == {"skipped"}
    again = bench(tmp_path)
    again.retry = True
    # What goes on failing is tried once in each call, so that the call ends.
    assert again.go(budget_s=100.0, only=["C2"]) == 0
    assert {Journal(tmp_path).cells()[name]["status"] for name in unseen} == {"skipped"}
    repair()
    assert again.go(budget_s=100.0, only=["C2"]) == 0
    assert {Journal(tmp_path).cells()[name]["status"] for name in unseen} == {"done"}
    text = load("verdict").judge(Journal(tmp_path))["families"]["text"]
    assert (text["in_order"], text["registered"], text["missing"]) == (True, 1, [])


def test_a_fit_cell_measured_after_the_predictions_leads_to_new_ones_and_to_new_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repair = failing(monkeypatch, "C2/decode-8x1024")
    assert bench(tmp_path).go(budget_s=100.0, only=["C2"]) == 0
    first = Journal(tmp_path).registrations()["text"]
    repair()
    said: list[str] = []
    again = bench(tmp_path, said.append)
    again.retry = True
    # Its budget ends after the cell that failed; the next call goes on without being told to try again.
    monkeypatch.setattr(again, "_unfitted", lambda cell: ["the end"] if cell.is_predicted else [])
    assert again.go(budget_s=100.0, only=["C2"]) == 3
    assert any("were made without it" in line and "C2/decode-6x512 once more" in line for line in said)
    assert bench(tmp_path).go(budget_s=100.0, only=["C2"]) == 0
    journal = Journal(tmp_path)
    second = journal.registrations()["text"]
    assert (first["file"], second["file"]) == ("predictions-text.json", "predictions-text-2.json")
    predicted = [record for record in lines(tmp_path) if record.get("role") == "holdout"]
    assert [record["registered"] for record in predicted] == [first["sha256"]] * 3 + [second["sha256"]] * 3
    text = load("verdict").judge(journal)["families"]["text"]
    assert (text["in_order"], text["registered"], text["missing"]) == (True, 2, [])


def test_a_result_that_is_not_finite_is_no_measurement(tmp_path: Path) -> None:
    torch: Any = importlib.import_module("torch")
    running = bench(tmp_path)
    broken = replace(next(cell for cell in cells(TINY) if cell.kind == "copy"), kind="broken")
    load("loads")._BUILDERS["broken"] = lambda *_: load("loads").Load(lambda: torch.tensor([float("nan")]))
    running.counts.of = lambda _cell: load("counting").Count(0, 0)
    record = running.one(broken)
    assert (record["status"], "infinities or NaN" in record["reason"]) == ("failed", True)


def test_the_true_dimensions_are_not_for_a_processor(tmp_path: Path) -> None:
    assert load("__main__").main(["--scale", "full", "--device", "cpu", "--results", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_list_has_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("__main__").main(["--scale", "full", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(cell.id in listed for cell in cells(FULL))
