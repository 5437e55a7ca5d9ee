"""Makes quotes: signed, and on record before anybody sees them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec

from taximeter import admission
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.identity import Caller
from taximeter.kernel.canonical import canonical_json
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.errors import Refusal, SetupError
from taximeter.kernel.ids import encode_id
from taximeter.kernel.key_file import KeyRing, key_path, open_keys
from taximeter.kernel.signatures import PublicKey
from taximeter.kernel.units import format_tokens
from taximeter.metering.desk import Desk, buyer_of, check_amount, plan_of
from taximeter.metering.errors import SigningKeyRevoked, TooManyQuotes
from taximeter.metering.fares import Fare, quote_fare
from taximeter.metering.model import RECEIPT_PREFIX
from taximeter.metering.moment import buyer_at, check_multiplier
from taximeter.metering.quotes.alternatives import Alternative, alternatives, ranked, tried
from taximeter.metering.quotes.document import Validity, offer, priced, sign, told_lines
from taximeter.metering.quotes.fingerprint import fingerprint, job_of, parts_of
from taximeter.metering.quotes.offers import find_offer
from taximeter.metering.quotes.store import Kept, QuoteStore, Row
from taximeter.pricing import Buyer

log = logging.getLogger(__name__)

# A large batch lets others have a turn this often.
TURN_S = 0.002
# How soon a change of the key file, or a key of another machine, is seen.
KEYS_REFRESH_S = 1.0


Wish = tuple[str, Mapping[str, Any], Fraction | None]
"""A model, the body that one would send to it, and the highest multiplier that one takes; None: any."""


class Quotes:
    """The verbs of the quote routes."""

    def __init__(self, desk: Desk, store: QuoteStore) -> None:
        self._desk = desk
        self._store = store
        self._ring = open_keys(desk.settings)
        self._ring_stamp = self._stamp()
        self._ring_looked_s = desk.clock.monotonic_s()
        self._registered = ""
        self._revoked: Mapping[str, datetime] = {}
        self._public: tuple[PublicKey, ...] = ()
        self._public_looked_s: float | None = None

    async def make(self, caller: Caller, wish: Wish) -> str:
        """A quote: its document, signed and durable, as JSON.  Raises what ``quote_fare`` raises, TooExpensive, MultiplierAboveMaximum."""
        row = self._row(caller, self._wished(caller, wish), await self._signer(), self._now())
        await self._store.keep([row])
        return row.document

    async def keep_for(self, caller: Caller, fare: Fare, ttl_s: int) -> Row:
        """A quote of a fare that was computed already, binding for so long; durable when this returns."""
        row = self._row(caller, fare, await self._signer(), self._now(), ttl_s)
        await self._store.keep([row])
        return row

    async def cheaper(self, caller: Caller, model: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same job with something less of it, for what it costs less.  Nothing is put on record."""
        fare = self._fare(caller, model, request)
        found: list[Alternative | None] = []
        for attempt in tried(request, fare, lambda other: self._fare(caller, model, other)):
            found.append(attempt)
            # Each may count a long prompt anew.
            await asyncio.sleep(0)
        return [alternative_view(fare, each) for each in ranked(found)]

    def listed(self, model: str, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The list price of a job, and cheaper ones, for nobody in particular.  Binds nobody; nothing is put on record."""

        def price(other: Mapping[str, Any]) -> Fare:
            buyer = buyer_at(self._desk.surge, self._desk.catalog, Buyer(), model, other)
            return check_amount(quote_fare(self._desk.catalog, model, other, buyer=buyer))

        fare = price(request)
        return {**priced(fare), "lines": told_lines(fare)}, [alternative_view(fare, each) for each in alternatives(request, fare, price)]

    async def make_many(self, caller: Caller, wishes: Sequence[Wish | Refusal]) -> dict[str, Any]:
        """A quote or an error for each wish, in their order, and what the quotes come to together.

        A wish that could not be read is the refusal that says why.  Raises TooManyQuotes.
        """
        most = self._desk.settings.quote_items_max
        if len(wishes) > most:
            message = f"'items' has {len(wishes)} entries; one call may ask for at most {most} quotes"
            raise TooManyQuotes(message, param="items")
        ring, now = await self._signer(), self._now()
        clock = self._desk.clock
        rows: list[Row] = []
        items: list[dict[str, Any]] = []
        fares: list[Fare] = []
        turn_ends_s = clock.monotonic_s() + TURN_S
        for wish in wishes:
            try:
                if isinstance(wish, Refusal):
                    raise wish
                fare = self._wished(caller, wish)
                row = self._row(caller, fare, ring, now)
            except Refusal as refusal:
                items.append({"error": {"code": refusal.code, "status": refusal.status, "message": refusal.message, "param": refusal.param}})
            else:
                fares.append(fare)
                rows.append(row)
                items.append({"quote": msgspec.Raw(row.document.encode())})
            if clock.monotonic_s() >= turn_ends_s:
                await asyncio.sleep(0)
                turn_ends_s = clock.monotonic_s() + TURN_S
        if rows:
            await self._store.keep(rows)
        return {"object": "list", "items": items, "totals": _totals(fares, len(items) - len(fares))}

    async def find(self, caller: Caller, quote_id: str) -> dict[str, Any]:
        """One of the caller's quotes: its document, whether it is open, used, revoked or expired, and the receipt that has used it.

        Raises QuoteNotFound.
        """
        return _shown(await find_offer(self._store, caller, quote_id))

    async def page(self, caller: Caller, before: UUID | None, limit: int) -> list[dict[str, Any]]:
        """The caller's quotes as ``find`` gives them, newest first, from before ``before`` on."""
        return [_shown(kept) for kept in await self._store.page(caller.project_id, before, limit)]

    async def public_keys(self) -> tuple[PublicKey, ...]:
        """Every key that quotes were ever signed with, as far as the database and the key file know; the newest first."""
        now_s = self._desk.clock.monotonic_s()
        if self._public_looked_s is None or now_s >= self._public_looked_s + KEYS_REFRESH_S:
            self._public_looked_s = now_s
            try:
                ring, on_record = await self._ring_on_record(), await self._store.keys()
                self._revoked = await self._store.revocations()
            except DATABASE_ERRORS as error:
                # What checks quotes must not depend on what is checked.
                log.warning("the keys on record cannot be read: %s", error)
                ring, on_record = self._ring, list(self._public)
            self._public = tuple({key.id: key for key in (*ring.public, *on_record)}.values())
        return self._public

    async def revocations(self) -> Mapping[str, datetime]:
        """From when on keys are not trusted, by their ids, as ``public_keys`` has seen it."""
        await self.public_keys()
        return self._revoked

    def _now(self) -> datetime:
        return utc_from_ms(self._desk.clock.now_ms())

    def _fare(self, caller: Caller, model: str, request: Mapping[str, Any]) -> Fare:
        buyer = buyer_at(self._desk.surge, self._desk.catalog, buyer_of(caller), model, request)
        return check_amount(quote_fare(self._desk.catalog, model, request, buyer=buyer))

    def _wished(self, caller: Caller, wish: Wish) -> Fare:
        model, request, multiplier_max = wish
        fare = self._fare(caller, model, request)
        check_multiplier(self._desk.surge, fare, multiplier_max, "max_multiplier")
        return fare

    def _row(self, caller: Caller, fare: Fare, ring: KeyRing, now: datetime, ttl_s: int | None = None) -> Row:
        job = job_of(fare)
        digest = fingerprint(job)
        expires_at = now + timedelta(seconds=ttl_s or self._desk.settings.quote_ttl_s)
        validity = Validity(self._desk.ids.new(), caller.project_id, caller.plan, now, expires_at)
        return Row(
            id=validity.quote_id,
            project_id=caller.project_id,
            fingerprint=digest,
            maximum_utok=fare.maximum_utok,
            document=sign({**offer(fare, validity, digest), **_cap(self._desk, caller, fare)}, ring.signing),
            parts=canonical_json(parts_of(job)).decode(),
            expires_at=expires_at,
        )

    async def _signer(self) -> KeyRing:
        """The keys, as the file has them now; the one that signs is on record and not revoked.  Raises SigningKeyRevoked."""
        ring = await self._ring_on_record()
        if ring.signing.id in self._revoked:
            message = "the key that quotes are signed with was revoked, and there is no other one; ask your administrator to rotate it"
            raise SigningKeyRevoked(message)
        return ring

    async def _ring_on_record(self) -> KeyRing:
        now_s = self._desk.clock.monotonic_s()
        if now_s >= self._ring_looked_s + KEYS_REFRESH_S:
            self._ring_looked_s = now_s
            stamp = self._stamp()
            if stamp != self._ring_stamp:
                self._reload(stamp)
            if self._registered:
                self._revoked = await self._store.revocations()
        if self._registered != self._ring.signing.id:
            ring = self._ring
            await self._store.register_key(ring.signing.public)
            self._revoked = await self._store.revocations()
            self._registered = ring.signing.id
            return ring
        return self._ring

    def _reload(self, stamp: tuple[int, int, int]) -> None:
        try:
            self._ring, self._ring_stamp = open_keys(self._desk.settings), stamp
        except SetupError as error:
            # Half-way through a change, or broken by one: what is signed with the old key can be checked all the same.
            log.warning("the signing keys were not read again: %s", error)

    def _stamp(self) -> tuple[int, int, int]:
        """What changes when the key file does; while it cannot be looked at, the old keys go on."""
        try:
            status = key_path(self._desk.settings).stat()
        except OSError:
            return self._ring_stamp
        return status.st_mtime_ns, status.st_ino, status.st_size


def _shown(kept: Kept) -> dict[str, Any]:
    """A quote on record, and what became of it."""
    state = "used" if kept.used_by is not None else "revoked" if kept.revoked else "expired" if kept.expired else "open"
    receipt = None if kept.used_by is None else encode_id(RECEIPT_PREFIX, kept.used_by)
    return {**kept.offer, "state": state, "receipt": receipt}


def _cap(desk: Desk, caller: Caller, fare: Fare) -> dict[str, Any]:
    """What a quote says of a job that is above what its plan allows for one request; of others, nothing."""
    plan = plan_of(desk, caller)
    cap_utok = None if plan is None else admission.approvals.cap_utok(plan, fare.model.name, fare.model.modality)
    if plan is None or cap_utok is None or fare.maximum_utok <= cap_utok:
        return {}
    return {"plan_cap": format_tokens(cap_utok), "needs_approval": plan.above_cap == "approve"}


def alternative_view(fare: Fare, each: Alternative) -> dict[str, Any]:
    """An alternative as the API shows it."""
    shown = priced(each.fare)
    return {
        "text": f"{', '.join(change.text for change in each.changes)}: at most {shown['tokens_max']} Tokens",
        "changes": [{"field": change.field, "from": change.before, "to": change.after, "text": change.text} for change in each.changes],
        "model": fare.model.name,
        "request": dict(each.request),
        "tokens_expected": shown["tokens_expected"],
        "tokens_max": shown["tokens_max"],
        "tokens_saved": format_tokens(fare.maximum_utok - each.fare.maximum_utok),
        "money": shown["money"],
        "service_tier": shown["service_tier"],
    }


def _totals(fares: Sequence[Fare], refused: int) -> dict[str, Any]:
    by_currency: dict[str, list[int]] = {}
    for fare in fares:
        sums = by_currency.setdefault(fare.money.currency, [0, 0])
        sums[0] += fare.money.expected_nano
        sums[1] += fare.money.maximum_nano
    return {
        "quoted": len(fares),
        "refused": refused,
        "tokens_expected": format_tokens(sum(fare.expected_utok for fare in fares)),
        "tokens_max": format_tokens(sum(fare.maximum_utok for fare in fares)),
        "money": [
            {
                "currency": currency,
                "expected_nano": str(expected),
                "maximum_nano": str(most),
                "expected": Buyer(currency=currency).money_text(expected),
                "maximum": Buyer(currency=currency).money_text(most),
            }
            for currency, (expected, most) in sorted(by_currency.items())
        ],
    }
