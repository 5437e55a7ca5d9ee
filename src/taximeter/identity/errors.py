"""Refusals of identity: who are you.

    Unauthenticated        401
      InvalidApiKey        401 invalid_api_key     no key, malformed, or nobody's
      ExpiredApiKey        401 expired_api_key
      RevokedApiKey        401 revoked_api_key
      InvalidAdminKey      401 invalid_admin_key
    TooManyFailedKeys      429 too_many_failed_keys    wrong again, from where many wrong ones came

What belongs to somebody else is ``NotFound`` (kernel): a caller cannot learn that it exists.
"""

import math
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


class TooManyFailedKeys(Refusal):
    """The key is wrong, and so were too many before it."""

    code = "too_many_failed_keys"
    status = 429
    openai_type = "rate_limit_error"

    def __init__(self, wait_s: float) -> None:
        whole_s = max(1, math.ceil(wait_s))
        told = "This key is wrong, and so were too many before it; correct it, and do not try again"
        message = f"{told} for {whole_s} s. A right key is accepted at any time."
        # The official client would send the same wrong key twice more.
        super().__init__(message, headers={"retry-after": str(whole_s), "x-should-retry": "false"})


class InvalidAdminKey(Unauthenticated):
    """The route is for administrators."""

    code = "invalid_admin_key"
    default = "This route needs the admin key as 'Authorization: Bearer ...'."
