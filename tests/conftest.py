"""Fixtures every test may use: an event loop, and PostgreSQL with a fresh migrated database per test."""

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import open_pool

# In CI the same examples run every time; a developer's runs explore.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter.  pytest's own are closed, and as root the embedded server runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="taximeter "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The server under test: TAXIMETER_TEST_DATABASE_URL, or an embedded one for this run."""
    given = os.environ.get("TAXIMETER_TEST_DATABASE_URL", "")
    if given:
        yield given
        return
    # As root the server runs as another user, who must be able to walk into this folder.
    home = Path(tempfile.mkdtemp(prefix="taximeter-tests-"))
    home.chmod(0o755)
    # Tests kill processes, not machines: what fsync protects from does not happen here.
    server = EmbeddedPostgres(home, options={"fsync": "off", "full_page_writes": "off", "max_connections": "100"})
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def database_template(postgres_url: str) -> Iterator[str]:
    """The name of a migrated database that tests copy."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'create database "{name}"')
    asyncio.run(migrate(_with_database(postgres_url, name)))
    yield name
    _execute(postgres_url, f'drop database "{name}" with (force)')


@pytest.fixture
def database_url(postgres_url: str, database_template: str) -> Iterator[str]:
    """The owner's URL of a fresh migrated database that only this test sees."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    # Copied as files, not page by page through the log: a fifth of a second less for each of a thousand tests.
    _execute(postgres_url, f'create database "{name}" template "{database_template}" strategy file_copy')
    yield _with_database(postgres_url, name)
    _execute(postgres_url, f'drop database "{name}" with (force)')


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections as the application role, as the gateway has them."""
    connections = await open_pool(database_url, 4)
    try:
        yield connections
    finally:
        # A cancelled task's connection is on its way back for a moment; what a failed test left checked out ends with its database.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connections.close(), 2)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
