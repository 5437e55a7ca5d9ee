"""Identity on real PostgreSQL, as the application role."""

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from taximeter.identity import ExpiredApiKey, Identity, IdentityStore, InvalidApiKey, NewProject, Project, RevokedApiKey
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()
IDS = IdFactory(CLOCK)
NewProjectOf = Callable[[str], Awaitable[Project]]


@pytest.fixture
def store(pool: asyncpg.Pool) -> IdentityStore:
    return IdentityStore(pool)


def gateway(store: IdentityStore) -> Identity:
    """One process's identity service, with its own cache."""
    return Identity(store, IDS, CLOCK, Settings(key_cache_s=0.2))


@pytest.fixture
def identity(store: IdentityStore) -> Identity:
    return gateway(store)


@pytest.fixture
def new_project(store: IdentityStore, pool: asyncpg.Pool) -> NewProjectOf:
    accounts = itertools.count(1)

    async def make(name: str) -> Project:
        async with pool.acquire() as connection, connection.transaction():
            organisation = await store.insert_organisation(connection, IDS.new(), "Acme")
            new = NewProject(
                id=IDS.new(),
                organisation_id=organisation.id,
                name=name,
                lane=3,
                allowance_account=next(accounts),
                prepaid_account=next(accounts),
            )
            return await store.insert_project(connection, new)

    return make


async def test_an_issued_key_proves_its_project(identity: Identity, new_project: NewProjectOf) -> None:
    project = await new_project("Research")
    issued = await identity.issue_key(project.id, "ci")
    caller = await identity.authenticate(f"Bearer {issued.text}")
    assert (caller.organisation_id, caller.project_id, caller.key_id) == (project.organisation_id, project.id, issued.key.id)
    assert (caller.key_name, caller.lane) == ("ci", 3)
    assert (caller.allowance_account, caller.prepaid_account) == (project.allowance_account, project.prepaid_account)


async def test_the_text_of_a_key_is_not_in_the_database(identity: Identity, new_project: NewProjectOf, pool: asyncpg.Pool) -> None:
    issued = await identity.issue_key((await new_project("Research")).id, "ci")
    secret = issued.text.rsplit("-", 1)[1]
    stored = await pool.fetchval("select string_agg(k::text, ' ') from identity.api_keys k")
    assert issued.key.prefix in stored
    assert secret not in stored


async def test_a_key_with_one_letter_changed_is_invalid(identity: Identity, new_project: NewProjectOf) -> None:
    text = (await identity.issue_key((await new_project("Research")).id, "ci")).text
    other = text[:-1] + ("0" if text[-1] != "0" else "1")
    with pytest.raises(InvalidApiKey):
        await identity.authenticate(f"Bearer {other}")
    with pytest.raises(InvalidApiKey):
        await identity.authenticate(f"Bearer tx-00000000-{'0' * 40}")


async def test_a_key_revoked_by_one_process_stops_in_another_within_a_second(store: IdentityStore, new_project: NewProjectOf) -> None:
    here, there = gateway(store), gateway(store)
    project = await new_project("Research")
    issued = await here.issue_key(project.id, "ci")
    header = f"Bearer {issued.text}"
    await there.authenticate(header)
    revoked = await here.revoke_key(project.id, issued.key.id)
    assert revoked.revoked_at is not None
    started = CLOCK.monotonic_s()
    with pytest.raises(RevokedApiKey):  # noqa: PT012 - asks until the verdict changes
        while CLOCK.monotonic_s() < started + 1:
            await there.authenticate(header)
            await asyncio.sleep(0.01)
    assert (await here.revoke_key(project.id, issued.key.id)).revoked_at == revoked.revoked_at


async def test_a_key_expires_by_the_databases_clock(identity: Identity, new_project: NewProjectOf) -> None:
    project = await new_project("Research")
    soon = utc_from_ms(CLOCK.now_ms()) + timedelta(seconds=0.3)
    issued = await identity.issue_key(project.id, "ci", soon)
    header = f"Bearer {issued.text}"
    await identity.authenticate(header)
    started = CLOCK.monotonic_s()
    with pytest.raises(ExpiredApiKey):  # noqa: PT012 - asks until the verdict changes
        while CLOCK.monotonic_s() < started + 5:
            await identity.authenticate(header)
            await asyncio.sleep(0.02)


async def test_an_expiry_in_the_past_is_refused(identity: Identity, new_project: NewProjectOf) -> None:
    project = await new_project("Research")
    with pytest.raises(InvalidRequest):
        await identity.issue_key(project.id, "ci", utc_from_ms(CLOCK.now_ms()) - timedelta(seconds=1))
    with pytest.raises(InvalidRequest):
        await identity.issue_key(project.id, "ci", (utc_from_ms(CLOCK.now_ms()) + timedelta(days=1)).replace(tzinfo=None))


async def test_a_key_can_only_be_revoked_through_its_own_project(identity: Identity, new_project: NewProjectOf) -> None:
    mine, other = await new_project("Mine"), await new_project("Other")
    issued = await identity.issue_key(mine.id, "ci")
    with pytest.raises(NotFound):
        await identity.revoke_key(other.id, issued.key.id)
    await identity.authenticate(f"Bearer {issued.text}")


async def test_an_unknown_project_gets_no_key(identity: Identity) -> None:
    with pytest.raises(NotFound):
        await identity.issue_key(uuid.uuid4(), "ci")


async def test_the_use_of_a_key_is_noted_and_a_guess_is_not(identity: Identity, store: IdentityStore, new_project: NewProjectOf) -> None:
    project = await new_project("Research")
    issued = await identity.issue_key(project.id, "ci")
    with pytest.raises(InvalidApiKey):
        await identity.authenticate(f"Bearer tx-{issued.key.prefix}-{'0' * 40}")
    assert (await identity.keys(project.id, None, 10))[0].last_used_at is None
    await identity.authenticate(f"Bearer {issued.text}")
    used_at = (await identity.keys(project.id, None, 10))[0].last_used_at
    assert used_at is not None
    await gateway(store).authenticate(f"Bearer {issued.text}")
    assert (await identity.keys(project.id, None, 10))[0].last_used_at == used_at


async def test_lists_are_paged_newest_first(identity: Identity, new_project: NewProjectOf) -> None:
    project = await new_project("Research")
    made = [(await identity.issue_key(project.id, f"key {number}")).key for number in range(5)]
    first = await identity.keys(project.id, None, 3)
    rest = await identity.keys(project.id, first[-1].id, 3)
    assert [key.name for key in first + rest] == [key.name for key in reversed(made)]
    another = await new_project("Other")
    assert [found.id for found in await identity.projects(None, None, 10)] == [another.id, project.id]
    assert [found.id for found in await identity.projects(None, project.organisation_id, 10)] == [project.id]
    assert [found.id for found in await identity.organisations(None, 1)] == [another.organisation_id]
    assert (await identity.organisation(project.organisation_id)).name == "Acme"
    with pytest.raises(NotFound):
        await identity.organisation(uuid.uuid4())


@pytest.mark.parametrize(
    "statement",
    [
        "delete from identity.api_keys",
        "update identity.api_keys set secret_sha256 = secret_sha256",
        "update identity.api_keys set project_id = project_id",
        "update identity.projects set lane = 0",
        "delete from identity.projects",
        "truncate identity.organisations cascade",
    ],
)
async def test_the_application_cannot_rewrite_identities(pool: asyncpg.Pool, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)
