"""Videos: JSON and forms in, OpenAI's pages and files out."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from taximeter.engines import Modality
from taximeter.gateway import Metrics, Services, Surroundings, create_app
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.metering import Order

pytestmark = pytest.mark.anyio

URL = "/v1/videos"
ASK = {"model": "sketch", "prompt": "a ball", "seconds": "2", "size": "640x360"}
CONTENT = f"{URL}/video_1/content"


@dataclass
class View:
    id: str
    replayed: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)

    def to_api(self) -> dict[str, Any]:
        return {"id": self.id, "object": "video"}

    def headers(self) -> dict[str, str]:
        return {"taximeter-tokens-held": "3"}


@dataclass
class File:
    data: bytes = bytes(range(100))
    etag: str = '"v1"'

    @property
    def size(self) -> int:
        return len(self.data)

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, 7):
            yield self.data[at : min(at + 7, end)]


@dataclass
class Videos:
    orders: list[Order] = field(default_factory=list)
    pages: list[tuple[str | None, int, bool]] = field(default_factory=list)
    kept: list[View] = field(default_factory=lambda: [View(f"video_{number}") for number in range(5)])
    deleted: list[str] = field(default_factory=list)

    async def submit(self, order: Order) -> View:
        self.orders.append(order)
        return self.kept[0]

    async def find(self, _caller: object, video_id: str) -> View:
        return View(video_id)

    async def list(self, _caller: object, after: str | None, limit: int, *, newest_first: bool) -> Any:
        self.pages.append((after, limit, newest_first))
        return self.kept[:limit]

    async def delete(self, _caller: object, video_id: str) -> None:
        self.deleted.append(video_id)

    async def content(self, _caller: object, _video_id: str) -> File:
        return File()


@pytest.fixture
def videos() -> Videos:
    return Videos()


@pytest.fixture
def app(videos: Videos, services: Services) -> Any:
    around = Surroundings(clock=SystemClock(), ids=IdFactory(SystemClock()), metrics=Metrics(), checks={}, figures=cast("Any", None))
    return create_app(replace(services, settings=Settings(body_bytes_max=5000), videos=cast("Any", videos)), around)


def form(*fields: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    text = b"".join(b"--B\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n" for head, value in fields)
    return text + b"--B--\r\n", {"content-type": "multipart/form-data; boundary=B"}


async def test_a_video_is_ordered_with_json(client: Any, videos: Videos) -> None:
    answer = await client("POST", URL, ASK)
    assert (answer.status, answer.json["id"]) == (200, "video_0")
    assert answer.headers["taximeter-tokens-held"] == "3"
    assert answer.headers["openai-poll-after-ms"].isdecimal()
    (order,) = videos.orders
    modality: Modality = "video"
    assert (order.model, order.modality) == ("sketch", modality)
    assert order.request == {"prompt": "a ball", "seconds": "2", "size": "640x360"}


async def test_a_video_is_ordered_with_a_form(client: Any, videos: Videos) -> None:
    body, headers = form(('name="model"', b"sketch"), ('name="prompt"', "一个红球".encode()), ('name="steps"', b"12"))
    assert (await client("POST", URL, body, headers)).status == 200
    assert videos.orders[0].request == {"prompt": "一个红球", "steps": "12"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([('name="prompt"', b"\xff")], "invalid_utf8"),
        ([('name="prompt"', b"a\0")], "invalid_form"),
        ([('name="prompt"', b"a")], "missing_required_parameter"),
        ([('name="prompt"; filename="a.txt"', b"a")], "invalid_value"),
        ([('name="model"', b"m"), ('name="input_reference"; filename="a.png"', b"\x89PNG")], "unsupported_input"),
        ([('name="model"', b"m"), ('name="input_reference[image_url]"', b"data:")], "unsupported_input"),
        ([('name="model"', b"m"), ('name="input_reference[]"; filename="a.png"', b"\x89PNG")], "unsupported_input"),
        ([('name="model"', b"m"), ('name="prompt"', b"x" * 6000)], "body_too_large"),
    ],
)
async def test_bad_forms_are_refused(client: Any, videos: Videos, fields: list[tuple[str, bytes]], code: str) -> None:
    answer = await client("POST", URL, *form(*fields))
    assert answer.error["code"] == code
    assert videos.orders == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
async def test_other_content_types_are_refused(client: Any, kind: str) -> None:
    assert (await client("POST", URL, b"a=b", {"content-type": kind})).status == 415
    answer = await client("POST", URL, b"--B--", {"content-type": "multipart/form-data"})
    assert (answer.status, answer.error["code"]) == (400, "invalid_form")


async def test_a_reference_picture_is_refused_in_json_too(client: Any) -> None:
    answer = await client("POST", URL, {**ASK, "input_reference": {"image_url": "data:"}})
    assert (answer.status, answer.error["param"]) == (400, "input_reference")
    assert (await client("POST", URL, {**ASK, "input_reference": None})).status == 200


async def test_a_list_is_a_page_of_openais(client: Any, videos: Videos) -> None:
    answer = await client("GET", f"{URL}?limit=2&after=video_9&order=asc")
    assert answer.json == {
        "object": "list",
        "data": [{"id": "video_0", "object": "video"}, {"id": "video_1", "object": "video"}],
        "first_id": "video_0",
        "last_id": "video_1",
        "has_more": True,
    }
    assert videos.pages == [("video_9", 3, False)]


async def test_the_last_page_says_so(client: Any, videos: Videos) -> None:
    assert (await client("GET", URL)).json["has_more"] is False
    videos.kept = []
    empty = (await client("GET", URL)).json
    assert (empty["data"], empty["first_id"], empty["last_id"], empty["has_more"]) == ([], None, None, False)
    assert videos.pages[0] == (None, 21, True)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
async def test_a_malformed_page_is_refused(client: Any, query: str) -> None:
    assert (await client("GET", f"{URL}?{query}")).status == 400


async def test_a_deleted_video_answers_as_openai_does(client: Any, videos: Videos) -> None:
    assert (await client("DELETE", f"{URL}/video_1")).json == {"id": "video_1", "object": "video.deleted", "deleted": True}
    assert videos.deleted == ["video_1"]


async def test_a_file_is_sent_whole(client: Any) -> None:
    answer = await client("GET", CONTENT)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, bytes(range(100)), "video/mp4")
    assert (answer.headers["content-length"], answer.headers["etag"], answer.headers["accept-ranges"]) == ("100", '"v1"', "bytes")


async def test_a_part_of_a_file_is_sent(client: Any) -> None:
    answer = await client("GET", CONTENT, headers={"range": "bytes=10-29"})
    assert (answer.status, answer.body) == (206, bytes(range(10, 30)))
    assert (answer.headers["content-range"], answer.headers["content-length"]) == ("bytes 10-29/100", "20")


async def test_a_part_behind_the_end_is_refused(client: Any) -> None:
    answer = await client("GET", CONTENT, headers={"range": "bytes=100-"})
    assert (answer.status, answer.error["code"], answer.headers["content-range"]) == (416, "range_not_satisfiable", "bytes */100")


async def test_a_part_of_another_version_is_the_whole_file(client: Any) -> None:
    answer = await client("GET", CONTENT, headers={"range": "bytes=10-29", "if-range": '"v0"'})
    assert (answer.status, len(answer.body)) == (200, 100)
    assert (await client("GET", CONTENT, headers={"range": "bytes=10-29", "if-range": '"v1"'})).status == 206


async def test_a_known_version_is_not_sent_again(client: Any) -> None:
    answer = await client("GET", CONTENT, headers={"if-none-match": '"v1"'})
    assert (answer.status, answer.body) == (304, b"")


async def test_head_tells_about_the_file_without_sending_it(client: Any) -> None:
    answer = await client("HEAD", CONTENT)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "100")


async def test_another_variant_is_refused(client: Any) -> None:
    answer = await client("GET", f"{CONTENT}?variant=thumbnail")
    assert (answer.status, answer.error["code"]) == (400, "unsupported_variant")
    assert (await client("GET", f"{CONTENT}?variant=video")).status == 200
