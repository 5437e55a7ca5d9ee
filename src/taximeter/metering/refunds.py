"""Refunds: an operator gives back what a settled request was charged, once for each reference and never more than that."""

from uuid import UUID

from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.ids import named_id
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountClosed, DifferentBody
from taximeter.metering.errors import AboveCharge, NothingCharged, ReceiptNotFound, ReceiptNotSettled
from taximeter.metering.model import Refund, RefundOrder
from taximeter.metering.store import MeteringStore, read_refund

DEFAULT_REFERENCE = "refund"
REFERENCE_CHARS_MAX = 255
REASON_CHARS_MAX = 500
OPERATOR_CHARS_MAX = 200


class Refunds:
    """Posts refunds; ``metering.refund`` decides them under the lock of the wallet's lane."""

    def __init__(self, store: MeteringStore) -> None:
        self._store = store

    async def make(self, receipt_id: UUID, amount_utok: int | None, *, reason: str, operator: str, reference: str = "") -> Refund:
        """Give back this much of what a request was charged; None: all that is left.

        Args:
            receipt_id: the request's id.
            amount_utok: micro-Tokens, above 0.
            reason: for whoever reads the receipt.
            operator: who does it.
            reference: names this refund of this receipt: the same one again is answered with the first, for ever.  Without one
                the refund is called ``refund``, so a receipt has one refund without a name and each further one needs its own.

        Raises ReceiptNotFound, ReceiptNotSettled, NothingCharged, AboveCharge, AccountClosed, InvalidRequest, and DifferentBody when
        the reference was used before with another amount or reason.
        """
        reference = _text(reference or DEFAULT_REFERENCE, "reference", REFERENCE_CHARS_MAX)
        reason = _text(reason, "reason", REASON_CHARS_MAX)
        operator = _text(operator, "operator", OPERATOR_CHARS_MAX)
        wanted = RefundOrder(
            id=named_id(receipt_id, "refund", reference),
            request_id=receipt_id,
            reference=reference,
            amount_utok=amount_utok,
            reason=reason,
            operator=operator,
        )
        row = await self._store.refund(wanted)
        outcome = row["outcome"]
        if outcome in ("refunded", "replayed"):
            return read_refund(row, replayed=outcome == "replayed")
        raise _refusal(outcome, reference, row["charged_utok"], row["left_utok"])

    async def list(self, receipt_id: UUID) -> list[Refund]:
        """What was given back for a request, oldest first.  Raises ReceiptNotFound."""
        found = await self._store.refunds(receipt_id)
        if found is None:
            raise _not_found()
        return found


def _text(text: str, name: str, chars_max: int) -> str:
    text = text.strip()
    if not 1 <= len(text) <= chars_max or "\0" in text:
        message = f"'{name}' must be a text of 1 to {chars_max} characters"
        raise InvalidRequest(message, param=name)
    return text


def _not_found() -> ReceiptNotFound:
    return ReceiptNotFound("there is no receipt with this id")


def _refusal(outcome: str, reference: str, charged_utok: int, left_utok: int) -> Refusal:
    if outcome == "no_request":
        return _not_found()
    if outcome == "not_settled":
        return ReceiptNotSettled("this request is not settled yet; refund it when its receipt says settled", headers={"x-should-retry": "false"})
    if outcome == "nothing_charged":
        return NothingCharged("this request was charged nothing, so there is nothing to give back")
    if outcome == "above_charge":
        message = (
            f"of the {format_tokens(charged_utok)} Tokens that this request was charged, {format_tokens(charged_utok - left_utok)} were given back"
            f" before; at most {format_tokens(left_utok)} can be refunded"
        )
        return AboveCharge(message, param="tokens")
    if outcome == "different":
        message = f"this receipt has a refund {reference!r} with another amount or reason; give a 'reference' of its own to make a further one"
        return DifferentBody(message, param="reference")
    assert outcome == "closed", outcome
    return AccountClosed("the wallet's account is closed and takes no transfers; open it before the refund")
