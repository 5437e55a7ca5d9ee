"""Signatures hold for one key, one context and one message."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.signatures import SIGNATURE_BYTES, PublicKey, SigningKey, from_text, to_text

KEY = SigningKey(bytes(range(32)))
# RFC 8037, appendix A: a key, its thumbprint.
RFC_8037 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


def test_keys_are_named_and_written_as_the_standards_say() -> None:
    key = SigningKey.from_jwk(RFC_8037)
    assert key.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.to_jwk() == {**RFC_8037, "kid": key.id, "alg": "EdDSA", "use": "sig"}
    assert PublicKey.from_jwk(key.public.to_jwk()).raw == key.public.raw
    assert "d" not in key.public.to_jwk()


@given(st.binary(max_size=100), st.integers(0, SIGNATURE_BYTES * 8 - 1))
def test_any_changed_bit_of_the_signature_is_noticed(message: bytes, bit: int) -> None:
    signature = KEY.sign("a", message)
    assert KEY.public.verifies(signature, "a", message)
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[bit // 8] ^= 1 << bit % 8
    assert not KEY.public.verifies(to_text(bytes(raw)), "a", message)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_any_changed_byte_of_the_message_is_noticed(message: bytes, data: st.DataObject) -> None:
    signature = KEY.sign("a", message)
    changed = bytearray(message)
    changed[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    assert not KEY.public.verifies(signature, "a", bytes(changed))
    assert not KEY.public.verifies(signature, "b", message)
    assert not SigningKey.generate().public.verifies(signature, "a", message)


@given(st.integers(0, 85), st.characters())
def test_a_signature_has_one_spelling(place: int, letter: str) -> None:
    signature = KEY.sign("a", b"m")
    other = signature[:place] + letter + signature[place + 1 :]
    assert KEY.public.verifies(other, "a", b"m") == (other == signature)


@pytest.mark.parametrize("text", ["", "AA", "AAA=", "AB", "ä" * 43, None, 7, "A" * 44])
def test_what_is_no_text_of_so_many_bytes_is_none(text: object) -> None:
    assert from_text(text, 32) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crv": "P-256"}, "not an Ed25519 key"),
        ({"x": "AA"}, "not an Ed25519 key"),
        ({"kid": "another"}, "kid"),
        ({"d": "AA"}, "secret part"),
        ({"d": to_text(bytes(32))}, "does not belong"),
    ],
)
def test_what_is_no_key_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SigningKey.from_jwk({**RFC_8037, **change})
