"""Videos as durable jobs: submit, look at, delete, read."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from taximeter.admission import approvals
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.identity import Caller, IdentityStore
from taximeter.jobs import Job, JobStore
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.ledger import Kind, Operation, Status
from taximeter.metering.approvals import Approvals, ApprovalStore, Parking, parked_extra, parked_job, parked_receipt
from taximeter.metering.approvals.service import Post
from taximeter.metering.claims import calm_s
from taximeter.metering.desk import Desk, hold, hold_with_fresh_terms, must_wait, price_order, wallet_of
from taximeter.metering.errors import QuoteUsed, VideoExpired, VideoFailed, VideoNotFound, VideoNotReady
from taximeter.metering.fares import Fare
from taximeter.metering.model import RECEIPT_PREFIX, VIDEO_PREFIX, Earlier, Order, Price, Receipt
from taximeter.metering.objects import Objects, StoredFile
from taximeter.metering.payload import KIND, Payload, job_fact, new_payload
from taximeter.metering.quotes import open_offer, taken
from taximeter.metering.repeats import Repeats, in_progress
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VideoView:
    """A video with what it costs.

    Attributes:
        replayed: it was ordered before, with the same idempotency key.
        limits: when it was ordered now, headers that say what is left of the limits that it met.
        queue: where it stands and when it is likely to begin, while it waits.
    """

    job: Job
    receipt: Receipt
    replayed: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)
    queue: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """``video_...``."""
        return encode_id(VIDEO_PREFIX, self.job.id)

    def to_api(self) -> dict[str, Any]:
        """OpenAI's video object, and ``taximeter`` beside it."""
        job = self.job
        request = job.payload["request"]
        error = None if job.error_code is None else {"code": job.error_code, "message": job.error_message}
        return {
            "id": self.id,
            "object": "video",
            "model": self.receipt.model,
            # OpenAI has no word for a job whose provider gives no answer: it has not ended.
            "status": "in_progress" if job.state == "unknown" else job.state,
            "progress": job.progress,
            "created_at": _seconds(job.created_at),
            "completed_at": _seconds(job.completed_at),
            "expires_at": _seconds(job.expires_at),
            "prompt": request["prompt"],
            "size": f"{request['width']}x{request['height']}",
            "seconds": _duration(request["frames"], request["fps"]),
            "remixed_from_video_id": None,
            "error": error,
            "taximeter": {**self.receipt.extra(), "state": job.state, **({} if self.queue is None else {"queue": self.queue})},
        }

    def headers(self) -> dict[str, str]:
        """The ``taximeter-*`` headers."""
        return self.receipt.headers()


@dataclass(frozen=True, slots=True)
class ParkedVideo(VideoView):
    """A video that waits for an operator, or was not approved; there is neither a job nor a receipt of it."""

    approval: approvals.Approval | None = None

    @classmethod
    def of(cls, approval: approvals.Approval, *, replayed: bool = False) -> "ParkedVideo":
        """The video that an approval is for."""
        return cls(parked_job(approval, KIND), parked_receipt(approval), replayed, approval=approval)

    @property
    def waits(self) -> approvals.Approval:
        """What it waits for."""
        assert self.approval is not None, "made by ``of``"
        return self.approval

    def to_api(self) -> dict[str, Any]:
        """As a video that is queued, or has failed."""
        return {**VideoView.to_api(self), "taximeter": parked_extra(self.waits)}

    def headers(self) -> dict[str, str]:
        """What it waits for, and at which price."""
        return {"taximeter-approval": self.waits.public_id, "taximeter-quote": self.waits.public_quote_id}


ProviderState = Literal["unknown", "never_known", "unpaid"]


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A video at a provider, as operators see it."""

    job: Job

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/admin/jobs``."""
        job = self.job
        return {
            "id": encode_id(VIDEO_PREFIX, job.id),
            "object": "job",
            "project_id": encode_id("prj", job.project_id),
            "receipt": encode_id(RECEIPT_PREFIX, job.id),
            "state": job.state,
            "engine": job.payload["engine"],
            "provider_job": job.provider_job,
            "provider_verdict": job.provider_verdict,
            "asked_until": _iso(job.provider_until),
            "unknown_since": _iso(job.unknown_since),
            "reason": job.unknown_reason,
            "attempt": job.attempt,
            "created_at": _iso(job.created_at),
            "completed_at": _iso(job.completed_at),
        }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _duration(frames: int, fps: int) -> str:
    whole, rest = divmod(frames, fps)
    return str(whole) if rest == 0 else f"{whole + rest / fps:.2f}"


class Videos:
    """The verbs of the video routes.

    Attributes:
        approvals: requests that wait for an operator, of all modalities; here because approved videos begin here.
    """

    def __init__(self, desk: Desk, jobs: JobStore, store: MeteringStore, objects: Objects) -> None:
        self._desk = desk
        self._jobs = jobs
        self._store = store
        self._objects = objects
        self._repeats = Repeats(desk, store)
        self._parking = Parking(desk, store)
        self._approval_store = ApprovalStore(store.pool)
        self.approvals = Approvals(self._approval_store, self._start)

    async def submit(self, order: Order) -> VideoView:
        """Hold the maximum and queue the job, in one transaction; for a repeat, the video that was ordered before.

        One above its plan's cap waits for an operator instead, where the plan says so: nothing is held then.
        Raises AbovePlanCap, what ``Parking.park`` raises, and what ``open_offer``, ``price_order`` and ``hold`` raise, IdempotencyKeyReused,
        IdempotencyInProgress, IdempotencyAnswerGone.
        """
        desk = self._desk
        earlier = await self._repeats.find(order)
        if earlier is not None:
            return await self._again(order.caller, earlier)
        try:
            offer = await open_offer(desk, self._store, order)
        except QuoteUsed:
            # As with other rides: the first of two with one key may have used it since the look at the key.
            earlier = await self._repeats.find(order)
            if earlier is None:
                raise
            return await self._again(order.caller, earlier)
        fare = price_order(desk, order, offer)
        desk.engine_of(fare)
        if must_wait(desk, order, fare, offer):
            approval, is_new = await self._parking.park(order, fare, is_job=True)
            return ParkedVideo.of(approval, replayed=not is_new)
        payload = new_payload(desk, order, fare)
        video_id, order, outcome = await hold_with_fresh_terms(desk, order, fare, ttl_s=desk.settings.video_hold_ttl_s, job=job_fact(order, payload))
        if outcome.status in (Status.KEY_USED, Status.QUOTE_USED):
            earlier = await self._repeats.find(order)
            if earlier is None:
                raise in_progress() if outcome.status is Status.KEY_USED else await taken(self._store, order)
            return await self._again(order.caller, earlier)
        try:
            view = await self.find(order.caller, encode_id(VIDEO_PREFIX, video_id))
        except DATABASE_ERRORS as error:
            # It is ordered, and will be made and charged: whoever is told otherwise orders it again.
            log.warning("video %s was ordered and cannot be read: %s", video_id, error)
            view = _just_ordered(desk, order, fare, video_id, outcome.total_utok, payload)
        return replace(view, receipt=replace(view.receipt, balance_utok=outcome.available_utok), limits=outcome.told)

    async def find(self, caller: Caller, video_id: str) -> VideoView:
        """One of the caller's videos.  Raises VideoNotFound."""
        job = await self._either(caller, video_id)
        if isinstance(job, ParkedVideo):
            return job
        receipt = await self._store.find_receipt(caller.project_id, job.id)
        assert receipt is not None, "a job is written with its request"
        told = replace(receipt, in_motion=True) if self._desk.surge.on else receipt
        return VideoView(job, told, queue=await self._standing(job))

    async def list(self, caller: Caller, after: str | None, limit: int, *, newest_first: bool) -> Sequence[VideoView]:
        """A page of the caller's videos.

        Raises VideoNotFound when ``after`` was never one of them.  A deleted one still marks its place:
        whoever deletes what he lists goes on from there.
        """
        start: tuple[UUID, datetime] | None = None
        if after is not None:
            place = decode_id(VIDEO_PREFIX, after)
            made_at = None if place is None else await self._made_at(place, caller.project_id)
            if place is None or made_at is None:
                raise _not_found(after, "after")
            start = place, made_at
        jobs, parked = await asyncio.gather(
            self._jobs.list_page(caller.project_id, KIND, start, limit, newest_first=newest_first),
            self._approval_store.parked(caller.project_id, start, limit, newest_first=newest_first),
        )
        receipts = await self._store.find_receipts(caller.project_id, [job.id for job in jobs])
        views: list[VideoView] = [*(VideoView(job, receipts[job.id]) for job in jobs), *map(ParkedVideo.of, parked)]
        return sorted(views, key=lambda view: (view.job.created_at, view.job.id), reverse=newest_first)[:limit]

    async def delete(self, caller: Caller, video_id: str) -> None:
        """Delete a video.  One that waits or runs is cancelled first, costs nothing, and its hold is released now."""
        job = await self._either(caller, video_id)
        if isinstance(job, ParkedVideo):
            approval = job.waits
            if await self.approvals.withdraw(approval) or approval.state != "pending":
                await self._approval_store.hide(approval.id)
                return
            # Somebody has decided about it in this moment: it is a job now, or was declined.
            started = await self._jobs.find(approval.id, caller.project_id)
            if started is None:
                await self._approval_store.hide(approval.id)
                return
            job = started
        if job.state in ("queued", "in_progress", "unknown"):
            # What a provider may be making is called off by a worker.
            reason = "deleted by the caller before it was finished; nothing was charged"
            fact = {
                "receipt": receipt_fact(NOTHING, "cancelled", reason, {}, 0),
                "job": {"state": "failed", "error_code": "cancelled", "error_message": reason},
            }
            lane = wallet_of(caller).lane
            await self._desk.books.submit(Operation(id=job.id, kind=Kind.VOID, lane=lane, fact=encode_fact(fact)))
        await self._jobs.mark_deleted(job.id, caller.project_id)
        if job.object_key is not None and not job.object_gone:
            await self._objects.remove(job.object_key)
            await self._jobs.mark_object_gone(job.id)

    async def content(self, caller: Caller, video_id: str) -> StoredFile:
        """The file of a completed video.  Raises VideoNotFound, VideoNotReady, VideoFailed, VideoExpired."""
        found = await self._either(caller, video_id)
        job = found.job if isinstance(found, ParkedVideo) else found
        if job.state == "failed":
            message = f"the video could not be made ({job.error_code}: {job.error_message}); it has no content"
            raise VideoFailed(message)
        if job.state != "completed":
            state = "in_progress" if job.state == "unknown" else job.state
            message = f"the video is {state} ({job.progress} %); ask again when its status is completed"
            raise VideoNotReady(message)
        assert job.object_key is not None
        file = None if job.object_gone else await self._objects.find(job.object_key)
        if file is None:
            message = "the video's file has been removed; make it again"
            raise VideoExpired(message)
        return file

    async def at_providers(self, state: ProviderState, after: UUID | None, limit: int) -> Sequence[ProviderView]:
        """For operators: videos of all projects whose provider gives no answer, never gave one, or will bill them alone; newest first."""
        find = {"unknown": self._jobs.list_unknown, "never_known": self._jobs.list_never_known, "unpaid": self._jobs.list_unpaid}[state]
        return [ProviderView(job) for job in await find(KIND, after, limit)]

    async def _standing(self, job: Job) -> Mapping[str, Any] | None:
        """Where a job that waits stands, and when it can expect to begin as things are; None for others."""
        room = self._desk.room
        if job.state != "queued" or room is None:
            return None
        standing = await room.store.job_standing(job.id, calm_s(self._desk.settings))
        if standing.position == 0:
            return None
        begins = None if standing.wait_ms is None else utc_from_ms(self._desk.clock.now_ms() + standing.wait_ms).isoformat()
        calm = {} if standing.calm_until is None else {"waits_for_calm_until": standing.calm_until.isoformat()}
        return {"position": standing.position, "expected_start_at": begins, **calm}

    async def _again(self, caller: Caller, earlier: Earlier) -> VideoView:
        try:
            view = await self.find(caller, encode_id(VIDEO_PREFIX, earlier.request_id))
        except VideoNotFound:
            # Deleted after it was finished, or the key named a request of another kind.
            await self._repeats.answer(caller, earlier)
        return replace(view, replayed=True)

    async def _either(self, caller: Caller, video_id: str) -> Job | ParkedVideo:
        """A job, or what has not become one.  Raises VideoNotFound."""
        job_id = decode_id(VIDEO_PREFIX, video_id)
        job = None if job_id is None else await self._jobs.find(job_id, caller.project_id)
        if job is not None and job.kind == KIND:
            return job
        approval = None if job_id is None or job is not None else await self._approval_store.find_parked(job_id, caller.project_id)
        if approval is None:
            raise _not_found(video_id, "video_id")
        return ParkedVideo.of(approval)

    async def _made_at(self, video_id: UUID, project_id: UUID) -> datetime | None:
        return await self._jobs.made_at(video_id, project_id, KIND) or await self._approval_store.made_at(video_id, project_id)

    async def _start(self, approval: approvals.Approval, post: Post) -> None:
        """Begin an approved video: as ``submit``, at the price and under the id that its owner was told."""
        desk = self._desk
        caller = await IdentityStore(self._store.pool).find_caller(approval.key_id)
        if caller is None:
            message = f"the key that asked for {approval.public_id} was revoked or has expired; decline it, and let its owner ask again"
            raise approvals.AskerGone(message)
        order = Order(
            caller=caller,
            model=approval.model,
            modality=KIND,
            request=dict(approval.request),
            quote_id=approval.public_quote_id,
            idempotency_key=approval.idempotency_key,
            fingerprint=approval.key_fingerprint or b"",
        )
        fare = price_order(desk, order, await open_offer(desk, self._store, order))
        job = job_fact(order, new_payload(desk, order, fare))
        outcome = await hold(desk, approval.id, order, fare, ttl_s=desk.settings.video_hold_ttl_s, job=job, post=post)
        if outcome.status is Status.KEY_USED:
            raise in_progress()
        if outcome.status is Status.QUOTE_USED:
            raise await taken(self._store, order)


def _just_ordered(desk: Desk, order: Order, fare: Fare, video_id: UUID, held_utok: int, payload: Payload) -> VideoView:
    """A video as its rows were written a moment ago, by our clock."""
    now = utc_from_ms(desk.clock.now_ms())
    job = Job(
        id=video_id,
        project_id=order.caller.project_id,
        kind=KIND,
        state="queued",
        payload=msgspec.to_builtins(payload),
        progress=0,
        attempt=0,
        given_back=0,
        ordered=False,
        provider_job=None,
        provider_until=None,
        unknown_since=None,
        unknown_reason=None,
        provider_verdict=None,
        error_code=None,
        error_message=None,
        object_key=None,
        object_bytes=None,
        object_gone=False,
        result=None,
        created_at=now,
        completed_at=None,
        expires_at=None,
    )
    receipt = Receipt(
        id=video_id,
        model=fare.model.name,
        modality=fare.model.modality,
        rate_card=fare.parts.rate_card,
        tariff=fare.parts.tariff,
        multiplier=fare.parts.multiplier,
        held_utok=held_utok,
        created_at=now,
        quote=order.quote_id,
        in_motion=desk.surge.on,
        service_tier=fare.tier,
        price=Price(fare.money.currency, fare.money.price_nano),
    )
    return VideoView(job, receipt)


def _not_found(video_id: str, param: str) -> VideoNotFound:
    return VideoNotFound(f"there is no video {video_id[:60]!r}", param=param)
