"""What the log says, operation by operation: balances, open holds, and what breaks a rule on the way.

The log comes as lines of text, and numbers of accounts, legs and lanes stay text: a million rows are read in seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from taximeter.ledger.replay.report import Difference, Report

HOLD, SETTLE, VOID, EXPIRE, DIRECT, OVERRUN, SHORTFALL, LATE = "1", "2", "3", "4", "5", "6", "7", "8"
RELEASES = (SETTLE, VOID, EXPIRE)
REFUSED = "1"
FIRST_LEG = "0"
LATE_PHASE = "2"
# Kind, phase and status of the rows that the ledger writes, and what they say that they released: nothing, zero, or what was held.
NOTHING, ZERO, HOLDING = "", "0", None
FORMS = {
    HOLD + "00": NOTHING, DIRECT + "00": NOTHING, HOLD + "01": NOTHING, DIRECT + "01": NOTHING,
    SETTLE + "10": HOLDING, VOID + "10": HOLDING, EXPIRE + "10": HOLDING,
    OVERRUN + "10": ZERO, SHORTFALL + "10": ZERO, SHORTFALL + "20": ZERO, LATE + "20": ZERO,
}  # fmt: skip
LEGS = [str(leg) for leg in range(16)]
YES = "t"
DIGEST_BYTES = "16"

Row: TypeAlias = list[str]
ID, LEG, PHASE, KIND, STATUS, DEBIT, CREDIT, AMOUNT, HELD, CASCADE, REQUESTED, TOTAL, LANE, DIGEST = range(14)


@dataclass(slots=True)
class Account:
    """Balances as the log gives them: debits and credits, pending and posted.

    Attributes:
        lane: whose queue orders what happens to it.
        misrouted: another lane posted on it as well, so that the log does not tell the order of its rows.
        overdrawn: the first row after which more was spent and held than there was, and by how much.
    """

    limited: bool
    unit: str
    lane: str
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0
    misrouted: bool = False
    overdrawn: tuple[Row, int] | None = None


class HeldLeg(NamedTuple):
    """One leg of an open hold."""

    debit: str
    credit: str
    amount: int
    cascade: bool


class Journal:
    """Follows the log; ``report`` gets what is wrong with it.

    Attributes:
        accounts: by number; those that the log names and nobody opened are in ``unknown`` as well.
        holds: the legs of each open hold, by id and leg.
        late: ids that were settled after their release.
    """

    def __init__(self, report: Report, accounts: Mapping[str, Account]) -> None:
        self.report = report
        self.accounts = dict(accounts)
        self.unknown: dict[str, str] = {}
        self.holds: dict[str, dict[str, HeldLeg]] = {}
        self.late: list[str] = []
        self._group: list[Row] = []
        self._id = self._phase = ""

    def feed(self, lines: Iterable[str]) -> None:
        """Read rows in the order of the log; the rows of one operation stand together."""
        for line in lines:
            row = line.split("\t")
            if row[ID] != self._id or row[PHASE] != self._phase:
                self.finish()
                self._id, self._phase = row[ID], row[PHASE]
            self._group.append(row)

    def finish(self) -> None:
        """The operation at hand is complete."""
        rows = self._group
        if not rows:
            return
        self._group = []
        self.report.rows += len(rows)
        first = rows[0]
        if first[LEG] != FIRST_LEG or not first[TOTAL] or first[DIGEST] != DIGEST_BYTES:
            # Without them a retry of the same operation cannot be told what became of it.
            self._differ("I7", "unanswerable", first, "a first leg with its total and digest", f"leg {first[LEG]}, total {first[TOTAL] or 'none'}")
        for row in rows:
            released = FORMS.get(row[KIND] + row[PHASE] + row[STATUS], YES)
            if (released is not HOLDING and row[HELD] != released) or row[STATUS] != first[STATUS]:
                self._differ(
                    "I5", "form", row, "a row as the ledger writes it", f"kind {row[KIND]}, status {row[STATUS]}, released {row[HELD] or 'none'}"
                )
        if first[STATUS] == REFUSED:
            self._refused(rows)
        elif first[KIND] == HOLD:
            self._hold(rows)
        elif first[KIND] == DIRECT:
            self._post(rows)
            self._check_total(rows)
        else:
            self._resolve(rows)

    def _refused(self, rows: list[Row]) -> None:
        for row in rows:
            if row[AMOUNT] != "0" or row is not rows[0] or row[TOTAL] != "0":
                self._differ("I6", "refusal", row, "nothing moved", f"{row[AMOUNT]} of {row[TOTAL] or 'none'}")

    def _hold(self, rows: list[Row]) -> None:
        legs: dict[str, HeldLeg] = {}
        for row in rows:
            debit, credit = self._pair(row)
            amount = int(row[AMOUNT])
            debit.debits_pending += amount
            credit.credits_pending += amount
            legs[row[LEG]] = HeldLeg(row[DEBIT], row[CREDIT], amount, row[CASCADE] == YES)
            _check_overdraft(debit, row)
        self.holds[rows[0][ID]] = legs
        self._check_total(rows)

    def _check_total(self, rows: list[Row]) -> None:
        """A reservation or a direct transfer is done as a whole.  What cascade legs share is its amount; other legs have their own."""
        first = rows[0]
        if first[REQUESTED] != first[TOTAL]:
            self._differ("I5", "done in part", first, first[REQUESTED], first[TOTAL])
        moved, cascades = 0, False
        for leg, row in zip(LEGS, rows, strict=False):
            if row[LEG] != leg:
                self._differ("I5", "legs", row, f"leg {leg}", f"leg {row[LEG]}")
            if row[CASCADE] == YES:
                moved += int(row[AMOUNT])
                cascades = True
        if cascades and moved != int(first[TOTAL] or 0):
            self._differ("I5", "total", first, moved, first[TOTAL])

    def _resolve(self, rows: list[Row]) -> None:
        first = rows[0]
        held: dict[str, HeldLeg] = {}
        if first[PHASE] == LATE_PHASE:
            self.late.append(first[ID])
        else:
            found = self.holds.pop(first[ID], None)
            if found is None:
                self._differ("I5", "resolution without a hold", first, "an open hold", "none")
            held = found or {}
            self._release(rows, held)
        self._post(rows)
        paid = borne = 0
        for row in rows:
            if row[CASCADE] == YES:
                paid += int(row[AMOUNT])
            elif row[KIND] == SHORTFALL:
                borne += int(row[AMOUNT])
        self.report.charged_utok += paid
        if paid != int(first[TOTAL] or 0):
            self._differ("I5", "total", first, paid, first[TOTAL])
        if int(first[REQUESTED] or 0) != paid + borne:
            self._differ("I5", "done in part", first, first[REQUESTED], paid + borne)

    def _release(self, rows: list[Row], held: dict[str, HeldLeg]) -> None:
        """The legs of a hold are released together, each on its own accounts and for what was held."""
        left = dict(held)
        for row in rows:
            if row[KIND] not in RELEASES:
                continue
            leg = left.pop(row[LEG], None)
            if leg is None:
                if held:
                    self._differ("I5", "resolution without a hold", row, "a leg of the hold", "none")
                continue
            debit, credit = self._account(leg.debit, row), self._account(leg.credit, row)
            debit.debits_pending -= leg.amount
            credit.credits_pending -= leg.amount
            if (row[DEBIT], row[CREDIT], row[CASCADE] == YES) != (leg.debit, leg.credit, leg.cascade):
                self._differ("I5", "accounts of a resolution", row, f"{leg.debit} to {leg.credit}", f"{row[DEBIT]} to {row[CREDIT]}")
            if int(row[HELD] or 0) != leg.amount:
                self._differ("I5", "released amount", row, leg.amount, row[HELD])
            if row[KIND] != SETTLE and row[AMOUNT] != "0":
                self._differ("I5", "release that charges", row, 0, row[AMOUNT])
            elif leg.cascade and int(row[AMOUNT]) > leg.amount:
                self._differ("I5", "settlement above its hold", row, f"at most {leg.amount}", row[AMOUNT])
        for leg_number in left:
            self._differ("I5", "leg left open", rows[0], f"leg {leg_number} released", "not released")

    def _post(self, rows: list[Row]) -> None:
        for row in rows:
            debit, credit = self._pair(row)
            amount = int(row[AMOUNT])
            debit.debits_posted += amount
            credit.credits_posted += amount
            _check_overdraft(debit, row)

    def _pair(self, row: Row) -> tuple[Account, Account]:
        accounts = self.accounts
        debit, credit = accounts.get(row[DEBIT]), accounts.get(row[CREDIT])
        if debit is None or credit is None:
            debit, credit = self._account(row[DEBIT], row), self._account(row[CREDIT], row)
        if debit.unit != credit.unit:
            self._differ("I1", "units", row, f"unit {debit.unit}", f"unit {credit.unit}")
        lane = row[LANE]
        if debit.lane != lane:
            debit.misrouted = True
        if credit.lane != lane:
            credit.misrouted = True
        return debit, credit

    def _account(self, number: str, row: Row) -> Account:
        found = self.accounts.get(number)
        if found is None:
            found = self.accounts[number] = Account(limited=False, unit="1", lane=row[LANE])
            self.unknown[number] = row[ID]
        return found

    def _differ(self, invariant: str, kind: str, row: Row, expected: str | int, found: str | int) -> None:
        self.report.differ(Difference(invariant, kind, place(row), expected, found))


def place(row: Row) -> dict[str, str | int]:
    """Where a row stands in the log."""
    return {"id": row[ID], "leg": int(row[LEG]), "phase": int(row[PHASE])}


def _check_overdraft(debit: Account, row: Row) -> None:
    if debit.limited and debit.overdrawn is None:
        over = debit.debits_posted + debit.debits_pending - debit.credits_posted
        if over > 0:
            debit.overdrawn = (row, over)
