"""The audit of a crash test, on books and acknowledgements that are made up."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.crash.acknowledgements import Entry, Log, Operation, read
from bench.crash.audit import Books, judge
from bench.crash.power import Position, forget
from taximeter.kernel.ids import encode_id

ONE, TWO = UUID(int=1), UUID(int=2)


def told(what: Any, receipt: UUID | None = None, charged_utok: int = 0, **more: Any) -> Entry:  # noqa: ANN401 - fields of an entry
    name = "" if receipt is None else encode_id("rcp", receipt)
    fields: dict[str, Any] = {"operation": "op", "kind": "chat", "keyed": False, "window": 3, "attempt": 0, **more}
    return Entry(what=what, receipt=name, charged_utok=charged_utok, **fields)


def row(request: UUID, charged_utok: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - columns
    return {"id": request, "charged_utok": charged_utok, "receipts": 1, "charges": int(charged_utok > 0), "open": False, "state": None, **more}


def found(entries: list[Entry], rows: Sequence[Mapping[str, Any]], *, keyed: bool = False) -> tuple[int, int, int]:
    books = Books()
    judge(books, Operation("op", "chat", keyed, 3, len(entries), entries), rows)
    return books.lost.total(), books.doubled.total(), books.stuck.total()


def test_an_answer_with_its_receipt_is_right() -> None:
    assert found([told("answered", ONE, 5)], [row(ONE, 5)]) == (0, 0, 0)


def test_an_answer_without_a_receipt_or_with_another_charge_is_lost() -> None:
    assert found([told("answered", ONE, 5)], []) == (1, 0, 0)
    assert found([told("answered", ONE, 5)], [row(ONE, 0, receipts=0)]) == (1, 0, 0)
    assert found([told("answered", ONE, 5)], [row(ONE, 4)]) == (1, 0, 0)
    assert found([told("gone", ONE)], []) == (1, 0, 0)


def test_a_video_that_was_ordered_and_is_not_made_is_lost() -> None:
    assert found([told("ordered", ONE)], [row(ONE, 5, state="completed")]) == (0, 0, 0)
    assert found([told("ordered", ONE)], [row(ONE, 0, state="failed")]) == (1, 0, 0)
    assert found([told("ordered", ONE)], []) == (1, 0, 0)


def test_a_charge_is_explained_by_an_answer_that_may_have_been_lost() -> None:
    assert found([told("broken"), told("answered", TWO, 5)], [row(ONE, 5), row(TWO, 5)]) == (0, 0, 0)
    assert found([told("refused", status=503), told("answered", TWO, 5)], [row(ONE, 5), row(TWO, 5)]) == (0, 1, 0)
    assert found([told("refused", status=503)], [row(ONE, 5)]) == (0, 1, 0)


def test_a_key_is_charged_once() -> None:
    assert found([told("broken"), told("answered", TWO, 5)], [row(ONE, 0), row(TWO, 5)], keyed=True) == (0, 0, 0)
    assert found([told("broken"), told("answered", TWO, 5)], [row(ONE, 5), row(TWO, 5)], keyed=True) == (0, 1, 0)


def test_a_request_that_was_settled_twice_is_doubled() -> None:
    assert found([told("answered", ONE, 5)], [row(ONE, 5, receipts=2, charges=2)]) == (0, 1, 0)


def test_what_does_not_end_is_stuck() -> None:
    assert found([told("broken")], [row(ONE, 0, receipts=0, open=True)]) == (0, 0, 1)
    assert found([told("ordered", ONE)], [row(ONE, 0, state="in_progress", open=True)]) == (1, 0, 1)
    assert found([told("refused", detail="idempotency_in_progress", status=409)], [row(ONE, 0)], keyed=True) == (0, 0, 1)
    assert found([], []) == (0, 0, 1)


def test_the_log_reads_back_what_was_written(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    entries = [told("sent"), told("broken"), told("sent", attempt=1), told("answered", ONE, 5, attempt=1, status=200)]
    for entry in entries:
        log.write(entry)
    log.close()
    operation = read(tmp_path / "log")["op"]
    assert (operation.sent, operation.told, operation.window) == (2, [entries[1], entries[3]], 3)


def test_a_power_cut_takes_what_lies_behind_the_last_sync(tmp_path: Path) -> None:
    segment = 16 * 2**20
    last = Position(flushed=0x1_0300_0010, inserted=0x1_0300_0100, timeline=1, segment_bytes=segment)
    assert last.file_of(last.flushed) == "000000010000000100000003"
    for name in ("000000010000000100000002", "000000010000000100000003", "000000010000000100000004"):
        (tmp_path / name).write_bytes(b"x" * segment)
    (tmp_path / "archive_status").mkdir()
    forget(tmp_path, last)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000010000000100000002", "000000010000000100000003", "archive_status"]
    assert (tmp_path / "000000010000000100000002").read_bytes() == b"x" * segment
    assert (tmp_path / "000000010000000100000003").read_bytes() == b"x" * 16 + bytes(segment - 16)
