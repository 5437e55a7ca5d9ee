"""The demo: the built-in catalog, a project with Tokens and a key, and a file that tells how to use them."""

import dataclasses
import logging
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from taximeter.cli.supervisor.state import write_secret
from taximeter.db.pool import connect_owner
from taximeter.identity import ExpiredApiKey, Identity, InvalidApiKey, Project, RevokedApiKey
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.metering import open_office
from taximeter.metering.fares import METERS
from taximeter.pricing.service import publish_builtin

log = logging.getLogger(__name__)

PROJECT = "demo"
GIFT_UTOK = 1_000_000 * UTOK_PER_TOKEN
GIFT_REFERENCE = "welcome"
PAGE = 200
_LINE = re.compile(r"^([A-Z_]+)=(\S*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DemoFile:
    """``demo.env``: what a shell, a client of OpenAI's, or another command needs to know.

    Attributes:
        path: where it is.
        url: where the server answers.
        admin_key: the key of the admin API.
    """

    path: Path
    url: str
    admin_key: str

    def key(self) -> str:
        """The API key of an earlier start, or nothing."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        return next((match[2] for match in _LINE.finditer(text) if match[1] == "OPENAI_API_KEY"), "")

    def write(self, key: str) -> None:
        """Write it anew; only its owner may read it."""
        lines = [
            "# Written at each start.  To use it in a shell:  set -a; . demo.env; set +a",
            f"OPENAI_BASE_URL={self.url}/v1",
            f"OPENAI_API_KEY={key}",
            f"TAXIMETER_URL={self.url}",
            f"TAXIMETER_ADMIN_KEY={self.admin_key}",
            # So that commands find this server from every folder; quoted, because a path may hold anything.
            f"TAXIMETER_HOME={shlex.quote(str(self.path.parent.absolute()))}",
        ]
        write_secret(self.path, "\n".join(lines) + "\n")


async def prepare_demo(url: str, settings: Settings, file: DemoFile) -> None:
    """Publish the built-in catalog, and make sure that there is a demo project and that the key in the file opens it."""
    connection = await connect_owner(url)
    try:
        result = await publish_builtin(connection, METERS)
    finally:
        await connection.close()
    if result.left:
        log.warning("versions of your own stand for these, the built-in ones are left out: %s", ", ".join(result.left))
    settings = dataclasses.replace(settings, database_url=url, home=file.path.parent)
    async with open_office(settings, {}, "set-up", SystemClock()) as office:
        identity = Identity(office.identity_store, office.desk.ids, office.desk.clock, settings)
        key = file.key()
        if not await _works(identity, key):
            project = await _find_project(identity) or await office.tenancy.create_project(None, PROJECT)
            # Booked once, however often it is asked for.
            await office.tenancy.top_up(project.id, GIFT_UTOK, GIFT_REFERENCE)
            key = (await identity.issue_key(project.id, "demo.env")).text
    file.write(key)


async def _works(identity: Identity, key: str) -> bool:
    try:
        await identity.authenticate(f"Bearer {key}")
    except (InvalidApiKey, ExpiredApiKey, RevokedApiKey):
        return False
    return True


async def _find_project(identity: Identity) -> Project | None:
    """The demo project of an earlier start whose file is gone: the oldest of that name."""
    found = None
    page = await identity.projects(None, None, PAGE)
    while page:
        found = next((project for project in reversed(page) if project.name == PROJECT), found)
        page = await identity.projects(page[-1].id, None, PAGE)
    return found
