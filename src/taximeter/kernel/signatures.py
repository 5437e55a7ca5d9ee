"""Ed25519 signatures (RFC 8032): what this installation has said can be checked without asking it again.

Keys are written as JSON Web Keys (RFC 7517, RFC 8037) and named by their thumbprints (RFC 7638).  What is signed is a context, a
line feed and the message: a signature over a quote can never be taken for one over something else.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from taximeter.kernel.canonical import canonical_json

ALGORITHM = "Ed25519"
KEY_BYTES = 32
SIGNATURE_BYTES = 64


class PublicKey:
    """Checks signatures.

    Attributes:
        id: its thumbprint.
        raw: its 32 bytes.
    """

    __slots__ = ("_key", "id", "raw")

    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = to_text(hashlib.sha256(canonical_json({"crv": ALGORITHM, "kty": "OKP", "x": to_text(raw)})).digest())

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "PublicKey":
        """Read a JSON Web Key.  Raises ValueError when it is no Ed25519 key, or not the one that it says it is."""
        raw = from_text(jwk.get("x"), KEY_BYTES)
        if (jwk.get("kty"), jwk.get("crv")) != ("OKP", ALGORITHM) or raw is None:
            message = "not an Ed25519 key: kty must be OKP, crv Ed25519, and x its 32 bytes in base64url"
            raise ValueError(message)
        key = cls(raw)
        if jwk.get("kid", key.id) != key.id:
            message = f"the key's kid is {jwk['kid']!r} and its thumbprint {key.id}"
            raise ValueError(message)
        return key

    def to_jwk(self) -> dict[str, str]:
        """As a JSON Web Key."""
        return {"kty": "OKP", "crv": ALGORITHM, "x": to_text(self.raw), "kid": self.id, "alg": "EdDSA", "use": "sig"}

    def verifies(self, signature: object, context: str, message: bytes) -> bool:
        """Whether the signature is this key's, over exactly this."""
        raw = from_text(signature, SIGNATURE_BYTES)
        if raw is None:
            return False
        try:
            self._key.verify(raw, _signed(context, message))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """Signs.

    Attributes:
        public: what checks its signatures.
    """

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key, from the system's randomness."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "SigningKey":
        """Read a JSON Web Key with its secret part.  Raises ValueError."""
        public = PublicKey.from_jwk(jwk)
        seed = from_text(jwk.get("d"), KEY_BYTES)
        if seed is None:
            message = "the key's secret part d must be 32 bytes in base64url"
            raise ValueError(message)
        key = cls(seed)
        if key.public.raw != public.raw:
            message = "the key's secret part d does not belong to its public part x"
            raise ValueError(message)
        return key

    @property
    def id(self) -> str:
        """The key's name."""
        return self.public.id

    def to_jwk(self) -> dict[str, str]:
        """As a JSON Web Key with its secret part."""
        return {**self.public.to_jwk(), "d": to_text(self._key.private_bytes_raw())}

    def sign(self, context: str, message: bytes) -> str:
        """The signature over the message in this context, in base64url."""
        return to_text(self._key.sign(_signed(context, message)))


def to_text(data: bytes) -> str:
    """Bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def from_text(text: object, length: int) -> bytes | None:
    """So many bytes from their base64url text; None when it is anything else than the one text that stands for them."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return None
    # The last letter has bits to spare, and unknown letters are skipped: only one spelling counts.
    return data if len(data) == length and to_text(data) == text else None


def _signed(context: str, message: bytes) -> bytes:
    return context.encode("ascii") + b"\n" + message
