"""Videos as durable jobs: submit, look at, delete, read."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from taximeter import pricing
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.identity import Caller
from taximeter.jobs import Job, JobStore
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.ledger import Kind, Operation, Status
from taximeter.metering.desk import Desk, hold, price_order, wallet_of
from taximeter.metering.errors import QuoteUsed, VideoExpired, VideoFailed, VideoNotFound, VideoNotReady
from taximeter.metering.fares import Fare
from taximeter.metering.model import RECEIPT_PREFIX, VIDEO_PREFIX, Earlier, Order, Price, Receipt
from taximeter.metering.objects import Objects, StoredFile
from taximeter.metering.quotes import open_offer, taken
from taximeter.metering.repeats import Repeats, in_progress
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)

KIND = "video"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to run and settle a video by the terms it was quoted with, whatever the catalog says by then.

    Attributes:
        request: the normalised request for the engine.
        rate_card: ``name@version``; versions stay in the catalog for ever.
        factors: from consumed to charged; None: ``multiplier`` alone, which is 1 unless an earlier release wrote it.
    """

    lane: int
    engine: str
    engine_model: str
    request: dict[str, Any]
    expected: dict[str, int]
    maximum: dict[str, int]
    bound: dict[str, int]
    rate_card: str
    meter: str
    profile: dict[str, Any]
    multiplier: str
    maximum_utok: int
    keep_s: int
    factors: pricing.Factors | None = None
    service_tier: str = "standard"


@dataclass(frozen=True, slots=True)
class VideoView:
    """A video with what it costs.

    Attributes:
        replayed: it was ordered before, with the same idempotency key.
        queue: where it stands and when it is likely to begin, while it waits.
    """

    job: Job
    receipt: Receipt
    replayed: bool = False
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
    """The verbs of the video routes."""

    def __init__(self, desk: Desk, jobs: JobStore, store: MeteringStore, objects: Objects) -> None:
        self._desk = desk
        self._jobs = jobs
        self._store = store
        self._objects = objects
        self._repeats = Repeats(desk, store)

    async def submit(self, order: Order) -> VideoView:
        """Hold the maximum and queue the job, in one transaction; for a repeat, the video that was ordered before.

        Raises what ``open_offer``, ``price_order`` and ``hold`` raise, IdempotencyKeyReused, IdempotencyInProgress, IdempotencyAnswerGone.
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
        video_id = desk.ids.new()
        payload = Payload(
            lane=order.caller.lane,
            engine=fare.model.engine or "",
            engine_model=fare.model.engine_model or fare.model.name,
            request=fare.estimate.request,
            expected=dict(fare.estimate.expected),
            maximum=dict(fare.estimate.maximum),
            bound=dict(fare.estimate.bound),
            rate_card=fare.parts.rate_card,
            meter=fare.model.meter,
            profile=dict(fare.model.profile),
            multiplier=fare.parts.multiplier,
            maximum_utok=fare.maximum_utok,
            keep_s=desk.settings.video_ttl_s,
            factors=None if fare.parts.factors.plain else fare.parts.factors,
            service_tier=fare.tier,
        )
        job = {"project_id": str(order.caller.project_id), "kind": KIND, "payload": msgspec.to_builtins(payload)}
        outcome = await hold(desk, video_id, order, fare, ttl_s=desk.settings.video_hold_ttl_s, job=job)
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
        return replace(view, receipt=replace(view.receipt, balance_utok=outcome.available_utok))

    async def find(self, caller: Caller, video_id: str) -> VideoView:
        """One of the caller's videos.  Raises VideoNotFound."""
        job = await self._job(caller, video_id)
        receipt = await self._store.find_receipt(caller.project_id, job.id)
        assert receipt is not None, "a job is written with its request"
        return VideoView(job, receipt, queue=await self._standing(job))

    async def list(self, caller: Caller, after: str | None, limit: int, *, newest_first: bool) -> Sequence[VideoView]:
        """A page of the caller's videos.

        Raises VideoNotFound when ``after`` was never one of them.  A deleted one still marks its place:
        whoever deletes what he lists goes on from there.
        """
        start: UUID | None = None
        if after is not None:
            start = decode_id(VIDEO_PREFIX, after)
            if start is None or not await self._jobs.was_made(start, caller.project_id, KIND):
                raise _not_found(after, "after")
        jobs = await self._jobs.list_page(caller.project_id, KIND, start, limit, newest_first=newest_first)
        receipts = await self._store.find_receipts(caller.project_id, [job.id for job in jobs])
        return [VideoView(job, receipts[job.id]) for job in jobs]

    async def delete(self, caller: Caller, video_id: str) -> None:
        """Delete a video.  One that waits or runs is cancelled first, costs nothing, and its hold is released now."""
        job = await self._job(caller, video_id)
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
        job = await self._job(caller, video_id)
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
        standing = await room.store.job_standing(job.id)
        if standing.position == 0:
            return None
        begins = None if standing.wait_ms is None else utc_from_ms(self._desk.clock.now_ms() + standing.wait_ms).isoformat()
        return {"position": standing.position, "expected_start_at": begins}

    async def _again(self, caller: Caller, earlier: Earlier) -> VideoView:
        try:
            view = await self.find(caller, encode_id(VIDEO_PREFIX, earlier.request_id))
        except VideoNotFound:
            # Deleted after it was finished, or the key named a request of another kind.
            await self._repeats.answer(caller, earlier)
        return replace(view, replayed=True)

    async def _job(self, caller: Caller, video_id: str) -> Job:
        job_id = decode_id(VIDEO_PREFIX, video_id)
        job = None if job_id is None else await self._jobs.find(job_id, caller.project_id)
        if job is None or job.kind != KIND:
            raise _not_found(video_id, "video_id")
        return job


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
        service_tier=fare.tier,
        price=Price(fare.money.currency, fare.money.price_nano),
    )
    return VideoView(job, receipt)


def _not_found(video_id: str, param: str) -> VideoNotFound:
    return VideoNotFound(f"there is no video {video_id[:60]!r}", param=param)
