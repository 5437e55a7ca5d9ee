"""Answering while the client is still sending."""

import asyncio

import pytest
from starlette.types import Message

from taximeter.gateway import lingering
from taximeter.gateway.lingering import LingeringResponse

pytestmark = pytest.mark.anyio


class Sender:
    """A client that sends ``pieces`` and then waits, or stops."""

    def __init__(self, pieces: int, *, ends: bool) -> None:
        self.left = pieces
        self.ends = ends
        self.received: list[Message] = []

    async def receive(self) -> Message:
        # The answer must be out before anything else is read.
        assert self.received[1]["body"] == b"too much"
        if self.left == 0 and not self.ends:
            await asyncio.Event().wait()
        self.left -= 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": self.left > 0 or not self.ends}

    async def send(self, message: Message) -> None:
        self.received.append(message)


async def answer(sender: Sender) -> None:
    await LingeringResponse("too much", 413)({"type": "http"}, sender.receive, sender.send)
    assert [message.get("more_body") for message in sender.received] == [None, True, False]


async def test_the_rest_of_the_upload_is_dropped() -> None:
    sender = Sender(50, ends=True)
    await answer(sender)
    assert sender.left == 0


async def test_an_upload_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_BYTES", 10_000)
    sender = Sender(1000, ends=True)
    await answer(sender)
    assert sender.left == 990


async def test_a_client_that_waits_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_S", 0.01)
    await answer(Sender(1, ends=False))
