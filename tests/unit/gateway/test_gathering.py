"""What is written in one turn of the loop goes out in one piece, and nothing is lost or overtaken."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.gathering import GATHERED_BYTES_MAX, GatheringTransport

pytestmark = pytest.mark.anyio


class Below:
    """The transport below: keeps what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.closing = True
        self.done.append("close")

    def abort(self) -> None:
        self.closing = True
        self.done.append("abort")

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("127.0.0.1", 1)}.get(name, default)


def gathering(below: Below) -> GatheringTransport:
    return GatheringTransport(cast("asyncio.Transport", below), asyncio.get_running_loop())


async def test_an_answer_goes_out_in_one_piece() -> None:
    below = Below()
    transport = gathering(below)
    transport.write(b"head ")
    transport.write(b"body")
    assert below.done == []
    await asyncio.sleep(0)
    assert below.done == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert below.done == [b"head body", b"next"]


async def test_closing_writes_first_and_aborting_does_not() -> None:
    for end, done in (("close", [b"all", "close"]), ("abort", ["abort"])):
        below = Below()
        transport = gathering(below)
        transport.write(b"all")
        getattr(transport, end)()
        await asyncio.sleep(0)
        assert below.done == done


async def test_much_is_written_at_once_so_that_the_sender_learns_to_wait() -> None:
    below = Below()
    transport = gathering(below)
    transport.write(b"x")
    transport.write(b"y" * GATHERED_BYTES_MAX)
    assert [len(piece) for piece in below.done] == [GATHERED_BYTES_MAX + 1]
    await asyncio.sleep(0)
    assert len(below.done) == 1


async def test_a_client_that_has_gone_is_not_written_to() -> None:
    below = Below()
    transport = gathering(below)
    transport.write(b"late")
    below.closing = True
    await asyncio.sleep(0)
    assert below.done == []
    assert transport.is_closing()


async def test_what_the_transport_below_knows_is_known() -> None:
    transport = gathering(Below())
    assert transport.get_extra_info("peername") == ("127.0.0.1", 1)
    assert transport.get_extra_info("cipher", 3) == 3


@given(st.lists(st.none() | st.binary(min_size=1, max_size=40_000), max_size=12))
def test_all_bytes_come_out_in_order(steps: list[bytes | None]) -> None:
    async def run() -> list[Any]:
        below = Below()
        transport = gathering(below)
        for step in steps:
            if step is None:
                await asyncio.sleep(0)
            else:
                transport.write(step)
        transport.close()
        return below.done

    *written, end = asyncio.run(run())
    assert b"".join(written) == b"".join(step for step in steps if step is not None)
    assert end == "close"
