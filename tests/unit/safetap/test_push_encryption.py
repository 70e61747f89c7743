"""Web Push on the wire: the RFC's own example, and any text there and back."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from engine.safetap.channels.push_encryption import (
    PLAIN_BYTES_MAX,
    PushKeys,
    base64url,
    encrypt,
    from_base64url,
    is_point,
    load_vapid_key,
    public_point,
)
from tests.peers.push import FakeBrowser

PLAIN = b"When I grow up, I want to be a watermelon"
OURS = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
THEIRS = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
"""RFC 8291, section 5."""


def test_the_example_of_the_rfc() -> None:
    ephemeral = derive_private_key(int.from_bytes(from_base64url(OURS), "big"), SECP256R1())
    keys = PushKeys(from_base64url(THEIRS), from_base64url(AUTH))
    assert base64url(encrypt(PLAIN, keys, ephemeral=ephemeral, salt=from_base64url(SALT))) == BODY


@given(plain=st.binary(max_size=PLAIN_BYTES_MAX), salt=st.binary(min_size=16, max_size=16))
def test_the_browser_reads_what_was_written(plain: bytes, salt: bytes) -> None:
    browser = FakeBrowser()
    ephemeral = generate_private_key(SECP256R1())
    body = encrypt(plain, PushKeys(browser.point, browser.auth), ephemeral=ephemeral, salt=salt)
    assert len(body) <= 4_096
    assert browser.decrypt(body) == plain


def test_what_is_no_point_of_the_curve_is_told_apart() -> None:
    point = public_point(generate_private_key(SECP256R1()))
    assert is_point(point)
    assert not is_point(point[:-1] + bytes([point[-1] ^ 1]))
    assert not is_point(b"")
    assert not is_point(b"\x04" + bytes(64))


def test_a_key_file_of_another_kind_is_refused() -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="P-256"):
        load_vapid_key(pem)
