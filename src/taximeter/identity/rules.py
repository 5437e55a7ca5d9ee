"""Keys as text, and what a stored credential means.  Pure.

A key is ``tx-`` + 8 letters + ``-`` + 40 letters of the id alphabet.  The 40 letters carry 200 random
bits: guessing is hopeless, so one SHA-256 is the right hash (a slow one protects weak secrets, and
would cost every request).
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime

from taximeter.identity.errors import ExpiredApiKey, InvalidApiKey, RevokedApiKey
from taximeter.identity.model import Caller, Credential, KeyLimits, KeyText
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import AMOUNT_UTOK_MAX, format_tokens

KEY_START = "tx-"
PREFIX_LENGTH = 8
SECRET_LENGTH = 40
NAME_LENGTH_MAX = 200
REQUESTS_PER_MINUTE_MAX = 1_000_000
_KEY = re.compile(r"tx-([0-9a-hjkmnp-tv-z]{8})-([0-9a-hjkmnp-tv-z]{40})", re.ASCII)


def format_key(prefix: str, secret: str) -> str:
    """The key as its owner sees it."""
    assert len(prefix) == PREFIX_LENGTH
    assert len(secret) == SECRET_LENGTH
    return f"{KEY_START}{prefix}-{secret}"


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("ascii")).digest()


def bearer_token(header: str | None) -> str | None:
    """The credential in an ``Authorization`` header; None when there is none."""
    if header is None:
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip() or None


def parse_key(header: str | None) -> KeyText:
    """The key in an ``Authorization`` header.  Raises InvalidApiKey, before any look-up, when it cannot be one of ours."""
    token = bearer_token(header)
    if token is None:
        message = "You did not provide an API key; send it as 'Authorization: Bearer tx-...'."
        raise InvalidApiKey(message)
    match = _KEY.fullmatch(token)
    if match is None:
        raise InvalidApiKey
    return KeyText(match[1], hash_secret(match[2]))


def judge(credential: Credential | None, presented: KeyText) -> Caller:
    """The caller, if the presented key is right and alive.

    Whether a key is revoked or expired is told only to somebody who holds its secret.
    Raises InvalidApiKey, RevokedApiKey or ExpiredApiKey.
    """
    if credential is None or not hmac.compare_digest(credential.secret_sha256, presented.secret_sha256):
        raise InvalidApiKey
    if credential.revoked:
        raise RevokedApiKey
    if credential.remaining_s is not None and credential.remaining_s <= 0:
        raise ExpiredApiKey
    return credential.caller


def same_token(presented: str | None, expected_sha256: bytes) -> bool:
    """Whether a token is the expected one, in a time that does not depend on where they differ."""
    if presented is None:
        return False
    return hmac.compare_digest(hashlib.sha256(presented.encode()).digest(), expected_sha256)


def check_name(name: str) -> str:
    """A name for people, trimmed.  Raises InvalidRequest when it is empty, too long or has control characters."""
    trimmed = name.strip()
    if not trimmed or len(trimmed) > NAME_LENGTH_MAX or not trimmed.isprintable():
        message = f"'name' must be 1 to {NAME_LENGTH_MAX} printable characters."
        raise InvalidRequest(message, param="name")
    return trimmed


def check_expiry(expires_at: datetime, now: datetime) -> None:
    """Raises InvalidRequest unless it is a time in the future, with its zone, that UTC has too."""
    try:
        # West of Greenwich, the last hours of the year 9999 lie in a year that is not to be had.
        future = expires_at.tzinfo is not None and expires_at.astimezone(UTC) > now
    except OverflowError:
        future = False
    if not future:
        message = "'expires_at' must be a time in the future, with its zone, and before the year 10000."
        raise InvalidRequest(message, param="expires_at")


def check_limits(limits: KeyLimits) -> None:
    """Raises InvalidRequest for a limit that nothing could meet, or that is none."""
    requests, tokens_utok = limits.requests_per_minute, limits.tokens_per_minute_utok
    if requests is not None and not 1 <= requests <= REQUESTS_PER_MINUTE_MAX:
        message = f"'requests_per_minute' must be a whole number from 1 to {REQUESTS_PER_MINUTE_MAX:,}, or absent for no limit."
        raise InvalidRequest(message, param="requests_per_minute")
    if tokens_utok is not None and not 1 <= tokens_utok <= AMOUNT_UTOK_MAX:
        message = f"'tokens_per_minute' must be more than 0 and at most {format_tokens(AMOUNT_UTOK_MAX)} Tokens, or absent for no limit."
        raise InvalidRequest(message, param="tokens_per_minute")
