"""What a Web Push is made of: a body that only the browser can read, and a token that says who sends it. Pure.

Sources: RFC 8291 (message encryption), RFC 8188 (`aes128gcm`, one record), RFC 8292 (VAPID). The ephemeral key and the
salt are passed in: they must never be used twice.
"""

import base64
import struct
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from engine.core.units import MS_PER_S

POINT_BYTES: Final = 65
SALT_BYTES: Final = 16
RECORD_BYTES: Final = 4_096
PLAIN_BYTES_MAX: Final = RECORD_BYTES - 16 - 1 - 86
"""What fits in one record of a push service that takes 4,096 bytes: less the tag, the delimiter and the header."""
TOKEN_S: Final = 12 * 3_600
"""RFC 8292 allows a day at most."""
LAST_RECORD: Final = b"\x02"


@dataclass(frozen=True, slots=True)
class PushKeys:
    """What a browser hands out: its P-256 point (65 bytes, uncompressed) and its secret (16 bytes)."""

    p256dh: bytes
    auth: bytes


def is_point(point: bytes) -> bool:
    """Return whether `point` lies on the curve: anything else cannot be encrypted for."""
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return len(point) == POINT_BYTES


def encrypt(plain: bytes, keys: PushKeys, *, ephemeral: EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """Return the body of a push: header and one sealed record."""
    assert len(salt) == SALT_BYTES
    assert len(plain) <= PLAIN_BYTES_MAX
    ours = public_point(ephemeral)
    shared = ephemeral.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), keys.p256dh))
    key_material = _derive(shared, keys.auth, b"WebPush: info\0" + keys.p256dh + ours, 32)
    key = _derive(key_material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(key_material, salt, b"Content-Encoding: nonce\0", 12)
    sealed = AESGCM(key).encrypt(nonce, plain + LAST_RECORD, None)
    return salt + struct.pack("!IB", RECORD_BYTES, len(ours)) + ours + sealed


def vapid_header(endpoint: str, *, key: EllipticCurvePrivateKey, subject: str, now_ms: int) -> str:
    """Return the `Authorization` of a push: good for the push service of this endpoint alone."""
    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": now_ms // MS_PER_S + TOKEN_S, "sub": subject}
    token = jwt.encode(claims, key, algorithm="ES256")
    return f"vapid t={token},k={base64url(public_point(key))}"


def load_vapid_key(pem: bytes) -> EllipticCurvePrivateKey:
    """Return the installation's key.

    Raises:
        ValueError: the PEM holds no P-256 private key.
    """
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("the VAPID key is a P-256 private key (PEM)")  # noqa: TRY004 - the file's content, not a type
    return key


def public_point(key: EllipticCurvePrivateKey) -> bytes:
    """Return the public half as 65 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def base64url(raw: bytes) -> str:
    """Return URL-safe base64 without padding, as browsers write keys."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return what `base64url` was given.

    Raises:
        ValueError: it is not base64.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)
