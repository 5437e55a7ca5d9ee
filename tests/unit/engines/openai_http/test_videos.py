"""The adapter for video upstreams: what it sends, what is a verdict and what is not, and how it reads what it is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.fleet import build_fleet
from taximeter.engines.model import Done, Event, Job, Media, Progress, Started
from taximeter.engines.openai_http import OpenAIVideoEngine, VideoOptions
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from tests.support.mock_videos import FILM, Film, MockVideos

pytestmark = pytest.mark.anyio

OPTIONS = VideoOptions(poll_s=0.01, grace_s=0.05)
REQUEST = {"prompt": 'a "red" sun\r\n--x', "width": 640, "height": 360, "frames": 24, "fps": 16, "steps": 4, "seed": 7, "guidance": True}


def job(**changes: Any) -> Job:  # noqa: ANN401
    fields = {"id": "req_1", "modality": "video", "model": "film-1", "request": REQUEST, "bound": {"steps": 4, "frames": 24}, "deadline_s": 5.0}
    return Job(**{**fields, **changes})


@pytest.fixture
async def upstream() -> AsyncIterator[MockVideos]:
    async with MockVideos() as mock:
        yield mock


@pytest.fixture
async def engine(upstream: MockVideos) -> AsyncIterator[OpenAIVideoEngine]:
    made = OpenAIVideoEngine("films", upstream.url, api_key="secret", options=OPTIONS)
    yield made
    await made.close()


async def collect(engine: OpenAIVideoEngine, order: Job) -> list[Event]:
    return [event async for event in engine.run(order)]


async def failure_of(engine: OpenAIVideoEngine, order: Job) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await collect(engine, order)
    return caught.value


def a_film(upstream: MockVideos, **more: Any) -> Film:  # noqa: ANN401
    """A film that is at the upstream already."""
    film = Film(id="film_a/b", fields={"size": "640x360", "seconds": "1.5"}, more=more)
    upstream.films[film.id] = film
    return film


WATCHED = {"ordered": True, "provider_job": "film_a/b"}


async def test_a_job_is_told_before_it_is_ordered_and_named_right_after(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    run = engine.run(job())
    assert await anext(run) == Started(detached=True)
    assert upstream.calls == []
    assert await anext(run) == Started(provider_job="film_0", detached=True)
    assert upstream.calls == ["POST /v1/videos"]
    await run.aclose()
    fields, headers = upstream.orders[0]
    assert fields == {"model": "film-1", "prompt": REQUEST["prompt"], "size": "640x360", "seconds": "1.5"}
    assert (headers["Authorization"], headers["Idempotency-Key"]) == ("Bearer secret", "req_1")


async def test_a_finished_film_is_fetched_and_reported_as_estimated(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    a_film(upstream, completed_at=1_700_000_012).finish()
    events = await collect(engine, job(**WATCHED))
    assert events[:2] == [Started(provider_job="film_a/b", detached=True), Progress(99, 100)]
    assert b"".join(event.data for event in events if isinstance(event, Media)) == FILM
    assert events[-1] == Done(
        work={"steps": 4, "frames": 24, "width": 640, "height": 360, "passes": 8},
        measured=False,
        engine_ms=12_000,
        detail={"provider_job": "film_a/b"},
    )
    assert upstream.count("POST") == 0


TOLD: list[tuple[dict[str, Any], tuple[int, int, int]]] = [
    ({"seconds": "1"}, (16, 640, 360)),
    ({"seconds": 0.5}, (8, 640, 360)),
    ({"seconds": "900"}, (24, 640, 360)),
    ({"seconds": "NaN"}, (24, 640, 360)),
    ({"seconds": "-1"}, (24, 640, 360)),
    ({"seconds": "9" * 500}, (24, 640, 360)),
    ({"seconds": "1e999999999", "completed_at": 10**30}, (24, 640, 360)),
    ({"seconds": None, "size": "320x180"}, (24, 320, 180)),
    ({"seconds": [], "size": "9999x9999"}, (24, 640, 360)),
    ({"seconds": {}, "size": "0x0"}, (24, 640, 360)),
    ({"seconds": "1.5", "size": "wide"}, (24, 640, 360)),
    ({"size": 7, "created_at": "now", "progress": float("nan")}, (24, 640, 360)),
]


async def test_what_the_upstream_tells_is_read_with_suspicion_and_never_above_the_order(
    engine: OpenAIVideoEngine, upstream: MockVideos, subtests: pytest.Subtests
) -> None:
    for told, expected in TOLD:
        with subtests.test(told=str(told)[:40]):
            a_film(upstream, **told).finish()
            done = (await collect(engine, job(**WATCHED)))[-1]
            assert isinstance(done, Done)
            assert (done.work["frames"], done.work["width"], done.work["height"]) == expected
            assert 0 <= done.engine_ms < 2**63


ORDERS: list[tuple[int, type[EngineError]]] = [
    (400, EngineRefused),
    (404, EngineRefused),
    (422, EngineRefused),
    (401, EngineFailed),
    (403, EngineFailed),
    (302, EngineFailed),
    (429, EngineUnavailable),
    (503, EngineUnavailable),
    (408, EngineTimeout),
    (409, EngineTimeout),
    (500, EngineTimeout),
    (502, EngineTimeout),
    (504, EngineTimeout),
]


async def test_only_an_answer_that_says_so_means_that_an_order_was_not_taken(
    engine: OpenAIVideoEngine, upstream: MockVideos, subtests: pytest.Subtests
) -> None:
    for status, kind in ORDERS:
        with subtests.test(status=status):
            upstream.order_status = status
            error = await failure_of(engine, job())
            assert type(error) is kind
            assert "secret" not in error.message
    upstream.order_status = 200
    upstream.lose_answer = True
    assert type(await failure_of(engine, job())) is EngineTimeout


async def test_an_upstream_that_is_not_there_has_taken_nothing() -> None:
    nobody = OpenAIVideoEngine("films", "http://127.0.0.1:1/v1", options=OPTIONS)
    assert type(await failure_of(nobody, job())) is EngineUnavailable
    with pytest.raises(EngineUnavailable):
        await nobody.check()
    await nobody.close()


async def test_an_order_is_found_on_a_later_page_by_what_was_sent_with_it(upstream: MockVideos) -> None:
    upstream.films = {f"film_{number}": Film(id=f"film_{number}", fields={"metadata[taximeter_request]": f"req_{number}"}) for number in range(250)}
    upstream.films["film_1"].finish()
    engine = OpenAIVideoEngine("films", upstream.url, options=VideoOptions(lookup=True, poll_s=0.01))
    events = await collect(engine, job(ordered=True))
    assert events[0] == Started(provider_job="film_1", detached=True)
    assert isinstance(await failure_of(engine, job(ordered=True, id="req_999")), EngineTimeout)
    upstream.ask_status = 500
    assert isinstance(await failure_of(engine, job(ordered=True)), EngineTimeout)
    assert upstream.count("POST") == 0
    await engine.close()


async def test_an_upstream_that_honours_keys_is_asked_by_the_same_order_again(upstream: MockVideos) -> None:
    upstream.honours_key = True
    engine = OpenAIVideoEngine("films", upstream.url, options=replace(OPTIONS, idempotent=True))
    upstream.lose_answer = True
    assert type(await failure_of(engine, job())) is EngineTimeout
    for status, kind in ((401, EngineTimeout), (409, EngineTimeout), (500, EngineTimeout), (503, EngineUnavailable), (400, EngineRefused)):
        upstream.order_status = status
        assert type(await failure_of(engine, job(ordered=True))) is kind
    upstream.order_status = 200
    upstream.film.finish()
    events = await collect(engine, job(ordered=True))
    assert events[0] == Started(provider_job="film_0", detached=True)
    assert isinstance(events[-1], Done)
    assert {headers["Idempotency-Key"] for _, headers in upstream.orders} == {"req_1"}
    await engine.close()


async def test_without_a_list_to_look_in_nothing_is_asked(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    assert isinstance(await failure_of(engine, job(ordered=True)), EngineTimeout)
    assert upstream.calls == []


async def test_verdicts_are_told_from_silence(engine: OpenAIVideoEngine, upstream: MockVideos, subtests: pytest.Subtests) -> None:
    film = a_film(upstream)
    for status in ("failed", "cancelled", "expired"):
        with subtests.test(status=status):
            film.status = status
            assert type(await failure_of(engine, job(**WATCHED))) is EngineFailed
    film.status = "a state of the future"
    assert type(await failure_of(engine, job(**WATCHED, deadline_s=0.0))) is EngineTimeout
    film.more = {"status": None}
    assert type(await failure_of(engine, job(**WATCHED))) is EngineTimeout
    film.more = {}
    for code in (401, 429, 500):
        with subtests.test(status=code):
            upstream.ask_status = code
            assert type(await failure_of(engine, job(**WATCHED))) is EngineTimeout
    upstream.ask_status = 200
    upstream.silent = True
    assert type(await failure_of(engine, job(**WATCHED))) is EngineTimeout


async def test_a_job_that_the_upstream_forgot_is_asked_for_during_the_grace(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    assert type(await failure_of(engine, job(**WATCHED))) is EngineFailed
    assert upstream.count("GET") > 1


async def test_a_film_without_content_reports_the_work_that_will_be_billed(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    for content in (None, b""):
        a_film(upstream).finish(content)
        error = await failure_of(engine, job(**WATCHED))
        assert (type(error), error.work["frames"]) == (EngineFailed, 24)


async def test_a_file_that_breaks_off_is_no_file(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    a_film(upstream).finish()
    upstream.cut_content = True
    assert type(await failure_of(engine, job(**WATCHED))) is EngineTimeout


async def test_calling_off_tells_how_the_job_stands(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    stop = job(**WATCHED, stop=True)

    async def standing() -> Any:  # noqa: ANN401
        last = (await collect(engine, stop))[-1]
        assert isinstance(last, Done)
        return last.detail["provider"]

    assert await standing() == "gone"
    film = a_film(upstream)
    assert await standing() == "cancelled"
    a_film(upstream).finish()
    assert await standing() == "completed"
    film = a_film(upstream)
    film.status = "failed"
    assert await standing() == "failed"
    assert upstream.count("DELETE") == 1
    a_film(upstream)
    upstream.on_delete = "completed"
    assert await standing() == "completed"
    a_film(upstream)
    upstream.on_delete = "deaf"
    assert isinstance(await failure_of(engine, stop), EngineTimeout)
    assert isinstance(await failure_of(engine, job(ordered=True, stop=True)), EngineTimeout)


async def test_it_refuses_what_is_no_video_and_stops_when_it_is_closed(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    with pytest.raises(EngineRefused):
        engine.run(job(modality="chat"))
    a_film(upstream)
    run = engine.run(job(**WATCHED))
    await anext(run)
    await anext(run)
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await anext(run)


async def test_its_health_is_asked_for_with_the_key(engine: OpenAIVideoEngine, upstream: MockVideos) -> None:
    assert await engine.check() == {"status": 200}
    for status in (401, 500, 503):
        upstream.ask_status = status
        with pytest.raises(EngineUnavailable):
            await engine.check()


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/html", b"sorry!"),
        ("text/html", FILM),
        ("application/json", b'{"error": "not ready"}'),
        ("video/mp4", b"sorry!"),
        ("video/mp4", b"<!doctype html><p>Come back later"),
        ("application/octet-stream", b"RIFF\0\0\0\0WAVEfmt "),
    ],
)
async def test_what_is_no_video_file_is_no_film_and_is_not_delivered(
    engine: OpenAIVideoEngine, upstream: MockVideos, content_type: str, content: bytes
) -> None:
    a_film(upstream).finish(content)
    upstream.film.content_type = content_type
    seen: list[Event] = []

    async def watch() -> None:
        async for event in engine.run(job(**WATCHED)):
            seen.append(event)  # noqa: PERF401 - what came before the failure counts

    with pytest.raises(EngineFailed, match="no video file") as caught:
        await watch()
    assert caught.value.work["steps"] == 4
    assert not any(isinstance(event, Media | Done) for event in seen)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("video/quicktime", b"\0\0\0\x14ftypqt  \0\0"),
        ("application/octet-stream", FILM),
        ("video/webm", b"\x1a\x45\xdf\xa3" + bytes(20)),
        ("video/x-msvideo", b"RIFF\0\0\0\0AVI LIST"),
    ],
)
async def test_the_containers_of_videos_are_films(engine: OpenAIVideoEngine, upstream: MockVideos, content_type: str, content: bytes) -> None:
    a_film(upstream).finish(content)
    upstream.film.content_type = content_type
    events = await collect(engine, job(**WATCHED))
    assert b"".join(event.data for event in events if isinstance(event, Media)) == content


def test_an_upstream_for_videos_stands_in_the_file_of_upstreams(tmp_path: Any) -> None:  # noqa: ANN401
    path = tmp_path / "upstreams.yaml"
    path.write_text("upstreams: [{name: films, base_url: 'https://host/v1', videos: {lookup: true}}]", encoding="utf-8")
    settings = Settings(upstreams_file=str(path))
    fleet = build_fleet(settings, {})
    assert isinstance(fleet["films"], OpenAIVideoEngine)
    path.write_text("upstreams: [{name: films, base_url: 'ftp://host', videos: {}}]", encoding="utf-8")
    with pytest.raises(SetupError, match="not an http"):
        build_fleet(settings, {})
    with pytest.raises(SetupError, match="upstreams file"):
        build_fleet(replace(settings, upstreams_file=str(tmp_path / "none")), {})


@pytest.mark.parametrize("seconds", ["0", "172801"])
def test_a_providers_time_is_within_that_of_the_hold(seconds: str) -> None:
    with pytest.raises(SetupError, match="TAXIMETER_PROVIDER_MAX_S"):
        Settings.from_env({"TAXIMETER_PROVIDER_MAX_S": seconds})


def test_a_providers_time_is_no_longer_than_that_of_a_hold() -> None:
    assert Settings.from_env({"TAXIMETER_VIDEO_HOLD_TTL_S": "600"}).provider_max_s == 600
    assert Settings.from_env({}).provider_max_s == 86_400
