"""A town on a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.studio import Studio, open_studio
from tests.support.tenants import Town, open_town


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def studio(database_url: str, tmp_path: Path) -> AsyncIterator[Studio]:
    async with open_studio(database_url, tmp_path) as opened:
        yield opened
