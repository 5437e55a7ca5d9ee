"""A caller to test with."""

import uuid

import pytest

from taximeter.identity import Caller


@pytest.fixture
def caller() -> Caller:
    return Caller(
        organisation_id=uuid.UUID(int=1),
        project_id=uuid.UUID(int=2),
        key_id=uuid.UUID(int=3),
        key_name="ci",
        lane=0,
        allowance_account=10,
        prepaid_account=11,
    )
