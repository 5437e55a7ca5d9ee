"""An OpenAI-compatible chat server that answers as fast as Python can, so that it is never what is measured."""

import argparse
import asyncio
import json
import re
import socket
from collections.abc import Iterator

import uvloop

MODEL = "bench-chat"
PROMPT_TOKENS = 31
TEXT = "The meter starts at the kerb, counts what the engine did, and stops at the door. A fair fare is one that both sides can count again."
WORDS = re.findall(r" ?\w+|[,.]", TEXT)
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": len(WORDS),
    "total_tokens": PROMPT_TOKENS + len(WORDS),
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_LENGTH = b"content-length:"
_HEAD_END = b"\r\n\r\n"


def _plain() -> bytes:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    body = json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _event(data: bytes) -> bytes:
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


def _chunk(choices: list[dict[str, object]], usage: dict[str, object] | None = None) -> bytes:
    body = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": MODEL, "choices": choices}
    return _event(json.dumps(body if usage is None else {**body, "usage": usage}).encode())


def _stream() -> tuple[bytes, ...]:
    """The parts that are written one by one: the head with the role, one per token, the end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    role = _chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    tokens = [_chunk([{"index": 0, "delta": {"content": word}, "finish_reason": None}]) for word in WORDS]
    end = _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _chunk([], dict(USAGE)) + _event(b"[DONE]") + b"0\r\n\r\n"
    return (head + role, *tokens, end)


PLAIN = _plain()
STREAM = _stream()


class Upstream(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember where to answer."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._buffer += data
        while (body := self._take()) is not None:
            if b'"stream":true' in body or b'"stream": true' in body:
                self._write_next(iter(STREAM))
            else:
                self._transport.write(PLAIN)

    def _take(self) -> bytes | None:
        """The body of the next complete request."""
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return None
        head = self._buffer[:end].lower()
        start = head.find(_LENGTH)
        length = 0 if start < 0 else int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])
        whole = end + len(_HEAD_END) + length
        if len(self._buffer) < whole:
            return None
        body, self._buffer = self._buffer[end + len(_HEAD_END) : whole], self._buffer[whole:]
        return body

    def _write_next(self, parts: Iterator[bytes]) -> None:
        """One token a turn of the loop, as a real server sends them: no two share a system call."""
        part = next(parts, None)
        if part is not None and not self._transport.is_closing():
            self._transport.write(part)
            self._loop.call_soon(self._write_next, parts)


async def serve(listener: socket.socket) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, sock=listener)
    await server.serve_forever()


def main() -> None:
    """Serve on the listening socket that was handed down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    uvloop.run(serve(socket.socket(fileno=parser.parse_args().fd)))


if __name__ == "__main__":
    main()
