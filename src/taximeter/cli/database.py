"""Which database a command talks to: the one of the URL, the running server's, or the embedded one just for now."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from taximeter.cli.supervisor.state import read_state, serve_lock
from taximeter.db.embedded import EmbeddedPostgres, make_home
from taximeter.db.migrate import migrate
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings

STARTING_PATIENCE_S = 30.0
POLL_S = 0.1


@asynccontextmanager
async def open_database(environ: Mapping[str, str]) -> AsyncIterator[str]:
    """The owner's URL of a database that is up to date, for the duration of a command.

    Raises SetupError when there is none to be had.
    """
    settings = Settings.from_env(environ)
    if settings.database_url:
        yield settings.database_url
        return
    home = make_home(settings.home)
    lock = serve_lock(home)
    if lock.is_held():
        yield await _running_server(settings)
        return
    embedded = EmbeddedPostgres(home)
    try:
        url = embedded.start()
        await migrate(url)
        yield url
    finally:
        embedded.stop()


async def _running_server(settings: Settings) -> str:
    """The database of the server that holds the folder, which may still be starting."""
    home = make_home(settings.home)
    for _ in range(int(STARTING_PATIENCE_S / POLL_S)):
        state = read_state(home)
        if state is not None:
            return state.database_url
        await asyncio.sleep(POLL_S)
    message = f"the server in {home} is running but does not become ready; look at its output"
    raise SetupError(message)
