"""Refusals of identity: who are you.

    Unauthenticated        401
      InvalidApiKey        401 invalid_api_key     no key, malformed, or nobody's
      ExpiredApiKey        401 expired_api_key
      RevokedApiKey        401 revoked_api_key
      InvalidAdminKey      401 invalid_admin_key

What belongs to somebody else is ``NotFound`` (kernel): a caller cannot learn that it exists.
"""

from typing import ClassVar

from taximeter.kernel.errors import Refusal


class Unauthenticated(Refusal):
    """The caller did not prove who they are."""

    status = 401
    default: ClassVar[str]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default, headers={"WWW-Authenticate": "Bearer"})


class InvalidApiKey(Unauthenticated):
    """There is no such key."""

    code = "invalid_api_key"
    default = "Incorrect API key provided; send a valid key as 'Authorization: Bearer tx-...'."


class ExpiredApiKey(Unauthenticated):
    """The key was right and its time is over."""

    code = "expired_api_key"
    default = "This API key has expired; ask your administrator for a new one."


class RevokedApiKey(Unauthenticated):
    """The key was right and has been withdrawn."""

    code = "revoked_api_key"
    default = "This API key has been revoked; ask your administrator for a new one."


class InvalidAdminKey(Unauthenticated):
    """The route is for administrators."""

    code = "invalid_admin_key"
    default = "This route needs the admin key as 'Authorization: Bearer ...'."
