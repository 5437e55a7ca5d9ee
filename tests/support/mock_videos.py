"""An upstream with OpenAI's video routes inside the test's process: real HTTP, films that a test finishes, and faults."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

FILM = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8


@dataclass(kw_only=True)
class Film:
    """A job of the upstream; change it at will."""

    id: str
    fields: dict[str, str]
    status: str = "queued"
    progress: Any = 0
    error: Any = None
    content: bytes | None = None
    content_type: str = "video/mp4"
    more: dict[str, Any] = field(default_factory=dict)

    def finish(self, content: bytes | None = FILM) -> None:
        """Completed; without content when it is None."""
        self.status, self.progress, self.content = "completed", 100, content


class MockVideos:
    """Use it as ``async with MockVideos() as upstream`` and talk to ``upstream.url``.

    Attributes:
        films: what was ordered, by id.
        orders: forms and headers of all POSTs that arrived.
        calls: all requests, as ``METHOD path``.
        order_status: what an order is answered with instead of being taken, unless 200.
        lose_answer: an order is taken, and the connection cut before its answer.
        on_order: awaited before an order is taken.
        silent: questions are not answered: the connection is cut.
        ask_status: what questions are answered with, unless 200.
        on_delete: what becomes of a film that is deleted: "gone", "completed" all the same, or "deaf" (it goes on).
        keeps_metadata: the list shows what ``metadata[...]`` came with the order.
        honours_key: an order that comes again under its Idempotency-Key is the first one.
        cut_content: the connection is cut in the middle of a file.
    """

    def __init__(self) -> None:
        self.films: dict[str, Film] = {}
        self.orders: list[tuple[dict[str, str], dict[str, str]]] = []
        self.calls: list[str] = []
        self.order_status = 200
        self.order_body: Any = None
        self.lose_answer = False
        self.on_order: Callable[[], Awaitable[None]] | None = None
        self.silent = False
        self.ask_status = 200
        self.on_delete = "gone"
        self.keeps_metadata = True
        self.honours_key = False
        self.cut_content = False
        self.url = ""
        self._by_key: dict[str, Film] = {}
        self._runner: web.AppRunner | None = None

    @property
    def film(self) -> Film:
        """The only film there is."""
        (film,) = self.films.values()
        return film

    def count(self, method: str) -> int:
        """How many requests with this method arrived."""
        return sum(call.startswith(f"{method} ") for call in self.calls)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/videos", self._order)
        app.router.add_get("/v1/videos", self._list)
        app.router.add_get("/v1/videos/{id}", self._retrieve)
        app.router.add_delete("/v1/videos/{id}", self._delete)
        app.router.add_get("/v1/videos/{id}/content", self._content)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _order(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(f"POST {request.path}")
        fields = {name: str(value) for name, value in (await request.post()).items()}
        self.orders.append((fields, dict(request.headers)))
        if self.on_order is not None:
            await self.on_order()
        if self.order_status != 200:
            return web.json_response({"error": {"message": "as the test says"}}, status=self.order_status)
        key = request.headers.get("Idempotency-Key", "")
        if self.honours_key and key in self._by_key:
            return web.json_response(self._show(self._by_key[key]))
        film = self._by_key[key] = Film(id=f"film_{len(self.films)}", fields=fields)
        self.films[film.id] = film
        if self.lose_answer:
            return _cut(request)
        return web.json_response(self._show(film) if self.order_body is None else self.order_body)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        refused = self._ask(request)
        if refused is not None:
            return refused
        newest = list(self.films.values())[::-1]
        after = request.query.get("after")
        ids = [film.id for film in newest]
        start = ids.index(after) + 1 if after in ids else 0
        page = newest[start : start + int(request.query.get("limit", "20"))]
        return web.json_response({"object": "list", "data": [self._show(film) for film in page], "has_more": start + len(page) < len(newest)})

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        refused = self._ask(request)
        film = self.films.get(request.match_info["id"])
        if refused is not None:
            return refused
        return web.json_response({"error": {"message": "not found"}}, status=404) if film is None else web.json_response(self._show(film))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        refused = self._ask(request)
        if refused is not None:
            return refused
        name = request.match_info["id"]
        if self.on_delete == "completed":
            self.films[name].finish()
        elif self.on_delete == "gone":
            self.films.pop(name, None)
        return web.json_response({"id": name, "object": "video.deleted", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        refused = self._ask(request)
        if refused is not None:
            return refused
        film = self.films[request.match_info["id"]]
        if film.content is None:
            return web.json_response({"error": {"message": "no content"}}, status=404)
        if self.cut_content:
            answer = web.StreamResponse(headers={"Content-Length": str(len(film.content))})
            await answer.prepare(request)
            await answer.write(film.content[:100])
            return _cut(request, answer)
        return web.Response(body=film.content, content_type=film.content_type)

    def _ask(self, request: web.Request) -> web.StreamResponse | None:
        self.calls.append(f"{request.method} {request.path}")
        if self.silent:
            return _cut(request)
        return None if self.ask_status == 200 else web.json_response({}, status=self.ask_status)

    def _show(self, film: Film) -> dict[str, Any]:
        prefix = "metadata["
        metadata = {name.removeprefix(prefix)[:-1]: value for name, value in film.fields.items() if name.startswith(prefix)}
        return {
            "id": film.id, "object": "video", "status": film.status, "progress": film.progress, "created_at": 1_700_000_000,
            "model": film.fields.get("model"), "error": film.error, "size": film.fields.get("size"), "seconds": film.fields.get("seconds"),
            **({"metadata": metadata} if self.keeps_metadata else {}), **film.more,
        }  # fmt: skip


def _cut(request: web.Request, answer: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return answer or web.Response()
