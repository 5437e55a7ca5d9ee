"""Standard Webhooks: signatures, times of attempts, and which addresses may be called.  Pure.

The specification: https://github.com/standard-webhooks/standard-webhooks (part "webhook-signature" and "Operational considerations").
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from yarl import URL

from taximeter.admission.events.errors import WebhookAddressRefused
from taximeter.admission.events.model import TYPES
from taximeter.kernel.errors import InvalidRequest

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
SECRET_BYTES = 32
WAITS_S = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long to wait before each attempt: ten of them, over three days."""
ATTEMPTS_MAX = len(WAITS_S)
JITTER = 0.1
"""A wait is up to this share longer, so that what failed together does not come again together."""
RETRY_AFTER_S_MAX = 86_400
TYPES_MAX = 50
URL_CHARS_MAX = 2000
GONE = 410
FAMILIES = tuple(dict.fromkeys(name.partition(".")[0] for name in TYPES))
"""What types begin with."""
_SHOWN_CHARS_MAX = 60
# Addresses of IPv6 that stand for one of IPv4, as translators read them.
_NAT64 = IPv6Network("64:ff9b::/96")
_LOW_32 = 0xFFFF_FFFF


def make_secret(drawn: bytes) -> str:
    """A secret as receivers keep it, from ``SECRET_BYTES`` random bytes."""
    assert len(drawn) == SECRET_BYTES
    return SECRET_PREFIX + base64.b64encode(drawn).decode()


def signature(secrets: Iterable[str], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The header ``webhook-signature``: one signature for each secret, with a space between them."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets]
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)


def wait_s(attempt: int, jitter: float, retry_after_s: float | None) -> float | None:
    """How long to wait after the failure of this attempt (from 1 up); None: it was the last one.

    Args:
        attempt: the one that failed.
        jitter: 0 to 1, drawn anew each time.
        retry_after_s: what the receiver has asked for: never sooner, and not later than a day.
    """
    if attempt >= ATTEMPTS_MAX:
        return None
    planned = WAITS_S[attempt] * (1 + JITTER * jitter)
    return max(planned, min(retry_after_s or 0.0, RETRY_AFTER_S_MAX))


def retry_after_s(text: str | None, now: datetime) -> float | None:
    """The header ``Retry-After``: seconds, or a date; None when it says nothing that can be understood."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), RETRY_AFTER_S_MAX))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(0.0, (moment - now).total_seconds())


def check_types(types: Sequence[str]) -> tuple[str, ...]:
    """The wanted types, each once.  Raises InvalidRequest for what no event is of."""
    if len(types) > TYPES_MAX:
        message = f"'types' may name {TYPES_MAX} types at most, not {len(types)}"
        raise InvalidRequest(message, param="types")
    wrong = next((name for name in types if not _is_known(name)), None)
    if wrong is not None:
        message = f"{wrong[:_SHOWN_CHARS_MAX]!r} is no type of events: 'types' takes {', '.join(TYPES)}, or 'approval.*' for all that begin so"
        raise InvalidRequest(message, param="types")
    return tuple(dict.fromkeys(types))


def _is_known(name: str) -> bool:
    family = name.removesuffix(".*")
    return name in TYPES if family == name else family in FAMILIES


def check_kind(kind: str | None) -> str | None:
    """The type, or what types begin with, that somebody looks for, without the ``.*`` that webhooks write.  Raises InvalidRequest when none does."""
    name = None if kind is None else kind.removesuffix(".*")
    if kind is not None and name not in (*TYPES, *FAMILIES):
        message = f"{kind[:_SHOWN_CHARS_MAX]!r} is no type of events: 'type' takes {', '.join(TYPES)}, or 'approval' for all that begin so"
        raise InvalidRequest(message, param="type")
    return name


def check_url(text: str, *, private: bool) -> str:
    """An address that a webhook may have.  Raises InvalidRequest, WebhookAddressRefused.

    A host name is looked up when it is called, each time anew.

    Args:
        text: as it was given.
        private: addresses of this machine and of private networks are allowed.
    """
    try:
        url = URL(text) if text.isascii() and text.isprintable() and len(text) <= URL_CHARS_MAX else None
    except ValueError:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host or url.user is not None or url.fragment or " " in text:
        message = "'url' must be an address such as https://example.com/hooks: http or https, a host, no user and no fragment"
        raise InvalidRequest(message, param="url")
    if not private and is_private(url.host):
        raise refused(url.host)
    return text


def is_private(host: str) -> bool:
    """Whether a host is written as an address that only this machine or its networks have; False for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost")
    return not is_public(address)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the Internet's: not of this machine, a private network, a link, a group, or reserved."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & _LOW_32)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def refused(host: str) -> WebhookAddressRefused:
    """The refusal of an address that only this machine or its networks have."""
    message = f"{host[:200]!r} is an address of this machine or of a private network; TAXIMETER_WEBHOOK_PRIVATE_ADDRESSES allows them"
    return WebhookAddressRefused(message, param="url")
