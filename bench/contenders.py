"""What the gateway benchmark compares: each a process of its own before the same mock upstream."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench import load, mock_upstream, processes, product
from bench.passthrough import PATH

# Well-formed, and known to nobody but the gateway without books, which knows every key.
ANY_KEY = "tx-bench000-" + "0" * 40
MODES = ("plain", "stream")
# How many gateway processes each has.
PRODUCTS = {"taximeter": 1, "two gateways": 2}
_QUESTION = {
    "model": mock_upstream.MODEL,
    "messages": [
        {"role": "system", "content": "You answer in two sentences, for people who are in a hurry."},
        {"role": "user", "content": f"What does taxi meter {load.NUMBER} count, and who can check what it has counted?"},
    ],
    "max_tokens": 64,
    "temperature": 0.7,
}


@dataclass(frozen=True)
class Contender:
    """One server to measure.

    Attributes:
        name: for tables.
        about: what it does, for the report.
        port: on loopback.
        key: sent as bearer; empty sends none.
        pids: its processes.
        book_pids: those of its database.
    """

    name: str
    about: str
    port: int
    key: str = ""
    pids: tuple[int, ...] = ()
    book_pids: tuple[int, ...] = field(default=())

    def target(self, mode: str) -> load.Target:
        """Where to send, and what."""
        question = {**_QUESTION, "stream": True} if mode == "stream" else _QUESTION
        return load.Target(self.port, load.post(PATH, json.dumps(question).encode(), self.key))


@dataclass(frozen=True)
class Field:
    """All contenders: the mock itself, the yardstick, our gateway without books, and then the products, by their contenders' names."""

    contenders: Sequence[Contender]
    products: Mapping[str, product.Product]


@contextmanager
def started() -> Iterator[Field]:
    """Everything up and ready, for the duration of the block."""
    with ExitStack() as stack:
        mock_port, mock_pid = _listening(stack, "mock_upstream")
        upstream = f"http://127.0.0.1:{mock_port}"
        pass_port, pass_pid = _listening(stack, "passthrough", "--upstream", upstream)
        products = {name: stack.enter_context(product.running(mock_port, gateways=gateways)) for name, gateways in PRODUCTS.items()}
        bookless_port, bookless_pid = _bookless(stack, mock_port)
        yield Field(
            (
                Contender("mock", "the mock upstream alone: what the load generator can drive at most", mock_port, pids=(mock_pid,)),
                Contender("pass-through", "Starlette + aiohttp on uvicorn, one process", pass_port, pids=(pass_pid,)),
                Contender("no books", "our gateway process without database: nothing is written", bookless_port, ANY_KEY, (bookless_pid,)),
                *(_product(name, books) for name, books in products.items()),
            ),
            products,
        )


def _product(name: str, books: product.Product) -> Contender:
    pids = tuple(books.gateway_pids())
    gateways = "one gateway process" if len(pids) == 1 else f"{len(pids)} gateway processes on one port"
    about = f"taximeter serve, {gateways}: durable hold and settle, fsync on, embedded PostgreSQL"
    return Contender(name, about, books.port, books.key, pids, tuple(books.database_pids()))


def _listening(stack: ExitStack, module: str, *arguments: str) -> tuple[int, int]:
    with processes.listen() as listener:
        port: int = listener.getsockname()[1]
        command = processes.python(f"bench.{module}", "--fd", str(listener.fileno()), *arguments)
        process = stack.enter_context(processes.child(module, command, fds=[listener.fileno()]))
    processes.await_port(module, process, port)
    return port, process.pid


def _bookless(stack: ExitStack, mock_port: int) -> tuple[int, int]:
    home = stack.enter_context(product.folder())
    upstreams = product.write_upstreams(home, mock_port)
    environ = {
        "TAXIMETER_HOME": str(home),
        "TAXIMETER_DATABASE_URL": "none",
        "TAXIMETER_UPSTREAMS_FILE": str(upstreams),
        "TAXIMETER_LOG_LEVEL": "warning",
    }
    with processes.listen() as listener:
        port: int = listener.getsockname()[1]
        command = processes.python("bench.bookless", "--fd", str(listener.fileno()))
        process = stack.enter_context(processes.child("bookless", command, environ=environ, fds=[listener.fileno()]))
    processes.await_ready("bookless", process, port)
    return port, process.pid
