"""A town on a fresh database."""

from tests.integration.metering.conftest import town

__all__ = ["town"]
