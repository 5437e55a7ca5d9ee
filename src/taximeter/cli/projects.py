"""Projects on the command line: named by id or, where that is clear, by name."""

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from taximeter.cli.database import open_database
from taximeter.identity import Identity, Project
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.kernel.settings import Settings
from taximeter.metering import Office, open_office

PAGE = 200


@asynccontextmanager
async def open_command_office(environ: Mapping[str, str]) -> AsyncIterator[Office]:
    """The product's services for the duration of a command, with the application's rights and no more."""
    async with open_database(environ) as url:
        settings = dataclasses.replace(Settings.from_env(environ), database_url=url)
        async with open_office(settings, {}, "command", SystemClock()) as office:
            yield office


def make_identity(office: Office) -> Identity:
    """The service behind the commands about keys and projects."""
    return Identity(office.identity_store, office.desk.ids, office.desk.clock, office.settings)


async def all_projects(identity: Identity) -> list[Project]:
    """Every project, newest first."""
    found: list[Project] = []
    while True:
        page = await identity.projects(found[-1].id if found else None, None, PAGE)
        found += page
        if len(page) < PAGE:
            return found


async def find_project(identity: Identity, text: str) -> Project:
    """The project with this id (``prj_...``) or this name.

    Raises NotFound when there is none, or when several bear the name.
    """
    project_id = decode_id("prj", text)
    if project_id is not None:
        return await identity.project(project_id)
    named = [project for project in await all_projects(identity) if project.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(encode_id("prj", project.id) for project in named)
        message = f"{len(named)} projects are named {text!r}; say which one by its id: {ids}"
    else:
        message = f"there is no project with the id or name {text!r}; `taximeter keys list` shows those that have keys"
    raise NotFound(message)
