"""The product as it is: `taximeter serve` in a folder of its own, with projects, their keys and large wallets."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import processes
from taximeter.cli.supervisor.state import State, read_state
from taximeter.db.pool import connect_owner
from taximeter.kernel.units import UTOK_PER_TOKEN, format_tokens, parse_tokens
from taximeter.ledger.replay import replay

CATALOG = Path(__file__).parent / "catalog"
# Enough for an hour of requests at any speed.
WALLET_TOKENS = 500_000_000
NAME = "product"
CATALOG_PATIENCE_S = 10.0
_SETTINGS = "select name, setting from pg_settings where name = any ($1)"
_SERVER_SETTINGS = ["fsync", "synchronous_commit", "full_page_writes", "server_version"]
_RECEIPTS = "select count(*) as receipts, coalesce(sum(charged_utok), 0)::bigint as charged_utok from metering.receipts"


@dataclass(frozen=True)
class Project:
    """One that pays.

    Attributes:
        id: whose wallet pays.
        keys: open the project.
    """

    id: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """A running server.

    Attributes:
        port: the gateway's.
        projects: those who may ask; the first one's first key is ``key``.
        admin_key: opens the admin API.
        state: process ids and the database's address.
        database_pid: the database's first process.
    """

    port: int
    projects: tuple[Project, ...]
    admin_key: str
    state: State
    database_pid: int

    @property
    def key(self) -> str:
        """Opens the first project."""
        return self.projects[0].keys[0]

    def gateway_pids(self) -> list[int]:
        """The processes that answer."""
        return [pid for name, pid in self.state.processes.items() if name.startswith("gateway")]

    def database_pids(self) -> list[int]:
        """The database with all its backends."""
        return processes.children_of(self.database_pid)

    def balance_utok(self) -> int:
        """What the wallets have left together; nothing may be held any more."""
        wallets = [processes.call_json(self.port, "GET", f"/v1/admin/projects/{project.id}/wallet", key=self.admin_key) for project in self.projects]
        assert all(wallet["held"] == "0" for wallet in wallets), wallets
        return sum(parse_tokens(wallet["balance"]) for wallet in wallets)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for a server's data.  As root, the database runs as another user, who must be able to walk into it."""
    with tempfile.TemporaryDirectory(prefix="taximeter-bench-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def write_upstreams(home: Path, port: int) -> Path:
    """The upstreams file that names the mock on ``port``."""
    path = home / "upstreams.yaml"
    path.write_text(json.dumps({"upstreams": [{"name": "mock", "base_url": f"http://127.0.0.1:{port}/v1"}]}), encoding="utf-8")
    return path


@contextmanager
def running(upstream_port: int, projects: int = 1, keys: int = 1) -> Iterator[Product]:
    """The product with one upstream and so many projects with so many keys each, for the duration of the block."""
    with folder() as home:
        upstreams = write_upstreams(home, upstream_port)
        port = processes.free_port()
        environ = {
            "TAXIMETER_HOME": str(home),
            "TAXIMETER_PORT": str(port),
            "TAXIMETER_DATABASE_URL": "",
            "TAXIMETER_DEMO": "0",
            # As the pass-through: no line per request.
            "TAXIMETER_LOG_LEVEL": "warning",
            "TAXIMETER_UPSTREAMS_FILE": str(upstreams),
        }
        with processes.child(NAME, processes.python("taximeter.cli", "serve"), environ=environ) as process:
            processes.await_ready(NAME, process, port)
            with processes.child("apply", processes.python("taximeter.cli", "apply", "-f", str(CATALOG)), environ=environ) as apply:
                assert apply.wait(processes.START_PATIENCE_S) == 0, "the catalog of the benchmark was refused; see bench/out/apply.log"
            yield _furnish(home, port, projects, keys)


def _furnish(home: Path, port: int, projects: int, keys: int) -> Product:
    admin_key = (home / "admin.key").read_text(encoding="ascii").strip()
    made = tuple(_project(port, admin_key, f"bench-{number}", keys) for number in range(projects))
    _await_model(port, made[0].keys[0])
    state = None
    while state is None:
        state = read_state(home)
        time.sleep(0.02)
    database_pid = int((home / "postgres" / "postmaster.pid").read_text(encoding="ascii").split()[0])
    return Product(port, made, admin_key, state, database_pid)


def _project(port: int, admin_key: str, name: str, keys: int) -> Project:
    """A project with a large wallet."""

    def post(path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        return processes.call_json(port, "POST", f"/v1/admin/projects{path}", key=admin_key, body=body)

    project_id = post("", {"name": name})["id"]
    post(f"/{project_id}/top-ups", {"tokens": str(WALLET_TOKENS)})
    return Project(project_id, tuple(post(f"/{project_id}/keys", {"name": f"{name}-{number}"})["key"] for number in range(keys)))


def _await_model(port: int, key: str) -> None:
    """Gateways look for publications once a second."""
    deadline = time.monotonic() + CATALOG_PATIENCE_S
    while not any(model["id"] == "bench-chat" for model in processes.call_json(port, "GET", "/v1/models", key=key)["data"]):
        assert time.monotonic() < deadline, "the gateway did not notice the catalog"
        time.sleep(0.05)


@dataclass(frozen=True)
class Audit:
    """What the books say after a run.

    Attributes:
        answers: 200s that clients got.
        receipts: rows of the receipts table.
        charged_utok: their sum.
        moved_utok: what left the wallets.
        differences: what `taximeter replay` found.
        server: settings of the database that durability depends on.
    """

    answers: int
    receipts: int
    charged_utok: int
    moved_utok: int
    replayed_rows: int
    replayed_utok: int
    differences: list[str]
    server: dict[str, str]

    @property
    def agrees(self) -> bool:
        """Every answer has its receipt, and all sums are one."""
        return not self.differences and self.receipts == self.answers and self.charged_utok == self.moved_utok == self.replayed_utok

    def sentence(self) -> str:
        """For people."""
        verdict = "everything agrees" if self.agrees else f"DIFFERENCES: {self.differences[:3]}"
        return (
            f"{self.answers:,} answers, {self.receipts:,} receipts over {format_tokens(self.charged_utok)} Tokens;"
            f" the wallets moved by {format_tokens(self.moved_utok)}; replay of {self.replayed_rows:,} log rows"
            f" gives {format_tokens(self.replayed_utok)}: {verdict}"
        )


def audit(product: Product, answers: int) -> Audit:
    """Compare answers, receipts, wallet and log.  All requests must have ended."""
    return asyncio.run(_audit(product, answers))


async def _audit(product: Product, answers: int) -> Audit:
    connection = await connect_owner(product.state.database_url)
    try:
        sums = await connection.fetchrow(_RECEIPTS)
        report = await replay(connection)
        server = {row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS, _SERVER_SETTINGS)}
    finally:
        await connection.close()
    assert sums is not None
    balance = await asyncio.to_thread(product.balance_utok)
    moved = len(product.projects) * WALLET_TOKENS * UTOK_PER_TOKEN - balance
    return Audit(
        answers=answers,
        receipts=sums["receipts"],
        charged_utok=sums["charged_utok"],
        moved_utok=moved,
        replayed_rows=report.rows,
        replayed_utok=report.charged_utok,
        differences=report.differences,
        server=server,
    )
