"""The journal: whole lines only, in their order, and the last word about a cell counts."""

import hashlib
from pathlib import Path

from bench.gpu.journal import NAME, Journal, write_whole


def test_what_was_appended_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.append({"what": "cell", "cell": "A1/copy", "status": "failed"})
    first.append({"what": "cell", "cell": "A1/copy", "status": "done"})
    assert Journal(tmp_path).records == first.records
    assert Journal(tmp_path).cells()["A1/copy"]["status"] == "done"


def test_a_line_that_was_torn_off_is_thrown_away_and_the_next_one_is_whole(tmp_path: Path) -> None:
    Journal(tmp_path).append({"what": "cell", "cell": "A1/copy", "status": "done"})
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"what": "cell", "cell": "A1/mat')
    journal = Journal(tmp_path)
    assert set(journal.cells()) == {"A1/copy"}
    journal.append({"what": "cell", "cell": "A1/matmul", "status": "done"})
    assert set(Journal(tmp_path).cells()) == {"A1/copy", "A1/matmul"}


def test_a_file_is_written_whole_and_its_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text("before", encoding="utf-8")
    assert write_whole(path, "Vorhersage ä\n") == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.json"]
