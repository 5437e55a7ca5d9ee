"""Puts requests down that are above their plan's cap: nothing is held for them, and their price is signed."""

from typing import Any

import msgspec

from taximeter.admission import approvals
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering.approvals.store import ApprovalStore
from taximeter.metering.desk import Desk, plan_of
from taximeter.metering.errors import IdempotencyKeyReused
from taximeter.metering.fares import Fare
from taximeter.metering.model import QUOTE_PREFIX, Order
from taximeter.metering.quotes import Quotes, QuoteStore
from taximeter.metering.quotes.fingerprint import fingerprint, job_of
from taximeter.metering.store import MeteringStore

REQUEST_BYTES_MAX = 200_000
"""Kept of one request; the database's own limit is a little above it."""
EXPIRE_MAX = 1000


class Parking:
    """Where requests wait.  The same one that comes again waits in the same place."""

    def __init__(self, desk: Desk, store: MeteringStore) -> None:
        self._desk = desk
        self._store = ApprovalStore(store.pool)
        self._quote_store = QuoteStore(store.pool)
        # Made when the first one is signed: most processes never do.
        self._quotes: Quotes | None = None

    async def park(self, order: Order, fare: Fare, *, is_job: bool) -> tuple[approvals.Approval, bool]:
        """The approval that an order waits for, or was granted; and whether it is a new one.

        Raises IdempotencyKeyReused, InvalidRequest (too large to be kept), ApprovalDecided when its quote is that of a request that
        was not approved.
        """
        digest = fingerprint(job_of(fare))
        if order.quote_id is not None:
            await self._refuse_decided(order)
        for _ in range(2):
            found = await self._store.waiting(order.caller.project_id, digest, order.idempotency_key)
            if found is not None:
                return _same(found, order, digest), False
            made = await self._store.insert(await self._approval(order, fare, digest, is_job=is_job))
            if made is not None:
                return made, True
            # Somebody else has parked it in this moment, or an overdue one lies in its place.
            await self._store.keep_house(EXPIRE_MAX)
        found = await self._store.waiting(order.caller.project_id, digest, order.idempotency_key)
        assert found is not None, "what could not be written is there"
        return _same(found, order, digest), False

    async def refusal(self, order: Order, fare: Fare) -> approvals.NeedsApproval:
        """What the sender of a synchronous request is told.  Raises as ``park`` does."""
        approval, _ = await self.park(order, fare, is_job=False)
        quote, name = approval.public_quote_id, approval.public_id
        if approval.state == "approved":
            message = f"this request was approved as {name}: send it with the header 'taximeter-quote: {quote}'; nothing was held or run"
        else:
            message = (
                f"this request may cost up to {format_tokens(approval.maximum_utok)} Tokens, and one {approval.modality} request on the plan"
                f" {approval.plan} at most {format_tokens(approval.cap_utok)} without approval; it waits for an operator as {name}; once"
                f" GET /v1/approvals/{name} says approved, send it again with the header 'taximeter-quote: {quote}'; nothing was held or run"
            )
        return approvals.NeedsApproval(message, headers={"taximeter-approval": name, "taximeter-quote": quote})

    async def _approval(self, order: Order, fare: Fare, digest: bytes, *, is_job: bool) -> approvals.Approval:
        plan = plan_of(self._desk, order.caller)
        assert plan is not None, "only a plan has a cap"
        cap_utok = approvals.cap_utok(plan, fare.model.name, fare.model.modality)
        assert cap_utok is not None, "it is above it"
        request: Any = order.request if is_job else approvals.shown(order.request)
        normal = dict(fare.estimate.request) if is_job else None
        if len(msgspec.json.encode(request)) > REQUEST_BYTES_MAX:
            message = f"the request is above its plan's cap and larger than the {REQUEST_BYTES_MAX} bytes that can wait for an approval"
            raise InvalidRequest(message)
        if self._quotes is None:
            self._quotes = Quotes(self._desk, self._quote_store)
        quote = await self._quotes.keep_for(order.caller, fare, self._desk.settings.approval_ttl_s)
        return approvals.Approval(
            id=self._desk.ids.new(),
            project_id=order.caller.project_id,
            key_id=order.caller.key_id,
            model=fare.model.name,
            modality=fare.model.modality,
            is_job=is_job,
            request=request,
            normal=normal,
            fingerprint=digest,
            idempotency_key=order.idempotency_key,
            key_fingerprint=order.fingerprint if order.idempotency_key is not None else None,
            plan=plan.name,
            cap_utok=cap_utok,
            maximum_utok=fare.maximum_utok,
            quote_id=quote.id,
            quote=quote.document,
            state="pending",
            operator=None,
            reason=None,
            problem=None,
            created_at=quote.expires_at,
            decided_at=None,
            expires_at=quote.expires_at,
        )

    async def _refuse_decided(self, order: Order) -> None:
        """Whoever sends the quote of a request that was declined is told so; it does not wait once more."""
        quote_id = decode_id(QUOTE_PREFIX, order.quote_id or "")
        found = await self._store.find(None, order.caller.project_id, quote_id)
        if found is not None and found.state in ("declined", "expired", "withdrawn"):
            why = f": {found.reason}" if found.reason else ""
            message = f"{found.public_id} is {found.state}{why}; nothing was held or run"
            raise approvals.ApprovalDecided(message, headers={"taximeter-approval": found.public_id})


def _same(found: approvals.Approval, order: Order, digest: bytes) -> approvals.Approval:
    if found.fingerprint != digest or (order.idempotency_key is not None and found.key_fingerprint != order.fingerprint):
        message = "this idempotency-key was used for another request, which waits for an approval; use a new key for a new request"
        name = encode_id(approvals.APPROVAL_PREFIX, found.id)
        raise IdempotencyKeyReused(message, param="idempotency-key", headers={"taximeter-approval": name})
    return found
