"""I6: what a client was told, as it wrote it down outside, against the log.

A line is a JSON object: ``{"id": "...", "kind": "settle", "status": "applied", "total_utok": 600}``.  The id is a UUID or a
public one (``rcp_...``); kind and status are names or the numbers of the log; without ``total_utok`` any amount is right.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import decode_id
from taximeter.ledger.replay.report import Difference, Report

CHUNK = 5_000
KINDS = {"hold": 1, "settle": 2, "void": 3, "expire": 4, "direct": 5}
LATE_SETTLEMENT = 8
STATUSES = {
    "applied": 0, "refused": 1, "replayed": 2, "replayed_refused": 3, "different_body": 4, "no_such_hold": 5,
    "already_resolved": 6, "no_such_account": 7, "account_closed": 8, "settled_late": 9, "key_used": 20,
}  # fmt: skip
APPLIED = {0, 2, 9}
# Another operation with this id stands in the log: what it did says nothing about this one.
SILENT = {4, 6}

Logged = dict[tuple[UUID, int], asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One line: what became of an operation, as its caller was told."""

    line: int
    id: UUID
    kind: int
    status: int
    total_utok: int | None


def read(lines: Iterable[str]) -> Iterator[Acknowledgement]:
    """The acknowledgements of a file.  Raises InvalidRequest naming the line that cannot be understood."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _parse(number, json.loads(line))
            except (ValueError, KeyError, RecursionError) as error:
                message = f"line {number} of the acknowledgements is not one: {line.strip()[:100]}"
                raise InvalidRequest(message) from error


async def check(connection: asyncpg.Connection, statement: str, acknowledgements: Iterator[Acknowledgement], report: Report) -> None:
    """Compare them with the log, some thousands at a time.

    Args:
        connection: inside the snapshot of the replay.
        statement: gives the first legs of the ids of its one argument.
        acknowledgements: of any number.
        report: is told what differs.
    """
    while chunk := list(islice(acknowledgements, CHUNK)):
        rows = await connection.fetch(statement, list({one.id for one in chunk}))
        logged = {(row["id"], row["phase"]): row for row in rows}
        for one in chunk:
            _compare(one, logged, report)
        report.acknowledged += len(chunk)


def _compare(one: Acknowledgement, logged: Logged, report: Report) -> None:
    found = _find(one, logged)
    if one.status in APPLIED:
        if found is None or found["status"] != 0:
            _differ(report, one, "acknowledged and lost", "applied", "not in the log" if found is None else "refused")
        elif one.total_utok is not None and found["total"] != one.total_utok:
            _differ(report, one, "acknowledged otherwise", one.total_utok, found["total"])
    elif one.status not in SILENT and found is not None and found["status"] == 0:
        _differ(report, one, "refused and applied", "not applied", f"applied for {found['total']}")


def _find(one: Acknowledgement, logged: Logged) -> asyncpg.Record | None:
    """The row that the acknowledgement is about."""
    if one.kind in (KINDS["hold"], KINDS["direct"]):
        rows = [logged.get((one.id, 0))]
    elif one.status == STATUSES["settled_late"]:
        rows = [logged.get((one.id, 2))]
    else:
        rows = [logged.get((one.id, 1)), logged.get((one.id, 2))]
    kinds = {one.kind, LATE_SETTLEMENT} if one.kind == KINDS["settle"] else {one.kind}
    return next((row for row in rows if row is not None and row["kind"] in kinds), None)


def _differ(report: Report, one: Acknowledgement, kind: str, expected: str | int, found: str | int) -> None:
    name = next(name for name, number in KINDS.items() if number == one.kind)
    report.differ(Difference("I6", kind, {"id": str(one.id), "operation": name, "line": one.line}, expected, found))


def _parse(number: int, fields: Any) -> Acknowledgement:  # noqa: ANN401 - whatever JSON the line holds
    """Raises ValueError or KeyError for what is no acknowledgement: nothing is rounded, and true is no number."""
    if not isinstance(fields, dict):
        raise ValueError(fields)  # noqa: TRY004 - what is wrong is a line of a file, not a type
    total = fields.get("total_utok")
    if total is not None and type(total) is not int:
        raise ValueError(total)
    return Acknowledgement(number, _id(fields["id"]), _code(fields["kind"], KINDS), _code(fields["status"], STATUSES), total)


def _id(text: object) -> UUID:
    if not isinstance(text, str):
        raise ValueError(text)  # noqa: TRY004 - see above
    public = decode_id(text.partition("_")[0], text) if "_" in text else None
    return UUID(text) if public is None else public


def _code(value: object, names: dict[str, int]) -> int:
    code = names[value.lower()] if isinstance(value, str) else value
    if type(code) is not int or code not in names.values():
        raise ValueError(value)
    return code
