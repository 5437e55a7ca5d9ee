"""The yardstick: a bare proxy in one process, Starlette and aiohttp on uvicorn.  It knows no keys, prices or limits."""

import argparse
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PATH = "/v1/chat/completions"


def make_app(upstream: str) -> Starlette:
    """A proxy for one route of ``upstream`` (``http://host:port``)."""

    @asynccontextmanager
    async def session(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as client:
            app.state.client = client
            yield

    async def forward(request: Request) -> Response:
        client: aiohttp.ClientSession = request.app.state.client
        body = await request.body()
        answer = await client.post(f"{upstream}{PATH}", data=body, headers={"content-type": "application/json"})
        if answer.content_type == "text/event-stream":
            return StreamingResponse(_pieces(answer), answer.status, media_type=answer.content_type)
        try:
            return Response(await answer.read(), answer.status, media_type=answer.content_type)
        finally:
            answer.release()

    return Starlette(routes=[Route(PATH, forward, methods=["POST"])], lifespan=session)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def main() -> None:
    """Serve on the listening socket that was handed down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    args = parser.parse_args()
    # uvloop and httptools, uvicorn's fastest; nothing is logged.
    config = uvicorn.Config(make_app(args.upstream), loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=args.fd)])


if __name__ == "__main__":
    main()
