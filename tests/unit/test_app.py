"""The composition root: when hosted engines make the gateway ready, and what it does to its process."""

import gc
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from taximeter.app import GARBAGE_OBJECTS, HostedEngines, calm_collector, server_config, trusted_proxies
from taximeter.engines import EngineUnavailable, Event, Job, Modality
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings

pytestmark = pytest.mark.anyio


class Engine:
    """An engine that is up or down."""

    modalities: frozenset[Modality] = frozenset({"chat"})
    slots: int | None = None

    def __init__(self, name: str, *, up: bool) -> None:
        self.name = name
        self.up = up

    def run(self, job: Job) -> AsyncIterator[Event]:
        raise AssertionError(job)

    async def check(self) -> Mapping[str, Any]:
        if not self.up:
            message = "down"
            raise EngineUnavailable(message)
        return {}

    async def close(self) -> None:
        pass


async def test_the_gateway_is_ready_once_each_engine_has_answered() -> None:
    text, video = Engine("text", up=True), Engine("video", up=False)
    hosted = HostedEngines([text, video])
    with pytest.raises(EngineUnavailable, match="video"):
        await hosted.check()
    text.up, video.up = False, True
    # They need not be up at the same moment: the other was seen before.
    assert await hosted.check() == {"text": "down", "video": "up"}


async def test_an_engine_that_goes_down_later_is_told_and_no_more() -> None:
    engine = Engine("text", up=True)
    hosted = HostedEngines([engine])
    await hosted.check()
    engine.up = False
    assert await hosted.check() == {"text": "down"}


async def test_without_hosted_engines_it_is_ready_at_once() -> None:
    assert await HostedEngines([]).check() == {}


async def test_the_collector_does_less_while_a_gateway_serves_and_is_given_back_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with calm_collector():
        assert gc.isenabled()
        assert gc.get_threshold()[0] == GARBAGE_OBJECTS
        assert gc.get_freeze_count() > frozen
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


async def seen_from(trusted: str, peer: str, forwarded: str) -> tuple[str, str]:
    """Where the application sees a request come from, and its scheme."""
    seen: list[tuple[str, str]] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - ASGI
        seen.append((scope["client"][0], scope["scheme"]))

    config = server_config(cast("Any", application), Settings(trusted_proxies=trusted))
    config.load()
    headers = [(b"x-forwarded-for", forwarded.encode()), (b"x-forwarded-proto", b"https")]
    await cast("Any", config.loaded_app)({"type": "http", "scheme": "http", "client": (peer, 1), "headers": headers}, None, None)
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "seen"),
    [
        ("", "127.0.0.1", "203.0.113.9", ("127.0.0.1", "http")),
        ("10.0.0.0/8", "192.0.2.1", "203.0.113.9", ("192.0.2.1", "http")),
        ("10.0.0.0/8", "10.1.2.3", "203.0.113.9", ("203.0.113.9", "https")),
        # What the client itself has written stands to the left of what the first trusted proxy has seen.
        ("10.0.0.0/8, 192.168.1.4", "192.168.1.4", "8.8.8.8, 203.0.113.9, 10.9.9.9", ("203.0.113.9", "https")),
    ],
)
async def test_an_address_is_the_peers_unless_a_trusted_proxy_names_another(trusted: str, peer: str, forwarded: str, seen: tuple[str, str]) -> None:
    assert await seen_from(trusted, peer, forwarded) == seen


@pytest.mark.parametrize("named", ["10.0.0.1/8", "proxy", "*", "10.0.0.0/8,300.1.1.1"])
def test_a_proxy_that_is_no_address_is_one_line(named: str) -> None:
    with pytest.raises(SetupError, match="TAXIMETER_TRUSTED_PROXIES has"):
        trusted_proxies(Settings(trusted_proxies=named))
