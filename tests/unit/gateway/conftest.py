"""The gateway over parts in memory, and a client that speaks ASGI to it."""
# ruff: noqa: ANN401 - JSON, and scripts of anything

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from fastapi import FastAPI
from starlette.types import Message

from taximeter.engines import Chunk, Media, Vectors
from taximeter.gateway import Metrics, Services, Surroundings, create_app
from taximeter.identity import Caller, Identity, InvalidAdminKey, InvalidApiKey
from taximeter.kernel.clock import ManualClock, SystemClock
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import IdFactory, encode_id
from taximeter.kernel.settings import Settings
from taximeter.metering import Order, Receipt
from tests.support.described import document_of, undescribed

KEY = "Bearer good"
ADMIN = "Bearer admin"
RIDE_ID = uuid.UUID(int=7)


@dataclass
class Ride:
    """Plays a script: events are yielded, errors raised, futures awaited."""

    script: Sequence[Any]
    id: uuid.UUID = RIDE_ID
    created_at_s: int = 1_760_000_000
    service_tier: str = "default"
    expected_work: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False

    def headers(self) -> dict[str, str]:
        return {"taximeter-receipt": encode_id("rcp", self.id), "taximeter-tokens-held": "6.4", "taximeter-rate-card": "card@1"}

    async def events(self) -> AsyncGenerator[Chunk | Media | Vectors | Receipt, None]:
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed = True


@dataclass
class Metering:
    """Answers every order with the next ride, or refuses it."""

    rides: list[Ride] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    refusal: Exception | None = None
    quoted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def open(self, order: Order) -> Ride:
        self.orders.append(order)
        if self.refusal is not None:
            raise self.refusal
        return self.rides.pop(0)

    def models(self, _caller: Caller | None = None) -> Sequence[dict[str, Any]]:
        return [
            {"id": "tiny", "object": "model", "created": 1, "owned_by": "taximeter", "modality": "chat", "price": None},
            {"id": "up/stream", "object": "model", "created": 1, "owned_by": "taximeter", "modality": "speech", "price": None},
        ]


class FakeIdentity:
    """Knows one key and one admin key, and no projects."""

    async def project(self, project_id: uuid.UUID) -> None:
        raise NotFound(str(project_id))

    async def keys(self, project_id: uuid.UUID, *_page: object) -> None:
        raise NotFound(str(project_id))

    def __init__(self) -> None:
        self.caller = Caller(
            organisation_id=uuid.UUID(int=1),
            project_id=uuid.UUID(int=2),
            key_id=uuid.UUID(int=3),
            key_name="ci",
            lane=0,
            allowance_account=10,
            prepaid_account=11,
        )

    async def authenticate(self, header: str | None, _address: str | None = None) -> Caller:
        if header != KEY:
            raise InvalidApiKey
        return self.caller

    def require_admin(self, header: str | None, _address: str | None = None) -> None:
        if header != ADMIN:
            raise InvalidAdminKey


class Nobody:
    """A part that must not be asked: what it is asked for has been refused before."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def refuse(*_args: object, **_named: object) -> None:
            message = f"{name} was asked"
            raise AssertionError(message)

        return refuse


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The members of OpenAI's envelope."""
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def events(self) -> list[Any]:
        """The data of a stream, the end mark included."""
        lines = [block.removeprefix("data: ") for block in self.body.decode().split("\n\n") if block]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


@dataclass
class Client:
    """Sends requests to an app; ``leave`` closes the connection of the one on its way."""

    app: FastAPI
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Message] = field(default_factory=list)

    async def __call__(
        self, method: str, path: str, body: bytes | Mapping[str, Any] = b"", headers: Mapping[str, str] | None = None, key: str = KEY
    ) -> Answer:
        path, _, query = path.partition("?")
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"authorization": key, "content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in {"host": "meter.test", **fields}.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.sent = []
        unread = [content]

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await self.leaving.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self.app(scope, receive, send)
        answer = self.answer()
        assert undescribed(document_of(self.app), method, path, answer.status, answer.headers) == set()
        return answer

    def leave(self) -> None:
        self.leaving.set()

    def answer(self) -> Answer:
        start, *rest = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


@pytest.fixture
def receipt() -> Receipt:
    return Receipt(
        id=RIDE_ID,
        model="tiny",
        modality="chat",
        rate_card="card@1",
        tariff="tariff@1",
        multiplier="1",
        held_utok=6_400_000,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        outcome="completed",
        work={"prompt_tokens": 9, "fresh_prompt_tokens": 5, "cached_prompt_tokens": 4, "output_tokens": 3, "reasoning_tokens": 2},
        consumed_utok=1_500_000,
        charged_utok=1_500_000,
        settlement="settled",
        balance_utok=98_500_000,
    )


@pytest.fixture
def truncated(receipt: Receipt) -> Receipt:
    return replace(receipt, outcome="truncated")


@pytest.fixture
def metering() -> Metering:
    return Metering()


@pytest.fixture
def rides(metering: Metering) -> Callable[..., Ride]:
    """Queue a ride that plays the given steps."""

    def add(*script: Any) -> Ride:
        ride = Ride(script)
        metering.rides.append(ride)
        return ride

    return add


@pytest.fixture
def services(metering: Metering) -> Services:
    absent = cast("Any", Nobody())
    return Services(
        settings=Settings(body_bytes_max=2000),
        identity=cast("Identity", FakeIdentity()),
        metering=cast("Any", metering),
        quotes=absent,
        videos=absent,
        records=absent,
        tenancy=absent,
        limits=absent,
        plans=absent,
        budgets=absent,
        webhooks=absent,
        catalog=absent,
        surge=absent,
        surge_board=absent,
        resets=absent,
        health=absent,
    )


@pytest.fixture
def app(services: Services) -> FastAPI:
    async def ready() -> dict[str, Any]:
        return {}

    async def figures() -> dict[str, tuple[str, float]]:
        return {"taximeter_holds_open": ("Holds that are open.", 2.0)}

    around = Surroundings(clock=SystemClock(), ids=IdFactory(ManualClock()), metrics=Metrics(), checks={"database": ready}, figures=figures)
    return create_app(services, around)


@pytest.fixture
def client(app: FastAPI) -> Client:
    return Client(app)
