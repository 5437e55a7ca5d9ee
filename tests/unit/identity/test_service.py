"""The admin key."""

from typing import cast

import pytest

from taximeter.identity import Identity, IdentityStore, InvalidAdminKey
from taximeter.kernel.clock import ManualClock
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings


class NoStore:
    """Nothing here may be asked."""

    find_credential = None


def identity(admin_key: str) -> Identity:
    clock = ManualClock()
    return Identity(cast("IdentityStore", NoStore()), IdFactory(clock), clock, Settings(admin_key=admin_key))


def test_the_admin_key_opens_the_admin_routes() -> None:
    identity("s3cret").require_admin("Bearer s3cret")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret"])
def test_anything_else_does_not(header: str | None) -> None:
    with pytest.raises(InvalidAdminKey):
        identity("s3cret").require_admin(header)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer "])
def test_without_an_admin_key_nobody_is_an_administrator(header: str | None) -> None:
    with pytest.raises(InvalidAdminKey):
        identity("").require_admin(header)
