"""Requests that come again under the caller's own name for them, the ``idempotency-key``.

That a key is charged once is decided where the hold is posted (``metering.post``).  Here a repeat is told what became of the
request that has the key.
"""

import asyncio
import logging
from typing import NoReturn
from uuid import UUID

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.identity import Caller
from taximeter.kernel.faults import reach
from taximeter.kernel.ids import encode_id
from taximeter.metering.desk import Desk
from taximeter.metering.errors import IdempotencyAnswerGone, IdempotencyInProgress, IdempotencyKeyReused
from taximeter.metering.model import RECEIPT_PREFIX, Answer, Earlier, Order, Receipt
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)

# An answer waits this long to be kept before it is sent.
KEEP_PATIENCE_S = 1.0
# An answer that has not been kept this long after its settlement will not be: its gateway died, or the database refused it.
KEEP_GRACE_S = 10.0


class Replayed(Exception):
    """Not a refusal: the order repeats one that has been answered, and this was the answer."""

    def __init__(self, answer: Answer, receipt: Receipt) -> None:
        super().__init__(receipt.public_id)
        self.answer = answer
        self.receipt = receipt


def in_progress(request_id: UUID | None = None) -> IdempotencyInProgress:
    """The refusal of a repeat that came too early."""
    message = "the first request with this idempotency-key is still running; send it again in a second to get its answer"
    headers = {"retry-after": "1"}
    if request_id is not None:
        headers["taximeter-receipt"] = encode_id(RECEIPT_PREFIX, request_id)
    return IdempotencyInProgress(message, headers=headers)


class Repeats:
    """Looks keys up, and keeps answers for repeats."""

    def __init__(self, desk: Desk, store: MeteringStore) -> None:
        self._desk = desk
        self._store = store

    async def find(self, order: Order) -> Earlier | None:
        """The earlier request that this order repeats; None when it has no key or the key is free.

        Raises IdempotencyKeyReused when the key names another request.
        """
        if order.idempotency_key is None:
            return None
        earlier = await self._store.find_key(order.caller.project_id, order.idempotency_key, order.fingerprint, KEEP_GRACE_S)
        if earlier is None or earlier.released:
            return None
        if not earlier.same:
            message = "this idempotency-key was used for another request; use a new key for a new request"
            receipt_id = encode_id(RECEIPT_PREFIX, earlier.request_id)
            raise IdempotencyKeyReused(message, param="idempotency-key", headers={"taximeter-receipt": receipt_id})
        return earlier

    async def answer(self, caller: Caller, earlier: Earlier) -> NoReturn:
        """Raises Replayed with the answer that was kept, IdempotencyInProgress or IdempotencyAnswerGone."""
        if earlier.running:
            raise in_progress(earlier.request_id)
        if earlier.answer is not None:
            receipt = await self._store.find_receipt(caller.project_id, earlier.request_id)
            assert receipt is not None, "a key is written with its request"
            raise Replayed(earlier.answer, receipt)
        receipt_id = encode_id(RECEIPT_PREFIX, earlier.request_id)
        message = (
            f"the request with this idempotency-key has ended and its answer was not kept; nothing was run or charged again,"
            f" GET /v1/receipts/{receipt_id} tells what it cost; use a new key to run it again"
        )
        raise IdempotencyAnswerGone(message, headers={"taximeter-receipt": receipt_id})

    async def keep(self, request_id: UUID, status: int, content_type: str, body: bytes) -> None:
        """Keep an answer, unless it is too large.  Without it a repeat is refused: failures are logged, and waited for in vain."""
        kept = body if len(body) <= self._desk.settings.idempotency_body_max else None
        keeping = self._desk.spawn(self._keep(request_id, status, content_type, kept))
        await asyncio.wait({keeping}, timeout=KEEP_PATIENCE_S)
        reach("metering.answer.kept")

    async def _keep(self, request_id: UUID, status: int, content_type: str, body: bytes | None) -> None:
        try:
            await self._store.keep_answer(request_id, status, content_type, body)
        except DATABASE_ERRORS as error:
            log.warning("the answer to %s was not kept for repeats: %s", request_id, error)
